"""The body of the training loop, shared by the verbs that learn: log, evaluate, keep the best, save, stop, resume."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pretune.errors import CorruptFile, DataError, Interrupted
from pretune.files import check_free_space
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, now
from pretune.training.crowding import Crowding
from pretune.training.goal import Goal
from pretune.training.pace import Pace
from pretune.wording import counted

if TYPE_CHECKING:
    import torch

    from pretune.engine.average import Average
    from pretune.engine.batching import Feeds
    from pretune.engine.checkpoint import Checkpoint
    from pretune.engine.devices import Device
    from pretune.engine.fit import Budget, GradientRule, Objective
    from pretune.engine.interrupt import StopRequest
    from pretune.engine.optim import Optim
    from pretune.engine.parallel import Cluster
    from pretune.engine.plateau import Plateau
    from pretune.engine.sharding import Shards
    from pretune.types import Step

__all__ = ["Learning", "Paused"]

SAVE_SECONDS = 300.0
"""A checkpoint at least this often, beside those at evaluations."""


def _defined(standing: Mapping[str, float]) -> dict[str, float]:
    """Without what these rows do not define (NaN), which no file holds."""
    return {name: value for name, value in standing.items() if not math.isnan(value)}


class Paused(Interrupted):
    """A run came to the share of its whole at which it was to wait; its state was saved, and its record says how it stands."""


class _BrokenOff(Exception):
    """An evaluation stopped half-way because a signal came."""


@dataclass
class Learning:
    """One run's training: what learns, towards what, at what pace, and where the state is kept.

    With an ``average`` of the weights it is that which is evaluated and kept. A ``plateau`` lowers the rate by what evaluations say. ``begin`` is called once, before the first update: what
    it puts into the model is evaluated, and is the first of the results that the best is chosen from. ``before_seconds`` is what comes
    before it, of which a forecast tells. ``shards`` are the layers that processes share. ``until`` is a share of the whole at which the run waits (:class:`Paused`).
    """

    run: RunFolder
    model: torch.nn.Module
    objective: Objective
    optim: Optim
    feeds: Feeds
    goal: Goal
    pace: Pace
    budget: Budget
    device: Device
    cluster: Cluster
    seed: int
    flops_per_token: float
    say: Say
    average: Average | None = None
    plateau: Plateau | None = None
    finds_rate: bool = False
    rule: GradientRule | None = None
    shards: Shards | None = None
    begin: Callable[[], None] | None = None
    before_seconds: float = 0.0
    until: float = 1.0
    best: dict[str, Any] = field(default_factory=dict)
    stale: int = 0
    step: int = 0
    unevaluated: bool = False
    _saved_step: int = -1
    _saved_at: float = 0.0

    def resume(self) -> list[str]:
        """Continue from the newest whole checkpoint, if there is one; returns what was passed over on the way."""
        from pretune.engine import checkpoint

        found = checkpoint.load_last(self.run.checkpoints_dir, self._read_parts if self.shards else None)
        if found is None:
            if self.cluster.is_first:
                self.run.truncate_log(0)
            return []
        self._restore(found)
        return found.notes

    def _read_parts(self, path: Path) -> Checkpoint:
        from pretune.engine.parts import read_parts

        return read_parts(path, self.model, self.optim.like_of)

    def _restore(self, found: Checkpoint) -> None:
        from pretune.engine.checkpoint import load_weights

        load_weights(self.model, found.model)
        self.optim.load_tensors(found.optimizer)
        if self.average:
            self.average.load(found.average, found.step)
        self.objective.load_state_dict(found.objective)
        state = found.state
        self.step, self.stale, self.best = found.step, state["stale"], state["best"]
        self.unevaluated = state["unevaluated"]
        if self.finds_rate:
            self.optim.learning_rate = state["learning_rate"]
        if self.plateau:
            self.plateau.load(state["plateau"])
            self.optim.reduction = self.plateau.reduction
        self.feeds.restore(state["data"])
        self.budget.used_seconds = state["used_seconds"]
        self._saved_step = found.step
        if self.cluster.is_first:
            self.run.truncate_log(found.step)

    def go(self) -> None:
        """Train to the end of the budget or of patience. The best weights are in the model afterwards."""
        from pretune.engine.fit import fit
        from pretune.engine.interrupt import StopRequest

        if self.cluster.is_first:
            size = 4 * sum(p.numel() for p in self.model.parameters()) * 3
            self.run.checkpoints_dir.mkdir(exist_ok=True)
            check_free_space(self.run.checkpoints_dir, 2 * size, "saving checkpoints")
        if self.begin is not None and self._saved_step < 0:  # a signal ends this at once: there is nothing to save yet
            self.begin()
            if self.average:
                self.average.restart()
            self.unevaluated = True
        if self.finds_rate and self._saved_step < 0:
            self._find_rate()
        # The bar counts thousandths of the budget, which may be updates or minutes.
        bar = self.say.progress(1000, "training")
        told = int(1000 * self.budget.progress(self.step))
        self._saved_at = time.monotonic()
        crowding = Crowding(self.device, self.cluster, self.say)
        with StopRequest() as stop:
            steps = fit(
                self.model, self.feeds, self.objective, self.optim, self.budget,
                device=self.device, cluster=self.cluster, seed=self.seed, start_step=self.step, rule=self.rule,
            )  # fmt: skip
            if self.step:
                bar.update(told, f"resumed after step {self.step}")
            if self.unevaluated:
                self._evaluate(stop)
                self._saved_step = -1
                self._save()
                self._leave_if_asked(stop)
            for done in [] if self._is_over() or not self.pace.total_steps else steps:
                self.step = done.number
                if self.average:
                    self.average.update()
                self._log(done)
                crowding.look()
                share = int(1000 * done.progress)
                bar.update(share - told, f"step {done.number}, loss {done.loss:.4f}")
                told = share
                waits = self.until <= done.progress < 1.0
                if waits or self._is_evaluation_due(done):
                    self._evaluate(stop)
                    self._save()
                elif self._is_save_due():
                    self._save()
                self._leave_if_asked(stop)
                if waits:
                    self._pause()
                if self._is_over():
                    self.say.note(
                        f"no better {self.goal.metric} in {counted(self.stale, 'evaluation')}: stopping early"
                    )
                    break
        bar.close()
        self._take_best()

    def _find_rate(self) -> None:
        """Learn at the rate that a range test advises, and note it in run.json."""
        from pretune.engine.range_test import range_test

        found = range_test(
            self.model, self.feeds, self.objective, self.optim, device=self.device, cluster=self.cluster, seed=self.seed
        )
        tried = f"{counted(len(found.rates), 'update')} at growing learning rates"
        if found.advice is None:
            self.say.warn(f"{tried}: the loss never fell, and the rate stays {self.optim.learning_rate:.2g}")
        else:
            self.say.note(
                f"{tried}: {found.advice:.2g} is advised and taken (without the test: {self.optim.learning_rate:.2g})"
            )
            self.optim.learning_rate = found.advice
        if self.cluster.is_first:
            training = {**self.run.record.get("training", {}), "learning_rate": self.optim.learning_rate}
            self.run.update_record(training={**training, "range_test": found.to_dict()})

    def _log(self, done: Step) -> None:
        if self.cluster.is_first and (begun := self.feeds.begun_part()) is not None:
            self.run.log({"kind": "part", "seed": self.seed, "step": done.number, **begun})
        if not self.cluster.is_first or (done.number % self.pace.log_every and done.progress < 1.0):
            return
        from pretune.engine.devices import peak_flops

        tokens_per_second = done.num_tokens / done.seconds
        peak = peak_flops(self.device.precision, self.device.device.type)
        self.run.log(
            {
                "kind": "step", "seed": self.seed, "step": done.number, "epoch": round(done.epoch, 4),
                "progress": round(done.progress, 6), "loss": done.loss, "parts": dict(done.parts),
                "learning_rate": done.learning_rate, "grad_norm": done.grad_norm,
                "tokens_per_second": round(tokens_per_second, 1),
                "examples_per_second": round(done.num_rows / done.seconds, 2),
                "padding": round(1 - done.num_tokens / max(1, done.num_padded), 4),
                "mfu": round(tokens_per_second * self.flops_per_token / peak, 4),
                "seconds": round(done.seconds, 4),
            }
        )  # fmt: skip

    def _is_evaluation_due(self, done: Step) -> bool:
        return done.number % self.pace.eval_every == 0 or done.progress >= 1.0

    def _is_save_due(self) -> bool:
        if self.pace.save_every is not None:
            return self.step % self.pace.save_every == 0
        due = time.monotonic() - self._saved_at > SAVE_SECONDS
        return self.cluster.any(due) if self.shards else due  # each writes its part

    def _is_over(self) -> bool:
        """Is patience at its end, or is there nothing left to lower the rate to?"""
        out_of_patience = self.goal.patience is not None and self.stale >= self.goal.patience
        return out_of_patience or (self.plateau is not None and self.plateau.is_over)

    def _evaluate(self, stop: StopRequest) -> None:
        """Score the goal's split on the first process; all learn the result. A signal breaks it off, for after a resume."""
        began = time.monotonic()
        epoch = self.feeds.updates / self.feeds.updates_per_epoch
        scores: Mapping[str, float] = {}

        def watch(_rows: int) -> None:
            if stop.signal_number and self.cluster.world == 1:
                raise _BrokenOff

        self.unevaluated = True
        with self._whole():
            if self.cluster.is_first:
                try:
                    with self.average.in_place() if self.average else contextlib.nullcontext():
                        scores = self.goal.evaluate(watch)
                except _BrokenOff:
                    return
            self.unevaluated = False
            standing = self._shared_standing(scores)
        if self.budget.max_seconds is not None:  # --minutes are minutes of waiting, evaluations too
            self.budget.used_seconds += self.cluster.sum([time.monotonic() - began])[0] / self.cluster.world
        if math.isnan(standing["value"]):
            raise DataError(
                f"the {self.goal.split} rows do not define {self.goal.metric}, by which the best model is chosen: their right answers are "
                "all alike, or there is nothing in them to find",
                f"give {self.goal.split} rows whose answers differ, or choose by another score (--metric)",
            )
        better = self.goal.is_better(standing, self.best)
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best = {"step": self.step, "epoch": round(epoch, 4), **_defined(standing)}
        if self.cluster.is_first:
            line = {"kind": "eval", "seed": self.seed, "step": self.step, "epoch": round(epoch, 4)}
            self.run.log({**line, "split": self.goal.split, "scores": _defined(scores), "best": better})
            self.say.note(
                f"step {self.step}, epoch {epoch:.2f}: {self.goal.split} {self.goal.metric} {standing['value']:.4f}{' (best so far)' if better else ''}"
            )
        self._adapt_rate(better)

    def _whole(self) -> contextlib.AbstractContextManager[None]:
        """Within, the first process has the whole model."""
        return self.shards.whole() if self.shards else contextlib.nullcontext()

    def _adapt_rate(self, better: bool) -> None:
        """Lower the rate where the plateau says so. What comes before the first update is no evaluation of it."""
        if self.plateau is None or not self.step or not self.plateau.note(better):
            return
        self.optim.reduction = self.plateau.reduction
        if self.cluster.is_first and not self.plateau.is_over:
            rate = self.optim.learning_rate * self.plateau.reduction
            self.say.note(
                f"no better {self.goal.metric} in {counted(self.plateau.patience, 'evaluation')}: the learning rate is {rate:.2g} from here"
            )

    def _shared_standing(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The first process's standing, known to all."""
        keys = ("value", "tie") if self.goal.tie_breaker else ("value",)
        own = self.goal.standing(scores) if self.cluster.is_first else dict.fromkeys(keys, 0.0)
        return dict(zip(keys, self.cluster.sum([own[key] for key in keys]), strict=True))

    def _save(self) -> None:
        if (self.shards or self.cluster.is_first) and self._saved_step != self.step:
            from pretune.engine import checkpoint
            from pretune.engine.parts import save_parts

            state = {
                "data": self.feeds.state(),
                "used_seconds": self.budget.used_seconds,
                "best": self.best,
                "stale": self.stale,
                "unevaluated": self.unevaluated,
                **({"learning_rate": self.optim.learning_rate} if self.finds_rate else {}),
                **({"plateau": self.plateau.to_dict()} if self.plateau else {}),
            }
            average = self.average.tensors() if self.average else {}
            whole = checkpoint.Checkpoint(
                self.step,
                dict(self.model.state_dict()),
                self.optim.tensors(),
                state,
                average,
                self.objective.state_dict(),
            )
            if self.shards:
                save_parts(self.run.checkpoints_dir, whole, self.cluster)
            else:
                checkpoint.save(self.run.checkpoints_dir, whole)
            if self.cluster.is_first:
                newest = checkpoint.steps_on_disk(self.run.checkpoints_dir)[:2]
                checkpoint.prune(self.run.checkpoints_dir, [*newest, *([self.best["step"]] if self.best else [])])
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def _leave_if_asked(self, stop: StopRequest) -> None:
        if not self.cluster.any(bool(stop.signal_number)):
            return
        self._save()
        if self.cluster.is_first:
            self.run.update_record(status="stopped", stopped=now())
        raise Interrupted(
            f"stopped after step {self.step}; everything is saved in {self.run.path}",
            "run the same command again to go on",
            stop.signal_number or signal.SIGTERM,
        )

    def _pause(self) -> NoReturn:
        """Leave the run as it stands. Raises :class:`Paused`."""
        if self.cluster.is_first:
            standing = {"metric": self.goal.metric, **self.best}
            self.run.update_record(status="stopped", stopped=now(), paused={"share": self.until, **standing})
        raise Paused(f"waits after step {self.step}", "run the same command again to go on", signal.SIGTERM)

    def _take_best(self) -> None:
        """Put the best evaluation's weights into the model, averaged where averages are kept."""
        from pretune.engine import checkpoint

        self.cluster.barrier()
        if self.average:
            checkpoint.load_weights(self.model, self.average.tensors())
        if self.best and self.best["step"] != self.step:
            try:
                read = self._read_parts if self.shards else None
                found = checkpoint.load_step(self.run.checkpoints_dir, self.best["step"], read)
                checkpoint.load_weights(self.model, found.average or found.model)
            except CorruptFile as error:
                self._keep_last(error)
        if self.shards:
            self.shards.end()
        self.cluster.barrier()  # the first process may now remove the checkpoints

    def _keep_last(self, error: CorruptFile) -> None:
        """The best evaluation's checkpoint is damaged: the model is the last one, and so is the score that is recorded."""
        with self._whole():
            scores = self.goal.evaluate(lambda _rows: None) if self.cluster.is_first else {}
            self.cluster.barrier()
        lost, standing = self.best, self._shared_standing(scores)
        epoch = round(self.feeds.updates / self.feeds.updates_per_epoch, 4)
        self.best = {
            "step": self.step, "epoch": epoch, **standing, "lost": {key: lost[key] for key in ("step", "value")},
        }  # fmt: skip
        self.say.warn(
            f"{error.problem}: the best model (step {lost['step']}, {self.goal.metric} {lost['value']:.4f}) is lost; "
            f"the last one is kept (step {self.step}, {self.goal.metric} {standing['value']:.4f})"
        )
