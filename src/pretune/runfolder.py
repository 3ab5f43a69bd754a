"""The run folder: the unit of exchange between verbs, and the only thing a report reads.

::

    run.json       verb, settings, command, versions, machine, parents, status, result
    data.json      the data passport
    log.jsonl      one line a logged step or evaluation
    looks.jsonl    one line a look at a test split
    checkpoints/   step-00000500/ ... and LAST (engine/checkpoint.py)
    model/         Hugging Face folder of the best model, with pretune.json and a model card
    predictions/   <split>.jsonl
    metrics.json   {split: evaluation}
    report.html
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretune.errors import RunError, UsageError
from pretune.files import append_json_line, lock_folder, read_json_lines, read_object, write_json
from pretune.options import Settings, json_value, name_of

__all__ = ["RunFolder", "create_run", "data_of", "is_run", "machine_facts", "open_run", "refuse_place"]


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

    def predictions_path(self, split: str) -> Path:
        """The predictions file of a split."""
        return self.path / "predictions" / f"{split}.jsonl"

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        return read_object(self.path / "run.json")

    @property
    def passport(self) -> dict[str, Any]:
        """data.json, or an empty mapping."""
        path = self.path / "data.json"
        return read_object(path) if path.exists() else {}

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: split to evaluation; empty when nothing was evaluated."""
        path = self.path / "metrics.json"
        return read_object(path) if path.exists() else {}

    def update_record(self, **changes: Any) -> None:
        """Change keys of run.json, durably."""
        write_json(self.path / "run.json", {**self.record, **changes})

    def write_passport(self, passport: dict[str, Any]) -> None:
        """Replace data.json."""
        write_json(self.path / "data.json", passport)

    def write_metrics(self, split: str, evaluation: dict[str, Any]) -> None:
        """Replace the evaluation of one split in metrics.json."""
        write_json(self.path / "metrics.json", {**self.metrics, split: evaluation})

    def log(self, line: dict[str, Any]) -> None:
        """Add a line to log.jsonl."""
        append_json_line(self.log_path, line)

    def log_lines(self) -> list[dict[str, Any]]:
        """The whole lines of log.jsonl."""
        return list(read_json_lines(self.log_path))

    def truncate_log(self, step: int) -> None:
        """Forget lines after ``step``: a resumed run writes them again, none twice."""
        kept = [line for line in self.log_lines() if line.get("step", 0) <= step]
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
        path = self.path / "looks.jsonl"
        append_json_line(path, {"split": split, "what": what, "at": now()})
        return sum(1 for line in read_json_lines(path) if line["split"] == split)


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
    read_object(path / "run.json", "verb", "settings", "status")
    return RunFolder(path)


def data_of(record: Mapping[str, Any]) -> list[str]:
    """The places that a run's rows were read from; of a run made from another, its parent's."""
    for part in ("settings", "reading"):
        saved = record.get(part) or {}
        places = [saved.get("data"), *(saved.get("train") or ())]
        if any(places):
            return [str(place) for place in places if place]
    return []


def default_out(verb: str, data: str) -> Path:
    """``runs/<verb>-<data>-<number>``, the first number that is free: nothing lies there, or what an early mistake left."""
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(data).name.split(".")[0])[:40] or "data"
    number = 1
    while (place := Path("runs", f"{verb}-{stem}-{number}")).exists() and not _is_left_over(place):
        number += 1
    return Path("runs", f"{verb}-{stem}-{number}")


@contextlib.contextmanager
def create_run(
    settings: Settings, out: str | Path, *, overwrite: bool = False, parents: tuple[str, ...] = ()
) -> Iterator[tuple[RunFolder, str]]:
    """The run folder for writing, locked, and its state: ``new``, ``resumed`` or ``finished``.

    Raises :class:`RunError` when another process writes it, when it is not a run of ours, or when it was begun with
    other settings (the difference is shown).
    """
    path = Path(out)
    refuse_place(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {path} cannot be made: {error.strerror}", "choose a folder that you may write to"
        ) from None
    with lock_folder(path):
        run = RunFolder(path)
        _drop_leftovers(path)
        if is_run(path) and (overwrite or run.record.get("status") == _EMPTYING):
            _set_aside(path)
        if not is_run(path):
            write_json(path / "run.json", _fresh_record(settings, parents))
            try:
                yield run, "new"
            except Exception:
                if not _has_learned(run):
                    _undo(path)
                raise
            finally:
                shutil.rmtree(path / _BEFORE, ignore_errors=True)
            return
        _refuse_other_settings(run, settings)
        if run.record.get("status") != "finished":
            yield run, "resumed"
            return
        # The last act of a run; a crash may have come before it.
        shutil.rmtree(run.checkpoints_dir, ignore_errors=True)
        yield run, "finished"


def refuse_place(path: Path) -> None:
    """Raise where no run can go: :class:`UsageError` for a file, :class:`RunError` for a folder that holds something else."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path} is a file", "give a folder")
    # The list is made first: another process may turn the folder into a run at this moment.
    if path.exists() and [p for p in path.iterdir() if not _is_of_a_beginning(p)] and not is_run(path):
        raise RunError(
            f"{path} is not empty and not a run folder",
            "choose another folder with --out; --overwrite only replaces runs",
        )


def _is_left_over(path: Path) -> bool:
    """Is it the folder of a run that never began?"""
    entries = list(path.iterdir()) if path.is_dir() else []
    return bool(entries) and all(_is_of_a_beginning(entry) for entry in entries)


_EMPTYING = "emptying"
_BEFORE = ".before.tmp"


def _is_of_a_beginning(entry: Path) -> bool:
    """What a process leaves that was killed before the folder was a run."""
    return entry.name in (".lock", _BEFORE) or (entry.name.startswith(".run.json.") and entry.name.endswith(".tmp"))


def _drop_leftovers(path: Path) -> None:
    """Remove what killed processes had not renamed yet."""
    for entry in path.glob(".*.tmp"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _fresh_record(settings: Settings, parents: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format": 1,
        "verb": settings.verb,
        "command": settings.command(),
        "settings": settings.to_dict(),
        "parents": list(parents),
        "status": "running",
        "started": now(exact=True),
        "machine": machine_facts(),
    }


def _refuse_other_settings(run: RunFolder, settings: Settings) -> None:
    record = run.record
    if record.get("verb") != settings.verb:
        raise RunError(
            f"{run.path} is a run of `{record.get('verb')}`, not of `{settings.verb}`",
            "choose another folder with --out, or start again with --overwrite",
        )
    before, after = record.get("settings", {}), settings.identity()
    names = {spec.name: name_of(spec) for spec in fields(settings)}
    # An option that the record does not know is younger than the run, which did without it.
    then = {spec.name: before.get(spec.name, json_value(spec.default)) for spec in fields(settings)}
    changed = [
        f"{names[key]} was {then[key]!r}, is {value!r}"
        for key, value in after.items()
        if key != "out" and then[key] != value
    ]
    if changed:
        raise RunError(
            f"{run.path} was begun with other settings: {'; '.join(changed)}",
            "give the same settings to go on, another --out, or --overwrite to start again",
        )


def _has_learned(run: RunFolder) -> bool:
    """Is there anything that took time to compute? (``recipe.json``: the runs of a recipe's steps lie inside.)"""
    return any(
        path.exists() for path in (run.log_path, run.checkpoints_dir, run.path / "seeds", run.path / "recipe.json")
    )


def _set_aside(path: Path) -> None:
    """Make room for a new run. A word for it goes first and run.json last: a crash leaves no run that looks whole."""
    aside = path / _BEFORE
    aside.mkdir()
    shutil.copyfile(path / "run.json", aside / "run.json")
    write_json(path / "run.json", {"status": _EMPTYING})
    for entry in path.iterdir():
        if entry.name not in (".lock", "run.json", _BEFORE):
            entry.rename(aside / entry.name)
    (path / "run.json").unlink()


def _undo(path: Path) -> None:
    """A mistake that is found out early blocks no later try, and costs no earlier run."""
    for entry in path.iterdir():
        if entry.name in (".lock", _BEFORE):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    aside = path / _BEFORE
    for entry in sorted(aside.iterdir() if aside.exists() else (), key=lambda entry: entry.name == "run.json"):
        entry.rename(path / entry.name)
