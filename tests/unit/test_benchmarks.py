"""The arithmetic of ``make bench``: who is faster than whom by how much, and a table that says it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks import __main__ as command
from benchmarks import measure
from benchmarks.job import Job
from benchmarks.measure import run_module, summary, useful_flops
from benchmarks.pictures import Boxed, count_found
from benchmarks.plan import KINDS, Plan, plan_of
from benchmarks.table import render

from typed import python_in

FACTS = {
    "model": "a model",
    "rows": 100,
    "tokens": 4000,
    "squared_tokens": 200_000,
    "matrix_parameters": 1000,
    "layers": 2,
    "hidden": 10,
    "vocabulary": 50,
    "median_tokens": 32.0,
    "p90_tokens": 90.0,
    "max_tokens": 200,
    "padded_over_real_in_random_batches": 2.9,
}
MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "flags": ["avx2"],
    "threads": 2,
    "peak_gflops": {"fp32": 100, "bf16": 400},
    "python": "3.11",
    "versions": {"torch": "2"},
    "torch_build": ["a build"],
}


def runs(seconds: list[float], right: int = 80, labels: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        {
            "seconds": s,
            "cpu_seconds": 2 * s,
            "wall_seconds": s + 10,
            "examples": 100,
            "steps": 7,
            "right": right,
            "asked": 100,
            "peak_memory_bytes": 2**30,
            "threads": 2,
            "load": 0.5,
            "labels": labels or [],
        }
        for s in seconds
    ]


def test_ratios_are_theirs_over_ours_run_by_run() -> None:
    found = summary("fine-tune", {"defaults": runs([40, 50, 60]), "pretune": runs([10, 10, 20], right=81)}, FACTS)
    ratio = found["ratios"]["defaults"]
    assert (ratio["best"], ratio["median"], ratio["min"], ratio["max"]) == (4.0, 4.0, 3.0, 5.0)
    assert ratio["total_wall_median"] == 2.5
    ours = found["sides"]["pretune"]
    assert ours["examples_per_second"] == {"best": 10.0, "median": 10.0}
    assert ours["tokens_per_second"]["best"] == 400
    low, high = ours["accuracy"]["low"], ours["accuracy"]["high"]
    assert ours["accuracy"]["value"] == 0.81
    assert 0.71 < low < 0.81 < high < 0.88


def test_useful_operations_count_attention_and_the_masked_vocabulary() -> None:
    body = 6 * 1000 * 4000 + 12 * 2 * 10 * 200_000
    assert useful_flops("fine-tune", FACTS) == body
    assert useful_flops("pretrain", FACTS) == pytest.approx(body + 6 * 10 * 50 * 0.15 * 4000)
    assert useful_flops("causal", FACTS) == body + 6 * 10 * 50 * 4000


def test_the_table_holds_every_side_and_what_was_wanted() -> None:
    plan = plan_of(quick=True, repeats=None)
    trained = {"defaults": runs([40]), "tuned": runs([16]), "pretune": runs([8])}
    rested = {"defaults": runs([64]), "pretune": runs([2], right=79)}
    guessed = {"defaults": runs([40], labels=["a", "b"]), "pretune": runs([8], labels=["a", "c"])}
    result = {
        "command": "python -m benchmarks",
        "when": "2026-01-01",
        "seconds": 60.0,
        "machine": MACHINE,
        "plan": plan.to_dict(),
        "load": [0.1, 0.2],
        "fine-tune": {"facts": FACTS, "runs": trained, **summary("fine-tune", trained, FACTS)},
        "head": {"facts": FACTS, "runs": rested, **summary("head", rested, FACTS)},
        "text-to-text": {"facts": FACTS, "runs": trained, **summary("text-to-text", trained, FACTS)},
        "predict": {"facts": FACTS, "runs": guessed, **summary("predict", guessed, FACTS)},
        "start": {"pretune --help": {"best": 0.1, "median": 0.2, "wanted_at_most": 1.0}},
    }
    text = render(result)
    assert "| transformers.Trainer, its defaults | 5.00 | 5.00 (5.00 to 5.00) | 2.78 | ≥ 4.5 |" in text
    assert "| transformers.Trainer, bf16 and length grouping | 2.00 |" in text
    assert "| transformers.Trainer, its defaults | 32.00 | 32.00 (32.00 to 32.00) | 6.17 | ≥ 30 |" in text
    assert "| pretune | 50.0 (50.0) |  |  | 0.790 [" in text
    assert "labels agree for 1 of 2 rows" in text
    assert "### Text to text" in text
    assert "| `pretune --help` | 0.10 s | 0.20 s | ≤ 1 s |" in text


@pytest.mark.slow
def test_every_job_of_pretune_runs_as_the_code_is_now(
    minilm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measurements call the tool's inside; one that no longer fits it would be found an hour late."""
    assert minilm_dir.is_dir()
    plan = Plan(
        1, train_rows=32, validation_rows=16, test_rows=16, frozen_rows=16, predict_rows=16, corpus_rows=64, pair_rows=32, max_length=64, vocab_size=600,
        frozen_epochs=1, predictor_steps=2, paragraphs_per_label=300, picture_rows=8, picture_tests=4, picture_epochs=1, trunk_batches=2,
    )  # fmt: skip
    cache = tmp_path / "cache"
    with python_in(tmp_path) as python:
        monkeypatch.setattr(measure, "sys", SimpleNamespace(executable=str(python)))
        for module in ("benchmarks.prepare", "benchmarks.pictures"):
            run_module(module, str(tmp_path), json.dumps(plan.to_dict()), log=tmp_path / "log.txt", cache=cache)
        for kind in set(KINDS) - {"start"}:
            work = tmp_path / kind
            work.mkdir()
            Job(kind, "pretune", str(tmp_path), str(work), 0, plan).write(work / "job.json")
            run_module("benchmarks.job", str(work / "job.json"), log=work / "log.txt", cache=cache)
        assert json.loads((work / "measured.json").read_text())["seconds"] > 0


def test_a_kind_that_fails_loses_no_figures_of_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measure(kind: str, *_: Any) -> dict[str, Any]:
        if kind == "predict":
            raise RuntimeError("an old signature")
        return {"kind": kind}

    monkeypatch.setattr(command, "run_module", lambda *_, **__: 0.0)
    monkeypatch.setattr(command, "measure", measure)
    found = command._measure_all(("head", "predict", "top"), plan_of(quick=True, repeats=1), tmp_path)
    assert found == {"head": {"kind": "head"}, "top": {"kind": "top"}}


def test_as_many_boxes_as_there_are_count_and_each_true_one_once() -> None:
    rows = [Boxed(Path("a.jpg"), [[0, 0, 10, 10], [20, 20, 30, 30]], [0, 1]), Boxed(Path("b.jpg"), [[0, 0, 4, 4]], [2])]
    over, other = [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 31.0]
    assert count_found(rows, [[(0.9, 0, over), (0.8, 1, other)], [(0.5, 2, [0.0, 0.0, 4.0, 4.0])]]) == (3, 3)
    assert count_found(rows, [[(0.9, 0, over), (0.8, 0, over), (0.7, 1, other)], []]) == (1, 3), (
        "the third is not asked"
    )
    assert count_found(rows, [[(0.9, 1, over), (0.8, 1, [20.0, 20.0, 24.0, 24.0])], []]) == (0, 3)
