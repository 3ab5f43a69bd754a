"""One thread that owns the model. What waits is answered together, in batches of a token budget, by turns.

A job is a request: its rows, and a future for its records. Every round takes a row of each job in turn until the budget is
full, so that a request of one row does not wait for one of many.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pretune.serve.problems import Problem, problem_of
from pretune.tasks.predicting import BUDGET_TOKENS, example_of, predict_items
from pretune.types import Encoded

if TYPE_CHECKING:
    import torch

    from pretune.engine.devices import Device
    from pretune.tasks.base import Task

__all__ = ["Job", "Worker"]

_MOST_RETRY_SECONDS = 60


@dataclass(eq=False)
class Job:
    """Rows to answer together. ``future`` gets their records in order, and is cancelled by whoever no longer wants them.

    With ``explain`` the result is what it makes of the first row, in place of the answers; it may use the model meanwhile, and
    is told by its second argument whether anybody still waits.
    """

    rows: Sequence[Mapping[str, Any]]
    explain: Callable[[Mapping[str, Any], Callable[[], bool]], Any] | None = None
    future: Future[Any] = field(default_factory=Future)
    taken: int = 0
    records: dict[int, dict[str, Any]] = field(default_factory=dict)

    def fail(self, error: Exception) -> None:
        """Tell the client's side, unless it is done or has left."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return

    def add(self, place: int, record: dict[str, Any]) -> None:
        """The record of a row; with the last one the job is done."""
        self.records[place] = {**record, "id": self.rows[place]["id"]}
        if len(self.records) == len(self.rows):
            self.finish([self.records[i] for i in range(len(self.rows))])

    def finish(self, result: Any) -> None:
        """Give the result, unless nobody wants it."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            return

    def where(self, place: int) -> str:
        """The row's name in messages."""
        return f"row {place + 1}" if len(self.rows) > 1 else ""


@dataclass
class _Taken:
    """A row of a job that is in the round."""

    job: Job
    place: int
    items: list[Encoded]


class Worker:
    """Answers jobs one round after the other until it is closed; then it finishes those that are there.

    ``on_defect`` hears of errors that nobody foresaw, and of a model that gives no answers.
    """

    def __init__(
        self,
        task: Task,
        model: torch.nn.Module,
        device: Device,
        *,
        most_jobs: int,
        on_defect: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._task, self._model, self._device = task, model, device
        self._most_jobs, self._on_defect = most_jobs, on_defect
        self._jobs: list[Job] = []
        self._bell = threading.Condition()
        self._is_closing = False
        self._seconds_a_job = 0.05
        self.rounds = self.answered = 0
        self._thread = threading.Thread(target=self._work, name="pretune-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that are being answered or wait; those that were answered, or given up, are not."""
        return sum(not job.future.done() for job in self._jobs)

    @property
    def is_alive(self) -> bool:
        """Does the thread still work?"""
        return self._thread.is_alive() and not self._is_closing

    @property
    def wait_seconds(self) -> int:
        """How long what waits may take, roughly: when to come again."""
        return max(1, min(math.ceil(self.waiting * self._seconds_a_job), _MOST_RETRY_SECONDS))

    def submit(self, job: Job) -> None:
        """Line the job up. Raises :class:`Problem` 503 when too many wait, or none is taken any more."""
        with self._bell:
            if self._is_closing:
                raise Problem(503, "the service is stopping", "come again when it is back", retry_seconds=5)
            if (waiting := self.waiting) >= self._most_jobs:
                raise Problem(
                    503,
                    f"{waiting} requests are answered or wait already",
                    "come again after the seconds that Retry-After says, or send several rows in one request",
                    retry_seconds=self.wait_seconds,
                )
            self._jobs.append(job)
            self._bell.notify()

    def close(self, *, finish: bool = True) -> None:
        """Take no more jobs, finish those that are there (or drop them behind the present batch), end the thread."""
        with self._bell:
            self._is_closing = True
            for job in self._jobs:
                if not finish:
                    job.future.cancel()
            self._bell.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._bell:
                self._jobs = [job for job in self._jobs if not job.future.done()]
                while not self._jobs and not self._is_closing:
                    self._bell.wait()
                if not self._jobs:
                    return
                jobs = list(self._jobs)
            began = time.monotonic()
            self._round(jobs)
            done = sum(job.future.done() for job in jobs)
            if done:
                self._seconds_a_job += 0.1 * ((time.monotonic() - began) / done - self._seconds_a_job)

    def _round(self, jobs: Sequence[Job]) -> None:
        """Answer as many rows as fit in a batch, and explain one."""
        self.rounds += 1
        taken = self._take([job for job in jobs if job.explain is None])
        if taken:
            self._answer(taken)
            self._refuse_unanswered({row.job for row in taken})
        asking = next((job for job in jobs if job.explain is not None and not job.future.done()), None)
        if asking is not None:
            self._explained(asking)

    def _refuse_unanswered(self, jobs: Iterable[Job]) -> None:
        """No job may wait for ever: what went through the model without a record is our mistake."""
        for job in jobs:
            if job.taken == len(job.rows) and not job.future.done():
                self._fail(job, AssertionError("a row was left without a record"), len(job.rows) - 1)

    def _take(self, jobs: Sequence[Job]) -> list[_Taken]:
        turns, taken, cost = deque(jobs), [], 0
        while turns and cost < BUDGET_TOKENS:
            job = turns.popleft()
            if job.future.done() or job.taken == len(job.rows):
                continue
            place = job.taken
            job.taken += 1
            try:
                items = self._task.encode(example_of(job.rows[place], str(len(taken))))
            except (
                Exception
            ) as error:  # decoders and tokenizers raise many kinds; one client's row must not end the service
                self._fail(job, error, place)
                continue
            taken.append(_Taken(job, place, items))
            cost += sum(item.cost for item in items)
            turns.append(job)
        return taken

    def _answer(self, taken: Sequence[_Taken]) -> None:
        """Give every row its record. Where the batch fails, its rows go one by one, so that one cannot spoil the others."""
        try:
            records = self._records([item for row in taken for item in row.items])
        except Exception as error:  # whatever the model raises
            if len(taken) == 1:
                self._fail(taken[0].job, error, taken[0].place)
                return
            for row in taken:
                self._answer([row])
            return
        self.answered += len(taken)
        for record in records:
            row = taken[int(record["id"])] if len(taken) > 1 else taken[0]
            row.job.add(row.place, record)

    def _records(self, items: Sequence[Encoded]) -> Sequence[dict[str, Any]]:
        """Lines of a predictions file, as ``pretune predict`` makes them."""
        records = [
            self._task.record(prediction) for prediction in predict_items(self._task, self._model, items, self._device)
        ]
        honest = self._task.calibrated(records)
        return records if honest is None else honest

    def _explained(self, job: Job) -> None:
        assert job.explain is not None, "it was chosen for it"
        try:
            job.finish(job.explain(job.rows[0], lambda: not job.future.done()))
        except Exception as error:  # whatever the model raises
            self._fail(job, error, 0)

    def _fail(self, job: Job, error: Exception, place: int) -> None:
        problem = problem_of(error, job.where(place))
        if problem.status == 500 and problem is not error:
            self._on_defect(error)
        job.fail(problem)
