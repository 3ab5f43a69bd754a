"""The passport of numbers and tags: figures, findings, the lines of inspect, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretune.interface.outcome import Outcome
from pretune.verbs.inspect.story import inspect


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def looked(rows: list[dict[str, Any]], **settings: Any) -> tuple[Outcome, str]:
    """What inspect says of rows, and its page."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = inspect("rows.jsonl", out="page", **settings)
    return outcome, Path("page/passport.html").read_text(encoding="utf-8")


def tagged(count: int = 60) -> list[dict[str, Any]]:
    kinds = ("PER", "<b>LOC</b>")
    return [{"tokens": [f"w{i}", "of", f"n{i}"], "tags": [f"B-{kinds[i % 2]}", "O", "O"]} for i in range(count)]


def test_tags_are_counted_by_entity_and_drawn() -> None:
    outcome, page = looked(tagged())
    figures = outcome.facts["splits"]["train"]["answers"]["tags"]
    assert sum(figures["entities"].values()) == figures["rows"] > 40
    assert "entities of 2 types:" in outcome.text
    assert "pretune finetune" in outcome.text
    assert "Entities of each type in train" in page
    assert "&lt;b&gt;LOC&lt;/b&gt;" in page
    assert "<b>LOC" not in page, "names from the data are text"


def test_numbers_are_told_and_drawn() -> None:
    rows = [{"text": f"some words {i}", "price": i / 7} for i in range(80)]
    outcome, page = looked([*rows, {"text": "other words", "price": 99999.0}], column=("value=price",))
    assert "; numbers from 0 to " in outcome.text
    assert "Numbers in train" in page
    assert "number of a row" in page
    codes = {one["code"] for one in outcome.facts["findings"]}
    assert codes & {"far-numbers", "beyond-numbers"}, "the odd number is found in whatever split it stands"


def test_pairs_of_rows_tell_their_numbers() -> None:
    rows = [{"text": f"some words {i}", "price": i / 7} for i in range(40)]
    _, page = looked([*rows, rows[3] | {"price": 1.25}], column=("value=price",))
    assert "number 1.25" in page


def test_equal_texts_with_different_tags_contradict_each_other() -> None:
    rows = tagged()
    outcome, _ = looked([*rows, {"tokens": rows[0]["tokens"], "tags": ["O", "O", "O"]}])
    assert "1 text stands with different tags (2 rows)" in outcome.text


def test_cleaning_is_not_advised_where_it_is_refused() -> None:
    rows = [*tagged(), {"tokens": ["mail", "jane.roe@example.org"], "tags": ["O", "O"]}]
    outcome, _ = looked(rows)
    (found,) = [one for one in outcome.facts["findings"] if "e-mail" in one["message"]]
    assert found["fix"].startswith("mend the words in the file")
