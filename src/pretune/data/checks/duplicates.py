"""Rows that say the same, or nearly, inside a split and across splits.

Three degrees: the exact text; the same content (Unicode form, case and white space set aside, see ``content_keys``); and near duplicates
(``near``): cut, quoted, edited, reordered or look-alike texts, pictures resized, mirrored, cropped, bordered or turned, clips re-coded,
trimmed or louder. Pictures and clips have the same content when their bytes are the same. Each row counts in the strictest degree only
for near duplicates: a row whose content stands elsewhere is no near duplicate of that place as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.checks.contents import Contents, distinct_contents
from pretune.data.checks.near import with_near
from pretune.data.checks.pairs import kinds_of, same_pairs, shown_pairs
from pretune.data.checks.rows import SHOWN_ROWS

if TYPE_CHECKING:
    import datasets

__all__ = ["across", "inside", "near_rows", "read_contents"]


def read_contents(
    splits: Mapping[str, datasets.Dataset], keys: Mapping[str, np.ndarray], *, near_duplicates: bool
) -> Contents:
    """Collapse rows of equal content, and look for near duplicates among what is left."""
    contents = distinct_contents(splits, keys)
    return with_near(contents) if near_duplicates else contents


def _rows_with_ids(dataset: datasets.Dataset, mask_N: np.ndarray) -> dict[str, Any]:
    rows = np.flatnonzero(mask_N)
    ids = list(dataset.select_columns(["id"]).select(rows[:SHOWN_ROWS])["id"]) if len(rows) else []
    return {"count": len(rows), "rows": ids}


def _repeats(keys_N: np.ndarray) -> np.ndarray:
    """(N,) bool: does an earlier row have the same key."""
    again = np.ones(len(keys_N), dtype=bool)
    again[np.unique(keys_N, return_index=True)[1]] = False
    return again


def inside(contents: Contents, split: str, exact_N: np.ndarray) -> dict[str, Any]:
    """Rows of one split that repeat an earlier row of it: exactly, in content, nearly."""
    dataset, content_N = contents.splits[split], contents.of_row[split]
    again_N = _repeats(content_N)
    found = {
        "exact_duplicates": _rows_with_ids(dataset, _repeats(exact_N)),
        "content_duplicates": _rows_with_ids(dataset, again_N),
        "content_pairs": same_pairs(contents, split, split, again_N),
        "near_duplicates": None,
    }
    if contents.near is not None:
        here = contents.present(split)
        pairs = np.flatnonzero(here[contents.near.left_P] & here[contents.near.right_P])
        near_U = np.zeros(len(here), dtype=bool)
        near_U[contents.near.right_P[pairs]] = True
        found["near_duplicates"] = _near(contents, pairs, split, split, near_U[content_N] & ~again_N)
    return found


def across(contents: Contents, exact: Mapping[str, np.ndarray], ours: str, theirs: str) -> dict[str, Any]:
    """Rows of split ``ours`` that also stand in split ``theirs``."""
    dataset, content_N = contents.splits[ours], contents.of_row[ours]
    there = contents.present(theirs)
    same_N = there[content_N]
    found = {
        "rows_of": ours,
        "also_in": theirs,
        "exact": int(np.isin(exact[ours], exact[theirs]).sum()),
        "content": _rows_with_ids(dataset, same_N),
        "content_pairs": same_pairs(contents, ours, theirs, same_N),
        "near": None,
        "share": float(same_N.mean()) if len(same_N) else 0.0,
    }
    if contents.near is not None:
        left, right = contents.near.left_P, contents.near.right_P
        here = contents.present(ours) & ~there
        pairs = np.flatnonzero((here[left] & there[right]) | (here[right] & there[left]))
        found["near"] = _near(contents, pairs, ours, theirs, near_rows(contents, ours, theirs))
    return found


def _near(contents: Contents, pairs: np.ndarray, ours: str, theirs: str, mask_N: np.ndarray) -> dict[str, Any]:
    """The rows (N,) bool of ``ours`` that are in some of the pairs: how many, of which kinds, and their twins in ``theirs``."""
    return {
        **_rows_with_ids(contents.splits[ours], mask_N),
        "kinds": kinds_of(contents, pairs, ours, mask_N),
        "examples": shown_pairs(contents, pairs, ours, theirs, mask_N),
    }


def near_rows(contents: Contents, ours: str, theirs: str) -> np.ndarray:
    """(N,) bool: which rows of split ``ours`` nearly stand in ``theirs``, those of equal content left out. There have to be
    near pairs.
    """
    assert contents.near is not None, "near duplicates were looked for"
    left, right, there = contents.near.left_P, contents.near.right_P, contents.present(theirs)
    near_U = np.zeros(len(there), dtype=bool)
    near_U[left[there[right]]] = True
    near_U[right[there[left]]] = True
    return (near_U & ~there)[contents.of_row[ours]]
