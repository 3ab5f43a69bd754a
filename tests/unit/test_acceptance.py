"""Published figures: pages, results and chapters agree; a chapter runs, is not run twice, and its figures are read off what was printed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from acceptance import check, digit_strings, digits, heard_words, personal_data, running
from acceptance.chapters import Chapter, ChapterError, Claim, Step, read_chapter
from acceptance.commands import problem_of, seed_of
from acceptance.lookup import NotThere, look_up
from acceptance.places import ROOT
from acceptance.render import Measured
from acceptance.running import measure, missing_data
from acceptance.units import UNITS, reaches
from tests.conftest import make_rows


def test_what_is_published_agrees() -> None:
    assert check.problems() == []


FOUND = {"scores": {"accuracy": {"value": 0.9}}, "variants": [{"name": "a.b", "ms": 2}, {"name": "c", "ms": 3}]}


def test_a_field_is_found_by_its_path() -> None:
    assert look_up(FOUND, "scores.accuracy.value") == 0.9
    assert look_up(FOUND, "variants[name=a.b].ms") == 2
    assert look_up(FOUND, "variants.1.ms") == 3
    assert look_up(FOUND, "variants.#") == 2
    with pytest.raises(NotThere, match=r"no 'f1' in accuracy"):
        look_up(FOUND, "scores.f1")
    with pytest.raises(NotThere, match="0 elements"):
        look_up(FOUND, "variants[name=d].ms")


def test_figures_are_written_in_their_units() -> None:
    accuracy = {"value": 0.90044, "low": 0.8947, "high": 0.9064}
    assert UNITS["share"].text(accuracy) == "90.04 % [89.47, 90.64]"
    gain = {"value": -0.0123, "low": -0.023, "high": -0.002, "p": 0.00001}
    assert UNITS["points"].text(gain) == "-1.2 points [-2.3, -0.2], p < 0.0001"
    assert UNITS["of"].text({"value": 99, "n": 1000}) == "99 of 1,000"


def test_what_is_asked_is_held_against_the_figure_as_it_is_shown() -> None:
    assert reaches("at least 90", "share", {"value": 0.899963})
    assert not reaches("at least 90", "share", {"value": 0.8999})
    assert reaches("at most 5", "share", {"value": 0.0467})
    assert not reaches("all", "of", {"value": 99, "n": 100})
    assert reaches("exactly 48", "count", {"value": 48})


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("pretune finetune scratch:bert-tiny --data x.csv --epochs 3 --out runs/x", None),
        ("pretune finetune scratch:bert-tiny --data x.csv --epoks 3", "epoks"),
        ("pretune finetune scratch:bert-tiny --data x.csv --epochs -3", "epochs"),
        ("pretune paint x.csv", "no verb 'paint'"),
        ("python -m benchmarks fine-tune", None),
        ("python -m nothing", "no module nothing"),
        ("rm -r runs", "neither pretune nor python"),
    ],
)
def test_commands_are_read_by_the_real_command_line(command: str, problem: str | None) -> None:
    found = problem_of(command)
    assert found is None if problem is None else problem in (found or "")


def test_the_seed_is_that_of_the_commands() -> None:
    learned = "pretune finetune scratch:bert-tiny --data x.csv --seed 3 --out a"
    assert seed_of([learned, "pretune evaluate a"]) == 3
    assert seed_of(["pretune inspect x.csv --splits none"]) in (None, 0)


PROGRAM = """import json, pathlib, sys
print("counting")
print(json.dumps({"rows": len(pathlib.Path(sys.argv[1]).read_text().splitlines()) - 1}))
"""


def chapter(**changes: Any) -> Chapter:
    """A chapter whose program counts its rows."""
    step = Step("look", "python count.py rows.csv")
    claims = (
        Claim("rows", unit="count", value="look rows", asked="exactly 12"),
        Claim("doubled", unit="times", value="look rows", over="look rows"),
        Claim("by hand", unit="count"),
    )
    rows = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in make_rows(12))
    files = {"rows.csv": rows, "count.py": PROGRAM}
    told = {"steps": (step,), "claims": claims, "files": files, **changes}
    return Chapter(name="test", title="A test", about="Rows.", minutes=0.1, **told)


MACHINE = {
    "processor": {"name": "Abacus"},
    "cores": 2,
    "accelerators": [],
    "versions": {"torch": "2", "transformers": "5"},
}


@pytest.fixture
def no_results(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    before: list[dict[str, Any]] = [{"name": "by hand", "value": 7, "unit": "count"}]
    monkeypatch.setattr(running, "read_result", lambda _: {"claims": before})
    monkeypatch.setattr(running, "machine_here", lambda: MACHINE)
    return before


def test_a_chapter_runs_once_and_says_what_it_was_measured_on(tmp_path: Path, no_results: list[dict[str, Any]]) -> None:
    told: list[str] = []
    first, failed = measure(chapter(), tmp_path, told.append)
    assert failed == []
    rows, doubled, by_hand = first["claims"]
    assert (rows["value"], doubled["value"]) == (12, 1)
    assert by_hand == no_results[0]
    assert {"commit", "date", "commands"} <= rows.keys()
    assert rows["machine"] == "Abacus, 2 cores, no GPU; torch 2, transformers 5"
    assert rows["commands"] == ["python count.py rows.csv"]
    told.clear()
    assert measure(chapter(), tmp_path, told.append)[0]["claims"] == first["claims"]
    assert told == ["  look: was run before"]
    other = chapter(steps=(Step("look", "python count.py ./rows.csv"),))
    assert "another command" in measure(other, tmp_path, told.append)[1][0]


@pytest.mark.usefixtures("no_results")
def test_what_fails_is_named_and_loses_no_other_figure(tmp_path: Path) -> None:
    steps = (*chapter().steps, Step("lost", "python count.py nothing.csv"), Step("never", "python count.py rows.csv"))
    claims = (
        Claim("rows", unit="count", value="look rows"),
        Claim("score", value="look score"),
        Claim("of lost", value="lost rows"),
        Claim("of never", value="never rows"),
    )
    result, failed = measure(chapter(steps=steps, claims=claims), tmp_path, lambda _: None)
    assert [one["name"] for one in result["claims"]] == ["rows"]
    assert len(failed) == 2
    assert "lost ended with code 1" in failed[0]
    assert "test, score: score: no 'score' in rows" in failed[1]


@pytest.mark.usefixtures("no_results")
def test_only_the_steps_that_are_named_and_what_they_need_are_run(tmp_path: Path) -> None:
    copied = Step("copied", "python copy.py rows.csv same.csv", writes="same.csv")
    steps = (copied, *chapter().steps, Step("again", "python count.py same.csv"))
    files = {**chapter().files, "copy.py": "import shutil, sys\nshutil.copy(*sys.argv[1:])\nprint({})\n"}
    told: list[str] = []
    result, failed = measure(
        chapter(steps=steps, files=files, claims=(Claim("rows", unit="count", value="again rows"), Claim("look", value="look rows"))),
        tmp_path, told.append, ["again"],
    )  # fmt: skip
    assert failed == []
    assert [one["name"] for one in result["claims"]] == ["rows"]
    assert [line.split(":")[0].strip() for line in told] == ["copied", "again"]
    with pytest.raises(ChapterError, match="no step 'agian'"):
        measure(chapter(), tmp_path, told.append, ["agian"])


@pytest.mark.slow
@pytest.mark.usefixtures("no_results")
def test_figures_of_pretune_itself(tmp_path: Path) -> None:
    """Data lies elsewhere and is named in the command by its short name; what is missing is pretune's own error."""
    claims = (Claim("rows", unit="count", value="look rows"), Claim("time", unit="seconds", value="look @seconds"))
    steps = (Step("look", "pretune inspect reports/finance.csv --splits none"),)
    reports = tmp_path / "data" / "text" / "reports"
    reports.mkdir(parents=True)
    (reports / "finance.csv").write_text("text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in make_rows(9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRETUNE_DATA", str(tmp_path / "data"))
        needs = {"reports": "text/reports"}
        found, _ = measure(chapter(steps=steps, claims=claims, needs=needs), tmp_path / "w", lambda _: None)
        assert found["claims"][0]["value"] == 9
        assert found["claims"][1]["value"] > 0
        steps = (Step("look", "pretune inspect reports/nothing.csv"),)
        _, failed = measure(chapter(steps=steps, needs=needs), tmp_path / "w2", lambda _: None)
        assert "look ended with code 2" in failed[0]


def test_data_is_found_wherever_a_word_names_it(tmp_path: Path) -> None:
    work = running._Work(chapter(), tmp_path, {"atis": "/data/atis", "MiniLM": "/models/MiniLM"})
    assert work._placed("intent=atis/,column=label=label") == "intent=/data/atis/,column=label=label"
    assert work._placed("head=MiniLM/,adapt=head") == "head=/models/MiniLM/,adapt=head"
    assert [work._placed(word) for word in ("atis/", "atis", "runs/atis/x", "my-atis/")] == ["/data/atis/", "atis", "runs/atis/x", "my-atis/"]  # fmt: skip


def test_absent_data_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRETUNE_DATA", str(tmp_path))
    assert missing_data(chapter(needs={"news": "text/news"})) == ["text/news"]


def test_commands_of_a_figure_are_those_it_hangs_on() -> None:
    steps = (
        Step("a", "pretune finetune scratch:bert-tiny --data rows.csv --out one"),
        Step("b", "pretune finetune scratch:bert-tiny --data rows.csv --out two"),
        Step("c", "pretune prune one --out small"),
        Step("d", "pretune evaluate small"),
    )
    claim = Claim("accuracy", value="d scores.accuracy")
    assert chapter(steps=steps, claims=(claim,)).commands_of(claim) == [steps[0].run, steps[2].run, steps[3].run]


def test_what_was_changed_after_it_was_measured_is_found() -> None:
    one = chapter(steps=(Step("look", "pretune inspect rows.csv --splits none"),))
    commands = [one.steps[0].run]
    right = {"name": "rows", "value": 12, "unit": "count", "asked": "exactly 12", "commands": commands}

    def found(**changes: Any) -> str:
        result = {**right, **changes}
        return " ".join(check._of_chapter(Measured(one, {result["name"]: result})))

    assert found() == ""
    assert "its commands changed" in found(commands=["pretune inspect other.csv"])
    assert "not what was asked" in found(asked="exactly 13")
    assert "belongs to no claim" in found(name="columns")
    assert "no value" in found(value=None)
    assert "is in times" in found(unit="times")


def test_what_a_page_quotes_is_a_figure_of_today() -> None:
    claims = (Claim("accuracy", value="look rows"), Claim("pearson", unit="number", value="look rows"))
    results = {
        "accuracy": {"name": "accuracy", "value": 0.90044, "low": 0.8947, "high": 0.9064},
        "pearson": {"name": "pearson", "value": 0.875, "low": 0.866, "high": 0.883},
    }
    measured = {"test": Measured(chapter(claims=claims), results)}
    right = "90.0 % [89.5, 90.6], 90 % [89, 91] and 0.875 [0.866, 0.883]"
    assert list(check.misquoted(right, "README.md", measured)) == []
    [problem] = check.misquoted("90.7 % [90.1, 91.3], n = 10,000", "README.md", measured)
    assert problem.startswith("README.md: '90.7 % [90.1, 91.3]'")


def test_a_chapter_that_says_what_it_must_not_is_refused(tmp_path: Path) -> None:
    def refused(text: str) -> str:
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ChapterError) as caught:
            read_chapter("x", tmp_path)
        return str(caught.value)

    head = "title: X\nabout: x\nminutes: 1\nsteps: {look: pretune inspect x.csv}\nclaims:\n  - "
    assert "'colour'" in refused("colour: red\n" + head + "{name: a}")
    assert "none of share" in refused(head + "{name: a, unit: apples}")
    assert "at least 95" in refused(head + "{name: a, asked: more}")
    assert "no step 'find'" in refused(head + "{name: a, value: find rows}")
    assert "claims nothing" in refused(head.partition("claims")[0])
    assert "stands there twice" in refused(head + "{name: a}\n  - {name: a}")


def test_few_digits_are_of_all_speakers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [(digit, speaker, take) for digit in "01" for speaker in ("ann", "bo") for take in range(3)]
    rows = [
        {
            "audio_filepath": f"{digit}_{speaker}_{take}.wav",
            "label": digit,
            "speaker": speaker,
            "text": "zero" if digit == "0" else "one",
        }
        for digit, speaker, take in clips
    ]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for row in rows:
        (tmp_path / row["audio_filepath"]).write_bytes(b"RIFF")
    monkeypatch.setattr("sys.argv", ["digits", str(tmp_path), str(tmp_path / "out"), "--each", "2"])
    digits.main()
    assert sorted(path.name for path in (tmp_path / "out" / "train" / "0").iterdir()) == ["0_ann_0.wav", "0_bo_0.wav"]
    assert len(list((tmp_path / "out" / "test").rglob("*.wav"))) == 12
    monkeypatch.setattr("sys.argv", ["digits", str(tmp_path), str(tmp_path / "words"), "--each", "2", "--words"])
    digits.main()
    told = [json.loads(line) for line in (tmp_path / "words" / "train.jsonl").read_text().splitlines()]
    assert [(Path(row["audio_filepath"]).name, row["text"]) for row in told] == [
        ("0_ann_0.wav", "zero"), ("0_bo_0.wav", "zero"), ("1_ann_0.wav", "one"), ("1_bo_0.wav", "one"),
    ]  # fmt: skip


def test_strings_to_try_stand_in_none_to_learn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speakers, sound = ["ann", "bo", "cy"], np.sin(np.arange(1600) / 5) * np.hanning(1600)
    rows = [
        {"audio_filepath": f"{digit}_{name}_{take}.wav", "label": str(digit), "speaker": name}
        for digit in range(10) for name in speakers for take in range(7)
    ]  # fmt: skip
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for row in rows:
        soundfile.write(tmp_path / row["audio_filepath"], sound, 8_000)
    monkeypatch.setattr("sys.argv", ["digit_strings", str(tmp_path), str(tmp_path / "out"), "--strings", "60"])
    digit_strings.main()

    def told(place: str) -> list[tuple[str, str]]:
        return [(row["speaker"], row["text"]) for row in digits.rows_of(tmp_path / "out" / f"{place}.jsonl")]

    left = {(name, digit_strings.WORDS[digit]) for name, digit in digit_strings.left_out(speakers)}
    learned, tried = told("voice/train"), told("voice/test")
    assert len(learned) == len(told("judge/train")) == 60
    assert {len(text.split()) for _, text in learned} == {1, 2, 3, 4, 5}
    for text in (f" {text} " for _, text in [*learned, *told("judge/train"), *told("voice/validation")]):
        assert not any(f" {one} " in text for _, one in tried)
    assert not any((name, word) in left for name, text in [*learned, *tried] for word in text.split())
    assert all(sum((name, word) in left for word in text.split()) == 1 for name, text in told("left-out-strings/test"))
    assert len(told("left-out/test")) == 7 * len(left)


def test_words_are_heard_right_along_the_fewest_edits() -> None:
    assert heard_words.heard_right(["one", "two", "three", "four"], ["two", "tree", "four"]) == [
        False,
        True,
        False,
        True,
    ]
    assert heard_words.heard_right(["one"], []) == [False]
    found = heard_words.share([[True, False], [True]])
    assert (found["value"], found["n"], found["low"]) == (2 / 3, 3, 0.5)


def test_what_is_found_of_personal_data_is_counted_by_values_and_by_what_is_taken_out() -> None:
    texts = [("call 12 or 345", [("phone", 5, 7), ("phone", 11, 14)]), ("order 99", [])]
    found = {"call 12 or 345": [("phone", 5, 7), ("card", 11, 13)], "order 99": [("phone", 6, 8)]}
    told = personal_data.measured([[texts[0]], [texts[1]]], lambda asked: [found[text] for text in asked])
    assert told["recall"]["value"] == 0.5, "a value of which a digit stays is not taken out"
    assert told["precision"]["value"] == pytest.approx(2 / 3)
    assert told["missed"] == {"phone": ["345"]}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_made_values_stand_where_they_are_said_to(language: str) -> None:
    draw = random.Random(0)
    for kind in sorted({*personal_data.MADE} - {*personal_data.DECOYS}):
        text, [(named, start, end)] = personal_data.said(f"a {{{kind}}}, {{price}} b", draw, language)
        assert (named, text[:start], text[end : end + 2]) == (kind, "a ", ", ")
        assert len(text[start:end]) > 5


def test_many_rows_are_different_and_a_command_over_them_is_measured(tmp_path: Path) -> None:
    rows = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in make_rows(12))
    (tmp_path / "few.csv").write_text(rows, encoding="utf-8")
    words = [sys.executable, "-m", "acceptance.many_rows"]
    subprocess.run([*words, "make", tmp_path / "few.csv", "300", tmp_path / "many.csv"], check=True, cwd=ROOT)
    made = (tmp_path / "many.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(set(made)) == 300
    told = subprocess.run([*words, "run", "300", "list"], check=True, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(told.stdout)
    assert found["rows"] == 300
    assert found["seconds"] > 0
    assert found["memory_bytes"] > 2**20
