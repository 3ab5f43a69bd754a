"""``pretune selftrain``: rows without labels, looked at before they are learned from; kept only where they help; stopped and gone on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, call, done, refused
from told_story import act_after, weights

from conftest import make_rows
from pretune.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``few`` learned from labelled rows, ``poor`` from hardly any; ``many.jsonl`` without labels."""
    folder = tmp_path_factory.mktemp("selftrain")
    rows = make_rows(260)
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:160]), encoding="utf-8")
    bare = ({"id": row["id"], "text": row["text"]} for row in rows[160:])
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare), encoding="utf-8")
    data = ("--data", folder / "few.jsonl", "--learning-rate", "0.001")
    done("finetune", *TINY, *data, "--max-steps", "40", "--out", folder / "few")
    done("finetune", *TINY, *data, "--max-steps", "1", "--out", folder / "poor")
    return folder


def words(place: Path, run: str, out: str, *more: object) -> tuple[object, ...]:
    return ("selftrain", place / run, "--unlabelled", place / "many.jsonl", *QUICK, *more, "--out", place / out)


@pytest.mark.parametrize("method", ["fixmatch", "pseudo-labels", "mean-teacher"])
def test_it_learns_and_says_what_that_was_worth(method: str, place: Path) -> None:
    few = ("--method", method, "--threshold", "0.6", "--max-steps", "6", "--json")
    facts = done(*words(place, "few", method, *few)).facts
    told = facts["selftraining"]
    assert told["tried"] is True
    assert told["right"] >= 0.8 * told["accepted"]
    assert told["kept"] in ("own", "parent")
    difference = told["comparison"]["primary"]["difference"]
    assert (told["kept"] == "own") == (difference > 0)
    log = [json.loads(line) for line in (place / method / "log.jsonl").read_text().splitlines()]
    steps = [line for line in log if line["kind"] == "step"]
    assert all(0 <= line["parts"]["accepted"] <= 1 for line in steps), (
        "the share of rows without labels that was learned from"
    )
    done("evaluate", place / method, *QUICK)
    done("report", place / method)


def test_doubtful_answers_are_not_learned_from(place: Path) -> None:
    facts = done(*words(place, "poor", "none", "--threshold", "0.99", "--method", "pseudo-labels", "--json")).facts
    assert facts["selftraining"]["tried"] is False
    assert facts["selftraining"]["kept"] == "parent"
    mine, parents = weights(place / "none"), weights(place / "poor")
    assert all((mine[name] == parents[name]).all() for name in parents)
    assert read_json(place / "none" / "run.json")["status"] == "finished"
    assert (
        "not shown to help"
        in done(*words(place, "poor", "none", "--threshold", "0.99", "--method", "pseudo-labels")).out
    )


def test_a_stopped_run_ends_in_the_bits_of_the_straight_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("--threshold", "0.6", "--max-steps", "6", "--save-every", "2", "--learning-rate", "0.001")
    done(*words(place, "few", "straight", *few))
    act_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert call(*words(place, "few", "stopped", *few)).code == 143
    done(*words(place, "few", "stopped", *few))
    straight, stopped = weights(place / "straight"), weights(place / "stopped")
    assert all((straight[name] == stopped[name]).all() for name in straight)


def test_what_it_does_not_take(place: Path, tmp_path: Path) -> None:
    refused(call("selftrain", place / "few", *QUICK, "--out", tmp_path / "no"), "no rows without labels")
    (tmp_path / "many.csv").write_text("question\nwhat\n", encoding="utf-8")
    refused(call("selftrain", place / "nothing", "--unlabelled", place / "many.jsonl"), "does not exist")
    refused(call(*words(place, "few", "no", "--threshold", "0.2")), "--threshold")
