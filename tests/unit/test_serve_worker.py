"""The thread that owns the model: batches of many requests, by turns, and an end that leaves nobody waiting."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from clocks import HANG_SECONDS
from pretune.serve.problems import Problem
from pretune.serve.worker import Job, Worker
from pretune.tasks.predicting import BUDGET_TOKENS
from pretune.types import Encoded
from serving import Held, rows_for, served_as
from tiny import CPU


@pytest.fixture
def held_worker():
    """A worker whose model waits to be let go, the model, and the task."""
    served = served_as("text")
    model = Held(served.model)
    worker = Worker(served.task, model, CPU, most_jobs=100)
    yield worker, model, served.task
    model.go.set()
    worker.close()


def test_what_waits_is_answered_in_one_batch(held_worker: Any):
    worker, model, _ = held_worker
    first, *others = (Job([row]) for row in rows_for("text", 20))
    worker.submit(first)
    assert model.began.wait(HANG_SECONDS)
    for job in others:
        worker.submit(job)
    model.go.set()
    ids = [job.future.result(HANG_SECONDS)[0]["id"] for job in (first, *others)]
    assert ids == [f"t{i}" for i in range(20)]
    assert (worker.rounds, model.batches, worker.answered) == (2, 2, 20)


def test_a_small_request_does_not_wait_for_a_large_one(held_worker: Any):
    worker, model, _ = held_worker
    words = " ".join(["the striker scored twice against the home team"] * 12)
    large = Job([{"id": str(i), "text": words} for i in range(400)])
    small = Job(rows_for("text", 1))
    finished: list[str] = []
    large.future.add_done_callback(lambda _: finished.append("large"))
    small.future.add_done_callback(lambda _: finished.append("small"))
    worker.submit(large)
    assert model.began.wait(HANG_SECONDS)
    worker.submit(small)
    model.go.set()
    assert [record["id"] for record in large.future.result(120)] == [str(i) for i in range(400)]
    assert finished == ["small", "large"]
    assert worker.rounds > 400 * 100 / BUDGET_TOKENS


def test_a_job_that_nobody_wants_any_more_costs_nothing(held_worker: Any):
    worker, model, _ = held_worker
    first, left, last = (Job([row]) for row in rows_for("text", 3))
    worker.submit(first)
    assert model.began.wait(HANG_SECONDS)
    worker.submit(left)
    left.future.cancel()
    worker.submit(last)
    model.go.set()
    assert last.future.result(HANG_SECONDS)[0]["id"] == "t2"
    assert worker.answered == 2


def test_closing_answers_what_is_there_and_takes_no_more(held_worker: Any):
    worker, model, _ = held_worker
    jobs = [Job([row]) for row in rows_for("text", 5)]
    for job in jobs:
        worker.submit(job)
    closing = threading.Thread(target=worker.close)
    closing.start()
    while worker.is_alive:
        time.sleep(0.01)
    with pytest.raises(Problem) as refused:
        worker.submit(Job(rows_for("text", 1)))
    assert refused.value.status == 503
    model.go.set()
    closing.join(HANG_SECONDS)
    assert [job.future.result(0)[0]["id"] for job in jobs] == [f"t{i}" for i in range(5)]


def test_closing_without_finishing_drops_what_waits(held_worker: Any):
    worker, model, _ = held_worker
    first, second = (Job(rows_for("text", 1)) for _ in range(2))
    worker.submit(first)
    assert model.began.wait(HANG_SECONDS)
    worker.submit(second)
    closing = threading.Thread(target=worker.close, kwargs={"finish": False})
    closing.start()
    while not second.future.cancelled():
        time.sleep(0.01)
    model.go.set()
    closing.join(HANG_SECONDS)
    assert (model.batches, first.future.cancelled(), closing.is_alive()) == (1, True, False)


def test_a_row_that_the_model_cannot_take_spoils_no_other():
    """The batch fails as a whole; then each row goes alone."""
    served = served_as("text")
    told: list[Exception] = []

    class Picky(Held):
        def forward(self, **inputs: Any) -> Any:
            if int(inputs["input_ids"].max()) == 10_000:
                raise IndexError("index out of range in self")
            return super().forward(**inputs)

    class Task(type(served.task)):
        def encode(self, example: Any) -> list[Encoded]:
            items = super().encode(example)
            if "poison" in example.inputs["text"]:
                items[0].arrays["input_ids"][1] = 10_000
            return items

    served.task.__class__ = Task
    model = Picky(served.model)
    worker = Worker(served.task, model, CPU, most_jobs=9, on_defect=told.append)
    good, bad, other = (
        Job([{"id": "a", "text": "fine"}]),
        Job([{"id": "b", "text": "poison"}]),
        Job(rows_for("text", 2)),
    )
    held = Job(rows_for("text", 1))
    worker.submit(held)
    assert model.began.wait(HANG_SECONDS)
    for job in (good, bad, other):
        worker.submit(job)
    model.go.set()
    worker.close()
    assert good.future.result(0)[0]["id"] == "a"
    assert [record["id"] for record in other.future.result(0)] == ["t0", "t1"]
    with pytest.raises(Problem, match="IndexError") as failed:
        bad.future.result(0)
    assert failed.value.status == 500
    assert [type(error) for error in told] == [IndexError]


def test_a_row_without_a_record_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    served, told = served_as("text"), []
    monkeypatch.setattr(type(served.task), "merge", lambda self, predictions: list(predictions)[:-1])
    worker = Worker(served.task, served.model, CPU, most_jobs=9, on_defect=told.append)
    job = Job(rows_for("text", 2))
    worker.submit(job)
    with pytest.raises(Problem) as failed:
        job.future.result(HANG_SECONDS)
    worker.close()
    assert failed.value.status == 500
    assert len(told) == 1


def test_explanations_take_turns_with_answers(held_worker: Any):
    worker, model, _ = held_worker
    seen: list[str] = []
    first, answer = (Job([row]) for row in rows_for("text", 2))
    explained = Job(rows_for("text", 1), lambda row, wanted: seen.append(row["id"]) or {"of": row["id"]})
    failing = Job(rows_for("text", 1), lambda row, wanted: 1 / 0)
    worker.submit(first)
    assert model.began.wait(HANG_SECONDS)
    for job in (failing, explained, answer):
        worker.submit(job)
    model.go.set()
    assert explained.future.result(HANG_SECONDS) == {"of": "t0"}
    assert answer.future.result(HANG_SECONDS)[0]["id"] == "t1"
    with pytest.raises(Problem, match="ZeroDivisionError"):
        failing.future.result(HANG_SECONDS)
    assert seen == ["t0"]


def test_threads_are_those_that_were_asked_for():
    import torch

    served = served_as("text")
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)

    class Counting(Held):
        def forward(self, **inputs: Any) -> Any:
            seen.append(torch.get_num_threads())
            return self.model(**inputs)

    worker = Worker(served.task, Counting(served.model), CPU, most_jobs=1)
    job = Job(rows_for("text", 1))
    worker.submit(job)
    job.future.result(HANG_SECONDS)
    worker.close()
    torch.set_num_threads(before)
    assert seen == [2]
