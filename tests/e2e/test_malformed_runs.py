"""Broken and unfit run folders, places to write, and rows to predict, through the command line and as processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, CliResult, call, done, refused, refuses
from told_story import Story, tell_once

from clocks import HANG_SECONDS
from pretune.runfolder import is_run
from unsealed import unsealed

Words = list[object]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, news_rows: list[dict[str, str]]) -> Story:
    return tell_once(tmp_path_factory, news_rows)


@pytest.fixture
def run(story: Story, tmp_path: Path) -> Path:
    """An evaluated run without sums, for a test to break."""
    return unsealed(shutil.copytree(story.weak, tmp_path / "run"))


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    def spoil(run: Path) -> None:
        (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def remove(name: str) -> Callable[[Path], object]:
    def spoil(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def edit(name: str, **changes: object) -> Callable[[Path], object]:
    def spoil(run: Path) -> None:
        path = run / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def data_gone(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    edit("run.json", settings={**record["settings"], "data": "gone.csv"})(run)


def first_rows(run: Path) -> None:
    path = run / "predictions" / "test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))


def other_truths(run: Path) -> None:
    path = run / "predictions" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "truth": "sport"}) + "\n" for row in rows))


RUNS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("evaluate: run.json broken", put("run.json", "{not"), "evaluate", r"run\.json is not valid JSON"),
    ("evaluate: run.json a list", put("run.json", "[]"), "evaluate", r"run\.json"),
    ("evaluate: run.json empty object", put("run.json", "{}"), "evaluate", r"run\.json"),
    ("evaluate: run.json in latin-1", put("run.json", b'{"verb": "caf\xe9"}'), "evaluate", r"run\.json is not valid JSON"),
    ("evaluate: no run.json", remove("run.json"), "evaluate", r"is not a run folder"),
    ("evaluate: model deleted", remove("model"), "evaluate", "has no model"),
    ("evaluate: weights deleted", remove("model/model.safetensors"), "evaluate", r"model\.safetensors"),
    ("evaluate: tokenizer deleted", remove("model/tokenizer.json"), "evaluate", "tokenizer"),
    ("evaluate: pretune.json broken", put("model/pretune.json", "{"), "evaluate", r"pretune\.json is not valid JSON"),
    ("evaluate: pretune.json empty", put("model/pretune.json", "{}"), "evaluate", r"pretune\.json"),
    ("evaluate: labels forgotten", edit("model/pretune.json", labels=["a", "b"]), "evaluate", "classifier"),
    ("evaluate: data gone", data_gone, "evaluate", r"gone\.csv does not exist"),
    ("evaluate: keys broken", put("train_keys.npy", b"junk"), "evaluate", r"train_keys\.npy"),
    ("evaluate: metrics broken", put("metrics.json", "{"), "evaluate", r"metrics\.json is not valid JSON"),
    ("predict: model deleted", remove("model"), "predict", "has no model"),
    ("predict: config broken", put("model/config.json", "{"), "predict", r"config\.json is not valid JSON"),
    ("report: metrics broken", put("metrics.json", "{"), "report", r"metrics\.json is not valid JSON"),
    ("report: metrics a list", put("metrics.json", "[1]"), "report", r"metrics\.json"),
    ("report: log broken", put("log.jsonl", "{\n"), "report", r"log\.jsonl"),
    ("report: passport broken", put("data.json", "nope"), "report", r"data\.json is not valid JSON"),
    ("compare: no predictions", remove("predictions"), "compare", "has no predictions of its test split"),
    ("compare: predictions broken", put("predictions/test.jsonl", "{broken\n"), "compare", r"test\.jsonl"),
    ("compare: predictions of nothing", put("predictions/test.jsonl", ""), "compare", "no row"),
    ("compare: other rows", first_rows, "compare", "--intersect"),
    ("compare: other truths", other_truths, "compare", "another true label"),
    ("compare: comparisons broken", put("comparisons.json", "{"), "compare", r"comparisons\.json is not valid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "verb", "names"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_broken_runs(spoil: Callable[[Path], object], verb: str, names: str, run: Path, story: Story) -> None:
    spoil(run)
    further: dict[str, Words] = {
        "evaluate": ["--no-baselines", "--threads", "1"],
        "predict": [story.data, "--threads", "1"],
        "compare": [story.news],
        "report": [],
    }
    refuses(names, verb, run, *further[verb])


WITH_SUMS = [case for case in RUNS if "remove" not in case[1].__qualname__ and "comparisons" not in case[0]]


@pytest.mark.parametrize(
    ("name", "spoil", "verb"), [case[:3] for case in WITH_SUMS], ids=[case[0] for case in WITH_SUMS]
)
def test_what_a_finished_run_is_made_of_is_not_taken_otherwise(
    name: str, spoil: Callable[[Path], object], verb: str, story: Story, tmp_path: Path
) -> None:
    run = shutil.copytree(story.weak, tmp_path / "run")
    spoil(run)
    further: dict[str, Words] = {
        "evaluate": ["--no-baselines", "--threads", "1"],
        "predict": [story.data, "--threads", "1"],
        "compare": [story.news],
        "report": [],
    }
    names = rf"{run}\S*(json|jsonl|npy) is not what was written.*\n.*pretune verify {run}\S* --accept"
    refuses(names, verb, run, *further[verb])


def test_one_broken_run_does_not_hide_the_others(run: Path, story: Story) -> None:
    shutil.copytree(story.weak, run.parent / "whole")
    (run / "run.json").write_text("{not")
    said = done("list", run.parent)
    assert "run: broken" in said.out
    assert "whole: finetune" in said.out
    refused(call("list", run.parent / "nowhere"), "nowhere is not a folder")


def test_what_has_no_data_of_its_own_is_listed_by_what_it_was_made_of(tmp_path: Path) -> None:
    told = {"table": {"runs": ["runs/a", "runs/b"]}, "whole": {"recipe": "films.yaml"}, "old": {}}
    for name, settings in told.items():
        (tmp_path / name).mkdir()
        record = {"verb": "benchmark" if name == "table" else "run", "settings": settings, "status": "finished"}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    lines = [line.split(": ")[1] for line in done("list", tmp_path).out.splitlines()]
    assert lines == ["run, finished", "benchmark runs/a, runs/b, finished", "run films.yaml, finished"]


@pytest.mark.parametrize("verb", ["evaluate", "predict", "report"])
def test_folders_that_are_no_run(verb: str, tmp_path: Path, story: Story) -> None:
    refuses("nowhere does not exist", verb, tmp_path / "nowhere")
    refuses("is not a run folder", verb, tmp_path)
    refuses("is not a run folder", verb, story.data)


def test_a_pretrained_run_has_nothing_to_evaluate(story: Story) -> None:
    for verb in ("evaluate", "predict"):
        refuses("fine-tune it first: pretune finetune", verb, story.base, "--threads", "1")


def test_a_run_that_is_not_finished(run: Path, story: Story, tmp_path: Path) -> None:
    shutil.rmtree(run / "model")
    json_path = run / "run.json"
    json_path.write_text(json.dumps({**json.loads(json_path.read_text()), "status": "stopped"}))
    refuses("its status is stopped", "evaluate", run)
    refuses("no finished model", "finetune", run, "--data", story.data, "--out", tmp_path / "next", *QUICK)
    assert not is_run(tmp_path / "next")


def test_places_that_cannot_be_written(story: Story, tmp_path: Path) -> None:
    words = ["finetune", *TINY, "--data", story.data, "--max-steps", "1", "--out"]
    file = tmp_path / "file"
    file.write_text("mine")
    refuses(r"--out .*file is a file", *words, file)
    refuses(r"--out .*file/below cannot be made", *words, file / "below")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refuses("not empty and not a run folder", *words, folder)
    refuses("not empty and not a run folder", *words, folder, "--overwrite")
    assert (folder / "mine.txt").read_text() == "mine"
    refuses("is a run of `pretrain`", *words, shutil.copytree(story.base, tmp_path / "base"))
    refuses(r"/proc/nothing cannot be made", *words, "/proc/nothing")
    refuses(r"--out .*file is a file", "inspect", story.data, "--out", file)


def test_an_early_mistake_keeps_what_overwrite_would_replace(run: Path, tmp_path: Path) -> None:
    before = (run / "model" / "model.safetensors").read_bytes()
    refuses("none.csv does not exist", "finetune", *TINY, "--data", "none.csv", "--out", run, "--overwrite")
    assert (run / "model" / "model.safetensors").read_bytes() == before


PREDICT: list[tuple[str, Words, bytes | str, str]] = [
    ("no text in JSON", ["-"], '{"id": 1, "score": 2.5}\n', "text"),
    ("a broken line of JSON", ["-"], '{"text": "a b"}\n{"text": "c"\n', "standard input:2"),
    ("a list among objects", ["-"], '{"text": "a b"}\n["c"]\n', "standard input:2"),
    ("nothing", ["-"], "", "standard input holds no rows"),
    ("blank lines", ["-"], "\n\n", "standard input holds no rows"),
    ("binary junk", ["-"], bytes(range(256)) * 9, "standard input, line"),
    ("wrong encoding", ["-"], "caf\u00e9\n".encode("latin-1"), "is not utf-8"),
    ("wrong encoding name", ["-", "--encoding", "utf-9"], "a b\n", "utf-9"),
    ("missing column", ["-", "--column", "text=body"], '{"text": "a b"}\n', "body"),
    ("missing file", ["none.csv"], "", "none.csv does not exist"),
    ("out in no folder", ["-", "--out", "none/labels.jsonl"], "a b\n", "--out none/labels.jsonl cannot be written"),
    ("out is a folder", ["-", "--out", "."], "a b\n", "--out"),
    ("window of nothing", ["-", "--window-rows", "0"], "a b\n", "--window-rows is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "stdin", "names"), [case[1:] for case in PREDICT], ids=[case[0] for case in PREDICT])
def test_predict(
    words: Words, stdin: bytes | str, names: str, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refuses(names, "predict", story.weak, *words, "--threads", "1", stdin=stdin)
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


def test_evaluate_on_data_that_does_not_fit(story: Story, run: Path, tmp_path: Path) -> None:
    words = ["evaluate", run, "--no-baselines", "--threads", "1", "--data"]
    place = tmp_path / "other.csv"
    place.write_text("text,label\n" + "".join(f"row {n} is new,{'sport' if n % 2 else 'sprot'}\n" for n in range(30)))
    refuses('did you mean "sport"', *words, place)
    place.write_text("text\n" + "".join(f"row {n} is new\n" for n in range(30)))
    refuses("no (column|labels)", *words, place)
    assert "test-other" not in json.loads((run / "metrics.json").read_text())


DERIVED: list[Words] = [
    ["distill", "--student", "layers:1"],
    ["prune"],
    ["quantize", "--threads", "1"],
    ["export", "--threads", "1"],
    ["benchmark", "--threads", "1"],
]


@pytest.mark.parametrize("words", DERIVED, ids=[str(words[0]) for words in DERIVED])
def test_data_that_is_gone_is_named_with_the_run_that_needs_it(words: Words, run: Path, tmp_path: Path) -> None:
    data_gone(run)
    said = call(words[0], run, *words[1:], "--out", tmp_path / "next")
    refused(said, rf"the data that {run} learned from cannot be read: gone\.csv does not exist\n  bring gone\.csv back")
    assert not is_run(tmp_path / "next")


@pytest.mark.parametrize("words", DERIVED[:3], ids=[str(words[0]) for words in DERIVED[:3]])
def test_a_model_is_made_from_a_run_only_with_the_rows_that_it_learned_from(
    words: Words, run: Path, story: Story, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(story.data.read_text().splitlines(keepends=True)[:-40]))
    settings = json.loads((run / "run.json").read_text())["settings"]
    edit("run.json", settings={**settings, "data": str(fewer)})(run)
    said = call(words[0], run, *words[1:], "--out", tmp_path / "next")
    refused(said, f"the data of {run} is not what it was")
    assert not is_run(tmp_path / "next")


@pytest.mark.parametrize(
    "words", [*DERIVED[:4], ["explain", "a text"], ["serve", "--port", "0"]], ids=lambda words: words[0]
)
def test_a_finished_run_whose_model_was_deleted(words: Words, run: Path) -> None:
    remove("model")(run)
    names = r"has no model: .*pretune\.json was moved or deleted\n.*pretune finetune .* --overwrite"
    refuses(names, words[0], run, *words[1:])


def test_only_what_has_learned_can_teach(story: Story, tmp_path: Path) -> None:
    words = ["--student", "layers:1", "--out", tmp_path / "next", *QUICK]
    refuses("there is no folder runs/nowhere", "distill", "runs/nowhere", *words)
    refuses(r"news\.csv is a file", "distill", story.data, *words)
    refuses("has learned nothing", "distill", "scratch:bert-tiny", *words, "--data", story.data)
    refuses("give the rows to learn from: --data", "distill", story.base / "model", *words)
    assert not (tmp_path / "next").exists()


def test_one_text_or_two_as_the_model_learned(run: Path) -> None:
    refuses("--text-pair does not fit: .* single texts", "explain", run, "a text", "--text-pair", "another")
    about = json.loads((run / "model" / "pretune.json").read_text())
    about["reading"]["pairs"] = True
    (run / "model" / "pretune.json").write_text(json.dumps(about))
    refuses("pairs of texts, and one was given\n.*--text-pair TEXT", "explain", run, "a text")


def test_8_bits_are_not_rounded_again(run: Path, tmp_path: Path) -> None:
    edit("run.json", quantization={"to": "int8"}, parents=["runs/news"])(run)
    edit("model/pretune.json", engine="onnxruntime")(run)
    refuses("is in 8 bits already\n.*: runs/news", "quantize", run, "--out", tmp_path / "next")


def test_runs_that_answer_other_questions_are_not_compared(run: Path, story: Story) -> None:
    edit("model/pretune.json", task="image-classification")(run)
    refuses(f"{run} is a run of image-classification, {story.news} one of text", "compare", run, story.news)
    refuses("one of masked-language-modelling", "compare", story.news, story.base)


def test_a_run_is_not_compared_with_itself(run: Path) -> None:
    refuses("would be compared with itself", "compare", run, run.parent / "." / run.name)


def test_errors_as_json(story: Story) -> None:
    said = call("evaluate", "nowhere", "--json")
    assert said.code == 2
    assert said.err == ""
    assert {"error", "problem", "fix", "exit_code"} == set(said.facts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["finetune", "scratch:bert-tny", "--data", "DATA", "--out", "run"], "bert-tiny"),
        (["finetune", "scratch:bert-tiny", "--data", "none.csv", "--out", "run"], "none.csv does not exist"),
        (["predict", "RUN", "-"], "standard input"),
        (["evaluat", "RUN"], 'did you mean "evaluate"'),
    ],
)
def test_as_a_process(words: list[str], names: str, story: Story, tmp_path: Path) -> None:
    places = {"DATA": str(story.data), "RUN": str(story.weak)}
    found = subprocess.run(
        [sys.executable, "-m", "pretune", *(places.get(word, word) for word in words)],
        input=os.urandom(4000), capture_output=True, cwd=tmp_path, timeout=HANG_SECONDS,
    )  # fmt: skip
    refused(CliResult(found.returncode, found.stdout.decode(), found.stderr.decode()), names)
    assert not is_run(tmp_path / "run")
