"""Parquet, Arrow files, ``save_to_disk`` folders and hub data sets."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pretune import hub
from pretune.data.archives.streams import Entry
from pretune.data.formats.arrow_bounds import Growth, cells_of, column_chunks, safe_rows, whole
from pretune.data.formats.base import Chunk, Table
from pretune.errors import DataError

if TYPE_CHECKING:
    import datasets

__all__ = ["arrow_table", "dataset_table", "hub_datasets", "looks_like_hub_id", "parquet_table", "saved_datasets"]

_BATCH_ROWS = 5_000
_BATCH_ROWS_OF_BYTES = 128
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")


def _on_disk(entry: Entry, stack: ExitStack) -> Any:
    """A seekable file of the plain bytes: the file itself, or an unnamed temporary copy of an archive's member."""
    if entry.path is not None:
        return str(entry.path)
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with entry.open() as stream:
        shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def parquet_table(entry: Entry) -> Table:
    """The rows of a Parquet file, a few thousand at a time."""
    import pyarrow.parquet as pq

    stack = ExitStack()
    place = _on_disk(entry, stack)
    file = stack.enter_context(pq.ParquetFile(place))
    schema = file.schema_arrow
    stored = Path(place).stat().st_size if isinstance(place, str) else place.seek(0, 2)
    growth = Growth(entry.name, stored)
    growth.declared(sum(chunk.total_uncompressed_size for chunk in column_chunks(file.metadata)))
    rows = min(_batch_rows(schema), safe_rows(file.metadata, place))

    def batches() -> Iterator[pa.RecordBatch]:
        with stack:
            yield from growth.watched(file.iter_batches(rows))

    return _table(schema, batches(), {"format": "Parquet"}, entry.name)


def arrow_table(entry: Entry) -> Table:
    """The rows of an Arrow IPC file or stream."""
    stack = ExitStack()
    place = _on_disk(entry, stack)
    source = stack.enter_context(pa.memory_map(place, "r")) if isinstance(place, str) else pa.PythonFile(place)
    growth = Growth(entry.name, source.size())
    try:
        reader = pa.ipc.open_file(source)
        batches: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_stream(source)
        batches = iter(reader)

    def closing() -> Iterator[pa.RecordBatch]:
        with stack:
            yield from growth.watched(batches)

    return _table(reader.schema, closing(), {"format": "Arrow"}, entry.name)


def dataset_table(dataset: datasets.Dataset, kind: str) -> Table:
    """The rows of a loaded data set."""
    arrow = dataset.with_format("arrow")
    schema = dataset.features.arrow_schema
    batches = (batch for table in arrow.iter(_batch_rows(schema)) for batch in table.to_batches())  # pyright: ignore[reportAttributeAccessIssue]
    return _table(schema, map(whole, batches), {"format": kind}, kind)


def _batch_rows(schema: pa.Schema) -> int:
    """Rows to read at once: few where files stand in the rows."""
    whole_files = any(pa.types.is_struct(kind) or _is_bytes(kind) for kind in schema.types)
    return _BATCH_ROWS_OF_BYTES if whole_files else _BATCH_ROWS


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _table(schema: pa.Schema, batches: Iterator[pa.RecordBatch], facts: dict[str, Any], name: str) -> Table:
    repeated = {column for column in schema.names if schema.names.count(column) > 1}
    if repeated:
        raise DataError(f"{name} has the column {min(repeated)!r} more than once", "rename one of them")

    size = _batch_rows(schema)

    def chunks() -> Iterator[Chunk]:
        first = 1
        for rows in batches:
            for start in range(0, rows.num_rows, size):
                batch = rows.slice(start, size)
                yield Chunk(range(first, first + batch.num_rows), lambda key, batch=batch: cells_of(batch.column(key)))
                first += batch.num_rows

    features = _noted_features(schema)
    kinds = {"Image": "image", "Audio": "audio"}
    media = {name: kinds[spec["_type"]] for name, spec in features.items() if spec.get("_type") in kinds}
    return Table(tuple(schema.names), True, chunks(), facts, _class_names(features), media=media)


def _noted_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the ``datasets`` library noted in the file of each column."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: spec for name, spec in features.items() if isinstance(spec, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _class_names(features: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Sequence[str]]:
    """Names of class indices, also of lists of them."""
    found: dict[str, Sequence[str]] = {}
    for name, spec in features.items():
        inner = spec.get("feature") if spec.get("_type") in ("List", "LargeList", "Sequence") else spec
        if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            found[name] = inner["names"]
    return found


def saved_datasets(folder: Path) -> dict[str, datasets.Dataset] | None:
    """The data sets of a ``save_to_disk`` folder by name ("" for a single one), or None when it is no such folder."""
    if not (
        (folder / "dataset_dict.json").is_file()
        or ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file())
    ):
        return None
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises many kinds here; all mean that the folder is not whole
        raise DataError(
            f"{folder} is a save_to_disk folder that cannot be loaded: {_short(error)}",
            "save it again with save_to_disk",
        ) from None
    return {str(name): part for name, part in found.items()} if isinstance(found, datasets.DatasetDict) else {"": found}


def looks_like_hub_id(place: str) -> bool:
    """Whether ``place`` is written ``owner/name`` and looks like no path that was mistyped, or says that it is the hub's."""
    return place.startswith(hub.PREFIX) or bool(_HUB_ID.fullmatch(place) and not hub.taken_for_a_path(place))


def hub_datasets(name: str) -> dict[str, datasets.Dataset]:
    """The data sets of a hub id by split name."""
    import datasets
    import huggingface_hub

    name = name.removeprefix(hub.PREFIX)
    answer, why = hub.ask(name, "dataset")
    try:
        if answer is hub.Answer.ABSENT:
            raise FileNotFoundError(why)
        with hub.quiet_hub(), ExitStack() as stack:
            if answer is hub.Answer.UNREACHABLE:  # then only what was downloaded before is looked at
                for settings in (importlib.import_module("datasets.config"), huggingface_hub.constants):
                    stack.enter_context(_set(settings, "HF_HUB_OFFLINE", True))
            found = datasets.load_dataset(name)
    except Exception as error:  # network, gated, missing, needs a configuration: the library raises many kinds
        raise DataError(
            f"{name} is no file or folder here, and could not be loaded as a hub id: {why or _short(error)}",
            "check the spelling and the network connection, or download the data and give its folder",
        ) from None
    return {str(split): part for split, part in found.items() if isinstance(part, datasets.Dataset)}  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _set(settings: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(settings, name)
    setattr(settings, name, value)
    try:
        yield
    finally:
        setattr(settings, name, before)


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
