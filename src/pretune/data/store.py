"""Canonical rows on disk: Arrow files written in a stream, memory-mapped afterwards, reused while the data is the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import pretune.answers
import pretune.data
from pretune.answers import ANSWERS
from pretune.cache import Hold, opened, writing
from pretune.data.columns.roles import ANSWER_ROLES
from pretune.data.rows import Rows
from pretune.data.splits import COLUMNS, Splits
from pretune.errors import DataError
from pretune.files import read_json, write_json
from pretune.modalities import base
from pretune.types import SPLIT_NAMES

if TYPE_CHECKING:
    import datasets

__all__ = ["SplitWriter", "canonical_columns", "fingerprint", "let_go", "load_stored", "store_folder"]

_FACTS = "facts.json"
_IN_USE: deque[Hold] = deque(maxlen=64)
"""Tables outlive any object that is seen here (selections of rows go on mapping them): the latest stay held to the process's end, or
until :func:`let_go`."""
_HELD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TYPES = {
    "image": _HELD,
    "audio": _HELD,
    "words": pa.list_(pa.list_(pa.int32())),
    "turns": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    **{kind: ANSWERS[kind].arrow() for kind in ANSWER_ROLES},
    "content": pa.uint64(),
    "look": pa.uint64(),
    "sketch": pa.binary(),
    "width": pa.int32(),
    "height": pa.int32(),
    "seconds": pa.float32(),
    "rate": pa.int32(),
}


def fingerprint(*parts: object) -> str:
    """A name for what is read: its parts and the code that reads it."""
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12)
    rooms = (Path(place).parent for place in (pretune.data.__file__, pretune.answers.__file__))
    for module in (*(module for room in rooms for module in sorted(room.rglob("*.py"))), Path(base.__file__)):
        digest.update(module.read_bytes())
    return digest.hexdigest()


class SplitWriter:
    """Writes rows of several splits, each to one Arrow stream in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, int] = {}
        self._schemas: dict[str, pa.Schema] = {}
        self._writers: dict[str, _Stream] = {}

    def write(self, split: str, rows: Rows) -> None:
        """Append rows; the unlabelled split has no answers. Raises :class:`DataError` when columns differ from those before."""
        if not rows.ids:
            return
        columns = canonical_columns(rows, labels=split != "unlabelled")
        batch = pa.record_batch(
            {name: pa.array(columns[name], _TYPES.get(name, pa.string())) for name in COLUMNS if name in columns}
        )
        if split in self._schemas and batch.schema != self._schemas[split]:
            raise DataError(
                f"the files of {split} have different columns: {', '.join(self._schemas[split].names)}; and {', '.join(batch.schema.names)}",
                "give files with the same columns, or one of them",
            )
        self._schemas[split] = batch.schema
        if split not in self._writers:
            self._writers[split] = _Stream(self.folder / f"{split}.arrow", batch.schema)
        self._writers[split].write(batch)
        self.rows[split] = self.rows.get(split, 0) + batch.num_rows

    def close(self) -> None:
        """End the files, so that they can be read."""
        for writer in self._writers.values():
            writer.close()

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """The rows written, after :meth:`close`."""
        # Not mapped: as long as a batch lives, Windows would neither replace nor rename what it is mapped from.
        with pa.OSFile(str(self.folder / f"{split}.arrow"), "rb") as source, pa.ipc.open_stream(source) as reader:
            yield from reader

    def rewrite(self, split: str, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
        """Replace every batch of a split, after :meth:`close`."""
        target = self.folder / f"{split}.arrow"
        aside = self.folder / f"{split}.new"
        writer = None
        for batch in self.batches(split):
            changed = change(batch)
            writer = writer or _Stream(aside, changed.schema)
            writer.write(changed)
        if writer is not None:
            writer.close()
            aside.replace(target)


class _Stream:
    """Batches into a file. Arrow's own writer leaves the file open when it is closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def canonical_columns(rows: Rows, *, labels: bool) -> dict[str, list[Any]]:
    """Column to values; without ``labels``, what a row says about its picture or clip is left out too."""
    columns: dict[str, list[Any] | None] = {"id": rows.ids, "group": rows.groups, "slice": rows.slices}
    if labels or rows.media is None:
        columns |= {"text": rows.texts, "text_pair": rows.pairs, "turns": rows.turns}
    if labels:
        columns |= {"words": rows.words, "speaker": rows.speakers, **rows.answers}
    if rows.media is not None:
        pictures = bool(rows.media) and rows.media[0].width > 0
        columns["image" if pictures else "audio"] = [dict(media.held) for media in rows.media]
        for name in ("content", "sketch", *(("look", "width", "height") if pictures else ("seconds", "rate"))):
            columns[name] = [getattr(media, name) for media in rows.media]
    return {name: values for name, values in columns.items() if values is not None}


@contextlib.contextmanager
def store_folder(name: str) -> Iterator[tuple[Path, Callable[[Mapping[str, Any]], None]]]:
    """A folder to write in, and a function that puts it in its place with its facts; left without that, it is removed."""
    with writing("tables", name) as (aside, publish):

        def publish_with(facts: Mapping[str, Any]) -> None:
            sound = json.dumps(dict(facts), ensure_ascii=False).encode(
                "utf-8", "replace"
            )  # names may hold half characters
            write_json(aside / _FACTS, json.loads(sound))
            publish()

        yield aside, publish_with


def load_stored(name: str) -> Splits | None:
    """The splits stored under this name, memory-mapped, or None when there are none (or not whole)."""
    found = opened("tables", name, _splits)
    if found is None:
        return None
    splits, hold = found
    _IN_USE.append(hold)
    return splits


def let_go() -> None:
    """The tables read so far are used no more: where the cache is full, it may drop them."""
    while _IN_USE:
        _IN_USE.pop().close()


def _splits(folder: Path) -> Splits:
    """Raises ValueError where a split has other rows than the facts tell."""
    facts = read_json(folder / _FACTS)
    found = {split: _mapped(folder / f"{split}.arrow") for split in SPLIT_NAMES if split in facts["rows"]}
    if {split: len(rows) for split, rows in found.items()} != facts["rows"]:
        raise ValueError(f"{folder} is incomplete")
    return Splits(found, {"read": facts})


def _mapped(path: Path) -> datasets.Dataset:
    import datasets

    return datasets.Dataset.from_file(str(path))
