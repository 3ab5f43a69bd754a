"""Rows that a program gives in place of files: frames, lists, data sets of Hugging Face, pictures and sounds in memory.

They are written once to the cache, under a hash of what they hold, and read from there as any file is.
"""

from __future__ import annotations

import hashlib
import io
import os
import wave
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_in_splits", "place_of", "table_of"]

_FILE = "rows.parquet"
_TAKEN = "a DataFrame or Series, a table of Arrow, a datasets.Dataset, a list of rows (mappings), of texts, of pictures or of arrays"


def is_in_splits(value: Any) -> bool:
    """A mapping of split to rows: a DatasetDict, or one of frames; and no mapping of columns."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(hasattr(rows, "columns") or hasattr(rows, "features") for rows in value.values())
    )


def place_of(rows: Any) -> str:
    """The file in the cache that holds the rows. Raises :class:`DataError` for what are no rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pretune.cache import get_or_create

    table = table_of(rows).combine_chunks()
    held = pa.BufferOutputStream()
    with pa.ipc.new_stream(held, table.schema) as writer:
        writer.write_table(table)
    name = hashlib.blake2b(memoryview(held.getvalue()), digest_size=16).hexdigest()

    def write(folder: Path) -> None:
        pq.write_table(table, folder / _FILE)

    return str(get_or_create("given", name, _Kept, write).path)


class _Kept:
    """A file of rows in its entry of the cache."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        if not self.path.exists():
            raise OSError(f"{self.path} is not there")


def table_of(rows: Any) -> pa.Table:
    """The rows as a table of Arrow; pictures and sounds in memory as the bytes of PNG and WAV files.

    Raises :class:`DataError` for what are no rows.
    """
    import pyarrow as pa

    try:
        table = _table(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"the rows hold values that are not of one kind: {str(error).splitlines()[0]}", "a column holds texts, numbers, lists, pictures or sounds, and one kind of them") from None  # fmt: skip
    if table.num_rows == 0:
        raise DataError("the rows that were given are none", f"give {_TAKEN}")
    return table


def _table(rows: Any) -> pa.Table:
    import pyarrow as pa

    if hasattr(rows, "to_frame") and not hasattr(rows, "columns"):  # a Series
        rows = rows.to_frame(rows.name if isinstance(rows.name, str) else "text")
    if hasattr(rows, "with_format") and hasattr(rows, "features"):  # a data set of Hugging Face
        from datasets.table import embed_table_storage

        return embed_table_storage(rows.with_format("arrow")[:])
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):
        return _frame(rows)
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.table(rows)
    if isinstance(rows, np.ndarray) and rows.ndim > 0:
        rows = [rows] if _is_picture(rows) else list(rows)
    elif _is_media(rows) or _is_sound(rows):
        rows = [rows]
    if isinstance(rows, Mapping):
        return _columns({str(name): list(values) for name, values in rows.items()})
    if isinstance(rows, Iterable):
        return _listed(list(rows))
    raise DataError(f"{type(rows).__name__} is no data that can be read", f"give {_TAKEN}, or a path")


def _frame(frame: Any) -> pa.Table:
    """A frame of pandas; its index is left aside."""
    import pyarrow as pa

    columns = [str(name) for name in frame.columns]
    if len(set(columns)) < len(columns):
        raise DataError("the frame has two columns of one name", "rename them: frame.columns = [...]")
    firsts = {
        name: next((cell for cell in frame.iloc[:, place] if cell is not None), None)
        for place, name in enumerate(columns)
    }
    if any(_is_media(one) or _is_sound(one) for one in firsts.values()):
        return _columns({name: list(frame.iloc[:, place]) for place, name in enumerate(columns)})
    return pa.Table.from_pandas(frame.set_axis(columns, axis=1), preserve_index=False).replace_schema_metadata(None)


def _listed(rows: Sequence[Any]) -> pa.Table:
    first = next((row for row in rows if row is not None), None)
    if isinstance(first, Mapping) and not _is_sound(first):
        names = dict.fromkeys(str(name) for row in rows for name in row)
        return _columns({name: [row.get(name) for row in rows] for name in names})
    if isinstance(first, str) or first is None:
        return _columns({"text": list(rows)})
    if _is_media(first):
        return _columns({"image": list(rows)})
    if _is_sound(first):
        return _columns({"audio": list(rows)})
    raise DataError(f"a list of {type(first).__name__} is no data that can be read", f"give {_TAKEN}, or a path")


def _columns(columns: Mapping[str, list[Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {name: pa.array([_cell(cell, place) for place, cell in enumerate(cells)]) for name, cells in columns.items()}
    )


def _cell(cell: Any, place: int) -> Any:
    if _is_media(cell):
        return {"bytes": _png(cell), "path": f"{place}.png"}
    if _is_sound(cell):
        return {"bytes": _wav(cell), "path": f"{place}.wav"}
    if isinstance(cell, os.PathLike):
        return os.fspath(cell)
    is_nan = isinstance(cell, float) and np.isnan(cell)
    return None if is_nan else cell.item() if isinstance(cell, np.generic) else cell


def _is_picture(value: Any) -> bool:
    """(H, W) or (H, W, 1, 3 or 4) of bytes."""
    is_bytes = isinstance(value, np.ndarray) and value.dtype == np.uint8
    return is_bytes and (value.ndim == 2 or (value.ndim == 3 and value.shape[-1] in (1, 3, 4)))


def _is_media(value: Any) -> bool:
    """A picture: of PIL, or an array of bytes."""
    return _is_picture(value) or (hasattr(value, "save") and hasattr(value, "getbands"))


def _is_sound(value: Any) -> bool:
    """``{"array", "sampling_rate"}``, as Hugging Face has sounds."""
    return isinstance(value, Mapping) and {"array", "sampling_rate"} <= value.keys()


def _png(picture: Any) -> bytes:
    from PIL import Image

    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture)
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def _wav(sound: Mapping[str, Any]) -> bytes:
    """16 bits, one channel; samples from -1 to 1."""
    samples_T = np.asarray(sound["array"], dtype=np.float64)
    samples_T = samples_T.mean(axis=int(np.argmin(samples_T.shape))) if samples_T.ndim == 2 else samples_T
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(sound["sampling_rate"]))
        file.writeframes((samples_T.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return held.getvalue()
