"""Rows to predict: from every place and from standard input, one after the other."""

from __future__ import annotations

import io
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.stream import stream_rows
from pretune.errors import DataError


class Input:
    """Standard input that hands out one line at a time and counts them."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines: Iterator[bytes] = iter(lines)
        self.taken = 0
        self.buffer = self

    def readline(self, limit: int = -1) -> bytes:
        self.taken += 1
        return next(self.lines, b"")


def from_input(monkeypatch: pytest.MonkeyPatch, data: bytes, **flags: str) -> list[dict[str, str]]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return list(stream_rows("-", **flags))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.jsonl", "data.txt"])
def test_the_same_rows_as_read(name: str, tmp_path: Path) -> None:
    rows = [(f"some words number {i}", "ab"[i % 2]) for i in range(30)]
    content = {
        "data.csv": "text,label\n" + "".join(f"{a},{b}\n" for a, b in rows),
        "data.tsv": "".join(f"{a}\t{b}\n" for a, b in rows),
        "data.jsonl": "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows),
        "data.txt": "".join(f"{a}\n" for a, _ in rows),
    }[name]
    (tmp_path / name).write_text(content)
    streamed = list(stream_rows(str(tmp_path / name)))
    splits = read(DataSettings(data=str(tmp_path / name)))
    assert streamed == [dict(row) for part in splits.values() for row in part]


def test_a_row_without_a_label_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,label\n1,one two,x\n2,three four,\n")
    assert list(stream_rows(str(tmp_path / "a.csv"))) == [
        {"id": "1", "text": "one two", "label": "x"},
        {"id": "2", "text": "three four"},
    ]


def test_columns_are_named_as_for_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("left,right\nsome words,other words\n")
    rows = list(stream_rows(str(tmp_path / "a.csv"), columns=("text=right", "text_pair=left")))
    assert rows == [{"id": "a.csv:2", "text": "other words", "text_pair": "some words"}]


def test_json_lines_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'\xef\xbb\xbf{"text": "one", "id": "x1"}\n\n{"text": "two", "id": "x2"}'
    assert from_input(monkeypatch, data) == [{"id": "x1", "text": "one"}, {"id": "x2", "text": "two"}]


def test_plain_lines_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = from_input(monkeypatch, "first\n\n今天\n".encode())
    assert [row["text"] for row in rows] == ["first", "今天"]
    assert [row["id"] for row in rows] == ["standard input:1", "standard input:3"]
    assert from_input(monkeypatch, "今天".encode("gb18030"), encoding="gb18030")[0]["text"] == "今天"


def test_a_table_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [{"id": "7", "text": 'one, "two"\nthree'}, {"id": "8", "text": "four"}]
    quoted = b'id,text\n7,"one, ""two""\nthree"\n\n8,four\n'
    assert from_input(monkeypatch, quoted) == wanted
    renamed = quoted.replace(b"id,text", b"id,what it says")
    assert from_input(monkeypatch, renamed, columns=("text=what it says",)) == wanted
    assert [row["text"] for row in from_input(monkeypatch, b"1\tone\n2\ttwo\n", columns=("text=1",), header="no")] == [
        "one",
        "two",
    ]
    semicolons = from_input(monkeypatch, b"id;body\n1;a b\n", delimiter=";", columns=("text=body",))
    assert semicolons == [{"id": "1", "text": "a b"}]
    plain = from_input(monkeypatch, b"Yes, it is so\nNo, it is not\n")
    assert [row["text"] for row in plain] == ["Yes, it is so", "No, it is not"], "commas alone make no table"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"id,text\n1,a,b\n", "line 2, has 3 columns"),
        (b'id,text\n1,"a\n', "not a whole row"),
        (b"id,text\n", "column names and no rows"),
        (b"id,text,text\n1,a,b\n", "more than once"),
    ],
)
def test_a_bad_table_from_standard_input(data: bytes, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=says):
        from_input(monkeypatch, data)


@pytest.mark.parametrize(
    "data", [b"", b"\n \n", b"caf\xe9\n", b"a\0b\n", b'{"text": "a"}\n{"te', b'{"a": 1, "b": 2}\n']
)
def test_bad_input_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="standard input"):
        from_input(monkeypatch, data)


def test_a_row_comes_out_before_the_next_line_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Input([b'{"text": "one"}\n', b'{"text": "two"}\n', b'{"text": "three"}\n'])
    monkeypatch.setattr(sys, "stdin", given)
    rows = stream_rows("-")
    assert next(rows)["text"] == "one"
    assert given.taken == 1


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with open(path, "w") as file:
        file.write("text,label\n")
        for i in range(60_000):
            file.write(f"{'words and more words ' * 20}{i},{i % 3}\n")
    assert path.stat().st_size > 24 * 2**20
    next(stream_rows(str(path)))
    tracemalloc.start()
    count = sum(1 for _ in stream_rows(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_000
    assert peak < 60 * 2**20
