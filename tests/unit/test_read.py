"""Reading: the same rows from every format, and facts that tell how they were found."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError

ROWS = [(f"number {i} is a row of some words, really", "ab"[i % 2]) for i in range(12)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def pairs(rows: Any) -> list[tuple[str, str]]:
    return list(zip(rows[:]["text"], rows[:]["label"], strict=True))


def delimited(mark: str, header: str = "text,label", rows: list[tuple[str, str]] = ROWS) -> str:
    lines = [header.replace(",", mark)] if header else []
    return "\n".join(lines + [mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in rows]) + "\n"


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), path)


def write_saved(path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    columns = {"text": [text for text, _ in ROWS], "label": ["ab".index(label) for _, label in ROWS]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(path))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner/data.csv", delimited(","))
        archive.writestr("__MACOSX/._data.csv", "junk")


OBJECTS = [{"text": text, "label": label} for text, label in ROWS]
FORMATS = {
    "data.csv": lambda path: path.write_text(delimited(",")),
    "crlf.csv": lambda path: path.write_bytes(delimited(",").replace("\n", "\r\n").encode()),
    "semicolon.csv": lambda path: path.write_text(delimited(";")),
    "bar.csv": lambda path: path.write_text(delimited("|")),
    "data.tsv": lambda path: path.write_text(delimited("\t")),
    "tabs.txt": lambda path: path.write_text(delimited("\t")),
    "swapped.csv": lambda path: path.write_text(delimited(",", "label,text", [(b, a) for a, b in ROWS])),
    "headerless.csv": lambda path: path.write_text(delimited(",", "")),
    "headerless.tsv": lambda path: path.write_text(delimited("\t", "")),
    "other_names.csv": lambda path: path.write_text(delimited(",", "what was written,kind")),
    "chinese.csv": lambda path: path.write_text(delimited(",", "文本,标签"), encoding="gb18030"),
    "data.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, OBJECTS))),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, OBJECTS))),
    "lines.txt": lambda path: path.write_text("\n".join(map(json.dumps, OBJECTS))),
    "array.json": lambda path: path.write_text(json.dumps(OBJECTS, indent=1)),
    "object.json": lambda path: path.write_text(json.dumps({"version": 1, "data": OBJECTS})),
    "marked.txt": lambda path: path.write_text("\n".join("@".join(row) for row in ROWS)),
    "data.parquet": write_parquet,
    "saved": write_saved,
    "data.csv.gz": lambda path: path.write_bytes(gzip.compress(delimited(",").encode())),
    "data.zip": write_zip,
    "bom.csv": lambda path: path.write_text(delimited(","), encoding="utf-8-sig"),
    "utf16.csv": lambda path: path.write_text(delimited(","), encoding="utf-16"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name)
    splits = get(tmp_path / name)
    assert list(splits) == ["train"]
    assert pairs(splits["train"]) == ROWS
    assert splits["train"].column_names == ["id", "text", "label"]
    ids = splits["train"][:]["id"]
    assert len(set(ids)) == len(ids)
    if splits.facts["read"]["files"][0]["format"] in ("text table", "JSON lines", "text, then a label"):
        line = 1 if splits.facts["read"]["files"][0].get("header") is not True else 2
        assert ids[0].endswith(f":{line}"), "a row is named by its line, which an editor shows"
    else:
        assert ids[0].endswith(" row 1"), "no line says where this row stands"
    json.dumps(splits.facts, allow_nan=False)


def test_rows_are_memory_mapped_and_reused_until_the_file_changes(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(delimited(","))
    first = get(path)["train"].cache_files
    assert str(own_cache) in first[0]["filename"]
    assert get(path)["train"].cache_files == first
    path.write_text(delimited(",", rows=ROWS[:6]))
    assert len(get(path)["train"]) == 6
    assert get(path, column=("text=label", "label="))["unlabelled"][0]["text"] == "a"


def test_a_damaged_table_in_the_cache_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(delimited(","))
    stored = Path(get(path)["train"].cache_files[0]["filename"])
    stored.write_bytes(stored.read_bytes()[:200])
    assert pairs(get(path)["train"]) == ROWS


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.csv", "dev.csv", "test.csv"), ["train", "validation", "test"]),
        (("data_train.tsv", "data_val.tsv"), ["train", "validation"]),
        (("train-00000-of-00002.csv", "train-00001-of-00002.csv", "eval.csv"), ["train", "validation"]),
        (("train/part1.csv", "train/part2.csv", "valid/part1.csv"), ["train", "validation"]),
        (("train.csv", "test.csv.gz", "unlabelled.txt"), ["train", "test"]),
        (("a.csv", "b.csv"), ["train"]),
    ],
)
def test_folders_keep_their_splits(names: tuple[str, ...], splits: list[str], tmp_path: Path) -> None:
    for name in names:
        path = tmp_path / "place" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = delimited("\t" if ".tsv" in name else ",")
        path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    found = get(tmp_path / "place")
    assert list(found) == splits
    ids = [row for rows in found.values() for row in rows[:]["id"]]
    assert len(ids) == len(set(ids))


def test_class_folders_of_text_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind in ("pos", "neg", "unsup"):
            folder = tmp_path / "reviews" / split / kind
            folder.mkdir(parents=True)
            for number in range(3):
                (folder / f"{number}.txt").write_text(f"a {kind} review\nof two lines, number {number}")
    splits = get(tmp_path / "reviews")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 6, "test": 6, "unlabelled": 6}
    assert set(splits["train"][:]["label"]) == {"pos", "neg"}
    assert splits["test"][0]["text"] == "a neg review\nof two lines, number 0"


def test_plain_text_is_one_unlabelled_row_a_line(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one.txt").write_text("first line\n\n  \nfourth line\n")
    (tmp_path / "corpus" / "two.txt").write_text("a third text\n")
    (tmp_path / "corpus" / "README.txt").write_text("about it\n")
    splits = get(tmp_path / "corpus")
    assert splits["unlabelled"][:] == {
        "id": ["one.txt:1", "one.txt:4", "two.txt:1"],
        "text": ["first line", "fourth line", "a third text"],
    }
    assert any("README.txt" in note for note in splits.facts["read"]["notes"])
    assert splits.facts["read"]["files"][0]["blank_lines"] == 2


def test_missing_labels_move_to_unlabelled_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\none text,a\ntwo text,\nthree text,nan\nfour text, b \n,a\n")
    splits = get(path)
    assert pairs(splits["train"]) == [("one text", "a"), ("three text", "nan"), ("four text", "b"), ("", "a")]
    assert splits["unlabelled"][:]["id"] == ["data.csv:3"]
    facts = splits.facts["read"]
    assert facts["moved_to_unlabelled"] == {"train": 1}
    assert facts["counts"]["empty_texts"] == 1
    assert facts["counts"]["labels_trimmed"] == 1
    assert any("Read as classes: 'nan' (1 rows)" in note for note in facts["notes"])


def test_a_test_file_without_labels_is_unlabelled(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "train.csv").write_text(delimited(","))
    (tmp_path / "place" / "test.csv").write_text("text\nno label here\n")
    assert {name: len(rows) for name, rows in get(tmp_path / "place").items()} == {"train": 12, "unlabelled": 1}


@pytest.mark.parametrize(
    ("values", "names"), [(("1", "0"), {"1", "0"}), (("1.0", "0.0"), {"1", "0"}), (("1.5", "2.0"), {"1.5", "2"})]
)
def test_numeric_labels_become_words(values: tuple[str, str], names: set[str], tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"some text {i},{values[i % 2]}\n" for i in range(6)))
    assert set(get(path)["train"][:]["label"]) == names


def test_json_values_of_many_types(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [
        {"text": 12, "label": 1},
        {"text": ["two", "parts"], "label": 1.0},
        {"text": "\ud800 x", "label": True},
        {"text": None, "label": "1"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    splits = get(path)
    assert pairs(splits["train"]) == [("12", "1"), ("two\nparts", "1"), ("\ufffd x", "true"), ("", "1")]
    counts = splits.facts["read"]["counts"]
    assert counts["texts_from_numbers"] == 1
    assert counts["texts_from_lists"] == 1
    assert counts["null_texts"] == 1
    assert counts["texts_with_broken_characters"] == 1


def test_a_label_file_beside_the_data_names_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("".join(f"some longer text {i}\t{i % 3}\n" for i in range(30)))
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    splits = get(path)
    assert splits["train"][:3]["label"] == ["red", "green", "blue"]
    assert any("labels.txt" in note for note in splits.facts["read"]["notes"])
    (tmp_path / "labels.txt").write_text("red\ngreen\n")
    splits = get(path)
    assert splits["train"][:3]["label"] == ["0", "1", "2"]
    assert any("not named by labels.txt" in note for note in splits.facts["read"]["notes"])


def test_pairs_ids_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("idx,premise,hypothesis,patient,gold_label\n1,one a,one b,p1,x\n2,two a,two b,,y\n")
    rows = get(path, group="patient")["train"]
    assert rows.column_names == ["id", "text", "text_pair", "label", "group"]
    assert rows[0] == {"id": "1", "text": "one a", "text_pair": "one b", "label": "x", "group": "p1"}
    assert rows[1]["group"] is None


def test_ids_that_restart_in_each_split_get_its_name(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    for name in ("train", "test"):
        (tmp_path / "place" / f"{name}.csv").write_text("id,text,label\n1,a b,x\n2,c d,y\n")
    splits = get(tmp_path / "place")
    assert splits["train"][:]["id"] == ["train:1", "train:2"]
    assert splits["test"][:]["id"] == ["test:1", "test:2"]


def test_a_found_id_column_that_repeats_is_replaced_by_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,text,label\n7,a b,x\n7,c d,y\n")
    splits = get(path)
    assert splits["train"][:]["id"] == ["data.csv:2", "data.csv:3"]
    assert any("repeats 1 ids" in note for note in splits.facts["read"]["notes"])


def test_header_flag_overrides_looking(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(delimited(","))
    rows = get(path, header="no", column=("text=0", "label=1"))["train"]
    assert len(rows) == len(ROWS) + 1
    path.write_text(delimited(",", "", [("odd words here", "kind"), *ROWS]))
    rows = get(path, header="yes", column=("text=odd words here", "label=kind"))["train"]
    assert pairs(rows) == ROWS


@pytest.mark.parametrize(
    ("encoding", "text", "told"),
    [
        ("gb18030", "今天的新闻说中国的经济很好", "gb18030"),
        ("latin-1", "un café très agréable à Zürich", "latin-1"),
        ("cp1252", "he said \u201cit\u2019s fine\u201d and left the café", "cp1252"),
        ("utf-8", "un café 新闻", "utf-8"),
        ("utf-8-sig", "plain words", "utf-8-sig"),
        ("utf-16", "plain words 新闻", "utf-16"),
    ],
)
def test_encodings_are_found_and_told(encoding: str, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + f"{text},a\nonly plain letters here,b\n" * 5, encoding=encoding)
    splits = get(path)
    assert splits["train"][0]["text"] == text
    assert splits.facts["read"]["encoding"] == {"data.csv": told}


def test_quotes_in_tsv_are_plain_text_unless_every_one_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text('text\tlabel\n"open quote here\ta\nplain words "here"\tb\n')
    assert get(path)["train"][:]["text"] == ['"open quote here', 'plain words "here"']
    path.write_text('text\tlabel\n"a ""quoted""\tcell"\ta\nplain words\tb\n')
    assert get(path)["train"][:]["text"] == ['a "quoted"\tcell', "plain words"]


def test_fields_with_line_breaks_and_escaped_quotes(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"two\nlines, ""quoted""",a\n' + "plain words,b\n" * 5)
    assert get(path)["train"][0]["text"] == 'two\nlines, "quoted"'
    path.write_text('text,label\n"a \\"quoted\\" word, here",a\n' + "plain words,b\n" * 5)
    assert get(path)["train"][0]["text"] == 'a "quoted" word, here'


def test_a_json_array_larger_than_the_buffer_is_read_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretune.data.formats.json._BLOCK_CHARACTERS", 64)
    monkeypatch.setattr("pretune.data.formats.json.CHUNK_CHARACTERS", 200)
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"text": text, "label": label, "n": [1, {"x": 2}]} for text, label in ROWS]))
    assert pairs(get(path)["train"]) == ROWS


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    name = b"train-\xff.csv".decode("utf-8", "surrogateescape")
    (tmp_path / "place" / name).write_text(delimited(","))
    assert get(tmp_path / "place")["train"][0]["id"] == "train-?.csv:2"
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "some words", "\ud800": 1}))
    assert len(get(path)["unlabelled"]) == 1


def test_a_damaged_arrow_file_is_refused_not_followed(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "data.arrow"
    table = pa.table({"text": ["one text", "another text"], "label": ["a", "b"]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    whole = path.read_bytes()
    offsets = (0).to_bytes(4, "little") + (8).to_bytes(4, "little") + (20).to_bytes(4, "little")
    path.write_bytes(whole.replace(offsets, offsets[:4] + (2**30).to_bytes(4, "little") + offsets[8:]))
    with pytest.raises(DataError, match=r"data\.arrow cannot be read"):
        get(path)


def test_splits_inside_a_json_document(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"train": OBJECTS, "dev": OBJECTS[:2]}))
    assert {name: len(rows) for name, rows in get(path).items()} == {"train": 12, "validation": 2}


def test_a_missing_hub_id_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="nobody/nothing is no file or folder here"):
        get(Path("nobody/nothing"))


REAL = [
    ("thucnews", {"train": 45_000, "validation": 10_000, "test": 10_000}, 10),
    ("chnsenticorp", {"train": 9_600, "validation": 1_200, "test": 1_200}, 2),
    ("sst2", {"train": 6_920, "validation": 872, "test": 1_821}, 2),
    ("sst5", {"train": 8_544, "validation": 1_101, "test": 2_210}, 5),
    ("mr", {"train": 10_662}, 2),
    ("subj", {"train": 10_000}, 2),
    ("financial_phrasebank/Sentences_AllAgree.txt", {"train": 2_264}, 3),
    ("financial_phrasebank/Sentences_50Agree.txt", {"train": 4_846}, 3),
    ("goemotions", {"train": 43_410, "validation": 5_426, "test": 5_427}, 28),
    ("scibert_tasks/text_classification/chemprot", {"train": 4_169, "validation": 2_427, "test": 3_469}, 13),
    ("scibert_tasks/text_classification/citation_intent", {"train": 1_688, "validation": 114, "test": 139}, 6),
    ("chinese_poetry", {"unlabelled": 12_979}, 0),
    ("wikitext2_valid_test", {"unlabelled": 5_352}, 0),
]


@pytest.mark.parametrize(("name", "rows", "classes"), REAL, ids=[case[0] for case in REAL])
def test_real_data_reads_unaided(name: str, rows: dict[str, int], classes: int, shared_data: Path) -> None:
    splits = get(shared_data / "text" / name)
    assert {split: len(part) for split, part in splits.items()} == rows
    assert len(splits.facts["read"]["labels"]) == classes
