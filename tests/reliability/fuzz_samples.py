"""Small valid data of every format that is read: what the fuzzer changes."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from box_files import coco, made_rows, voc, yolo
from box_files import table as box_table
from media_files import clip, numbered, picture, put, tone

__all__ = ["SAMPLES", "Files", "tarred", "zipped"]

Files = dict[str, bytes]
"""By name below the folder that is read; of one name without a folder the file itself is read."""

_ROWS = [
    {"id": f"r{number}", "text": f"a {word} day, number {number}", "label": label}
    for number, (word, label) in enumerate([("fine", "good"), ("poor", "bad"), ("grim", "bad"), ("mild", "good"), ('"so"', "good"), ("早晨", "bad")])
]  # fmt: skip


def _csv(delimiter: str = ",") -> bytes:
    lines = [delimiter.join(_ROWS[0])]
    lines += [delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in _ROWS]
    return ("\n".join(lines) + "\n").encode()


def _json_lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _ROWS).encode()


def _arrow(kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, held = pa.Table.from_pylist(_ROWS), io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, held)
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(held, table.schema) as writer:
            writer.write_table(table)
    return held.getvalue()


def _tags() -> bytes:
    sentences = [("Ann B-PER", "sees O", "Rome B-LOC"), ("He O", "runs O"), ("New B-LOC", "York I-LOC", "sleeps O")]
    return ("\n\n".join("\n".join(lines) for lines in sentences) + "\n").encode()


def _chats() -> bytes:
    turns = [{"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "It is."}]
    return "".join(json.dumps({"messages": [*turns, *turns][: 2 + 2 * (n % 2)]}) + "\n" for n in range(4)).encode()


def _questions() -> bytes:
    text = "The river runs south. The town lies north of it."
    asked = [
        {"id": f"q{n}", "question": f"What runs {n}?", "answers": [{"text": "The river", "answer_start": 0}]}
        for n in range(4)
    ]
    return json.dumps(
        {"version": "1", "data": [{"title": "t", "paragraphs": [{"context": text, "qas": asked}]}]}
    ).encode()


def _workbook() -> bytes:
    """An .xlsx of one sheet, written by hand."""
    cells = "".join(
        f'<row r="{at}">' + "".join(f'<c r="{column}{at}" t="inlineStr"><is><t>{value}</t></is></c>' for column, value in zip("AB", row, strict=True)) + "</row>"
        for at, row in enumerate([("text", "label"), ("a fine day", "good"), ("a poor day", "bad"), ("a grim one", "bad")], 1)
    )  # fmt: skip
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets><sheet name="rows" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{rel}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }  # fmt: skip
    return zipped({name: text.encode() for name, text in parts.items()})


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of the files."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of the files."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


def _written(write: Callable[[Path], object]) -> Files:
    with TemporaryDirectory() as folder:
        write(Path(folder))
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*")) if path.is_file()
        }  # fmt: skip


def _masks(folder: Path) -> None:
    for number in range(4):
        rng = np.random.default_rng(number)
        for kind, pixels in (("images", rng.integers(0, 255, (12, 16, 3))), ("masks", rng.integers(0, 3, (12, 16)))):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{number}.png")


def _pictures() -> Files:
    return {f"{label}/{n}.{end}": picture(n + 7 * place, form) for place, label in enumerate(("ant", "bee"))
             for n, (end, form) in enumerate([("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("gif", "GIF"), ("webp", "WEBP"), ("tiff", "TIFF")])}  # fmt: skip


def _clips() -> Files:
    return {f"{word}/{n}.{end}": clip(n + 5 * place, end.upper()) for place, word in enumerate(("one", "two"))
            for n, end in enumerate(("wav", "flac", "ogg"))}  # fmt: skip


def _boxes() -> Mapping[str, Mapping[str, list[tuple[str, int, int, int, int]]]]:
    return made_rows(pictures=2, size=(48, 40))


def _transcripts() -> Files:
    lines = "".join(json.dumps({"audio": f"{n}.wav", "text": f"word {n}"}) + "\n" for n in range(4))
    return {"clips.jsonl": lines.encode(), **{f"{n}.wav": clip(n) for n in range(4)}}


@cache
def _numpy() -> bytes:
    held = io.BytesIO()
    np.save(held, tone(0))
    return held.getvalue()


SAMPLES: dict[str, Callable[[], Files]] = {
    "csv": lambda: {"rows.csv": _csv()},
    "tsv": lambda: {"rows.tsv": _csv("\t")},
    "csv.gz": lambda: {"rows.csv.gz": gzip.compress(_csv(), mtime=0)},
    "jsonl": lambda: {"rows.jsonl": _json_lines()},
    "json": lambda: {"rows.json": json.dumps(_ROWS, ensure_ascii=False).encode()},
    "columns": lambda: {"rows.json": json.dumps({name: [row[name] for row in _ROWS] for name in _ROWS[0]}).encode()},
    "parquet": lambda: {"rows.parquet": _arrow("parquet")},
    "arrow": lambda: {"rows.arrow": _arrow("stream")},
    "feather": lambda: {"rows.feather": _arrow("file")},
    "xlsx": lambda: {"rows.xlsx": _workbook()},
    "txt": lambda: {"rows.txt": "".join(row["text"] + "\n" for row in _ROWS).encode()},
    "tags": lambda: {"rows.conll": _tags()},
    "chats": lambda: {"rows.jsonl": _chats()},
    "questions": lambda: {"rows.json": _questions()},
    "splits": lambda: {"train.csv": _csv(), "test.csv": _csv(), "labels.txt": b"good\nbad\n"},
    "texts in folders": lambda: {f"{label}/{n}.txt": f"{label} words {n}\n".encode() for label in ("pos", "neg") for n in range(3)},
    "zip": lambda: {"rows.zip": zipped({"train.csv": _csv(), "test.csv": _csv()})},
    "tar": lambda: {"rows.tar.gz": tarred({"train.csv": _csv(), "test.jsonl": _json_lines()})},
    "pictures": _pictures,
    "pictures in a zip": lambda: {"photos.zip": zipped(_pictures())},
    "pictures of a table": lambda: {
        "rows.csv": b"image,label\n" + b"".join(f"{n}.png,{'ab'[n % 2]}\n".encode() for n in range(4)),
        **{f"{n}.png": picture(n) for n in range(4)},
    },
    "clips": _clips,
    "clips in a tar": lambda: {"clips.tar.gz": tarred(_clips())},
    "transcripts": _transcripts,
    "coco": lambda: _written(lambda folder: coco(folder, _boxes())),
    "voc": lambda: _written(lambda folder: voc(folder, _boxes())),
    "yolo": lambda: _written(lambda folder: yolo(folder, _boxes())),
    "boxes of a table": lambda: _written(lambda folder: box_table(folder, _boxes())),
    "masks": lambda: _written(_masks),
    "many folders": lambda: _written(lambda folder: put(folder, numbered("train/ant", "train/bee", "test/ant", "test/bee", count=2))),
    "an array": lambda: {"rows.npy": _numpy()},
}  # fmt: skip
