"""What is measured: sizes, recipes, and the sides that are compared. Written into the result, so that nothing is hidden."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["FROZEN", "KINDS", "SIDES", "TARGETS", "Plan", "plan_of"]

KINDS = ("fine-tune", "head", "top", "pretrain", "causal", "text-to-text", "predict", "start")

FROZEN = {"head": "head", "top": "top:2"}
"""Kinds in which most of the model rests, and the ``--adapt`` of each."""

SIDES = {
    "defaults": "transformers.Trainer, its defaults",
    "tuned": "transformers.Trainer, bf16 and length grouping",
    "pretune": "pretune",
}

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
