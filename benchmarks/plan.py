"""What is measured: sizes, recipes, and the sides that are compared. Written into the result, so that nothing is hidden."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["FROZEN", "KINDS", "PICTURE_KINDS", "SIDES", "TARGETS", "Plan", "plan_of", "sides_of"]

KINDS = ("fine-tune", "head", "top", "pretrain", "causal", "text-to-text", "predict", "boxes", "boxes-frozen", "start")

FROZEN = {"head": "head", "top": "top:2"}
"""Kinds in which most of the model rests, and the ``--adapt`` of each."""

PICTURE_KINDS = {"boxes": "full", "boxes-frozen": "head"}
"""Kinds of pictures with boxes, and the ``--adapt`` of each."""

SIDES = {
    "defaults": "transformers.Trainer, its defaults",
    "tuned": "transformers.Trainer, bf16 and length grouping",
    "torchvision": "torchvision's SSD and reference loop",
    "pretune": "pretune",
}

_SIDES_OF = {"predict": ("defaults", "pretune"), **dict.fromkeys(PICTURE_KINDS, ("torchvision", "pretune"))}


def sides_of(kind: str) -> tuple[str, ...]:
    """Who is measured. The tuned side has nothing to tune in prediction that the table would name: length grouping is for training."""
    return _SIDES_OF.get(kind, ("defaults", "tuned", "pretune"))


TARGETS = {
    ("fine-tune", "defaults"): 4.5,
    ("fine-tune", "tuned"): 1.6,
    ("head", "defaults"): 30.0,
    ("top", "defaults"): 7.0,
    ("pretrain", "defaults"): 4.0,
    ("causal", "defaults"): 3.0,
    ("causal", "tuned"): 1.5,
    ("text-to-text", "defaults"): 3.0,
    ("text-to-text", "tuned"): 1.5,
    ("predict", "defaults"): 5.0,
    ("boxes", "torchvision"): 1.5,
    ("boxes-frozen", "torchvision"): 3.0,
}
"""The ratios to reach of examples a second, pretune over the other side."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a measurement. Both sides get the same rows, batch size, epochs (one unless named), rate, schedule and norm limit."""

    repeats: int
    train_rows: int
    test_rows: int
    frozen_rows: int
    predict_rows: int
    corpus_rows: int
    pair_rows: int
    validation_rows: int = 64
    max_length: int = 256
    batch_size: int = 16
    learning_rate: float = 2e-4
    frozen_epochs: int = 10
    head_learning_rate: float = 2e-3
    corpus_batch_size: int = 32
    corpus_learning_rate: float = 5e-4
    vocab_size: int = 8000
    predictor_steps: int = 40
    paragraphs_per_label: int = 1500
    picture_rows: int = 200
    picture_tests: int = 60
    picture_batch_size: int = 8
    picture_epochs: int = 6
    trunk_batches: int = 400

    def to_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def plan_of(*, quick: bool, repeats: int | None) -> Plan:
    """The full measurement (about an hour on two quiet cores) or a quick look at one run of each side (about 10)."""
    if quick:
        return Plan(
            repeats or 1,
            train_rows=400,
            test_rows=300,
            frozen_rows=160,
            predict_rows=1000,
            corpus_rows=640,
            pair_rows=640,
            picture_rows=80,
            picture_tests=30,
            picture_epochs=2,
            trunk_batches=40,
        )
    return Plan(
        repeats or 3,
        train_rows=1280,
        test_rows=1000,
        frozen_rows=640,
        predict_rows=2000,
        corpus_rows=1280,
        pair_rows=1280,
    )
