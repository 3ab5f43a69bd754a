"""Questions with answers in a passage: SQuAD's own JSON, tables of the hub's form and others, places that are wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pretune.answers import AnswerSpan
from pretune.answers.span import Reference
from pretune.config import CleanSettings, DataSettings
from pretune.data.cells.spans import SpanReader
from pretune.data.changes.clean import clean
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError

PASSAGE = "Ann Lee went to Oslo in 1998. Later she lived in Rome."


def squad(*articles: dict[str, Any]) -> str:
    return json.dumps({"version": "v2.0", "data": list(articles)}, ensure_ascii=False)


def article(title: str | None, passage: str, *questions: tuple[str, Any]) -> dict[str, Any]:
    qas = []
    for number, (question, answers) in enumerate(questions):
        own = {"id": f"{title}-{number}-{len(passage)}", "question": question, "is_impossible": answers == []}
        qas.append(own if answers is None else {**own, "answers": answers})
    return {**({} if title is None else {"title": title}), "paragraphs": [{"context": passage, "qas": qas}]}


def at(text: str, start: int) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


def written(place: Path, text: str) -> Splits:
    place.write_text(text, encoding="utf-8")
    return read(DataSettings(data=str(place)))


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


def test_squad_gives_a_row_a_question(tmp_path: Path) -> None:
    given = squad(
        article("Ann", PASSAGE, ("Who went?", [at("Ann Lee", 0)]), ("Where?", [at("Oslo", 16), at("Rome", 49)]), ("Why?", [])),
        article("Bob", "Bob stayed.", ("Who stayed?", [at("Bob", 0)]), ("Unknown?", None)),
    )  # fmt: skip
    found = written(tmp_path / "own.json", given)
    train = found["train"]
    assert train["text"] == ["Who went?", "Where?", "Why?", "Who stayed?"]
    assert train["text_pair"] == [PASSAGE] * 3 + ["Bob stayed."]
    assert train["group"] == ["Ann"] * 3 + ["Bob"]
    assert train["span"][1] == [{"text": "Oslo", "start": 16}, {"text": "Rome", "start": 49}]
    assert train["span"][2] == []
    assert found["unlabelled"]["text"] == ["Unknown?"], "a question without a word on its answer is kept apart"
    assert "1 question has no answer in its passage" in notes(found)
    assert train["id"][0] == "Ann-0-54"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "json"])
def test_the_form_of_the_hub_in_every_format(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "1", "title": "Ann", "context": PASSAGE, "question": "Who?", "answers": {"text": ["Ann Lee", "Ann"], "answer_start": [0, 0]}},
        {"id": "2", "title": "Ann", "context": PASSAGE, "question": "Why?", "answers": {"text": [], "answer_start": []}},
    ]  # fmt: skip
    place = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), place)
    elif suffix == "csv":
        with open(place, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)  # pandas and csv write a mapping as Python does
    else:
        lines = "\n".join(json.dumps(row) for row in rows) if suffix == "jsonl" else json.dumps(rows)
        place.write_text(lines, encoding="utf-8")
    train = read(DataSettings(data=str(place)))["train"]
    assert train["span"] == [[{"text": "Ann Lee", "start": 0}, {"text": "Ann", "start": 0}], []]
    assert train["group"] == ["Ann", "Ann"]
    assert train["id"] == ["1", "2"]


def test_an_answer_in_two_columns_and_one_without_a_place(tmp_path: Path) -> None:
    lines = f"question,context,answer_text,answer_start\nWhere?,{PASSAGE},Oslo,16\nNone?,{PASSAGE},,-1\n"
    assert written(tmp_path / "two.csv", lines)["train"]["span"] == [[{"text": "Oslo", "start": 16}], []]
    place = tmp_path / "alone.csv"
    place.write_text(f"question,passage,gold\nWho?,{PASSAGE},Ann Lee\nWho?,{PASSAGE},nobody\n", encoding="utf-8")
    found = read(DataSettings(data=str(place), column=("answers=gold", "context=passage")))
    assert found["train"]["span"] == [[{"text": "Ann Lee", "start": 0}], [{"text": "nobody", "start": -1}]]
    assert "does not stand in its passage" in notes(found)


def test_pandas_arrays_are_read() -> None:
    cell = "{'text': array(['Oslo'], dtype=object), 'answer_start': array([16], dtype=int32)}"
    assert AnswerSpan.read(cell, "row 1") == AnswerSpan((Reference("Oslo", 16),))


@pytest.mark.parametrize("cell", [{"text": ["a", "b"], "answer_start": [1]}, {"text": 3}, 7, [1], {"text": ["a"], "answer_start": [True]}])  # fmt: skip
def test_what_is_no_answer_is_refused_by_row(cell: Any) -> None:
    with pytest.raises(DataError, match=r"row 7 has .* where answers in the passage are needed"):
        AnswerSpan.read(cell, "row 7")


EMOJI = "🙂 Zoë läuft 🙂 nach Köln."


@pytest.mark.parametrize(
    ("passage", "told", "start", "count"),
    [
        (PASSAGE, at("Oslo", 16), 16, ""),
        (PASSAGE, at("Oslo", 12), 16, "answers_moved"),
        (PASSAGE, at(" Oslo ", 15), 16, ""),
        (EMOJI, at("Köln", len(EMOJI[: EMOJI.index("Köln")].encode())), EMOJI.index("Köln"), "answers_placed_in_bytes"),
        (EMOJI, at("Köln", len(EMOJI[: EMOJI.index("Köln")].encode("utf-16-le")) // 2), EMOJI.index("Köln"), "answers_placed_in_utf16"),
        ("one\r\ntwo three", at("two", 4), 5, "answers_moved"),
        ("one  two", at("one two", 0), 0, "answers_moved"),
        ("a b a b", at("a", 3), 4, "answers_moved"),
        ("שלום לכל העולם", at("לכל", 5), 5, ""),
        ("x \ufffd y", at("\ud800 y", 2), 2, ""),
        (PASSAGE, at("Paris", 16), -1, "answers_not_found"),
        ("", at("Paris", 16), -1, "answers_not_found"),
    ],
)  # fmt: skip
def test_where_an_answer_stands(passage: str, told: dict[str, Any], start: int, count: str) -> None:
    from collections import Counter

    counts: Counter[str] = Counter()
    found = SpanReader(counts)([told], passage, "row 1")
    assert found is not None
    assert found[0]["start"] == start
    assert start < 0 or passage.startswith(found[0]["text"], start)
    assert {name for name, times in counts.items() if times} - {"questions_not_found"} == ({count} if count else set())


def test_no_passage_stands_on_two_sides(tmp_path: Path) -> None:
    lines = [
        json.dumps({"question": f"q{row}?", "context": f"Passage {row // 4} is here.", "answers": {"text": ["is"], "answer_start": [10 + (row // 4 > 9)]}})
        for row in range(120)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = load_splits(DataSettings(data=str(tmp_path / "rows.jsonl")))
    sides = [set(found[name]["text_pair"]) for name in ("train", "validation", "test")]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": [{"title": "x", "paragraphs": [{"context": "c", "qas": []}, {"qas": []}]}]}, "paragraph 2 of article 1 has no context"),
        ({"data": [{"title": "x", "paragraphs": [{"context": "c", "qas": [{"question": 3}]}]}]}, "a question of article 1, paragraph 1, has no text"),
        ({"data": [{"title": "x", "paragraphs": [{"context": "c", "qas": []}]}, {"title": "y"}]}, "article 2 has no list of paragraphs"),
    ],
)  # fmt: skip
def test_broken_squad_is_named(tmp_path: Path, given: Any, said: str) -> None:
    place = tmp_path / "own.json"
    place.write_text(json.dumps(given), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read(DataSettings(data=str(place)))


def test_a_passage_that_is_not_named_and_texts_that_would_be_cleaned(tmp_path: Path) -> None:
    place = tmp_path / "rows.jsonl"
    place.write_text(
        json.dumps({"question": "q?", "where": "is here", "answers": {"text": ["is"], "answer_start": [0]}})
    )
    with pytest.raises(DataError, match="no column of them was found to be the context"):
        read(DataSettings(data=str(place)))
    found = written(tmp_path / "own.json", squad(article("Ann", PASSAGE, ("Who?", [at("Ann", 0)]))))
    assert len(found["train"]) == 1
    with pytest.raises(UsageError, match="stand at their places in the passage"):
        clean(found, CleanSettings(clean=("html",)))
