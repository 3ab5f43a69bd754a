"""``pretune drift`` through the command line: the same source is quiet, another topic is found, and the exit code says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, call, done, refuses
from task_worlds import lines

from pretune.runfolder import RunFolder

pytestmark = pytest.mark.slow

WORDS = [
    "bank",
    "rate",
    "market",
    "team",
    "match",
    "ball",
    "probe",
    "moon",
    "star",
    "river",
    "stone",
    "light",
    "green",
    "quiet",
    "early",
    "late",
]
FEW = ("--permutations", "99", "--resamples", "200", *QUICK)


def rows(folder: Path, name: str, count: int, seed: int, *, extra: str = "", money: float = 0.5) -> Path:
    """Texts of random words, of which one tells the class; ``extra`` stands in each."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        label = "money" if rng.random() < money else "sport"
        words = [*rng.choice(WORDS, 9), *(["bank"] * 3 if label == "money" else ["team"] * 3)]
        made.append({"text": f"{' '.join(rng.permutation(words))} {extra}".strip(), "label": label})
    return lines(folder / f"{name}.jsonl", made)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    data = rows(folder, "old", 500, 0)
    done("finetune", "linear:tfidf", "--data", data, *QUICK, "--validation-fraction", "0.3", "--out", folder / "run")
    return folder / "run"


def test_the_same_source_is_quiet_and_leaves_the_test_split_alone(run: Path, tmp_path: Path) -> None:
    facts = done("drift", run, rows(tmp_path, "more", 150, 1), *FEW, "--strict", "--json").facts
    assert not facts["drift"]
    assert facts["split"] == "validation"
    assert facts["expected_accuracy"]["new"]["low"] <= facts["expected_accuracy"]["reference"]["value"]
    assert (run / "drift.html").exists()
    assert not RunFolder(run).has("looks.jsonl") or not [one for one in RunFolder(run).read_lines("looks.jsonl") if one["what"] == "drift"]  # fmt: skip


def test_another_source_is_found_and_shown(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = call("drift", run, rows(tmp_path, "new", 150, 2, extra="<b>advert</b>"), *FEW, "--strict", "--out", page)
    assert said.code == 1
    assert "drift was found" in said.out
    assert "words typical of the new rows: advert" in said.out
    assert "&lt;b&gt;advert" in page.read_text(encoding="utf-8")
    assert call("drift", run, tmp_path / "new.jsonl", *FEW, "--out", page).code == 0


def test_shares_of_classes_are_estimated(run: Path, tmp_path: Path) -> None:
    facts = done("drift", run, rows(tmp_path, "new", 200, 3, money=0.9), *FEW, "--json").facts
    assert facts["drift"]
    money = facts["label_shift"]["estimated"]["money"]
    assert money["low"] <= 0.9 <= money["high"] + 0.05
    assert facts["answers"]["p"] < 0.01


def test_the_test_split_is_looked_at_where_it_is_asked_for(run: Path, tmp_path: Path) -> None:
    done("drift", run, rows(tmp_path, "more", 60, 4), *FEW, "--split", "test", "--out", tmp_path / "page.html")
    assert RunFolder(run).read_lines("looks.jsonl")


def test_what_cannot_be_tested_is_refused(run: Path, tmp_path: Path) -> None:
    refuses("5 rows can be looked at", "drift", run, rows(tmp_path, "few", 5, 5), *FEW)
    refuses("--max-rows is 9", "drift", run, rows(tmp_path, "more", 60, 6), "--max-rows", "9", *FEW)
    refuses("does not exist|is not there", "drift", run, tmp_path / "gone.csv", *FEW)
    refuses("is a folder", "drift", run, rows(tmp_path, "more", 60, 6), "--out", tmp_path, *FEW)
