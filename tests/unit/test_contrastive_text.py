"""Two views of a text: what they hide, that a view depends on its row alone, and what is kept and warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretune.backbones.load import load_backbone, save_model
from pretune.engine.randomness import row_keys
from pretune.modalities.text.encoder import TextPiece
from tiny import CPU, Rig, dataset_of, uneven_rows


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig("contrastive-text", fraction=0.3)


def test_views_hide_other_tokens_and_marks_stay(rig: Rig) -> None:
    batch = rig.batch(range(12))
    first, second = batch.inputs["input_ids"].chunk(2)
    assert len(first) == 12
    assert not torch.equal(first, second)
    mask, special = rig.objective.mask_id, torch.tensor(rig.objective.special_ids)
    plain = special[special != mask]
    for view in (first, second):
        assert bool((view == mask).any(dim=1).all())
        assert torch.equal(torch.isin(view, plain), torch.isin(first, plain)), "marks stand where they stood"
    share = float((first == mask).sum() / (~torch.isin(first, plain)).sum())
    assert share == pytest.approx(0.3, abs=0.08)


def test_a_view_is_a_function_of_its_row(rig: Rig) -> None:
    together, alone = (rig.batch(rows).inputs["input_ids"] for rows in (range(6), [2]))
    width = alone.shape[1]
    assert together[2, :width].tolist() == alone[0].tolist()
    assert together[8, :width].tolist() == alone[1].tolist()
    assert rig.batch([2], epoch=1).inputs["input_ids"].tolist() != alone.tolist()


def test_a_text_of_one_word_or_none_keeps_what_it_has(rig: Rig) -> None:
    start, end = rig.objective.encoder.tokenizer.cls_token_id, rig.objective.encoder.tokenizer.sep_token_id
    pieces = [TextPiece(np.array([start, 9, end])), TextPiece(np.array([start, end]))]
    batch = rig.objective.collate(pieces, row_keys(0, "x", 0, np.arange(2)), ["a", "b"])
    assert not bool((batch.inputs["input_ids"] == rig.objective.mask_id).any())


def test_twins_are_found_after_learning_and_a_bare_trunk_is_kept(tmp_path: Path) -> None:
    rig = Rig("contrastive-text", steps=40, learning_rate=2e-3)
    rows = rig.objective.encode_rows(dataset_of(uneven_rows(24)), fingerprint="held-out-24")

    def found() -> dict[str, float]:
        return {name: float(value) for name, value in rig.objective.measure(rows, CPU).scores().items()}

    before, last = found(), [step.loss for step in rig.train()][-1]
    assert np.isfinite(last)
    assert found()["twin_accuracy"] >= max(0.9, before["twin_accuracy"])
    save_model(rig.objective.saved(), rig.objective.encoder.tokenizer, tmp_path)
    again, _ = load_backbone(str(tmp_path)).build("AutoModel", seed=0)
    assert not hasattr(again, "head")
    ours = rig.objective.saved().state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in ours.items())


def test_a_collapse_is_told_of_texts(rig: Rig) -> None:
    broken = Rig("contrastive-text")
    with torch.no_grad():
        for weight in broken.objective.saved().parameters():
            weight.zero_()
    rows = broken.objective.encode_rows(dataset_of(uneven_rows(24)), fingerprint="held-out-24")
    broken.objective.measure(rows, CPU)
    (warning,) = broken.objective.warnings()
    assert "every text" in warning
    assert "--mix masked-text=0.7,contrastive-text=0.3" in warning
