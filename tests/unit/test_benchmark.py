"""The benchmark: who beats whom, processes that fail, and the figures of tiny runs."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clocks import clock_of
from conftest import make_rows, write_csv
from pretune.errors import CheckFailed, RunError, UsageError
from pretune.evaluation import worker
from pretune.evaluation.benchmark import pareto_front, standing_of, summary, table_rows, told
from pretune.evaluation.worker import Worker, WorkerLost
from pretune.files import read_json, write_json
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.benchmark import worker as benchmark_worker
from pretune.verbs.benchmark.fleet import Variant
from pretune.verbs.benchmark.story import _evaluated, _split_of, benchmark, same_question
from pretune.verbs.evaluate.story import evaluate
from pretune.verbs.finetune.story import finetune
from tiny import CPU
from typed import python_in

QUICK: dict[str, Any] = {"seconds": 0.02, "rows": 16, "resamples": 100, "threads": 1}


def variant(name: str, score: float, latency: float, size: float) -> dict[str, Any]:
    figures = summary([latency] * 20, rows=1, rounds=2)
    both = {"all": figures, "one": figures}
    return {
        "name": name, "engine": "torch", "score": {"value": score, "low": score, "high": score, "n": 9}, "bytes": size,
        "latency": {"1": both, "32": both}, "latency_with_encoding": {"1": both, "32": both},
        "peak_memory_bytes": 9e6, "held_bytes": 5e6, "against_first": {"verdict": "no difference was shown"},
    }  # fmt: skip


def test_the_front_holds_what_nothing_beats():
    standings = {
        "float": (-0.90, 10.0, 100.0),
        "int8": (-0.89, 4.0, 25.0),
        "worse": (-0.89, 4.0, 30.0),
        "slow": (-0.80, 12.0, 120.0),
        "tiny": (-0.70, 9.0, 1.0),
    }
    assert pareto_front(standings) == ["float", "int8", "tiny"]


def test_noise_puts_nobody_on_the_front_and_nobody_off_it():
    assert pareto_front({"a": (-0.9, 1.00, 50.0), "b": (-0.9, 1.04, 50.2)}) == ["a", "b"]
    assert pareto_front({"a": (-0.9, 1.04, 50.0), "b": (-0.9, 1.00, 25.0)}) == ["b"]
    assert pareto_front({"a": (-0.9, 1.04, 25.0), "b": (-0.9, 1.00, 50.0)}) == ["a"]
    assert pareto_front({"a": (-0.9, 1.00, 50.0), "b": (-0.9, 1.10, 50.0)}) == ["a"]


def test_a_score_that_falls_counts_the_other_way():
    better, worse = variant("a", 0.1, 1.0, 1.0), variant("b", 0.2, 1.0, 1.0)
    assert pareto_front({v["name"]: standing_of(v, rising=False) for v in (better, worse)}) == ["a"]
    assert pareto_front({v["name"]: standing_of(v, rising=True) for v in (better, worse)}) == ["b"]


def test_a_summary_is_of_calls_and_counts_rows():
    found = summary([1.0] * 10 + [2.0] * 9 + [100.0], rows=32, rounds=4)
    assert found["n"] == 20
    assert found["p50_ms"] == pytest.approx(1.5)
    assert found["low_ms"] == 1.0
    assert found["high_ms"] == 2.0
    assert found["p95_ms"] > 2.0
    assert found["rows_per_second"] == pytest.approx(32 / 1.5e-3, rel=1e-3)


def test_the_words_name_winners_losers_and_what_is_unusable():
    found = {
        "metric": "accuracy",
        "split": "validation",
        "n": 9,
        "front": ["small"],
        "variants": [variant("old", 0.9, 9.0, 9e6), variant("small", 0.9, 3.0, 3e6)],
        "unusable": [{"name": "broken", "reason": "its file is damaged"}],
        "measured": {"others_busy": 1.2},
        "machine": {"cores": 4},
    }
    said = " ".join(told(found))
    assert "Pareto front of accuracy, latency of one row and size: small. Beaten: old." in said
    assert "small against old: 3.00 times as fast for one row" in said
    assert "3.00 times smaller" in said
    assert "broken is unusable: its file is damaged" in said
    assert "Other processes kept 1.2 of this machine's 4 processors busy meanwhile" in said
    assert "busy" not in " ".join(told({**found, "measured": {"others_busy": 0.0}}))
    assert "Scores are of 9 validation rows, answered here; evaluate all runs" in said
    evaluated = {**found, "split": "test", "n": 100, "answered_by": "evaluate", "timed_rows": 16}
    assert "Scores are of the 100 test rows that evaluate answered; times are of 16 of them." in told(evaluated)
    assert table_rows(found)[0][2] == "accuracy %"
    assert table_rows(found)[1][2] == "90.00 [90.00, 90.00]"
    assert table_rows({**found, "metric": "rmse", "unit": "number"})[1][2] == "0.90 [0.90, 0.90]"
    assert [line[0] for line in table_rows(found)] == ["run", "old", "small"]
    assert [line[-1] for line in table_rows(found)] == ["", "", "on the front"]


def test_a_process_that_is_killed_says_so():
    with Worker("pretune.verbs.benchmark.worker", ["{}"]) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="was killed"):
            worker.ask({"do": "peak"}, seconds=60)


def test_a_process_that_cannot_begin_gives_its_last_words():
    with Worker("pretune.verbs.benchmark.worker", ["not json"]) as worker, pytest.raises(WorkerLost, match="JSON"):
        worker.ask({"do": "peak"}, seconds=60)


@pytest.mark.slow
def test_a_process_that_hangs_is_given_up():
    with (
        Worker("pretune.verbs.benchmark.worker", ["{}"]) as worker,
        pytest.raises(WorkerLost, match="no answer within 0"),
    ):
        worker.ask({"do": "peak"}, seconds=0.0)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_an_answer(tmp_path: Path):
    with Worker("pretune.verbs.benchmark.worker", [f'{{"run": "{tmp_path / "no"}"}}']) as worker:
        with pytest.raises(WorkerLost, match="does not exist"):
            worker.ask({"do": "load"}, seconds=60)
        assert worker.ask({"do": "peak"}, seconds=60)["peak_memory_bytes"] > 1e6


def test_runs_that_answer_another_question_are_told_before_anything_is_measured(tmp_path: Path):
    texts = {"task": "text-classification", "max_length": 8, "long_text": "truncate"}
    told = {
        "first": {**texts, "labels": ["a", "b"]},
        "alike": {**texts, "labels": ["a", "b"]},
        "more": {**texts, "labels": ["a", "b", "c"]},
        "pictures": {"task": "image-classification", "labels": ["a", "b"]},
        "base": {"task": "masked-language-modelling"},
    }
    variants = []
    for name in ("base", "empty", *told):
        (tmp_path / name / "model").mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / name / "run.json", {"status": "running"})
        if name in told:
            write_json(tmp_path / name / "model" / "pretune.json", told[name])
        variants.append(Variant(RunFolder(tmp_path / name), name))
    same_question(variants)
    assert {one.name: one.reason for one in variants if one.reason} == {
        "more": "it answers another question than first: text-classification with 3 labels",
        "pictures": "it answers another question than first: image-classification with 2 labels",
    }


def test_what_is_timed_are_calls_without_encoding_and_with_it(monkeypatch: pytest.MonkeyPatch):
    """On a clock on which encoding a row takes 3 ms and answering one 10."""
    clock = clock_of(monkeypatch, benchmark_worker)

    class Task:
        def encode(self, example: str) -> list[str]:
            clock.sleep(0.003)
            return [example]

        def collate(self, items: list[str]) -> SimpleNamespace:
            return SimpleNamespace(to=lambda _: items)

        def predict(self, _model: None, items: list[str]) -> None:
            clock.sleep(0.010 * len(items))

    run: Any = benchmark_worker.RunUnderTest({})
    run.proven = SimpleNamespace(task=Task(), model=None, device=CPU)
    run.examples, run.items = ["a", "b"], [["a"], ["b"]]
    for batch, whole, ms in ((1, False, 10), (1, True, 13), (4, False, 40), (4, True, 52)):
        found = run.time({"batch": batch, "whole": whole, "warmup": 2, "calls": 3})
        assert found["ms"] == pytest.approx([ms] * 3)


def evaluated_as(folder: Path, name: str, truths: str, split: str = "test") -> Variant:
    """A run with predictions of rows that have these truths."""
    run = RunFolder(folder / name)
    run.path.mkdir()
    run.write_lines(
        run.predictions_name(split), [{"id": str(n), "label": "a", "truth": truth} for n, truth in enumerate(truths)]
    )
    return Variant(run, name)


def test_test_rows_are_compared_where_all_runs_were_evaluated_on_them(tmp_path: Path):
    a, b = (evaluated_as(tmp_path, name, "abba" * 25) for name in "ab")
    gone = Variant(RunFolder(tmp_path / "gone"), "gone", reason="it has no model")
    assert _split_of([a, b, gone]) == "test"
    assert _split_of([a, Variant(RunFolder(tmp_path / "new"), "new")]) == "validation"
    assert _split_of([gone]) == "validation"
    found = _evaluated([a, b], "test", 20)
    assert found is not None
    assert {name: len(records) for name, records in found.items()} == {"a": 100, "b": 100}
    assert _evaluated([a, b], "test", 101) is None, "fewer than would be answered here"
    assert _evaluated([a, b], "validation", 20) is None
    assert _evaluated([a, evaluated_as(tmp_path, "other", "aaaa" * 25)], "test", 20) is None, "other truths"
    assert _evaluated([a, evaluated_as(tmp_path, "fewer", "abba" * 24)], "test", 20) is None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned run ``first`` and its copies: ``second``, ``broken`` (weights cut off) and ``unfinished`` (no model)."""
    folder = tmp_path_factory.mktemp("benchmark")
    data = write_csv(folder / "news.csv", make_rows(120))
    finetune(
        "scratch:bert-tiny", data=str(data), vocab_size=300, out=str(folder / "first"), max_steps=8,
        precision="fp32", threads=1,
    )  # fmt: skip
    for name in ("second", "broken", "unfinished"):
        shutil.copytree(folder / "first", folder / name)
    weights = folder / "broken" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    shutil.rmtree(folder / "unfinished" / "model")
    return folder


@pytest.mark.slow
def test_a_benchmark_measures_what_it_can_and_names_the_rest(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with python_in(tmp_path) as python:
        monkeypatch.setattr(worker, "sys", SimpleNamespace(executable=str(python)))
        _measures_what_it_can_and_names_the_rest(place)


def _measures_what_it_can_and_names_the_rest(place: Path) -> None:
    from pretune.report.page import write_report

    out = place / "bench"
    names = ("first", "second", "broken", "unfinished")
    found = benchmark(*(str(place / name) for name in names), out=str(out), split="test", **QUICK).to_dict()
    assert [one["name"] for one in found["variants"]] == ["first", "second"]
    reasons = {one["name"]: one["reason"] for one in found["unusable"]}
    assert "model.safetensors" in reasons["broken"]
    assert "has no model" in reasons["unfinished"]
    one = found["variants"][0]
    assert one["score"]["n"] == found["n"] <= 16
    assert one["latency"]["1"]["all"]["n"] >= 20
    for kind in ("latency", "latency_with_encoding"):
        for rows in ("1", "32"):
            assert one[kind][rows]["all"]["n"] >= 20
            assert one[kind][rows]["all"]["p50_ms"] > 0
    assert one["bytes"] == (place / "first" / "model" / "model.safetensors").stat().st_size
    assert one["peak_memory_bytes"] > one["held_bytes"] > 0
    assert found["variants"][1]["against_first"]["better"] is None
    assert found["variants"][1]["score"] == one["score"]
    run = open_run(out)
    assert run.record["status"] == "finished"
    assert run.record["parents"] == [str(place / name) for name in names]
    assert read_json(out / "benchmark.json")["front"] == found["front"]
    assert not list(out.glob(".*.tmp"))
    assert "broken" in (write_report(run)).read_text()
    looks = (place / "first" / "looks.jsonl").read_text()
    assert '"test"' in looks
    assert not (place / "broken" / "looks.jsonl").exists()
    again = benchmark(*(str(place / name) for name in names), out=str(out), split="test", **QUICK)
    assert "finished before" in again.text
    for name in names[:2]:
        evaluate(place / name, baselines=False, resamples=100, threads=1)
    test = benchmark(
        *(str(place / name) for name in names[:2]), out=str(place / "tested"), **{**QUICK, "rows": 5}
    ).to_dict()
    assert (test["split"], test["answered_by"], test["timed_rows"]) == ("test", "evaluate", 5)
    assert test["n"] == test["variants"][0]["score"]["n"] == test["variants"][1]["against_first"]["n"] > 5


@pytest.mark.slow
def test_no_usable_run_is_an_error_that_leaves_no_run(place: Path):
    with pytest.raises(CheckFailed, match="broken is unusable"):
        benchmark(str(place / "broken"), out=str(place / "none"), **QUICK)
    assert not (place / "none" / "run.json").exists()


def test_runs_must_be_runs_and_differ(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "run.json", {"verb": "finetune", "settings": {}, "status": "finished"})
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    with pytest.raises(UsageError, match="given twice"):
        benchmark(one, one)
    with pytest.raises(RunError, match="does not exist"):
        benchmark(one, str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="one of the runs"):
        benchmark(one, two, out=two)
    with pytest.raises(RunError, match="no labels to score"):
        benchmark(one, two, out=str(tmp_path / "out"))
