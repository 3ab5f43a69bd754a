"""Rows from what people give: files of each split, several files, patterns, standard input, names whose suffix says nothing."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError
from pretune.verbs.inspect.story import inspect
from pretune.verbs.probe.story import ProbeSettings


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def table(name: str, rows: int = 12, header: str = "text,label") -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        header
        + "\n"
        + "".join(f"words number {i} of {name.replace(',', '')} here,{'ab'[i % 2]}\n" for i in range(rows))
    )
    return name


def get(**given: Any) -> Splits:
    return read(DataSettings(**given))


def sizes(splits: Splits) -> dict[str, int]:
    return {name: len(rows) for name, rows in splits.items()}


def ids(splits: Splits) -> list[str]:
    return [name for rows in splits.values() for name in rows[:]["id"]]


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_files_of_each_split(tmp_path: Path) -> None:
    splits = get(
        train=(table("fold1.csv"), table("fold2.csv")), validation=(table("dev_a.csv", 4),), test=(table("x.csv", 6),)
    )
    assert sizes(splits) == {"train": 24, "validation": 4, "test": 6}
    assert len(set(ids(splits))) == 34
    assert splits["train"][0]["id"] == "fold1.csv:2"


def test_what_was_told_goes_before_the_name() -> None:
    splits = get(train=(table("test_part.csv"),), test=(table("train_part.csv", 4),))
    assert sizes(splits) == {"train": 12, "test": 4}


def test_a_test_file_beside_the_data_and_files_of_one_name() -> None:
    splits = get(data=table("a/data.csv"), test=(table("b/data.csv", 4),))
    assert sizes(splits) == {"train": 12, "test": 4}
    assert len(set(ids(splits))) == 16
    made = load_splits(DataSettings(data="a/data.csv", test=("b/data.csv",)))
    assert made.facts["split"]["made"] == ["validation"]


def test_folders_of_a_split() -> None:
    for i in range(6):
        for kind in ("good", "bad"):
            Path(f"mine/{kind}").mkdir(parents=True, exist_ok=True)
            Path(f"mine/{kind}/{i}.txt").write_text(f"a {kind} text number {i}")
    splits = get(train=("mine",), test=(table("held.csv", 0) and _labels("held.csv"),))
    assert sizes(splits) == {"train": 12, "test": 4}
    assert set(splits["train"][:]["label"]) == {"good", "bad"}


def _labels(name: str) -> str:
    Path(name).write_text("text,label\n" + "".join(f"held text {i},{('good', 'bad')[i % 2]}\n" for i in range(4)))
    return name


def test_splits_inside_a_told_split_are_refused() -> None:
    table("place/train.csv")
    table("place/test.csv")
    with pytest.raises(DataError, match="--train place holds splits of its own: test, train") as caught:
        get(train=("place",))
    assert "--data" in caught.value.fix
    Path("mixed.csv").write_text(
        "text,label,split\n" + "".join(f"words {i},a,{('train', 'test')[i % 2]}\n" for i in range(6))
    )
    with pytest.raises(
        DataError, match=r"mixed\.csv was given as --train, and its column split says test of some rows"
    ):
        get(train=("mixed.csv",))
    assert sizes(get(train=("mixed.csv",), column=("split=", "text=text", "label=label"))) == {"train": 6}


def test_patterns_are_read_as_a_folder_is() -> None:
    for name in ("news.train.csv", "news.test.csv", "other.csv"):
        table(f"all/{name}")
    assert sizes(get(data="all/news.*.csv")) == {"train": 12, "test": 12}
    assert sizes(get(data="all/*.train.csv")) == {"train": 12}
    assert sizes(get(train=("all/n*.csv",))) == {"train": 24}
    assert sizes(get(data=str(Path("**/other.csv")))) == {"train": 12}
    assert sizes(get(data=table("odd[1].csv"))) == {"train": 12}, "a file of this name goes before the pattern"


def test_a_pattern_or_file_that_is_not_there() -> None:
    table("all/news.csv")
    with pytest.raises(DataError, match=r"no file matches 'all/\*\.tsv'") as caught:
        get(data="all/*.tsv")
    assert "news.csv" in caught.value.fix
    with pytest.raises(DataError, match="does not exist"):
        get(train=("all/news.csv",), test=("all/test.csv",))
    with pytest.raises(UsageError, match="--data is missing"):
        get()
    with pytest.raises(UsageError, match="--train is missing"):
        get(test=("all/news.csv",))
    Path("pairs.csv").write_text("text,text_pair,label\nwords here,there,a\nmore words,again,b\n")
    with pytest.raises(DataError, match=r"holds pairs of texts and all/news\.csv single texts"):
        get(train=("all/news.csv", "pairs.csv"))


def test_rows_are_read_again_when_a_file_of_several_changes() -> None:
    table("a.csv")
    table("b.csv")
    assert sizes(get(train=("a.csv", "b.csv"))) == {"train": 24}
    table("b.csv", 20)
    os.utime("b.csv", ns=(1, 1))
    assert sizes(get(train=("a.csv", "b.csv"))) == {"train": 32}


def test_inspect_takes_several_files_and_says_how_to_go_on() -> None:
    outcome = inspect(table("news.train.csv"), table("news.test.csv"), clean=("html",))
    assert "train: 10 rows" in outcome.text or "train: 11 rows" in outcome.text
    assert (
        "Next: pretune finetune linear:tfidf --train news.train.csv --test news.test.csv --clean html" in outcome.text
    )
    told = inspect(
        train=["news.train.csv"], test=["news.test.csv"], column=["text=text", "label=label"], drop_leaks=True
    )
    after = told.text.splitlines()[-1]
    assert "--train news.train.csv --test news.test.csv --column text=text --column label=label --drop-leaks" in after
    one = inspect("news.train.csv", label_type="class")
    assert one.text.splitlines()[-1].endswith("--data news.train.csv --label-type class")


def test_inspect_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"text,label\n" + b"".join(b"some words %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(30))
    piped(monkeypatch, rows)
    outcome = inspect("-")
    assert outcome.text.startswith("standard input: 30 rows")
    assert outcome.text.splitlines()[-1].endswith("--data FILE")
    piped(monkeypatch, b'{"text": "one two", "label": "x"}\n{"text": "three four", "label": "y"}\n')
    assert inspect("-").facts["rows"] == 2


def test_standard_input_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"")
    with pytest.raises(DataError, match="standard input holds no rows"):
        inspect("-")
    piped(monkeypatch, b"text,label\none,two,three\n")
    with pytest.raises(DataError, match="standard input:2 has 3 columns"):
        inspect("-", format="table")
    with pytest.raises(UsageError, match="rows are needed again later"):
        load_splits(ProbeSettings(backbone="scratch:bert-tiny", data="-"))
    with pytest.raises(UsageError, match="stands beside other files"):
        inspect("-", table("a.csv"))


def test_suffixes_that_say_nothing_are_looked_into() -> None:
    lines = "".join(f"__label__{'ab'[i % 2]} words number {i}\n" for i in range(20))
    for name in ("cooking.train", "cooking.valid", "README"):
        Path("place").mkdir(exist_ok=True)
        Path("place", name).write_text(lines if name != "README" else "about it\n")
    splits = get(data="place")
    assert sizes(splits) == {"train": 20, "validation": 20}
    assert splits["train"][0]["id"] == "cooking.train:1"
    Path("trec").mkdir()
    for split in ("train", "test"):
        Path(f"trec/TREC.{split}.all").write_text(
            "".join(f"{('NUM', 'LOC')[i % 2]} what is number {i} ?\n" for i in range(30))
        )
    with pytest.raises(DataError, match="begin with one of 2 words"):
        get(data="trec")
    assert sizes(get(data="trec", format="label-first")) == {"train": 30, "test": 30}


def test_class_folders_of_files_without_a_suffix() -> None:
    for kind in ("sci.med", "rec.autos"):
        Path(f"news/{kind}").mkdir(parents=True)
        for i in range(5):
            Path(f"news/{kind}/{51000 + i}").write_text(f"From: someone\n\nabout {kind} number {i}")
    splits = get(data="news")
    assert sizes(splits) == {"train": 10}
    assert set(splits["train"][:]["label"]) == {"sci.med", "rec.autos"}


def test_programs_and_binaries_are_no_rows() -> None:
    Path("code").mkdir()
    for name, content in {"a.py": b"print(1)\n", "notes.md": b"# notes\n", "blob": bytes(range(256)), "Makefile": b"all:\n", "empty": b""}.items():  # fmt: skip
        Path("code", name).write_bytes(content)
    with pytest.raises(DataError, match="holds no table, text"):
        get(data="code")
    table("code/rows.csv")
    splits = get(data="code")
    assert sizes(splits) == {"train": 12}
    assert "blob" in " ".join(splits.facts["read"]["notes"])


def test_a_file_that_was_named_is_read_whatever_its_suffix() -> None:
    table("a.csv")
    Path("b.log").write_text("text,label\n" + "".join(f"more words {i},a\n" for i in range(5)))
    assert sizes(get(train=("a.csv", "b.log"))) == {"train": 17}


def test_a_recipe_sees_that_a_file_of_a_pattern_changed(tmp_path: Path) -> None:
    from pretune.study.recipe import read_recipe

    table("part1.csv")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "out: out\nsteps:\n  news: {verb: finetune, backbone: scratch:bert-tiny, train: ['part*.csv'], test: part1.csv}\n"
    )
    before = read_recipe(recipe).keys()
    assert read_recipe(recipe).keys() == before
    table("part2.csv")
    assert read_recipe(recipe).keys() != before


def test_files_that_say_what_others_mean_are_no_rows() -> None:
    Path("atis/train").mkdir(parents=True)
    Path("atis/train/label").write_text("flight\nairfare\n" * 20)
    Path("atis/train/seq.in").write_text("show me flights\n" * 20)
    with pytest.raises(DataError, match="holds no table, text"):
        get(data="atis")
    Path("ner").mkdir()
    tokens = "EU NNP I-ORG\nrejects VBZ O\nGerman JJ I-MISC\n\n" * 8
    Path("ner/eng.train").write_text(tokens)
    Path("ner/SOURCE.txt").write_text("about it\n")
    assert get(data="ner")["train"]["text"][0] == "EU rejects German", "words and tags in columns are rows of tags"
    assert len(get(data="ner/eng.train", format="lines")["unlabelled"]) == 24
