"""Report blocks of single-label classification: scores of each class, confusions, reliability, mistakes.

Shapes: N rows, C classes. A block is a plain mapping that the report can draw without knowing the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pretune.metrics.classification import (
    BINS,
    ClassificationSums,
    classification_statistics,
    named_sums,
    wilson,
)
from pretune.types import Interval, Score
from pretune.wording import counted

__all__ = ["Rows", "class_table", "classification_blocks", "mistakes_block", "pairs_table"]

MAX_MATRIX_CLASSES = 100
"""With more classes than this the confusion matrix cannot be read; the most frequent confusions are listed instead."""

MAX_CONFUSIONS, MAX_MISTAKES = 50, 20


class Rows(Protocol):
    """Rows by number, read only where they are shown. A ``datasets.Dataset`` is one."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def classification_blocks(
    probabilities_NC: np.ndarray,
    truth_N: np.ndarray,
    labels: Sequence[str],
    rows: Rows,
    *,
    calibrated_NC: np.ndarray | None = None,
    temperature: float | None = None,
    shown: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> list[dict[str, Any]]:
    """The report blocks: scores of each class, confusions, reliability and the most confident mistakes.

    ``rows[i]`` is row i, read only where ``shown`` makes of it what the page shows. ``calibrated_NC`` are
    the probabilities after temperature scaling with ``temperature``.
    """
    truth_N = np.asarray(truth_N, dtype=np.int64)
    predicted_N = np.asarray(probabilities_NC).argmax(axis=1)
    sums = named_sums(classification_statistics(probabilities_NC, truth_N).sum(axis=0), len(labels), BINS)
    blocks = [class_table(sums.truth, sums.predicted, sums.correct, labels), _confusions(truth_N, predicted_N, labels)]
    series = [_reliability_series("as trained", sums)]
    note = f"Expected calibration error {_ece(sums):.4f} as trained"
    if calibrated_NC is not None:
        after_K = classification_statistics(calibrated_NC, truth_N).sum(axis=0)
        after = named_sums(after_K, len(labels), BINS)
        series.append(_reliability_series("after temperature scaling", after))
        factor = "" if temperature is None else f" (temperature {temperature:.3g}, fitted on the validation rows)"
        note += f", {_ece(after):.4f} after temperature scaling{factor}"
        if _ece(after) > _ece(sums):
            note += "; on these rows that is worse: predict --no-calibrated gives probabilities as trained"
    elif temperature == 1.0:
        note += ", which stays: no temperature helped validation rows that it was not fitted on"
    blocks.append({"type": "reliability", "title": "Calibration", "note": note + ".", "series": series})
    confidence_N = np.where(predicted_N == truth_N, 0.0, np.asarray(probabilities_NC).max(axis=1))

    def answer(number: int) -> dict[str, Any]:
        answers = {"truth": labels[truth_N[number]], "predicted": labels[predicted_N[number]]}
        return {**answers, "probability": float(confidence_N[number])}

    return [*blocks, mistakes_block(confidence_N, answer, rows, shown)]


def _ece(sums: ClassificationSums) -> float:
    return float(np.abs(sums.bin_confidence - sums.bin_correct).sum() / max(sums.truth.sum(), 1))


def class_table(
    truth_C: np.ndarray, predicted_C: np.ndarray, correct_C: np.ndarray, labels: Sequence[str], *, note: str = ""
) -> dict[str, Any]:
    """Scores of each class from counts of rows; ``note`` is said first.

    Precision and recall are shares, so their intervals are Wilson's. F1 is 2F / (1 + F) of a share too: F, the
    correct rows among those that are of the class or predicted to be (Hand, Christen and Kirielle 2021, section 3).
    """
    table_rows = []
    for label, truth, predicted, correct in zip(labels, truth_C, predicted_C, correct_C, strict=True):
        either = truth + predicted - correct
        cells = [_share(correct, predicted), _share(correct, truth), _share(correct, either, lambda f: 2 * f / (1 + f))]
        table_rows.append([label, *cells, int(truth)])
    columns = [{"name": name, "kind": "score"} for name in ("precision", "recall", "F1")]
    columns = [{"name": "class", "kind": "text"}, *columns, {"name": "rows", "kind": "number"}]
    said = (
        "n of a score is the number of rows it is a share of; with none, nothing is known and the interval is 0 to 1."
    )
    note = f"{note} {said}".strip()
    return {"type": "table", "title": "Scores of each class", "note": note, "columns": columns, "rows": table_rows}


def _share(correct: float, of: float, change: Callable[[float], float] = float) -> dict[str, float | int]:
    interval = wilson(correct, of)
    value = change(correct / of) if of else 0.0
    return Score(float(value), Interval(change(interval.low), change(interval.high)), int(of)).to_dict()


def _confusions(truth_N: np.ndarray, predicted_N: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    size = len(labels)
    if size <= MAX_MATRIX_CLASSES:
        counts_CC = np.bincount(truth_N * size + predicted_N, minlength=size * size).reshape(size, size)
        titles = {"title": "Confusion matrix", "row_title": "truth", "column_title": "predicted"}
        return {"type": "matrix", **titles, "labels": list(labels), "values": counts_CC.tolist()}
    wrong_N = truth_N != predicted_N
    pairs, counts = np.unique(truth_N[wrong_N] * size + predicted_N[wrong_N], return_counts=True)
    found = [
        (str(labels[pair // size]), str(labels[pair % size]), int(count))
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
    return pairs_table(found, ("truth", "predicted"), f"{counted(size, 'class', 'classes')} are too many for a matrix.")


def pairs_table(
    pairs: Sequence[tuple[str, str, int]], names: tuple[str, str], note: str, *, at_most: int = MAX_CONFUSIONS
) -> dict[str, Any]:
    """The most frequent of the pairs of classes that were confused, with the rows of each; ``names`` are their columns'."""
    most = sorted(pairs, key=lambda pair: -pair[2])[:at_most]
    columns = [*({"name": name, "kind": "text"} for name in names), {"name": "rows", "kind": "number"}]
    said = f"{len(most)} of the {len(pairs)} pairs of classes that were confused; {note}"
    cells = [list(pair) for pair in most]
    return {"type": "table", "title": "Most frequent confusions", "note": said, "columns": columns, "rows": cells}


def _reliability_series(name: str, sums: ClassificationSums) -> dict[str, Any]:
    """Bins without a row are left out."""
    edges = np.linspace(0, 1, BINS + 1)
    filled = []
    for b in np.flatnonzero(sums.bin_rows):
        n = sums.bin_rows[b]
        means = {"confidence": float(sums.bin_confidence[b] / n), "accuracy": float(sums.bin_correct[b] / n)}
        filled.append({"low": float(edges[b]), "high": float(edges[b + 1]), **means, "n": int(n)})
    return {"name": name, "bins": filled}


def mistakes_block(
    confidence_N: np.ndarray,
    answer: Callable[[int], dict[str, Any]],
    rows: Rows,
    shown: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """The rows that are wrong with the highest confidence, which is 0 where a row is right.

    ``answer(i)`` is what row i is, what it was predicted as, and with what confidence.
    """
    wrong = np.flatnonzero(confidence_N > 0)
    order = wrong[np.argsort(-confidence_N[wrong], kind="stable")][:MAX_MISTAKES].tolist()
    found = [{**shown(rows[number]), **answer(number)} for number in order]
    note = f"{len(wrong)} of {len(confidence_N)} rows are wrong" + (
        f"; the {len(found)} with the highest confidence are shown." if found else "."
    )
    return {"type": "examples", "title": "Most confident mistakes", "note": note, "rows": found}
