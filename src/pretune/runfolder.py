"""The run folder: the unit of exchange between verbs, and the only thing a report reads.

::

    run.json       verb, settings, command, versions, machine, parents, status, result
    data.json      the data passport
    log.jsonl      one line a logged step or evaluation
    looks.jsonl    one line a look at a test split
    checkpoints/   step-00000500/ ... and LAST (engine/checkpoint.py)
    model/         Hugging Face folder of the best model, with pretune.json and a model card
    predictions/   <split>.jsonl
    train_keys.npy keys of the rows that were learned from (runs/keys.py)
    metrics.json   {split: evaluation}
    sums.json      sums of the files above that are complete (sums.py); model/ has its own
    report.html
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretune.errors import RunError
from pretune.files import append_json_line, json_text, read_json, read_json_lines
from pretune.listeners import tell_line
from pretune.records import check_of, line_check_of
from pretune.schema import anything, record, require
from pretune.sums import Sums

__all__ = ["RunFolder", "data_of", "is_run", "machine_facts", "now", "open_run"]


_RECORDS = (
    "run.json", "data.json", "log.jsonl", "looks.jsonl", "metrics.json", "comparisons.json", "benchmark.json", "recipe.json",
    "train_keys.npy",
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """A run on disk. Paths are fixed; contents are read when asked for."""

    path: Path

    @property
    def model_dir(self) -> Path:
        """The Hugging Face folder of the best model."""
        return self.path / "model"

    @property
    def checkpoints_dir(self) -> Path:
        """Where engine/checkpoint.py writes."""
        return self.path / "checkpoints"

    @property
    def log_path(self) -> Path:
        """log.jsonl."""
        return self.path / "log.jsonl"

    @staticmethod
    def predictions_name(split: str) -> str:
        """The predictions file of a split."""
        return f"predictions/{split}.jsonl"

    @property
    def sums(self) -> Sums:
        """Of the files that are complete: what the run writes about itself, not its model and its checkpoints."""
        return Sums(self.path)

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        record = self.read_object("run.json")
        self.sums.miss(record)
        return record

    @property
    def passport(self) -> dict[str, Any]:
        """data.json, or an empty mapping."""
        return self.read_object("data.json") if self.has("data.json") else {}

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: split to evaluation; empty when nothing was evaluated."""
        return self.read_object("metrics.json") if self.has("metrics.json") else {}

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """comparisons.json: every comparison with another run, once; empty when there was none."""
        if not self.has("comparisons.json"):
            return []
        return self._checked("comparisons.json")

    def record_files(self) -> list[str]:
        """The names of the files that the run wrote about itself."""
        names = [name for name in _RECORDS if self.has(name)]
        predictions = (self.path / "predictions").glob("*.jsonl")
        keys = sorted(path.name for path in self.path.glob("train_keys-*.npy"))
        return [*names, *keys, *(f"predictions/{path.name}" for path in sorted(predictions))]

    def has(self, name: str) -> bool:
        """Is there such a file?"""
        return (self.path / name).exists()

    def read_object(self, name: str, *keys: str) -> dict[str, Any]:
        """A file of JSON that was written by :meth:`write`; :class:`pretune.errors.CorruptFile` where it is not as it was."""
        return require(self._checked(name), record(dict.fromkeys(keys, anything)), self.path / name)

    def _checked(self, name: str) -> Any:
        self.sums.check([name])
        return require(read_json(self.path / name), check_of(name), self.path / name)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a JSON-lines file, none where it does not exist."""
        self.sums.check([name])
        check = line_check_of(name)
        return [
            require(line, check, f"{self.path / name}:{number}")
            for number, line in enumerate(read_json_lines(self.path / name), start=1)
        ]

    def write(self, name: str, value: Any) -> None:
        """Replace a file of JSON, durably, with its sum."""
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        self.sums.write(name, text.encode())

    def write_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Replace a file of JSON lines, durably, with its sum."""
        (self.path / name).parent.mkdir(exist_ok=True)
        self.sums.write(name, "".join(json_text(line) + "\n" for line in lines).encode())

    def take_over(self, name: str, source: RunFolder) -> None:
        """Copy a file from another run, where it has it."""
        if source.has(name):
            self.sums.write(name, source.sums.read(name))

    def update_record(self, **changes: Any) -> None:
        """Change keys of run.json, durably."""
        self.write("run.json", {**self.record, **changes})

    def write_passport(self, passport: dict[str, Any]) -> None:
        """Replace data.json."""
        self.write("data.json", passport)

    def write_metrics(self, split: str, evaluation: dict[str, Any]) -> None:
        """Replace the evaluation of one split in metrics.json."""
        self.write("metrics.json", {**self.metrics, split: evaluation})

    def log(self, line: dict[str, Any]) -> None:
        """Add a line to log.jsonl, which has a sum from :meth:`close_log` on; who listens is told."""
        append_json_line(self.log_path, line)
        tell_line(self.path, line)

    def close_log(self) -> None:
        """No line comes any more."""
        if self.log_path.exists():
            self.sums.include("log.jsonl")

    def log_lines(self) -> list[dict[str, Any]]:
        """The whole lines of log.jsonl."""
        return self.read_lines("log.jsonl")

    def truncate_log(self, step: int) -> None:
        """Forget lines after ``step``: a resumed run writes them again, none twice."""
        kept = [line for line in self.log_lines() if line.get("step", 0) <= step]
        self.sums.forget("log.jsonl")
        aside = self.log_path.with_suffix(".tmp")
        aside.unlink(missing_ok=True)
        for line in kept:
            append_json_line(aside, line)
        if kept:
            aside.replace(self.log_path)
        else:
            self.log_path.unlink(missing_ok=True)

    def count_look(self, split: str, what: str) -> int:
        """Record a look at ``split``; returns how many there have been."""
        self.sums.append("looks.jsonl", (json_text({"split": split, "what": what, "at": now()}) + "\n").encode())
        return sum(1 for line in self.read_lines("looks.jsonl") if line["split"] == split)


def now(*, exact: bool = False) -> str:
    """UTC time, to the second; ``exact``: to the microsecond, so that a run made anew within a second is told from the first."""
    told = datetime.now(UTC).isoformat(timespec="microseconds" if exact else "seconds")
    return told.replace("+00:00", "Z")


def machine_facts() -> dict[str, Any]:
    """What the figures were measured on."""
    import os

    from pretune import __version__

    facts: dict[str, Any] = {
        "pretune": __version__,
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }
    for name in ("torch", "transformers", "datasets", "tokenizers", "numpy", "sklearn"):
        module = sys.modules.get(name)
        if module is not None:
            facts[name] = str(getattr(module, "__version__", "?"))
    return facts


def is_run(place: str | Path) -> bool:
    """Is this the folder of a run?"""
    return (Path(place) / "run.json").is_file()


def open_run(place: str | Path) -> RunFolder:
    """An existing run, for reading. Raises :class:`RunError` when it is none."""
    path = Path(place)
    if not path.exists():
        raise RunError(f"{path} does not exist", "pretune list shows the runs under ./runs")
    if not is_run(path):
        raise RunError(f"{path} is not a run folder (it has no run.json)", "pretune list shows the runs under ./runs")
    run = RunFolder(path)
    run.read_object("run.json", "verb", "settings", "status")
    return run


def data_of(record: Mapping[str, Any]) -> list[str]:
    """The places that a run's rows were read from; of a run made from another, its parent's."""
    for part in ("settings", "reading"):
        saved = record.get(part) or {}
        places = [saved.get("data"), *(saved.get("train") or ())]
        if any(places):
            return [str(place) for place in places if place]
    return []
