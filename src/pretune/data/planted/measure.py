"""Plants copies of rows among all rows, and counts which of them the checks for copies find, and what they find without any."""

from __future__ import annotations

import dataclasses
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.checks.contents import Contents
from pretune.data.checks.duplicates import read_contents
from pretune.data.checks.near import near_facts
from pretune.data.checks.pairs import all_pairs
from pretune.data.media.audio import probe_audio
from pretune.data.media.base import BrokenMedia, Media
from pretune.data.media.image import decode_image, probe_image
from pretune.data.planted.clips import clip_ways
from pretune.data.planted.pictures import jpeg_of, picture_ways
from pretune.data.planted.texts import dense_ways, spaced_ways
from pretune.data.split import content_keys
from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
from pretune.errors import DataError

if TYPE_CHECKING:
    import datasets

    from pretune.data.splits import Splits

__all__ = ["measure_checks"]

_PLANTED = "planted"
_Z = 1.959964  # of 95 %


@dataclasses.dataclass(frozen=True)
class _Copy:
    """A planted row: its kind, the content it is a copy of, and its columns."""

    kind: str
    source: int
    columns: Mapping[str, Any]


def measure_checks(splits: Splits, per_kind: int, *, seed: int = 0) -> dict[str, Any]:
    """What the checks for copies find of ``per_kind`` copies of each kind, each made of another row of the data, and what without any.

    ``kinds`` (kind, planted, found, share, interval: Wilson's of 95 %), and ``flagged``: how many rows are near copies of an earlier one though
    nothing was planted (rows, of, share, interval, pairs: the rows with their twins). Raises :class:`DataError` for too few rows.
    """
    plain = read_contents(splits, {name: content_keys(rows) for name, rows in splits.items()}, near_duplicates=True)
    if plain.near is None or len(plain.split_U) < 2:
        raise DataError(f"{len(plain.split_U)} different rows are too few to measure the checks by", "give more rows")
    copies = list(_copies(plain, per_kind, Random(seed)))
    rows = {**splits, _PLANTED: _dataset(plain, copies)}
    keys = {name: content_keys(dataset) for name, dataset in rows.items()}
    caught = _caught(read_contents(rows, keys, near_duplicates=True), [copy.source for copy in copies])
    planted = Counter(copy.kind for copy in copies)
    found = Counter(copy.kind for copy, hit in zip(copies, caught, strict=True) if hit)
    return {
        "seed": seed,
        "method": (near_facts(plain) or {}).get("method"),
        "kinds": [{"kind": kind, **_counted(found[kind], count, "planted")} for kind, count in planted.items()],
        "flagged": _flagged(plain),
    }


def _counted(found: int, count: int, name: str) -> dict[str, Any]:
    """A count of others with its share and the interval of Wilson, "Probable Inference" (1927)."""
    share, weight = found / count, 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / weight
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / weight
    return {name: count, "found": found, "share": share, "interval": [max(0.0, middle - half), min(1.0, middle + half)]}


def _copies(contents: Contents, per_kind: int, rng: Random) -> Iterator[_Copy]:
    """Copies of rows drawn without repetition while there are enough."""
    ways, make = _ways(contents, rng)
    order: list[int] = []
    for kind, way in ways.items():
        left = per_kind
        for _ in range(3 * per_kind):
            order = order or rng.sample(range(len(contents.split_U)), len(contents.split_U))
            source = order.pop()
            columns = make(contents, source, way) if left else None
            if columns is not None:
                left -= 1
                yield _Copy(kind, source, columns)


_Make = Callable[[Contents, int, Callable[[Any], Any]], Mapping[str, Any] | None]


def _ways(contents: Contents, rng: Random) -> tuple[Mapping[str, Callable[[Any], Any]], _Make]:
    """The kinds of copies that there are of these rows, and what makes a row of one."""
    if contents.have("image"):
        return picture_ways(rng), _picture
    if contents.have("audio"):
        return clip_ways(rng), _clip
    some = rng.sample(range(len(contents.split_U)), min(5_000, len(contents.split_U)))
    texts = [text for text in contents.column("text", np.array(some)) if text and text.strip()] or ["-"]
    dense = mostly_unspaced(shares(count_scripts(texts)))
    return (dense_ways if dense else spaced_ways)(texts, rng), _text


def _text(contents: Contents, source: int, way: Callable[[str], str | None]) -> Mapping[str, Any] | None:
    text = contents.column("text", np.array([source]))[0]
    copy = way(text) if text and text.strip() else None
    if copy is None or copy == text or not copy.strip():
        return None
    pair = {"text_pair": contents.column("text_pair", np.array([source]))[0]} if contents.have("text_pair") else {}
    return {"text": copy, **pair}


def _picture(contents: Contents, source: int, way: Callable[[Any], Any]) -> Mapping[str, Any] | None:
    try:
        copy = way(decode_image(contents.column("image", np.array([source]))[0]))
        return (
            None if copy is None else _media_columns(probe_image(io.BytesIO(jpeg_of(copy)), "copy.jpg", None), "image")
        )
    except BrokenMedia:
        return None


def _clip(contents: Contents, source: int, way: Callable[[bytes], bytes | None]) -> Mapping[str, Any] | None:
    held = contents.column("audio", np.array([source]))[0]
    try:
        copy = way(held["bytes"] if held["bytes"] is not None else Path(held["path"]).read_bytes())
        return None if copy is None else _media_columns(probe_audio(io.BytesIO(copy), "copy", None), "audio")
    except (
        BrokenMedia,
        OSError,
        ValueError,
        RuntimeError,
    ):  # libsndfile's errors are RuntimeErrors; such a clip has no copy of this kind
        return None


def _media_columns(media: Media, column: str) -> Mapping[str, Any]:
    return {column: dict(media.held), "content": media.content, "sketch": media.sketch, "seconds": media.seconds}


def _dataset(contents: Contents, copies: list[_Copy]) -> datasets.Dataset:
    """The planted rows with the columns that rows are compared by, of the same types as those of the data."""
    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    types = next(iter(contents.splits.values())).features
    columns = {"id": [f"{_PLANTED}:{number}" for number in range(len(copies))]}
    columns |= (
        {name: [copy.columns[name] for copy in copies] for name in copies[0].columns if name in types} if copies else {}
    )
    features = datasets.Features({name: types[name] for name in columns})
    return datasets.Dataset(InMemoryTable(pa.table(columns, schema=features.arrow_schema)))


def _caught(contents: Contents, sources: list[int]) -> list[bool]:
    """Which planted rows have the content of their source, or are near it. Sources are numbered as before, as they come first."""
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    pairs = set(zip(near.left_P.tolist(), near.right_P.tolist(), strict=True))
    planted = contents.of_row[_PLANTED].tolist()
    return [
        copy == source or (min(copy, source), max(copy, source)) in pairs
        for copy, source in zip(planted, sources, strict=True)
    ]


def _flagged(contents: Contents) -> dict[str, Any]:
    """Rows that nearly repeat an earlier one, wherever it stands: true copies and false alarms together."""
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    again_U = np.zeros(len(contents.split_U), dtype=bool)
    again_U[near.right_P] = True
    found, every = int(again_U.sum()), len(contents.split_U)
    return {**_counted(found, every, "of"), "pairs": all_pairs(contents)}
