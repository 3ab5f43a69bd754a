"""Experiments with updates: one that is not finite, one for which there is no memory."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
import signal
from pathlib import Path
from typing import Any

from faults import between, nothing, on_loss
from lab import STEPS, Broken, Lab, Mark, expect, log_of
from trials import Plan, Report, repeat

__all__ = ["non_finite", "out_of_memory"]

TOLERANCE = 1e-6
MEMORY_WORDS = (
    lambda: MemoryError(),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:116] . DefaultCPUAllocator: can't allocate memory: you tried"),
    lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
)


def non_finite(lab: Lab, plan: Plan) -> Report:
    """The rows of one id make a loss of NaN, of infinity, or gradients of NaN under a finite loss."""
    kinds = ("NaN loss", "infinite loss", "NaN gradient")

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out, kind = folder / "run", kinds[int(folder.name) % len(kinds)]
        step = rng.randrange(1, STEPS + 1)
        micro_batch, place = rng.randrange(2), rng.randrange(100)
        ended = lab.run(out, before=lambda mark: _poison(mark, kind, step, micro_batch, place))
        expect(ended.code == 1, f"exit code {ended.code}: {ended.text[-500:]}")
        expect(f"update {step} was refused" in ended.text, f"step {step} is not named: {ended.text[-500:]}")
        (row,) = ended.marks
        expect(re.search(rf"\b{row}\b", ended.text) is not None, f"{row} is not named: {ended.text[-500:]}")
        _expect_finite(out)
        lab.finish(out)
        return {"kind": kind}

    numbers = plan.numbers(full=30, short=3)
    promise = "a non-finite update is refused, step and rows named, nothing non-finite saved"
    return repeat(lab, plan, "non-finite", promise, numbers, trial)


def _poison(mark: Mark, kind: str, step: int, micro_batch: int, place: int) -> None:
    """Spoil a micro-batch of update ``step``, and mark one of its rows."""
    from pretune.engine.optim import Optim

    done = seen = 0

    def count() -> None:
        nonlocal done, seen
        done, seen = done + 1, 0

    def change(batch: Any, loss: Any) -> Any:
        nonlocal seen
        seen += 1
        if (done + 1, seen) != (step, micro_batch + 1):
            return loss
        mark(batch.ids[place % len(batch.ids)])
        if kind == "NaN gradient":
            loss.total.register_hook(lambda gradient: gradient * math.nan)
            return loss
        return dataclasses.replace(loss, total=loss.total * (math.nan if kind == "NaN loss" else math.inf))

    between(Optim, "step", nothing, count)
    on_loss(change)


def _expect_finite(out: Path) -> None:
    """No NaN and no infinity in any tensor or JSON value below ``out``."""
    import torch
    from safetensors.torch import load_file

    for path in out.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            expect(bool(torch.isfinite(tensor).all()), f"{path}: {name} is not finite")
    for path in [*out.rglob("*.json"), *out.rglob("*.jsonl")]:
        for line in path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise Broken(f"{word} in a JSON file")


def out_of_memory(lab: Lab, plan: Plan) -> Report:
    """Memory is missing once, at a random update: against the run that had the smaller micro-batches all along."""
    from safetensors.torch import load_file

    small = lab.folder / "small-batches"
    calm = ("--learning-rate", "0.0003")
    ended = lab.run(small, *calm, "--micro-batch-size", "4", model=lab.calm_model)
    expect(ended.code == 0, f"the run in small batches failed: {ended.text}")
    weights = load_file(small / "model" / "model.safetensors")

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out, error = folder / "run", MEMORY_WORDS[int(folder.name) % len(MEMORY_WORDS)]
        step, within = rng.randrange(1, STEPS + 1), rng.randrange(2)
        ended = lab.run(out, *calm, before=lambda mark: _starve(mark, step, within, error), model=lab.calm_model)
        expect(ended.code == 0, f"exit code {ended.code}: {ended.text[-500:]}")
        sizes = [int(mark) for mark in ended.marks if mark.isdigit()]
        expect(max(sizes) > 4 and sizes[-1] <= 4, f"the micro-batches did not halve: {sizes}")
        steps = [line["step"] for line in log_of(out) if line["kind"] == "step"]
        expect(steps == list(range(1, STEPS + 1)), f"steps lost or doubled: {steps}")
        mine = load_file(out / "model" / "model.safetensors")
        apart = max(float((mine[name] - weights[name]).abs().max()) for name in weights)
        expect(apart <= TOLERANCE, f"weights are {apart:.2g} apart after no memory in update {step}")
        _expect_exact_resume(lab, rng, folder, step, within, error)
        return {"weights apart": apart, "error": type(error()).__name__}

    numbers = plan.numbers(full=12, short=2)
    promise = f"no memory: micro-batches halve, nothing is lost, weights within {TOLERANCE:g}"
    return repeat(lab, plan, "out-of-memory", promise, numbers, trial)


def _expect_exact_resume(lab: Lab, rng: random.Random, folder: Path, step: int, within: int, error: Any) -> None:
    """With dropout, a run that was killed after its batches had halved ends as the one that was not."""
    whole, killed = folder / "whole", folder / "killed"
    ended = lab.run(whole, before=lambda mark: _starve(mark, step, within, error))
    child = lab.start(killed, before=lambda mark: _starve(mark, step, within, error))
    child.wait_for("update", rng.randrange(step, STEPS + 1))
    child.signal(signal.SIGKILL)
    child.wait()
    again = lab.run(killed, before=lambda mark: _starve(mark, step, within, error))
    expect((ended.code, again.code) == (0, 0), f"exit codes {ended.code} {again.code}: {again.text[-500:]}")
    found = lab.differences(killed, whole)
    expect(not found, f"killed after no memory in update {step}: {'; '.join(found)}")


def _starve(mark: Mark, step: int, within: int, error: Any) -> None:
    """Raise ``error`` once in update ``step``, after ``within`` of its micro-batches; mark the rows of each, and updates."""
    from pretune.engine.optim import Optim
    from pretune.verbs.learning import Learning

    done = seen = 0
    raised = False
    real_resume = Learning.resume

    def resume(self: Any) -> Any:
        nonlocal done
        notes = real_resume(self)
        done = self.step
        return notes

    def count() -> None:
        nonlocal done, seen
        done, seen = done + 1, 0
        mark("update")

    def change(batch: Any, loss: Any) -> Any:
        nonlocal raised, seen
        seen += 1
        mark(str(len(batch.ids)))
        if done + 1 == step and not raised and seen > within:
            raised = True
            raise error()
        return loss

    Learning.resume = resume  # type: ignore[method-assign]
    between(Optim, "step", nothing, count)
    on_loss(change)
