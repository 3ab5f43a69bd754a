"""One run of a benchmark, in a process of its own: ``python -m pretune.verbs.benchmark.worker SPEC`` (JSON).

It is asked to ``load`` the run, to ``predict`` the rows, and again and again for the times of a few calls, in turn with the
workers of the other runs.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import AnsweringSettings
from pretune.evaluation.worker import serve
from pretune.runfolder import open_run

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.runs.proven import Proven
    from pretune.types import Encoded, Example

__all__ = ["RunUnderTest", "main"]

_TIMED_ROWS = 128


class RunUnderTest:
    """A run, the rows it answers and the calls that are timed.

    ``spec`` holds ``run``, ``rows`` (a folder of :meth:`datasets.Dataset.save_to_disk`), ``threads`` and ``precision``.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.proven: Proven
        self.rows: Dataset
        self.examples: list[Example]
        self.items: list[list[Encoded]]
        self._calls: dict[str, Callable[[], None]] = {}

    def load(self, _question: dict[str, Any]) -> dict[str, Any]:
        """Load the model, and say what memory the process held before."""
        from datasets import load_from_disk

        from pretune.files import weight_bytes
        from pretune.runs.proven import about_of, load_proven
        from pretune.tasks.predicting import example_of, readable

        run = open_run(self.spec["run"])
        held = _held_bytes()
        asked = AnsweringSettings(precision=self.spec["precision"], threads=self.spec["threads"])
        self.proven = load_proven(run, asked)
        found: Any = load_from_disk(self.spec["rows"])
        self.rows = found
        some: Any = found.select(range(min(len(found), _TIMED_ROWS)))
        examples = [self.proven.task.asked(example_of(row, str(place))) for place, row in enumerate(some)]
        read = readable(self.proven.task, examples)
        self.examples, self.items = [examples[place] for place, _ in read], [items for _, items in read]
        return {
            "task": self.proven.task.name,
            "labels": list(self.proven.task.labels),
            "engine": about_of(run)["engine"],
            "bytes": weight_bytes(run.model_dir),
            "parameters": sum(one.numel() for one in self.proven.model.parameters()) or None,
            "held_bytes": held,
            **self.proven.device.to_dict(),
        }

    def predict(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer every row into the file ``out``, as JSON lines with the truth."""
        from pretune.runs.rows import name_groups
        from pretune.tasks.predicting import predict_rows

        task = self.proven.task
        encoded = task.in_takes(task.encode_rows(self.rows, fingerprint=self.spec["fingerprint"]))
        predictions = predict_rows(task, self.proven.model, encoded, self.proven.device)
        records = [task.record(p, truth) for p, truth in zip(predictions, task.truths(self.rows), strict=True)]
        name_groups(records, self.rows, task)
        lines = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        Path(question["out"]).write_text(lines, encoding="utf-8")
        return {"n": len(records)}

    def time(self, question: dict[str, Any]) -> dict[str, Any]:
        """Milliseconds of ``calls`` calls on ``batch`` rows, ``whole`` with encoding; ``warmup`` calls before are not counted."""
        key = f"{question['batch']} {question['whole']}"
        if key not in self._calls:
            self._calls[key] = self._call(question["batch"], whole=question["whole"])
        call, taken = self._calls[key], []
        for number in range(question["warmup"] + question["calls"]):
            began = time.perf_counter()
            call()
            if number >= question["warmup"]:
                taken.append(1000 * (time.perf_counter() - began))
        return {"ms": taken}

    def peak(self, _question: dict[str, Any]) -> dict[str, Any]:
        """The most memory that the process has held."""
        from pretune.machine import peak_memory_bytes

        return {"peak_memory_bytes": peak_memory_bytes()}

    def _call(self, size: int, *, whole: bool) -> Callable[[], None]:
        from pretune.engine.devices import inference

        task, model, device = self.proven.task, self.proven.model, self.proven.device
        # Few rows are taken again and again: a batch has its size whatever the split has.
        count = max(size, len(self.examples) // size * size)
        places = [place % len(self.examples) for place in range(count)]
        parts = [places[start : start + size] for start in range(0, count, size)]
        ready = [task.collate([item for place in part for item in self.items[place]]) for part in parts]
        turn = itertools.cycle(range(len(parts)))

        def call() -> None:
            number = next(turn)
            batch = ready[number]
            if whole:
                encoded = [item for place in parts[number] for item in task.encode(self.examples[place])]
                batch = task.collate(encoded)
            with inference(device):
                task.predict(model, batch.to(device.device))

        return call


def _held_bytes() -> int:
    """What the process holds with all libraries loaded that any engine needs, so that a model's own memory is what comes on top."""
    import importlib

    import psutil

    for name in ("onnxruntime", "transformers", "pretune.tasks"):
        importlib.import_module(name)
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Serve the run of the command line's specification."""
    run = RunUnderTest(json.loads(sys.argv[1]))
    serve({"load": run.load, "predict": run.predict, "time": run.time, "peak": run.peak})


if __name__ == "__main__":
    main()
