"""Losses of the objectives against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pretune.errors import DataError
from pretune.objectives.text.masked_text import MaskedText
from pretune.tasks.classes.classification import balanced_class_weights
from pretune.tasks.classes.text_classification import TextClassification
from tiny import LABELS, Rig, dataset_of, tiny_backbone, tiny_encoder, uneven_rows

ROWS = list(range(10))


def logits_of(rig: Rig, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = rig.batch(rows)
    rig.model.eval()
    with torch.no_grad():
        return rig.model(**batch.inputs).logits, batch.targets


def per_item(rig: Rig, rows: list[int]) -> float:
    batch = rig.batch(rows)
    return (rig.loss(batch).total / batch.num_items).item()


def test_plain_loss_is_torchs_mean() -> None:
    rig = Rig()
    logits, targets = logits_of(rig, ROWS)
    assert per_item(rig, ROWS) == pytest.approx(functional.cross_entropy(logits, targets).item(), rel=1e-6)


def test_class_weights_are_torchs_weighted_mean() -> None:
    weights = (0.5, 1.0, 3.0)
    rig = Rig(class_weights=weights)
    logits, targets = logits_of(rig, ROWS)
    wanted = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))(logits, targets)
    assert per_item(rig, ROWS) == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    rig = Rig(label_smoothing=smoothing)
    logits, targets = logits_of(rig, ROWS)
    wanted = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    assert per_item(rig, ROWS) == pytest.approx(wanted.item(), rel=1e-6)


def test_with_both_a_rows_weight_is_that_of_its_own_class() -> None:
    """torch weighs each class's share of a smoothed target; here the whole row has its label's weight."""
    weights = torch.tensor((0.5, 1.0, 3.0))
    rig = Rig(class_weights=weights.tolist(), label_smoothing=0.2)
    logits, targets = logits_of(rig, ROWS)
    rows = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    wanted = (rows * weights[targets]).sum() / weights[targets].sum()
    assert per_item(rig, ROWS) == pytest.approx(wanted.item(), rel=1e-6)


def test_balanced_weights_have_mean_one_over_rows_and_even_out_classes() -> None:
    counts = [90, 9, 1]
    weights = balanced_class_weights(counts)
    shares = [count * weight for count, weight in zip(counts, weights, strict=True)]
    assert shares == pytest.approx([sum(counts) / 3] * 3)
    assert balanced_class_weights([4, 0, 4]) == (1.0, 0.0, 1.0)


def test_a_label_that_was_not_learned_is_named() -> None:
    task = TextClassification(LABELS, tiny_encoder(tiny_backbone()))
    rows = [*uneven_rows(3), {"id": "odd", "text": "a comet", "label": "weather"}]
    with pytest.raises(DataError, match="weather") as error:
        task.encode_rows(dataset_of(rows), fingerprint="odd")
    assert "money" in error.value.problem


def test_masked_loss_is_torchs_over_the_masked_places() -> None:
    rig = Rig("pretrain")
    batch = rig.batch(ROWS)
    with torch.no_grad():
        logits = rig.model.eval()(**batch.inputs).logits.reshape(-1, len(rig.objective.encoder.tokenizer))
    wanted = functional.cross_entropy(logits[batch.extras["positions"]], batch.targets)
    loss = rig.loss(batch)
    assert (loss.total / batch.num_items).item() == pytest.approx(wanted.item(), rel=1e-6)
    right = (logits[batch.extras["positions"]].argmax(-1) == batch.targets).sum().item()
    assert loss.log["correct"] == right


def test_the_vocabulary_head_runs_at_masked_places_only() -> None:
    rig = Rig("pretrain")
    seen: list[int] = []
    head = rig.model.get_output_embeddings()  # type: ignore[operator]
    head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-2]))
    batch = rig.batch(range(24))
    rig.loss(batch)
    (places,) = seen
    assert len(batch.targets) <= places < len(batch.targets) + 64, "filled up to a multiple of 64 at most"
    assert places < 0.3 * batch.num_tokens


def test_a_tokenizer_without_a_mask_cannot_mask() -> None:
    rig = Rig("pretrain")
    encoder = rig.objective.encoder
    mask = encoder.tokenizer.mask_token
    encoder.tokenizer.mask_token = None
    try:
        with pytest.raises(DataError, match="mask token"):
            MaskedText(encoder, rig.objective.adaptation)
    finally:
        encoder.tokenizer.mask_token = mask
