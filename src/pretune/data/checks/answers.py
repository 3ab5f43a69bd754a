"""What the kinds of answers tell of themselves in the data passport: figures of each split, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pretune.answers import ANSWERS, answer_of
from pretune.data.checks.finding import finding
from pretune.data.checks.rows import column_batches
from pretune.data.columns.roles import kinds_in

if TYPE_CHECKING:
    import datasets

__all__ = ["answer_figures", "answer_findings"]


def answer_figures(dataset: datasets.Dataset) -> dict[str, dict[str, Any]]:
    """The figures of each kind of answer in a split that has any to tell."""
    found = {kind: ANSWERS[kind].passport(_answers(dataset, kind)) for kind in kinds_in(dataset.column_names)}
    return {kind: figures for kind, figures in found.items() if figures is not None}


def _answers(dataset: datasets.Dataset, kind: str) -> Iterator[Any]:
    for batch in column_batches(dataset, [kind]):
        for cell in batch[kind]:
            yield answer_of(kind, cell)


def answer_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each kind of answer finds wrong with those of a split."""
    train = passport["splits"].get("train", {}).get("answers", {})
    for name, split in passport["splits"].items():
        for kind, figures in split.get("answers", {}).items():
            for severity, code, message, num, fix in ANSWERS[kind].troubles(name, figures, train.get(kind)):
                yield finding(severity, code, message, num, [], fix)
