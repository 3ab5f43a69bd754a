"""Near duplicates among the distinct contents of data sets: texts by their letters, pictures and clips by their sketches."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pretune.answers import ANSWERS
from pretune.cache import get_or_create
from pretune.data.checks.contents import Contents
from pretune.data.checks.rows import full_texts, text_batches
from pretune.data.columns.roles import kinds_in
from pretune.data.media.audio import decode_audio
from pretune.data.media.base import BrokenMedia
from pretune.data.near import pairs, pictures, sounds, texts
from pretune.data.near.pairs import KINDS, NearPairs

__all__ = ["near_facts", "with_near"]

_KEPT_FROM = 2_000
"""So many pictures or clips take seconds to compare: their pairs are kept."""


def with_near(contents: Contents) -> Contents:
    """The same with its near pairs; without, where rows hold pictures or clips that were read without sketches."""
    if not len(contents.split_U):
        return contents
    if any("content" in dataset.column_names for dataset in contents.splits.values()):
        if not contents.have("sketch"):
            return contents
        search = _pictures if contents.have("image") else _sounds
        return dataclasses.replace(contents, near=_kept(contents, search))
    near = texts.find_near_texts(
        _distinct_texts(contents), len(contents.split_U), lambda rows: _texts_of(contents, rows)
    )
    if contents.have("group") and any(ANSWERS[kind].shares_text for kind in _kinds(contents)):
        near = _of_other_groups(near, np.array(contents.column("group"), dtype=object))
    return dataclasses.replace(contents, near=near)


def _kinds(contents: Contents) -> list[str]:
    return kinds_in(column for dataset in contents.splits.values() for column in dataset.column_names)


def _of_other_groups(near: NearPairs, group_U: np.ndarray) -> NearPairs:
    """The pairs whose contents are of two groups."""
    apart_P = group_U[near.left_P] != group_U[near.right_P]
    arrays = {name: getattr(near, name)[apart_P] for name in ("left_P", "right_P", "alike_P", "kind_P")}
    return dataclasses.replace(near, **arrays)


def _kept(contents: Contents, search: Callable[[Contents], NearPairs]) -> NearPairs:
    """What the search finds, from the cache where the same was searched before."""
    if len(contents.split_U) < _KEPT_FROM:
        return search(contents)
    keys = hashlib.blake2b(np.array(contents.column("content"), dtype=np.uint64).tobytes(), digest_size=16)
    return get_or_create(
        "pairs",
        f"{search.__name__} {keys.hexdigest()} {_version()}",
        pairs.load_pairs,
        lambda folder: pairs.save_pairs(search(contents), folder),
    )


@cache
def _version() -> str:
    """A name for the code that searches."""
    digest = hashlib.blake2b(digest_size=12)
    for module in sorted(Path(pairs.__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _pictures(contents: Contents) -> NearPairs:
    return pictures.find_near_pictures(*pictures.unpacked(contents.column("sketch")))


def _sounds(contents: Contents) -> NearPairs:
    seconds_U = np.array(contents.column("seconds"), dtype=np.float64)
    return sounds.find_near_sounds(contents.column("sketch"), seconds_U, lambda chosen: _samples(contents, chosen))


def _samples(contents: Contents, chosen: np.ndarray) -> list[np.ndarray]:
    """The samples of some contents; none where a file has gone since it was read."""
    found = []
    for held in contents.column("audio", chosen):
        found.append(np.empty(0, dtype=np.float32))
        with contextlib.suppress(BrokenMedia):
            found[-1] = decode_audio(held, sounds.RATE_HZ)
    return found


def _distinct_texts(contents: Contents) -> Iterator[list[str]]:
    """The texts of the distinct contents, in order."""
    for number, dataset in enumerate(contents.splits.values()):
        first = np.zeros(len(dataset), dtype=bool)
        first[contents.row_U[contents.split_U == number]] = True
        start = 0
        for _, firsts, others in text_batches(dataset):
            whole = full_texts(firsts, others)
            yield [whole[place] for place in np.flatnonzero(first[start : start + len(whole)])]
            start += len(whole)


def _texts_of(contents: Contents, rows: np.ndarray) -> list[str]:
    """The texts of some contents."""
    found = np.empty(len(rows), dtype=object)
    for number, dataset in enumerate(contents.splits.values()):
        here = np.flatnonzero(contents.split_U[rows] == number)
        if len(here):
            batches = text_batches(dataset.select(contents.row_U[rows[here]]))
            found[here] = [text for _, firsts, others in batches for text in full_texts(firsts, others)]
    return found.tolist()


def near_facts(contents: Contents) -> dict[str, Any] | None:
    """How near duplicates were looked for, and how many pairs of each kind there are."""
    near = contents.near
    if near is None:
        return None
    if contents.have("sketch"):
        how = (
            _facts_of_pictures(contents)
            if contents.have("image")
            else {"method": sounds.METHOD, "threshold": sounds.LEAST_AGREEMENT}
        )
    else:
        how = {"method": texts.METHOD, "memory_bytes": len(contents.split_U) * texts.BYTES_PER_ROW}
    counts = np.bincount(near.kind_P, minlength=len(KINDS)).tolist()
    return {
        **how,
        "pairs": len(near.left_P),
        "kinds": {kind: count for kind, count in zip(KINDS, counts, strict=True) if count},
        "contents": len(contents.split_U),
        "linked_buckets": near.linked_buckets,
        "complete": near.complete,
    }


def _facts_of_pictures(contents: Contents) -> dict[str, Any]:
    whole = len(contents.split_U) <= pictures.MOST_CROPPED
    return {"method": pictures.METHOD, "threshold": pictures.LEAST_AGREEMENT, "cropped": whole}
