"""Objectives that hide tokens: who sees what, and every place is hidden as often as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.pooling.choice import chosen_pooling
from pretune.engine.randomness import row_keys, uniform
from pretune.modalities.text.encoder import TextPiece
from pretune.objectives.text.span_text import hidden_places
from tiny import CPU, Rig, dataset_of, tiny_backbone, uneven_rows

# --- permuted -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig() -> Rig:
    made = Rig("permuted-text", family="xlnet", fraction=0.4)
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)  # one that has something to say
    made.model.eval()
    return made


def said(rig: Rig, batch: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits of the told tokens where the row is ``ids``, (M, V)."""
    with torch.no_grad():
        logits = rig.model(**{**batch.inputs, "input_ids": ids}, use_mems=False).logits
    return logits.flatten(0, 1)[batch.extras["places"]]


def test_a_told_token_sees_neither_itself_nor_those_told_after_it_but_all_others(rig: Rig) -> None:
    batch = rig.batch([3])
    ids, mapping = batch.inputs["input_ids"], batch.inputs["target_mapping"][0]
    told = mapping.argmax(dim=1).tolist()
    assert len(told) == len(batch.targets) > 3
    assert ids[0, told].tolist() == batch.targets.tolist(), "the content stream reads the true tokens"
    before = said(rig, batch, ids)

    def apart(place: int) -> list[float]:
        other = ids.clone()
        other[0, place] = 5 + (int(ids[0, place]) + 7) % 200
        return (said(rig, batch, other) - before).abs().amax(dim=1).tolist()

    for rank, place in enumerate(told):
        changes = apart(place)
        assert max(changes[: rank + 1]) == 0.0, "itself, and those told before it"
        assert all(change > 0 for change in changes[rank + 1 :]), "those told after it do see it"
    free = next(place for place in range(1, ids.shape[1] - 1) if place not in told)
    assert min(apart(free)) > 0


def test_rows_do_not_see_padding_and_orders_are_functions_of_seed_epoch_and_row(rig: Rig) -> None:
    together, alone = rig.batch(range(6)), rig.batch([2])
    own = together.extras["owners"] == 2
    assert together.targets[own].tolist() == alone.targets.tolist()
    logits, targets = rig.objective.told(rig.model, together)
    torch.testing.assert_close(logits[own], rig.objective.told(rig.model, alone)[0], atol=1e-4, rtol=1e-4)
    assert targets is together.targets
    assert rig.batch([2], epoch=1).targets.tolist() != alone.targets.tolist()


def test_marks_of_a_row_are_never_told(rig: Rig) -> None:
    special = rig.objective.special_ids
    assert not np.isin(rig.batch(range(24)).targets.numpy(), special).any()
    empty = rig.objective.collate(
        [TextPiece(np.array([0, 2], dtype=np.int32))] * 2, np.arange(2, dtype=np.uint64), ["a", "b"]
    )
    assert empty.num_items == 0
    assert rig.loss(empty).total.item() == 0.0


def test_held_out_statistics_are_those_of_the_loss(rig: Rig) -> None:
    rows = rig.objective.encode_rows(dataset_of(uneven_rows(24)), fingerprint="rig-24")
    stats = rig.objective.statistics(rows, CPU)
    assert (stats[:, 0] >= 1).all()
    keys = row_keys(0, "held-out", 0, np.array([7]))
    batch = rig.objective.collate([rows.store.piece(7)], keys, ["7"])
    assert rig.loss(batch).total.item() == pytest.approx(stats[7, 2], rel=1e-4)
    assert rig.loss(batch).log["correct"] == stats[7, 1]


# --- spans ----------------------------------------------------------------------------------------------------------------


def draws_of(length: int, rows: int) -> list[np.ndarray]:
    keys = row_keys(0, "spans", 0, np.arange(rows))
    return [uniform(keys, length, purpose) for purpose in range(4)]


@pytest.mark.parametrize("length", [2, 7, 20, 61])
def test_every_place_of_a_row_is_hidden_as_often(length: int) -> None:
    draws = draws_of(length, 4000)
    hidden = np.stack([hidden_places(length, 0.15, [one[row] for one in draws]) for row in range(4000)])
    counts = hidden.sum(axis=0)
    assert chisquare(counts).pvalue > 1e-3
    assert hidden.sum() / 4000 == pytest.approx(max(1.0, 0.15 * length), rel=0.03)
    assert (hidden.sum(axis=1) >= 1).all()
    assert hidden[:, 0].any()
    assert hidden[:, -1].any(), "both ends are hidden at times, and kept at others"
    assert not hidden.all(axis=0).any()


def test_stretches_are_of_three_tokens_and_a_single_token_is_hidden() -> None:
    draws = draws_of(200, 500)
    begins = hidden = 0
    for row in range(500):
        places = hidden_places(200, 0.15, [one[row] for one in draws])
        begins += int((places & ~np.roll(places, 1)).sum())
        hidden += int(places.sum())
    assert hidden / begins == pytest.approx(3.0, rel=0.03)
    assert hidden_places(1, 0.15, [np.zeros(1)] * 4).tolist() == [True]


def test_what_is_read_and_what_is_written_give_the_row_back() -> None:
    rig = Rig("span-text", family="t5", fraction=0.4)
    tokenizer, special = rig.objective.encoder.tokenizer, set(rig.objective.special_ids.tolist())
    sentinels = set(rig.objective.sentinels.tolist())
    rows = rig.objective.encode_rows(dataset_of(uneven_rows(24)), fingerprint="rig-24")
    for number in range(24):
        batch = rig.batch([number])
        source, target = batch.inputs["input_ids"][0].tolist(), batch.targets.tolist()
        assert target[-1] == tokenizer.eos_token_id
        stretches: dict[int, list[int]] = {}
        for token in target[:-1]:
            if token in sentinels:
                stretches[token] = []
                continue
            stretches[[*stretches][-1]].append(token)
        assert (
            [*stretches]
            == [token for token in source if token in sentinels]
            == rig.objective.sentinels[: len(stretches)].tolist()
        )
        whole = [one for token in source for one in (stretches[token] if token in sentinels else [token])]
        assert whole == rows.store.piece(number).input_ids.tolist()
        assert batch.inputs["decoder_input_ids"][0, 1:].tolist() == target[:-1]
        assert int(batch.extras["hidden"].sum()) == sum(token not in special for token in target)


def test_the_encoder_of_a_t5_is_read_by_its_mean_and_saved_alone(tmp_path: Path) -> None:
    rig = Rig("span-text", family="t5")
    save_model(rig.model, rig.objective.encoder.tokenizer, tmp_path / "whole")
    whole = load_backbone(str(tmp_path / "whole"))
    assert chosen_pooling("auto", tiny_backbone("xlnet")).modes == ("mean",)
    assert chosen_pooling("auto", tiny_backbone("gpt")).modes == (), "a decoder's own head reads the last token"
    chosen = chosen_pooling("auto", whole)
    assert chosen.modes == ("mean",)
    told: dict[str, Any] = {"num_labels": 2, "pooling": chosen.modes}
    model, report = whole.build("AutoModelForSequenceClassification", seed=0, **told)
    assert {name.split(".")[0] for name in report.missing} == {"pooled_classifier"}
    assert not any("decoder" in name for name, _ in model.named_parameters())
    save_model(model, whole.tokenizer, tmp_path / "classes")
    again, report = load_backbone(str(tmp_path / "classes")).build("AutoModelForSequenceClassification", seed=1, **told)
    assert not report.missing
    ids = torch.arange(5, 15)[None]
    assert torch.equal(model.eval()(input_ids=ids).logits, again.eval()(input_ids=ids).logits)
