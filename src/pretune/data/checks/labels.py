"""Labels of the splits: how balanced they are, and equal texts with different labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import ANSWERS, answers_in
from pretune.data.checks.rows import SHOWN_ROWS, column_batches
from pretune.data.columns.roles import kinds_in
from pretune.data.text import pii

if TYPE_CHECKING:
    import datasets

__all__ = ["balance", "conflicts", "excerpt", "label_codes", "list_balances", "row_words"]

_SHOWN_LABELS = 1_000
_SHOWN_CONFLICTS = 10
_EXCERPT = 80


def label_codes(splits: Mapping[str, datasets.Dataset]) -> tuple[list[str], dict[str, np.ndarray]]:
    """All label names in order of appearance, and for each labelled split the code (N,) of each row, -1 for none.

    Where rows have several labels, or tags, each combination counts as a label of its own.
    """
    names: dict[str, int] = {}
    codes: dict[str, np.ndarray] = {}
    for split, dataset in splits.items():
        column = next((kind for kind in kinds_in(dataset.column_names) if ANSWERS[kind].is_class), None)
        if column is None:
            continue
        parts = [np.empty(0, dtype=np.int64)]
        for batch in column_batches(dataset, [column]):
            answers = answers_in(column, batch[column])
            labels = [None if answer is None else answer.combined() for answer in answers]
            parts.append(
                np.array(
                    [-1 if label is None else names.setdefault(label, len(names)) for label in labels], dtype=np.int64
                )
            )
        codes[split] = np.concatenate(parts)
    return list(names), codes


def balance(names: list[str], codes_N: np.ndarray) -> dict[str, Any] | None:
    """Rows of each label (the most frequent first), None when no row has one.

    ``imbalance`` is the largest count over the smallest of the labels that occur in this split.
    """
    labelled = codes_N[codes_N >= 0]
    counts = np.bincount(labelled, minlength=len(names))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    if not order:
        return None
    return {
        "classes": len(order),
        "counts": {names[index]: int(counts[index]) for index in order[:_SHOWN_LABELS]},
        "unlabelled_rows": len(codes_N) - len(labelled),
        "majority": names[order[0]],
        "majority_share": float(counts[order[0]] / len(labelled)),
        "imbalance": float(counts[order[0]] / counts[order[-1]]),
        "missing": [name for name, count in zip(names, counts, strict=True) if not count][:_SHOWN_LABELS],
    }


def list_balances(splits: Mapping[str, datasets.Dataset]) -> dict[str, dict[str, Any]]:
    """As :func:`balance`, by split, for rows that may have several labels; shares are of rows, ``bare_rows`` have none of them."""
    counts: dict[str, Counter[str]] = {}
    bare: dict[str, int] = {}
    for split, dataset in splits.items():
        if "labels" in dataset.column_names:
            rows = [row or () for batch in column_batches(dataset, ["labels"]) for row in batch["labels"]]
            counts[split] = Counter(label for row in rows for label in row)
            bare[split] = sum(not row for row in rows)
    names = sorted({name for found in counts.values() for name in found})
    return {
        split: {
            "classes": len(found),
            "counts": dict(found.most_common(_SHOWN_LABELS)),
            "unlabelled_rows": 0,
            "bare_rows": bare[split],
            "labels_per_row": found.total() / max(1, len(splits[split])),
            "majority": found.most_common(1)[0][0],
            "majority_share": found.most_common(1)[0][1] / max(1, len(splits[split])),
            "imbalance": max(found.values()) / min(found.values()),
            "missing": [name for name in names if name not in found][:_SHOWN_LABELS],
        }
        for split, found in counts.items()
        if found
    }


def conflicts(
    splits: Mapping[str, datasets.Dataset],
    keys: Mapping[str, np.ndarray],
    names: list[str],
    codes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Texts that stand with more than one label, over all labelled splits together, and all rows with such a text."""
    order = list(codes)
    if not order:
        return {"texts": 0, "rows": 0, "by_split": {}, "ids": [], "examples": []}
    key_M = np.concatenate([keys[split][codes[split] >= 0] for split in order])
    code_M = np.concatenate([codes[split][codes[split] >= 0] for split in order])
    place_M = np.concatenate([np.flatnonzero(codes[split] >= 0) for split in order])
    split_M = np.repeat(np.arange(len(order)), [int((codes[split] >= 0).sum()) for split in order])
    distinct = np.unique(np.stack([key_M, code_M.astype(np.uint64)]), axis=1)[0] if len(key_M) else key_M
    repeated, times = np.unique(distinct, return_counts=True)
    bad = np.flatnonzero(np.isin(key_M, repeated[times > 1]))
    bad = bad[np.argsort(key_M[bad], kind="stable")]
    shown = bad[: 4 * SHOWN_ROWS]
    ids = {int(row): splits[order[split_M[row]]][int(place_M[row])]["id"] for row in shown}
    examples = []
    for key in np.unique(key_M[shown])[:_SHOWN_CONFLICTS]:
        rows = shown[key_M[shown] == key]
        words = row_words(splits[order[split_M[rows[0]]]][int(place_M[rows[0]])])
        entries = [{"id": ids[int(row)], "split": order[split_M[row]], "label": names[code_M[row]]} for row in rows]
        examples.append({"text": words, "rows": entries})
    return {
        "texts": int((times > 1).sum()),
        "rows": len(bad),
        "by_split": {split: int((split_M[bad] == number).sum()) for number, split in enumerate(order)},
        "ids": list(ids.values())[:SHOWN_ROWS],
        "examples": examples,
    }


def row_words(row: Mapping[str, Any]) -> str:
    """What stands for a row where people look at it: the start of its text, or the name of its file."""
    held = row.get("image") or row.get("audio")
    return excerpt(row["text"]) if held is None else PurePath(held["path"] or row["id"]).name


def excerpt(text: str | None) -> str:
    """The start of a text for people to look at, without personal data."""
    shown = pii.redact((text or "")[: 4 * _EXCERPT])
    return shown if len(shown) <= _EXCERPT else shown[: _EXCERPT - 1] + "…"
