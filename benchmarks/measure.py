"""Run the sides in turn, each in a fresh process, and put their figures beside each other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.job import Job
from benchmarks.machine import load
from benchmarks.plan import FROZEN, PICTURE_KINDS, SIDES, TARGETS, Plan, sides_of

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""The same for all sides. Without passive waiting any neighbour on the machine slows both down many times."""

TOLD_SHARES = {"pretrain": 0.15, "causal": 1.0}
"""Of the tokens those whose place or successor is told."""
FACTS_OF = {"pretrain": "corpus", "causal": "causal", "text-to-text": "pairs", **dict.fromkeys(FROZEN, "frozen")}
_Tell = Callable[[str], None]


def run_module(module: str, *arguments: str, log: Path, cache: Path) -> float:
    """Seconds of ``python -m module``. Its output goes to ``log``; raises :class:`RuntimeError` with the end of it."""
    environment = {**os.environ, **ENVIRONMENT, "PRETUNE_CACHE": str(cache)}
    began = time.perf_counter()
    with open(log, "w", encoding="utf-8") as file:
        code = subprocess.call([sys.executable, "-m", module, *arguments], env=environment, stdout=file, stderr=file)
    if code:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - began


def measure(kind: str, plan: Plan, folder: Path, tell: _Tell) -> dict[str, Any]:
    """Every side in turn, ``plan.repeats`` times, and the summary."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides_of(kind)}
    for repeat in range(plan.repeats):
        for side in runs:
            found = _one(Job(kind, side, str(folder), str(folder / f"{kind}-{side}-{repeat}"), repeat, plan))
            runs[side].append(found)
            tell(
                f"{kind}, {SIDES[side]}, {repeat + 1} of {plan.repeats}: {found['seconds']:.1f} s (load {found['load']})"
            )
    facts = _facts(folder, kind)
    return {"facts": facts, "runs": runs, **summary(kind, runs, facts)}


def _facts(folder: Path, kind: str) -> dict[str, Any]:
    """What was prepared for a kind."""
    if kind in PICTURE_KINDS:
        return json.loads((folder / "boxes.json").read_text())
    return json.loads((folder / "facts.json").read_text())[FACTS_OF.get(kind, "classes")]


def _one(job: Job) -> dict[str, Any]:
    work = Path(job.work)
    work.mkdir()
    job.write(work / "job.json")
    before = load()
    wall = run_module("benchmarks.job", str(work / "job.json"), log=work / "log.txt", cache=work / "cache")
    found = json.loads((work / "measured.json").read_text())
    return {**found, "wall_seconds": round(wall, 2), "load": before, "seed": job.seed}


def summary(kind: str, runs: dict[str, list[dict[str, Any]]], facts: dict[str, Any]) -> dict[str, Any]:
    """Rates of each side, and pretune's ratios to the others: run by run, so that a change of load shows in the spread."""
    sides = {side: _rates(kind, found, facts) for side, found in runs.items()}
    ratios = {}
    for side in sides:
        if side == "pretune":
            continue
        pairs = [theirs["seconds"] / mine["seconds"] for theirs, mine in zip(runs[side], runs["pretune"], strict=True)]
        totals = [t["wall_seconds"] / m["wall_seconds"] for t, m in zip(runs[side], runs["pretune"], strict=True)]
        ratios[side] = {
            "best": min(r["seconds"] for r in runs[side]) / min(r["seconds"] for r in runs["pretune"]),
            "median": statistics.median(pairs),
            "min": min(pairs),
            "max": max(pairs),
            "total_wall_median": statistics.median(totals),
            "processor_time": min(r["cpu_seconds"] for r in runs[side])
            / min(r["cpu_seconds"] for r in runs["pretune"]),
            "wanted": TARGETS.get((kind, side)),
        }
    agreement = {"label_agreement": _agreement(runs)} if kind == "predict" else {}
    return {"sides": sides, "ratios": ratios, **agreement}


def _rates(kind: str, found: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    best = min(run["seconds"] for run in found)
    middle = statistics.median(run["seconds"] for run in found)
    examples = found[0]["examples"]
    rates = {
        "examples_per_second": {"best": examples / best, "median": examples / middle},
        "steps": found[0]["steps"],
        "wall_seconds": {"best": min(r["wall_seconds"] for r in found), "median": statistics.median(r["wall_seconds"] for r in found)},
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in found),
        "threads": found[0]["threads"],
    }  # fmt: skip
    if kind == "predict":
        return rates
    rates["accuracy"] = _accuracy(found)
    if kind in {*FROZEN, *PICTURE_KINDS}:  # what counts as useful there is what the two sides differ in
        return rates
    rates["tokens_per_second"] = {"best": facts["tokens"] / best, "median": facts["tokens"] / middle}
    if kind == "text-to-text":  # a token passes one side of the model, and counts half of its weights
        return rates
    rates["useful_gflops"] = {"best": useful_flops(kind, facts) / best / 1e9, "median": useful_flops(kind, facts) / middle / 1e9}  # fmt: skip
    return rates


def _accuracy(found: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over the repeats (each has its own seed); Wilson's 95 % interval at the number of test items of one repeat."""
    from scipy.stats import binomtest

    asked = found[0]["asked"]
    right = round(statistics.mean(run["right"] for run in found))
    interval = binomtest(right, asked).proportion_ci(method="wilson")
    return {"value": statistics.mean(run["right"] for run in found) / asked, "low": interval.low, "high": interval.high, "n": asked}  # fmt: skip


def _agreement(runs: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    theirs, mine = runs["defaults"][0]["labels"], runs["pretune"][0]["labels"]
    same = sum(a == b for a, b in zip(theirs, mine, strict=True))
    for found in runs.values():
        for run in found:
            del run["labels"]
    return {"same": same, "of": len(mine)}


def useful_flops(kind: str, facts: dict[str, Any]) -> float:
    """Of one epoch, on real tokens: 6 a matrix weight and token, 12 layers x width x length squared for attention, and
    the vocabulary's product at the tokens that are told only (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
    flops = 6 * facts["matrix_parameters"] * facts["tokens"] + 12 * facts["layers"] * facts["hidden"] * facts["squared_tokens"]  # fmt: skip
    flops += 6 * facts["hidden"] * facts["vocabulary"] * TOLD_SHARES.get(kind, 0.0) * facts["tokens"]
    return float(flops)


def measure_start(repeats: int, log: Path) -> dict[str, Any]:
    """Seconds of commands that compute nothing, files warm: the first call of each is not counted."""
    commands = {
        "pretune --help": ["--help"],
        "pretune list": ["list"],
        "pretune finetune --help": ["finetune", "--help"],
    }
    found: dict[str, Any] = {}
    for name, arguments in commands.items():
        seconds = [run_module("pretune", *arguments, log=log, cache=log.parent / "cache") for _ in range(repeats + 1)][
            1:
        ]
        found[name] = {"best": min(seconds), "median": statistics.median(seconds), "wanted_at_most": 1.0}
    return found
