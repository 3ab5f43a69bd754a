"""What an exported program reads without pretune: files of rows, standard input, arguments, clips; as careful as the tool."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from pretune.data.media.audio import decode_audio
from pretune.export.standalone import clips, predict, rows

TEXT: dict[str, Any] = {"inputs": {"modality": "text"}}
PAIRS: dict[str, Any] = {"inputs": {"modality": "text", "reads_pairs": True}}
IMAGE: dict[str, Any] = {"inputs": {"modality": "image"}}
LEARNED = {**TEXT, "reading": {"columns": {"text": "summary"}, "found": {"text": "summary", "id": "review"}}}


def read(*arguments: object, about: dict[str, Any] = TEXT, **options: Any) -> list[dict[str, Any]]:
    return list(rows.rows_of([str(argument) for argument in arguments], about, **options))


def file_of(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def piped(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.csv", "id,text\n7,one\n8,\"two, and\nmore\"\n", [("7", "one"), ("8", "two, and\nmore")]),
        ("ROWS.CSV", "text\none\n", [("ROWS.CSV:2", "one")]),
        ("a.csv", "\ufefftext;label\none;x\n\ntwo;y\n", [("a.csv:2", "one"), ("a.csv:4", "two")]),
        ("a.tsv", 'text\tlabel\nsay "hi" twice\tx\n', [("a.tsv:2", 'say "hi" twice')]),
        ("a.tsv", 'text\tlabel\n"a\tb"\tx\n', [("a.tsv:2", "a\tb")]),
        ("a.tab", 'text\tlabel\n"open\tx\n', [("a.tab:2", '"open')]),
        ("a.jsonl", '{"text": "one"}\n\n{"id": 3, "text": "two"}\n', [("a.jsonl:1", "one"), ("3", "two")]),
        ("a.NDJSON", '{"text": "one"}\n', [("a.NDJSON:1", "one")]),
        ("a.json", '[{"text": "one"}, {"text": "two"}]', [("a.json row 1", "one"), ("a.json row 2", "two")]),
        ("a.json", '{"data": [{"text": "one"}]}', [("a.json row 1", "one")]),
        ("a.txt", "one\n\ntwo\n", [("a.txt:1", "one"), ("a.txt:3", "two")]),
        ("a.csv", "body\none\n", [("a.csv:2", "one")]),
    ],
)  # fmt: skip
def test_files_of_rows(name: str, content: str, wanted: Sequence[tuple[str, str]], tmp_path: Path) -> None:
    found = read(file_of(tmp_path, name, content))
    assert [(row["id"], row["text"]) for row in found] == list(wanted)


def test_cells_of_any_length(tmp_path: Path) -> None:
    """More than 131,072 characters ended in a traceback."""
    path = file_of(tmp_path, "long.csv", f"text\n{'good film ' * 20_000}\nshort\n")
    assert [len(row["text"]) for row in read(path)] == [200_000, 5]


def test_columns_are_those_that_the_model_learned_from(tmp_path: Path) -> None:
    path = file_of(tmp_path, "new.csv", "review,text,summary\n7,noise,signal\n")
    assert read(path, about=LEARNED) == [{"id": "7", "text": "signal"}]
    assert read(path, about=LEARNED, column=["text=text"]) == [{"id": "7", "text": "noise"}]
    other = file_of(tmp_path, "other.csv", "headline,body\na,b\n")
    with pytest.raises(
        ValueError, match=r"other\.csv has no column summary, only headline, body: name it with --column"
    ):
        read(other, about=LEARNED)
    lines = file_of(
        tmp_path, "new.jsonl", '{"summary": "signal", "text": "noise"}\n{"text": "plain"}\n{"x": 1, "y": 2}\n'
    )
    assert [row.get("text", row.get("problem", ""))[:6] for row in read(lines, about=LEARNED)] == [
        "signal",
        "plain",
        "has no",
    ]


def test_tables_without_names(tmp_path: Path) -> None:
    about = {**TEXT, "reading": {"found": {"text": "1"}, "width": 2, "how": {"header": "no", "delimiter": "|"}}}
    path = file_of(tmp_path, "new.csv", "a|one\nb|two\n")
    assert [(row["id"], row["text"]) for row in read(path, about=about)] == [("new.csv:1", "one"), ("new.csv:2", "two")]


def test_encodings(tmp_path: Path) -> None:
    path = file_of(tmp_path, "new.csv", "text\n好电影\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"new\.csv cannot be read as utf-8 .* give --encoding"):
        read(path)
    assert read(path, encoding="gb18030")[0]["text"] == "好电影"
    assert read(path, about={**TEXT, "reading": {"how": {"encoding": "gb18030"}}})[0]["text"] == "好电影"
    marked = file_of(tmp_path, "marked.csv", "text\n好电影\n".encode("utf-16"))
    assert read(marked)[0]["text"] == "好电影"


@pytest.mark.parametrize("given", ["nosuch.csv", "/nonexistent.csv", "folder/NONE.JSONL", "gone.parquet", "gone.txt"])
def test_a_file_that_is_not_there_is_no_text(given: str) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        read(given)


@pytest.mark.parametrize(
    "given", ["a fine film", "see notes.txt", "end of line.", "3.5 stars", "", "a\nb.csv", "x" * 5000]
)
def test_a_text_is_a_text(given: str) -> None:
    assert read(given) == [{"id": "1", "text": given}]


def test_a_file_of_another_kind_is_no_text(tmp_path: Path) -> None:
    path = file_of(tmp_path, "rows.dat", "text\none\n")
    with pytest.raises(ValueError, match="kind that is not read here"):
        read(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its header was answered as a row."""
    piped(monkeypatch, "text\nthe film was great\n")
    assert [row["text"] for row in read("-")] == ["the film was great"]
    piped(monkeypatch, 'id,text\n1,"Yes, it is"\n')
    assert read("-") == [{"id": "1", "text": "Yes, it is"}]
    piped(monkeypatch, "Yes, it is\nNo, it is not\n")
    assert [row["text"] for row in read("-")] == ["Yes, it is", "No, it is not"]
    piped(monkeypatch, '{"text": "one"}\n{"text": "two"}\n')
    assert [row["text"] for row in read("-")] == ["one", "two"]
    piped(monkeypatch, "a.png\nb/c.png\n")
    assert read("-", about=IMAGE) == [{"id": "a.png", "image": "a.png"}, {"id": "b/c.png", "image": "b/c.png"}]
    piped(monkeypatch, " \n")
    with pytest.raises(ValueError, match="standard input holds no rows"):
        read("-")


def test_pairs(tmp_path: Path) -> None:
    assert read("a", "b", "c", "d", about=PAIRS) == [
        {"id": "1", "text": "a", "text_pair": "b"}, {"id": "2", "text": "c", "text_pair": "d"},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="pairs of texts: give two"):
        read("a", about=PAIRS)
    lines = file_of(tmp_path, "a.jsonl", '{"text": "a", "text_pair": "b"}\n{"text": "a"}\n')
    assert ["problem" in row for row in read(lines, about=PAIRS)] == [False, True]
    assert "reads single texts" in read(lines)[0]["problem"]


def test_pictures_by_path_and_by_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [row["id"] for row in read(tmp_path, about=IMAGE)] == [
        str(tmp_path / "b.PNG"),
        str(tmp_path / "deep" / "a.jpg"),
    ]
    assert read("gone.png", about=IMAGE) == [{"id": "gone.png", "image": "gone.png"}], "named when it is opened"
    table = file_of(tmp_path, "list.csv", "image,label\ndeep/a.jpg,x\n,y\n")
    first, second = read(table, about=IMAGE)
    assert first == {"id": "list.csv:2", "image": str(tmp_path / "deep" / "a.jpg")}
    assert second["problem"] == "names no file"


def test_rows_that_are_broken_are_told_of_and_the_others_read(tmp_path: Path) -> None:
    path = file_of(tmp_path, "a.jsonl", '{"text": "one"}\nnot json\n[1]\n{"text": "two"}\n')
    assert [row.get("problem", "")[:10] for row in read(path)] == ["", "is no JSON", "is no JSON", ""]
    ragged = file_of(tmp_path, "a.csv", "text,label\none,x\ntwo\nthree,y\n")
    assert [row.get("problem", "") for row in read(ragged)] == ["", "has 1 columns where the first row has 2", ""]
    with pytest.raises(ValueError, match=r"b\.csv, line"):
        read(file_of(tmp_path, "b.csv", 'text,label\n"open,x\n'))


class _Echo:
    """A model that answers with the text itself."""

    most_together = 8

    def __init__(self, clean: Any) -> None:
        self.model: Any = object.__new__(predict.Model)
        self.model.cleaned, self.model.reader, self.model.about = clean, self, {"labels": ["a", "b"]}
        self.model.logits_of = lambda inputs: np.array([[len(text), 0.0] for text in inputs["text"]])

    def items(self, row: dict[str, Any]) -> list[str]:
        return [row["text"]]

    def inputs(self, items: list[str]) -> dict[str, Any]:
        return {"text": items}

    def real(self, logits: np.ndarray, item: str) -> np.ndarray:
        return logits


def test_rows_without_a_text_are_not_answered() -> None:
    model = _Echo(rows.cleaner_of(TEXT, lambda name: None)).model
    given = [
        {"id": str(place), "text": text}
        for place, text in enumerate(["a", None, " ", ["b", "c"], {"d": 1}, 5, float("nan")])
    ]
    unread: list[str] = []
    found = [row["id"] for row in model.answers(given, on_unread=lambda row, error: unread.append(str(error)))]
    assert found == ["0", "3", "5"]
    assert unread == [
        "row 1: has no text",
        "row 2: has no text",
        "row 4: has a dict where a text is needed",
        "row 6: has no text",
    ]
    with pytest.raises(ValueError, match="row 1: has no text"):
        list(model.answers(given))


def test_texts_are_cleaned_by_the_tools_own_file() -> None:
    """Marked-up texts were right on half of the rows."""
    from pretune.data.changes.clean import english_stopwords, text_cleaner
    from pretune.data.text import pii, scrub

    steps = ["html", "whitespace", "stopwords", "redact"]
    about = {**TEXT, "reading": {"clean": steps}, "stopwords": list(english_stopwords())}
    clean = rows.cleaner_of(about, {"scrub": scrub, "pii": pii}.__getitem__)
    text = "<p>The <b>bank</b>\n is at  sales@example.org, not there</p><!-- x -->"
    assert clean({"id": "1", "text": text})["text"] == text_cleaner(steps)(text) == "bank [EMAIL], not"
    with pytest.raises(rows.Unread, match="after cleaning"):
        clean({"id": "1", "text": "<br>"})


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_answers_are_valid_json_on_any_console(encoding: str) -> None:
    answer = {"id": "坏", "label": "\U0001f600"}
    assert json.loads(predict.line_of(answer, encoding).encode(encoding)) == answer


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_waves_of_any_samples_are_read_as_pretune_does(
    subtype: str, form: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Only 16 bits were."""
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (301, 2))
    soundfile.write(tmp_path / "a.wav", samples, 8_000, format=form, subtype=subtype)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found = clips.samples_of(str(tmp_path / "a.wav"), 8_000)
    monkeypatch.undo()
    wanted = decode_audio({"path": str(tmp_path / "a.wav"), "bytes": None}, 8_000)
    assert found.shape == wanted.shape
    assert float(np.abs(found - wanted).max()) < 1e-6


def test_other_sound_needs_soundfile_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, 4_000)
    for name in ("a.flac", "a.ogg"):
        soundfile.write(tmp_path / name, samples, 8_000)
        wanted = decode_audio({"path": str(tmp_path / name), "bytes": None}, 8_000)
        assert float(np.abs(clips.samples_of(str(tmp_path / name), 8_000) - wanted).max()) < 1e-6
    with pytest.raises(ValueError, match="cannot be read"):
        clips.samples_of(b"junk", 8_000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ValueError, match="pip install soundfile, or convert it"):
        clips.samples_of(str(tmp_path / "a.flac"), 8_000)


def test_clips_that_are_cut_off_are_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1_000), 8_000, subtype="PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(ValueError, match="is cut off: 1056 of 2000 bytes"):
        clips.samples_of(data[:1_100], 8_000)
    with pytest.raises(ValueError, match="lasts 0 seconds"):
        clips.samples_of(data[:44].replace(b"\xd0\x07\x00\x00", b"\x00\x00\x00\x00"), 8_000)
    with pytest.raises(ValueError, match=r"gone\.wav cannot be read"):
        clips.samples_of(str(tmp_path / "gone.wav"), 8_000)
