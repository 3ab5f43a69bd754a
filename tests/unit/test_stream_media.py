"""Rows of pictures and sound to predict: a file, a folder, a table, standard input; nothing is lost without a word."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from pretune.data.media.base import BrokenMedia
from pretune.data.stream import stream_rows
from pretune.errors import DataError
from pretune.modalities import Modality


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        Image.new("RGB", (9, 7), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def pipe(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    data = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=data))


def test_a_file_a_folder_and_a_table(folder: Path) -> None:
    assert [row["id"] for row in stream_rows(str(folder), modality=Modality.IMAGE)] == ["0.png", "1.png", "2.png"]
    (row,) = stream_rows(str(folder / "1.png"), modality=Modality.IMAGE)
    assert row["image"] == {"bytes": None, "path": str(folder / "1.png")}
    assert (row["width"], row["height"]) == (9, 7)
    (folder / "list.csv").write_text("file,label\n2.png,b\n0.png,a\n")
    rows = list(stream_rows(str(folder / "list.csv"), modality=Modality.IMAGE))
    assert [(row["id"], row["label"]) for row in rows] == [("list.csv:2", "b"), ("list.csv:3", "a")]


def test_paths_and_objects_on_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, str(folder / "0.png"), str(folder / "2.png"))
    rows = list(stream_rows("-", modality=Modality.IMAGE))
    assert [Path(row["image"]["path"]).name for row in rows] == ["0.png", "2.png"]
    pipe(monkeypatch, json.dumps({"id": "x", "image": str(folder / "1.png")}))
    assert [row["id"] for row in stream_rows("-")] == ["x"]
    soundfile.write(folder / "a.wav", np.zeros(80, dtype=np.float32), 8_000)
    pipe(monkeypatch, json.dumps({"audio": str(folder / "a.wav")}))
    assert next(stream_rows("-", modality=Modality.AUDIO))["rate"] == 8_000


def test_text_that_is_a_name_of_a_picture_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, json.dumps({"text": "photo.jpg"}))
    assert [row["text"] for row in stream_rows("-")] == ["photo.jpg"]


def test_a_file_that_cannot_be_used_is_an_error_or_told(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"3\.png is of no kind"):
        list(stream_rows(str(folder), modality=Modality.IMAGE))
    told: list[BrokenMedia] = []
    assert len(list(stream_rows(str(folder), modality=Modality.IMAGE, on_left_out=told.append))) == 3
    assert [error.name for error in told] == ["3.png"]


def test_rows_of_another_kind_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="holds pictures, and clips are needed"):
        list(stream_rows(str(folder), modality=Modality.AUDIO))
    (folder / "text").mkdir()
    (folder / "text" / "a.txt").write_text("some words\nand more\n")
    with pytest.raises(DataError, match="holds texts, and pictures are needed"):
        list(stream_rows(str(folder / "text"), modality=Modality.IMAGE))
    pipe(monkeypatch, "gone.png")
    with pytest.raises(DataError, match=r"gone\.png is not there"):
        list(stream_rows("-", modality=Modality.IMAGE))
