"""Parquet and Arrow files that grow: dictionaries, repeated texts, and what an honest file of such texts may hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.config import DataSettings
from pretune.data.formats.arrow_bounds import column_chunks, safe_rows
from pretune.data.read import read
from pretune.errors import DataError

ROWS = 20_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def repeated(text: str, rows: int = ROWS) -> pa.Table:
    """A table of one text in every row, held once."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    return pa.table({"text": texts, "label": ["ab"[i % 2] for i in range(rows)]})


def parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, store_schema=False, dictionary_pagesize_limit=2**30, **options)
    return path


def arrow(path: Path, table: pa.Table) -> Path:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("write", [parquet, arrow])
def test_a_dictionary_of_one_long_text_is_refused(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / f"bomb.{write.__name__}", repeated("x" * 500_000))
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="unpacks to more than 200 times its size") as caught:
        read(DataSettings(data=str(path)))
    assert caught.value.fix


def test_memory_stays_small_while_it_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "bomb.parquet", repeated("x" * 500_000))
    code = (
        "import resource, sys\n"
        "from pretune.data.archives.streams import file_entry\n"
        "from pretune.data.formats.arrow import parquet_table\n"
        "from pathlib import Path\n"
        "import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    for chunk in parquet_table(file_entry(Path(sys.argv[1]), 'a')).chunks: chunk.column('text')\n"
        "except ValueError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 600 * 2**20


def test_pages_that_say_they_unpack_to_too_much_are_refused_unread(tmp_path: Path) -> None:
    table = pa.table({"text": ["y" * 2_000_000 + str(i) for i in range(30)], "label": ["a", "b"] * 15})
    path = parquet(tmp_path / "a.parquet", table, use_dictionary=False, compression="zstd")
    with pytest.raises(DataError, match="decompression bomb"):
        read(DataSettings(data=str(path)))


def test_texts_that_repeat_a_little_are_read(tmp_path: Path) -> None:
    rows = read(
        DataSettings(data=str(parquet(tmp_path / "a.parquet", repeated("a question that stands in every row", 3_000))))
    )
    assert len(rows["train"]) == 3_000
    assert rows["train"][2_999]["text"] == "a question that stands in every row"
    told = read(
        DataSettings(data=str(arrow(tmp_path / "b.arrow", repeated("a question that stands in every row", 3_000))))
    )
    assert told["train"][2_999]["text"] == "a question that stands in every row"


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_rows_at_once_follow_the_dictionary(compression: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "long.parquet", repeated("z" * 1_000_000, 50), compression=compression)
    metadata = pq.ParquetFile(path).metadata
    assert len(list(column_chunks(metadata))) == 2
    assert safe_rows(metadata, str(path)) == 268
    with open(path, "rb") as file:
        assert safe_rows(metadata, file) == 268
    plain = parquet(tmp_path / "plain.parquet", repeated("a b c", 50), use_dictionary=False)
    assert safe_rows(pq.ParquetFile(plain).metadata, str(plain)) == 5_000


def test_a_damaged_dictionary_page_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", repeated("some words of a text", 500), compression="none")
    data = bytearray(path.read_bytes())
    data[4:24] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        read(DataSettings(data=str(path)))
