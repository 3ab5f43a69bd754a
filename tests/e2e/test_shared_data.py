"""Real text sets as they are published: found unaided, and a few updates on each. Skipped where the folder is absent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli_calls import QUICK, call, done

from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.shared_data]


class Set(NamedTuple):
    """What is known of a data set from its publication. ``splits`` None: pretune makes them."""

    place: str
    rows: int
    labels: tuple[str, ...]
    encoding: str
    columns: dict[str, str]
    splits: dict[str, int] | None = None
    made: tuple[str, ...] = ()


TWO, PLAIN = ("negative", "positive"), {"text": "text", "label": "label"}
THREE = ("negative", "neutral", "positive")
FIVE = ("negative", "neutral", "positive", "very negative", "very positive")
TOPICS = (
    "education", "entertainment", "finance", "game", "politics", "realty", "science", "society", "sports", "stocks",
)  # fmt: skip
BANK = {"text": "0", "label": "1"}

SETS = [
    Set("mr", 10_662, TWO, "utf-8", PLAIN, made=("validation", "test")),
    Set("subj", 10_000, ("objective", "subjective"), "utf-8", PLAIN, made=("validation", "test")),
    Set("sst2", 9_613, TWO, "utf-8", PLAIN, {"train": 6_920, "validation": 872, "test": 1_821}),
    Set("sst5", 11_855, FIVE, "utf-8", PLAIN, {"train": 8_544, "validation": 1_101, "test": 2_210}),
    Set(
        "chnsenticorp", 12_000, ("0", "1"), "utf-8", {"text": "text_a", "label": "label"},
        {"train": 9_600, "validation": 1_200, "test": 1_200},
    ),
    Set("thucnews", 65_000, TOPICS, "utf-8", PLAIN, {"train": 45_000, "validation": 10_000, "test": 10_000}),
    Set("financial_phrasebank/Sentences_50Agree.txt", 4_846, THREE, "utf-8", BANK, made=("validation", "test")),
    Set("financial_phrasebank/Sentences_66Agree.txt", 4_217, THREE, "latin-1", BANK, made=("validation", "test")),
    Set("financial_phrasebank/Sentences_75Agree.txt", 3_453, THREE, "latin-1", BANK, made=("validation", "test")),
    Set("financial_phrasebank/Sentences_AllAgree.txt", 2_264, THREE, "latin-1", BANK, made=("validation", "test")),
]  # fmt: skip


@pytest.mark.parametrize("one", SETS, ids=[one.place for one in SETS])
def test_found_unaided(one: Set, shared_data: Path) -> None:
    facts = done("inspect", shared_data / "text" / one.place, "--no-near-duplicates", "--json").facts
    check(one, facts)


def check(one: Set, facts: dict[str, Any]) -> None:
    assert facts["rows"] == one.rows, "no row is lost"
    files = facts["facts"]["read"]["files"]
    assert {file["encoding"] for file in files} == {one.encoding}
    assert all(file["columns"] == one.columns for file in files)
    assert tuple(facts["facts"]["split"]["made"]) == one.made
    rows = {name: split["rows"] for name, split in facts["splits"].items()}
    assert set(rows) == {"train", "validation", "test"}
    assert one.splits is None or rows == one.splits
    for name, split in facts["splits"].items():
        assert tuple(sorted(split["labels"]["counts"])) == one.labels, name
        assert split["labels"]["unlabelled_rows"] == 0
    if one.splits is None:
        assert 0.08 < rows["test"] / one.rows < 0.12
        assert 0.08 < rows["validation"] / one.rows < 0.12


@pytest.mark.parametrize("one", SETS, ids=[one.place for one in SETS])
def test_a_few_updates(one: Set, shared_data: Path, tmp_path: Path) -> None:
    done(
        "finetune", "scratch:bert-tiny", "--data", shared_data / "text" / one.place, "--out", tmp_path / "run",
        "--max-steps", "3", "--max-length", "64", *QUICK,
    )  # fmt: skip
    run = RunFolder(tmp_path / "run")
    assert tuple(sorted(run.record["model"]["labels"])) == one.labels
    assert run.record["training"]["steps"] == 3
    unknown = {name: split["unknown_tokens"] / split["tokens"] for name, split in run.passport["tokens"].items()}
    assert max(unknown.values()) < 0.02, "the tokenizer fits the script"
    check(one, run.passport)


def test_the_faults_of_thucnews_are_found_exactly(shared_data: Path) -> None:
    said = call("inspect", shared_data / "text" / "thucnews", "--no-near-duplicates", "--strict")
    assert said.code == 1
    assert re.search(r"warning +48 rows of validation .*also stand in train", said.out)
    assert re.search(r"warning +46 rows of test .*also stand in train", said.out)
    assert re.search(r"102 rows of train repeat an earlier row \(101 exactly, 1 apart from case", said.out)
    assert re.search(r"6 texts stand with more than one label", said.out)
