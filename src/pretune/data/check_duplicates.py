"""Rows that say the same, or nearly, inside a split and across splits.

Three degrees: the exact text; the same content (Unicode form, case and white space set aside, see ``content_keys``); and
near duplicates, whose letters share at least 80 % of their shingles. Pictures and clips are compared by their bytes, and
pictures that look alike are near duplicates (``check_looks``). Each row counts in the strictest degree only once
for near duplicates: a row whose content stands elsewhere is no near duplicate of that place as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.check_labels import row_words
from pretune.data.check_looks import LEAST_CORRELATION, METHOD, find_near_looks
from pretune.data.check_rows import SHOWN_ROWS, full_texts, text_batches
from pretune.data.media import BrokenMedia
from pretune.data.media_image import decode_image
from pretune.data.minhash import BYTES_PER_ROW, THRESHOLD, NearPairs, band_keys, find_near_pairs
from pretune.data.split import whole_column

if TYPE_CHECKING:
    import datasets

__all__ = ["Contents", "across", "inside", "near_facts", "near_rows", "read_contents"]

_SHOWN_PAIRS = 10
_THUMBNAIL_PX = 32


@dataclass(frozen=True, slots=True)
class Contents:
    """The distinct contents of all splits together (U of them), and the near pairs among them.

    ``of_row`` gives for each split the content (N,) of each row; ``split_U`` and ``row_U`` where a content first stands.
    """

    splits: Mapping[str, datasets.Dataset]
    of_row: Mapping[str, np.ndarray]
    split_U: np.ndarray
    row_U: np.ndarray
    near: NearPairs | None

    def present(self, split: str) -> np.ndarray:
        """(U,) bool: does the content stand in the split."""
        mask_U = np.zeros(len(self.split_U), dtype=bool)
        mask_U[self.of_row[split]] = True
        return mask_U


def read_contents(
    splits: Mapping[str, datasets.Dataset], keys: Mapping[str, np.ndarray], *, near_duplicates: bool
) -> Contents:
    """Collapse rows of equal content, and look for near duplicates among what is left."""
    sizes = [len(keys[name]) for name in splits]
    everything = np.concatenate([keys[name] for name in splits]) if sizes else np.empty(0, dtype=np.uint64)
    _, first_U, content_of_row = np.unique(everything, return_index=True, return_inverse=True)
    rank_U = np.argsort(np.argsort(first_U))  # number contents by first appearance, so that left rows come first
    first_U = np.sort(first_U)
    ends = np.cumsum(sizes)
    split_U = np.searchsorted(ends, first_U, side="right")
    row_U = first_U - (ends - sizes)[split_U] if sizes else first_U
    of_row = dict(zip(splits, np.split(rank_U[content_of_row], ends[:-1]), strict=True))
    contents = Contents(splits, of_row, split_U, row_U, None)
    if not near_duplicates or not len(first_U):
        return contents
    if any("content" in dataset.column_names for dataset in splits.values()):
        near = _near_pictures(contents) if all("look" in dataset.column_names for dataset in splits.values()) else None
        return Contents(splits, of_row, split_U, row_U, near)
    keys_UK, sizes_U = band_keys(_distinct_texts(contents), len(first_U))
    near = find_near_pairs(keys_UK, sizes_U, lambda rows: _texts_of(contents, rows))
    return Contents(splits, of_row, split_U, row_U, near)


def _near_pictures(contents: Contents) -> NearPairs:
    looks_U = np.empty(len(contents.split_U), dtype=np.uint64)
    for number, dataset in enumerate(contents.splits.values()):
        here = contents.split_U == number
        looks_U[here] = whole_column(dataset, "look")[contents.row_U[here]]
    return find_near_looks(looks_U, lambda chosen: _thumbnails(contents, chosen))


def _thumbnails(contents: Contents, chosen: np.ndarray) -> np.ndarray:
    """(K, 32, 32) uint8 grey: small pictures of some contents; black where the file has gone since it was read."""
    datasets_by_number = [dataset.select_columns(["image"]) for dataset in contents.splits.values()]
    small_KHW = np.zeros((len(chosen), _THUMBNAIL_PX, _THUMBNAIL_PX), dtype=np.uint8)
    for place, content in enumerate(chosen):
        held = datasets_by_number[contents.split_U[content]][int(contents.row_U[content])]["image"]
        with contextlib.suppress(BrokenMedia):
            small_KHW[place] = np.asarray(decode_image(held).convert("L").resize((_THUMBNAIL_PX, _THUMBNAIL_PX)))
    return small_KHW


def _distinct_texts(contents: Contents) -> Iterator[list[str]]:
    """The texts of the distinct contents, in order."""
    for number, dataset in enumerate(contents.splits.values()):
        first = np.zeros(len(dataset), dtype=bool)
        first[contents.row_U[contents.split_U == number]] = True
        start = 0
        for _, texts, pairs in text_batches(dataset):
            whole = full_texts(texts, pairs)
            yield [whole[place] for place in np.flatnonzero(first[start : start + len(whole)])]
            start += len(whole)


def _texts_of(contents: Contents, rows: np.ndarray) -> list[str]:
    """The texts of some contents."""
    texts = np.empty(len(rows), dtype=object)
    for number, dataset in enumerate(contents.splits.values()):
        here = np.flatnonzero(contents.split_U[rows] == number)
        if len(here):
            batches = text_batches(dataset.select(contents.row_U[rows[here]]))
            texts[here] = [text for _, firsts, pairs in batches for text in full_texts(firsts, pairs)]
    return texts.tolist()


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
    found = {
        "exact_duplicates": _rows_with_ids(dataset, _repeats(exact_N)),
        "content_duplicates": _rows_with_ids(dataset, _repeats(content_N)),
        "near_duplicates": None,
    }
    if contents.near is not None:
        here = contents.present(split)
        pairs = np.flatnonzero(here[contents.near.left_P] & here[contents.near.right_P])
        near_U = np.zeros(len(here), dtype=bool)
        near_U[contents.near.right_P[pairs]] = True
        mask_N = near_U[content_N] & ~_repeats(content_N)
        found["near_duplicates"] = {
            **_rows_with_ids(dataset, mask_N),
            "examples": _examples(contents, pairs, split, split),
        }
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
        "near": None,
        "share": float(same_N.mean()) if len(same_N) else 0.0,
    }
    if contents.near is not None:
        left, right = contents.near.left_P, contents.near.right_P
        here = contents.present(ours) & ~there
        pairs = np.flatnonzero((here[left] & there[right]) | (here[right] & there[left]))
        found["near"] = {
            **_rows_with_ids(dataset, near_rows(contents, ours, theirs)),
            "examples": _examples(contents, pairs, ours, theirs),
        }
    return found


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


def _examples(contents: Contents, pairs: np.ndarray, ours: str, theirs: str) -> list[dict[str, Any]]:
    """A few near pairs spread over the range of similarity, the least alike first."""
    near = contents.near
    if near is None or not len(pairs):
        return []
    ordered = pairs[np.argsort(near.jaccard_P[pairs], kind="stable")]
    chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, min(_SHOWN_PAIRS, len(ordered))).astype(int))]
    mine_U = contents.present(ours)
    examples = []
    for pair in chosen:
        ends = (int(near.left_P[pair]), int(near.right_P[pair]))
        one, other = ends if mine_U[ends[0]] and (ours == theirs or contents.present(theirs)[ends[1]]) else ends[::-1]
        examples.append(
            {
                "jaccard": round(float(near.jaccard_P[pair]), 3),
                **_side(contents, one, ours, "a"),
                **_side(contents, other, theirs, "b"),
            }
        )
    return examples


def _side(contents: Contents, content: int, split: str, name: str) -> dict[str, str]:
    """Id and excerpt of the first row of a split with this content."""
    row = contents.splits[split][int(np.flatnonzero(contents.of_row[split] == content)[0])]
    return {f"{name}_id": row.get("id", ""), f"{name}_text": row_words(row)}


def near_facts(contents: Contents) -> dict[str, Any] | None:
    """How near duplicates were looked for."""
    if contents.near is None:
        return None
    pictures = all("look" in dataset.column_names for dataset in contents.splits.values())
    how: dict[str, Any] = {
        "method": "MinHash with banding on character n-grams of letters and digits; every pair checked by its Jaccard similarity",
        "alike": "letters 80 % alike or more",
        "threshold": THRESHOLD,
        "memory_bytes": len(contents.split_U) * BYTES_PER_ROW,
    }
    if pictures:
        how = {"method": METHOD, "alike": "the pictures look the same when small", "threshold": LEAST_CORRELATION}
    return {
        **how,
        "pairs": len(contents.near.left_P),
        "contents": len(contents.split_U),
        "linked_buckets": contents.near.linked_buckets,
        "complete": contents.near.complete,
    }
