"""Broken, strange and hostile data: each ends in a clear error that names the file, none in a traceback or a hang."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.split import complete_splits
from pretune.errors import DataError, UsageError

GOOD = "text,label\n" + "".join(f"some words number {i} here,{'ab'[i % 2]}\n" for i in range(20))


def write(name: str, content: str | bytes) -> Callable[[Path], Path]:
    """A case that is one file."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def files(**content: str) -> Callable[[Path], Path]:
    """A case that is a folder of CSV files."""

    def make(folder: Path) -> Path:
        place = folder / "place"
        place.mkdir()
        for name, text in content.items():
            (place / f"{name}.csv").write_text(text)
        return place

    return make


def parquet_bytes() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one two", "three"] * 50, "label": ["a", "b"] * 50}), buffer)
    return buffer.getvalue()


def zip_bytes(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def linked(info: zipfile.ZipInfo) -> None:
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def encrypted_zip() -> bytes:
    """A zip whose entry carries the flag "encrypted" (bit 0), in both headers."""
    data = bytearray(zip_bytes({"train.csv": GOOD.encode()}))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged_zip() -> bytes:
    """A zip whose compressed bytes do not match their checksum."""
    content = "text,label\n" + "".join(f"{os.urandom(20).hex()},{i % 2}\n" for i in range(500))
    data = bytearray(zip_bytes({"train.csv": content.encode()}))
    data[2000:2010] = bytes(10)
    return bytes(data)


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.csv")
    return folder / "pipe.csv"


def fifo_in_folder(folder: Path) -> Path:
    (folder / "place").mkdir()
    os.mkfifo(folder / "place" / "pipe.csv")
    return folder / "place"


def broken_link(folder: Path) -> Path:
    (folder / "gone.csv").symlink_to(folder / "nowhere.csv")
    return folder / "gone.csv"


def link_loop(folder: Path) -> Path:
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    return folder / "loop.csv"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def images(folder: Path) -> Path:
    place = folder / "pictures"
    place.mkdir()
    (place / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place


def named_like_a_file(folder: Path) -> Path:
    (folder / "table.csv").mkdir()
    return folder / "table.csv"


def typo(folder: Path) -> Path:
    write("reviews.csv", GOOD)(folder)
    return folder / "revews.csv"


def saved_without_arrow(folder: Path) -> Path:
    import datasets

    place = folder / "saved"
    datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": ["x", "y"]}).save_to_disk(str(place))
    for path in place.glob("*.arrow"):
        path.unlink()
    return place


def two_kinds(folder: Path) -> Path:
    place = folder / "mixed"
    place.mkdir()
    (place / "a.csv").write_text(GOOD)
    (place / "b.jsonl").write_text('{"text": "x", "label": "y"}\n')
    return place


def flagged(**flags: Any) -> dict[str, Any]:
    return flags


TEXT = "some words to read"
CASES: list[tuple[str, Callable[[Path], Path], dict[str, Any], str]] = [
    ("empty file", write("a.csv", ""), {}, "a.csv is empty"),
    ("empty text file", write("a.txt", ""), {}, "a.txt is empty"),
    ("blank lines only", write("a.txt", "\n\n  \n"), {}, "a.txt holds no rows"),
    ("blank lines only, csv", write("a.csv", "\n\n\n"), {}, "a.csv holds no rows"),
    ("header only", write("a.csv", "text,label\n"), {}, "a.csv holds no rows"),
    ("one column where a label is asked", write("a.csv", "text\nhello there\nbye now\n"), flagged(column="label=label"), "a.csv"),
    ("binary junk", write("a.csv", bytes(range(256)) * 40), {}, "a.csv"),
    ("binary junk without NUL", write("a.csv", bytes(range(1, 256)) * 40), {}, "a.csv"),
    ("NUL byte", write("a.csv", GOOD + "a\0b,c\n"), {}, "a.csv holds a NUL byte"),
    ("NUL in JSON lines", write("a.jsonl", b'{"text": "a\0b"}\n'), {}, "a.jsonl holds a NUL byte"),
    ("wrong delimiter flag", write("a.csv", GOOD), flagged(delimiter=";"), "a.csv"),
    ("delimiter flag of nothing", write("a.csv", GOOD), flagged(delimiter=""), "--delimiter"),
    ("long delimiter flag", write("a.csv", GOOD), flagged(delimiter="::"), "--delimiter"),
    ("duplicate header", write("a.csv", "text,text,label\na b,c d,e\nf g,h i,j\n"), {}, "a.csv:1 names the column 'text' more than once"),
    ("missing text column", write("a.csv", GOOD), flagged(column="text=txt"), "a.csv has no column 'txt'"),
    ("missing label column", write("a.csv", GOOD), flagged(column=("text=text", "label=lable")), 'did you mean "label"'),
    ("column position too high", write("a.csv", GOOD), flagged(column="label=7"), "a.csv has no column '7'"),
    ("unknown role", write("a.csv", GOOD), flagged(column="txt=text"), 'did you mean "text"'),
    ("column without equals", write("a.csv", GOOD), flagged(column="text"), "--column text=title"),
    ("role told twice", write("a.csv", GOOD), flagged(column=("text=text", "text=label")), "names text twice"),
    ("group column missing", write("a.csv", GOOD), flagged(group="patient"), "a.csv has no column 'patient'"),
    ("several columns may be the label", write("a.csv", "text,topic,emotion\n" + f"{TEXT},x,y\n" * 5), {}, "a.csv has several columns"),
    ("no column of text", write("a.csv", "a,b\n" + "1,2\n3,4\n5,6\n"), {}, "a.csv"),
    ("two columns may be the text", write("a.csv", "left,right\n" + f"{TEXT},{TEXT} too\n{TEXT} on,{TEXT} in\n"), {}, "may be the text"),
    ("zero-byte parquet", write("a.parquet", b""), {}, "a.parquet is empty"),
    ("truncated parquet", write("a.parquet", parquet_bytes()[:-40]), {}, "a.parquet cannot be read"),
    ("parquet in name only", write("a.parquet", GOOD), {}, "a.parquet cannot be read"),
    ("damaged parquet", write("a.parquet", parquet_bytes()[:20] + b"\xff" * 200 + parquet_bytes()[220:]), {}, "a.parquet"),
    ("arrow in name only", write("a.arrow", GOOD), {}, "a.arrow cannot be read"),
    ("truncated gzip", write("a.csv.gz", gzip.compress(os.urandom(9000).hex().encode())[:-3000]), {}, "a.csv.gz ends in the middle"),
    ("gzip in name only", write("a.csv.gz", GOOD), {}, "a.csv.gz"),
    ("gzip bomb", write("a.txt.gz", gzip.compress(b"a" * (40 * 2**20))), {}, "decompression bomb"),
    ("truncated zip", write("a.zip", zip_bytes({"train.csv": GOOD.encode()})[:-30]), {}, "a.zip is not a whole zip archive"),
    ("damaged zip", write("a.zip", damaged_zip()), {}, "a.zip: train.csv"),
    ("empty zip", write("a.zip", zip_bytes({})), {}, "a.zip holds no table"),
    ("traversal in zip", write("a.zip", zip_bytes({"../evil.csv": GOOD.encode()})), {}, "leads out of the archive"),
    ("traversal with backslashes", write("a.zip", zip_bytes({"..\\evil.csv": GOOD.encode()})), {}, "leads out of the archive"),
    ("absolute name in zip", write("a.zip", zip_bytes({"/etc/evil.csv": GOOD.encode()})), {}, "leads out of the archive"),
    ("symlink in zip", write("a.zip", zip_bytes({"train.csv": b"/etc/passwd"}, linked)), {}, "symbolic link"),
    ("zip bomb", write("a.zip", zip_bytes({"train.csv": b"0" * (40 * 2**20)})), {}, "decompression bomb"),
    ("encrypted zip", write("a.zip", encrypted_zip()), {}, "encrypted"),
    ("spreadsheet", write("a.xlsx", zip_bytes({"[Content_Types].xml": b"<x/>", "xl/a.xml": b"<x/>"})), {}, "a.xlsx is not a whole workbook: xl/_rels/workbook.xml.rels is not in it"),
    ("another Office document", write("a.docx", zip_bytes({"[Content_Types].xml": b"<x/>", "word/a.xml": b"<x/>"})), {}, "a.docx is an Office document"),
    ("pickle", write("a.pkl", pickle.dumps({"text": ["a"]})), {}, "a.pkl is a pickle"),
    ("pickle called csv", write("a.csv", pickle.dumps({"text": ["a"]})), {}, "a.csv is a pickle"),
    ("image", write("a.png", b"\x89PNG\r\n\x1a\n"), {}, "1 is of no kind that can be read: a.png"),
    ("broken link", broken_link, {}, "gone.csv is a link to nothing"),
    ("link to itself", link_loop, {}, "loop.csv"),
    ("pipe", fifo, {}, "pipe.csv is not a regular file"),
    ("pipe in a folder", fifo_in_folder, {}, "pipe.csv is not a regular file"),
    ("device", lambda folder: Path("/dev/null"), {}, "/dev/null is not a regular file"),
    ("missing path with typo", typo, {}, 'did you mean "reviews.csv"'),
    ("missing folder", lambda folder: folder / "no" / "such" / "place.csv", {}, "place.csv does not exist"),
    ("file used as folder", lambda folder: write("a.csv", GOOD)(folder) / "b.csv", {}, "b.csv does not exist"),
    ("empty folder", empty_folder, {}, "nothing holds no table"),
    ("folder of images", images, {}, "1 is of no kind that can be read: a.png"),
    ("folder named like a file", named_like_a_file, {}, "table.csv holds no table"),
    ("two kinds of tables", two_kinds, {}, "several kinds"),
    ("save_to_disk folder without its arrow file", saved_without_arrow, {}, "saved"),
    ("ragged row, too many", write("a.csv", GOOD + "one,two,three\n"), {}, "a.csv:22 has 3 columns"),
    ("ragged row, too few", write("a.csv", GOOD + "one\n"), {}, "a.csv:22 has 1 columns"),
    ("ragged row in TSV", write("a.tsv", GOOD.replace(",", "\t") + "one\ttwo\tthree\n"), {}, "a.tsv:22 has 3 columns"),
    ("open quote", write("a.csv", GOOD + '"never closed,b\n' + GOOD), {}, "a.csv:22 opens a quote"),
    ("junk after a quote", write("a.csv", GOOD + '"closed" junk,b\n'), {}, "a.csv:22"),
    ("UTF-16 without a mark", write("a.csv", GOOD.encode("utf-16-le")), {}, "--encoding utf-16-le"),
    ("not UTF-8 though told", write("a.csv", (GOOD + "caf\u00e9,a\n").encode("latin-1")), flagged(encoding="utf-8"), "a.csv is not utf-8"),
    ("not ASCII though told", write("a.csv", GOOD + "caf\u00e9,a\n"), flagged(encoding="ascii"), "line 22"),
    ("marked UTF-8 but not", write("a.csv", b"\xef\xbb\xbf" + GOOD.encode() + b"\xff\xfe,a\n"), {}, "a.csv is not utf-8"),
    ("UTF-16 cut in the middle", write("a.csv", GOOD.encode("utf-16")[:-1]), {}, "a.csv is not utf-16"),
    ("an encoding not found", write("a.csv", GOOD.encode() + "\u0442\u0435\u043a\u0441\u0442,a\n".encode("cp1251") * 40), {}, "--encoding"),
    ("wrong encoding name", write("a.csv", GOOD), flagged(encoding="utf-9"), "no text encoding"),
    ("codec that is no encoding", write("a.csv", GOOD), flagged(encoding="zlib"), "no text encoding"),
    ("JSON array of scalars", write("a.json", "[1, 2, 3]"), {}, "a.json: element 1 is a JSON int"),
    ("JSON string", write("a.json", '"hello"'), {}, "a.json holds a JSON str"),
    ("JSON truncated", write("a.json", '[{"text": "a b", "label": "x"}, {"text": "c'), {}, "a.json: element 2"),
    ("JSON without a comma", write("a.json", '[{"text": "a"} {"text": "b"}]'), {}, "a comma is missing"),
    ("JSON nested 5,000 deep", write("a.json", "[" * 5000 + "]" * 5000), {}, "a.json: element 1"),
    ("JSON object nested deep", write("a.json", '{"data": ' + '{"a": ' * 50_000 + "1" + "}" * 50_001), {}, "a.json is nested too deeply"),
    ("JSON object without rows", write("a.json", '{"a": 1, "b": {"c": 2}}'), {}, "a.json is a JSON object with the keys a, b"),
    ("JSON integer of 5,000 digits", write("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}\n"), {}, "a.jsonl:1"),
    ("JSON line truncated", write("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "c", "la'), {}, "a.jsonl:2 is not a JSON object"),
    ("JSON line of a list", write("a.jsonl", '["text", "label"]\n'), {}, "a.jsonl:1 is a JSON list"),
    ("JSON line nested deep", write("a.jsonl", '{"text": ' + "[" * 50_000 + "]" * 50_000 + "}\n"), {}, "a.jsonl:1 is nested too deeply"),
    ("JSON NaN labels", write("a.jsonl", '{"text": "a", "label": NaN}\n{"text": "b", "label": NaN}\n'), flagged(column="label=label"), "a.jsonl is missing"),
    ("labels all missing though asked", write("a.csv", "text,label\nsome words,\nmore words,nan\n"), flagged(column="label=label"), "a.csv is missing"),
    ("a list among labels", write("a.jsonl", '{"text": "a b", "label": "x"}\n{"text": "c d", "label": ["x", "y"]}\n'), {}, "a.jsonl:2 has a list as label"),
    ("an object in a list of labels", write("a.jsonl", '{"text": "a b", "labels": ["x", {"y": 1}]}\n'), {}, "a.jsonl:1 has a dict as label"),
    ("one of several labels only in test", files(train=GOOD, test=GOOD + "odd one,a;z\n"), flagged(column="labels=label"), "test has labels that train does not have: 'z'"),
    ("lists of labels all missing", write("a.jsonl", '{"text": "a b", "labels": null}\n{"text": "c d", "labels": NaN}\n'), flagged(column="labels=labels"), "a.jsonl is missing"),
    ("a column of marks is not there", write("a.csv", "text,x,y\na b,1,0\n"), flagged(column="labels=x,z"), "no column 'z'"),
    ("a column of marks holds words", write("a.csv", "text,x,y\na b,1,0\nc d,0,maybe\n"), flagged(column="labels=x,y"), "a.csv:3 has 'maybe' in the column 'y'"),
    ("text is an object", write("a.jsonl", '{"text": {"a": 1}, "label": "x"}\n'), {}, "a.jsonl:1 has a dict"),
    ("text key absent in a row", write("a.jsonl", '{"text": "a b", "label": "x"}\n{"label": "y"}\n'), {}, "a.jsonl:2 has nothing"),
    ("label only in test", files(train=GOOD, test=GOOD + "odd one,z\n"), {}, "test has labels that train does not have: 'z'"),
    ("no train split", files(test=GOOD, other_test=GOOD), {}, "place has no train split"),
    ("ids repeat though asked", write("a.csv", "id,text,label\n7,a b,x\n7,c d,y\n"), flagged(column="id=id"), "a.csv: the id column 'id' repeats 1 ids in train: 7"),
    ("an id is missing", write("a.csv", "id,text,label\n7,a b,x\n,c d,y\n"), {}, "a.csv:3 has no value in the id column"),
    ("pairs here, single texts there", files(train="sentence1,sentence2,label\na b,c d,x\n", test="text,label\na b,x\n"), {}, "pairs of texts"),
    ("standard input where rows are read twice", lambda folder: Path("-"), {}, "standard input"),
    ("a pattern that matches nothing", lambda folder: write("a.csv", GOOD)(folder).parent / "*.tsv", {}, "no file matches"),
]  # fmt: skip


def load(place: str, **flags: Any) -> None:
    settings = DataSettings(data=place, **flags)
    complete_splits(read(settings), settings)


@pytest.mark.parametrize(("make", "flags", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_malformed_data_is_refused_clearly(
    make: Callable[[Path], Path], flags: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    place = make(tmp_path)
    with pytest.raises((DataError, UsageError)) as caught:
        load(str(place), **flags)
    assert caught.value.exit_code == 2
    assert said in str(caught.value), str(caught.value)
    assert caught.value.fix, "the error says what to do"
    assert not list((tmp_path / "cache").glob("tables/.*")), "nothing half-written is left"


def test_a_line_of_ten_megabytes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    long = "word " * (2 * 2**20)
    path = write("long.csv", f'text,label\n"{long}",a\nshort words,b\n')(tmp_path)
    rows = read(DataSettings(data=str(path)))["train"]
    assert [len(text) for text in rows[:]["text"]] == [len(long), 11]
    path = write("long.jsonl", json.dumps({"text": long, "label": "a"}) + "\n")(tmp_path)
    assert len(read(DataSettings(data=str(path)))["train"][0]["text"]) == len(long)
    path = write("long.txt", long)(tmp_path)
    assert len(read(DataSettings(data=str(path)))["unlabelled"]) == 1


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "locked"
    place.mkdir()

    def refuse(path: object) -> Any:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="locked"):
        read(DataSettings(data=str(place)))
