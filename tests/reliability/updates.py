"""Experiments with updates: one that is not finite, one for which there is no memory."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults import between, nothing, on_loss
from lab import STEPS, Broken, Lab, Mark, expect, log_of
from trials import Plan, Report, repeat

if TYPE_CHECKING:
    import torch

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
        moment, place = (rng.randrange(1, STEPS), rng.randrange(1, 3)), rng.randrange(100)
        ended = lab.run(out, before=lambda mark: _poison(mark, kind, moment, place))
        expect(ended.code == 1, f"exit code {ended.code}: {ended.text[-500:]}")
        step, row = ended.marks
        expect(f"update {step} was refused" in ended.text, f"update {step} is not named: {ended.text[-500:]}")
        expect(re.search(rf"\b{row}\b", ended.text) is not None, f"{row} is not named: {ended.text[-500:]}")
        _expect_finite(out)
        lab.finish(out)
        return {"kind": kind}

    numbers = plan.numbers(full=30, short=3)
    promise = "a non-finite update is refused, step and rows named, nothing non-finite saved"
    return repeat(lab, plan, "non-finite", promise, numbers, trial)


class _Clock:
    """Where a child is: the update that is being made and the micro-batch of it, both from 1; right after a resume too."""

    def __init__(self) -> None:
        from pretune.engine.optim import Optim
        from pretune.training.learning import Learning

        self.update, self.micro_batch = 1, 0
        real_resume = Learning.resume

        def resume(learning: Any) -> Any:
            notes = real_resume(learning)
            self.update = learning.step + 1
            return notes

        Learning.resume = resume  # type: ignore[method-assign]
        between(Optim, "step", nothing, self._next_update)

    def _next_update(self) -> None:
        self.update, self.micro_batch = self.update + 1, 0

    def tick(self) -> tuple[int, int]:
        """One more micro-batch; the moment now."""
        self.micro_batch += 1
        return self.update, self.micro_batch


def _poison(mark: Mark, kind: str, moment: tuple[int, int], place: int) -> None:
    """Spoil the first micro-batch from ``moment`` (update, micro-batch) on; mark the update and one of the rows."""
    clock, spoiled = _Clock(), False

    def change(batch: Any, loss: Any) -> Any:
        nonlocal spoiled
        now = clock.tick()
        if spoiled or now < moment:
            return loss
        spoiled = True
        mark(str(now[0]))
        mark(batch.ids[place % len(batch.ids)])
        if kind == "NaN gradient":
            loss.total.register_hook(lambda gradient: gradient * math.nan)
            return loss
        bad = math.nan if kind == "NaN loss" else math.inf
        return dataclasses.replace(loss, terms={name: term * bad for name, term in loss.terms.items()})

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
        moment = rng.randrange(1, STEPS), rng.randrange(1, 3)
        ended = lab.run(out, *calm, before=lambda mark: _starve(mark, moment, error), model=lab.calm_model)
        expect(ended.code == 0, f"exit code {ended.code}: {ended.text[-500:]}")
        sizes = [int(mark) for mark in ended.marks]
        expect(sizes[-1] <= 4, f"the micro-batches did not halve: {sizes}")
        steps = [line["step"] for line in log_of(out) if line["kind"] == "step"]
        expect(steps == list(range(1, STEPS + 1)), f"steps lost or doubled: {steps}")
        mine = load_file(out / "model" / "model.safetensors")
        apart = max(_apart(mine[name], weights[name]) for name in weights)
        expect(apart <= TOLERANCE, f"weights are {apart:.2g} apart after no memory in update {moment[0]}")
        _expect_exact_resume(lab, rng, folder, moment, error)
        return {"weights apart": apart, "error": type(error()).__name__}

    numbers = plan.numbers(full=12, short=2)
    promise = f"no memory: micro-batches halve, nothing is lost, weights within {TOLERANCE:g}"
    return repeat(lab, plan, "out-of-memory", promise, numbers, trial)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, of weights larger than 1 as a share of the largest: a head that was solved has hundreds."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))


def _expect_exact_resume(lab: Lab, rng: random.Random, folder: Path, moment: tuple[int, int], error: Any) -> None:
    """With dropout, a run that was killed after its batches had halved ends as the one that was not."""
    whole, killed = folder / "whole", folder / "killed"

    def before(mark: Mark) -> None:
        _starve(mark, moment, error)

    ended = lab.run(whole, before=before)
    child = lab.start(killed, before=before)
    child.wait_for("4", rng.randrange(1, 4 * (STEPS + 1 - moment[0])))
    child.signal(signal.SIGKILL)
    child.wait()
    again = lab.run(killed, before=before)
    expect((ended.code, again.code) == (0, 0), f"exit codes {ended.code} {again.code}: {again.text[-500:]}")
    found = lab.differences(killed, whole)
    expect(not found, f"killed after no memory in update {moment[0]}: {'; '.join(found)}")


def _starve(mark: Mark, moment: tuple[int, int], error: Any) -> None:
    """From ``moment`` on there is no memory for more than 4 rows; mark the rows of each micro-batch that went well."""
    clock = _Clock()

    def change(batch: Any, loss: Any) -> Any:
        if clock.tick() >= moment and len(batch.ids) > 4:
            raise error()
        mark(str(len(batch.ids)))
        return loss

    on_loss(change)
