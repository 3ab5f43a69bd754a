"""Canonical rows on disk: Arrow files written in a stream, memory-mapped afterwards, reused while the data is the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pretune.data.rows import Rows
from pretune.data.splits import Splits
from pretune.files import cache_dir, fsync_dir, fsync_file, read_json, translate_disk_errors, write_json
from pretune.types import SPLIT_NAMES

if TYPE_CHECKING:
    import datasets

__all__ = ["SplitWriter", "fingerprint", "load_stored", "store_folder"]

_FACTS = "facts.json"


def fingerprint(*parts: object) -> str:
    """A name for what is read: its parts and the code that reads it."""
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


class SplitWriter:
    """Writes rows of several splits, each to one Arrow stream in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, int] = {}
        self._writers: dict[str, pa.RecordBatchStreamWriter] = {}

    def write(self, split: str, rows: Rows) -> None:
        """Append rows; the unlabelled split has no label column."""
        if not rows.ids:
            return
        columns: dict[str, Any] = {"id": rows.ids, "text": rows.texts}
        if rows.pairs is not None:
            columns["text_pair"] = rows.pairs
        if split != "unlabelled":
            columns["label"] = rows.labels
        if rows.groups is not None:
            columns["group"] = rows.groups
        batch = pa.record_batch({name: pa.array(values, pa.string()) for name, values in columns.items()})
        if split not in self._writers:
            self._writers[split] = pa.ipc.new_stream(str(self.folder / f"{split}.arrow"), batch.schema)
        self._writers[split].write_batch(batch)
        self.rows[split] = self.rows.get(split, 0) + batch.num_rows

    def close(self) -> None:
        """End the files, so that they can be read."""
        for writer in self._writers.values():
            writer.close()

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """The rows written, after :meth:`close`."""
        with pa.memory_map(str(self.folder / f"{split}.arrow"), "r") as source, pa.ipc.open_stream(source) as reader:
            yield from reader

    def rewrite(self, split: str, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
        """Replace every batch of a split, after :meth:`close`."""
        target = self.folder / f"{split}.arrow"
        aside = self.folder / f"{split}.new"
        writer = None
        for batch in self.batches(split):
            changed = change(batch)
            writer = writer or pa.ipc.new_stream(str(aside), changed.schema)
            writer.write_batch(changed)
        if writer is not None:
            writer.close()
            aside.replace(target)


@contextlib.contextmanager
def store_folder(name: str) -> Iterator[tuple[Path, Callable[[Mapping[str, Any]], None]]]:
    """A folder to write in, and a function that puts it in its place with its facts; left without that, it is removed."""
    root = cache_dir("tables")
    aside = root / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    target = root / name

    def publish(facts: Mapping[str, Any]) -> None:
        sound = json.dumps(dict(facts), ensure_ascii=False).encode("utf-8", "replace")  # names may hold half characters
        write_json(aside / _FACTS, json.loads(sound))
        for path in aside.iterdir():
            fsync_file(path)
        with contextlib.suppress(OSError):  # another process was first, with the same rows
            aside.rename(target)
        fsync_dir(root)

    with translate_disk_errors(root):
        aside.mkdir()
        try:
            yield aside, publish
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def load_stored(name: str) -> Splits | None:
    """The splits stored under this name, memory-mapped, or None when there are none (or not whole)."""
    folder = cache_dir("tables") / name
    if not (folder / _FACTS).is_file():
        return None
    try:
        facts = read_json(folder / _FACTS)
        found = {split: _mapped(folder / f"{split}.arrow") for split in SPLIT_NAMES if split in facts["rows"]}
    except (OSError, ValueError, KeyError, pa.ArrowException):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    if {split: len(rows) for split, rows in found.items()} != facts["rows"]:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Splits(found, {"read": facts})


def _mapped(path: Path) -> datasets.Dataset:
    import datasets

    return datasets.Dataset.from_file(str(path))
