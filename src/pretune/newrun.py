"""A run folder is begun, gone on with, or replaced; by one process at a time."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pretune.errors import CorruptFile, RunError, UsageError
from pretune.files import lock_folder, write_json
from pretune.listeners import tell
from pretune.options import Settings, as_compared, json_value, meant, name_of
from pretune.runfolder import RunFolder, is_run, machine_facts, now
from pretune.sums import SEALED

__all__ = ["create_run", "default_out", "refuse_place"]


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
            run.write("run.json", _fresh_record(settings, parents))
            try:
                with _told(run):
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
            run.sums.forget("log.jsonl")
            with _told(run):
                yield run, "resumed"
            return
        # The last act of a run; a crash may have come before it.
        shutil.rmtree(run.checkpoints_dir, ignore_errors=True)
        yield run, "finished"


@contextlib.contextmanager
def _told(run: RunFolder) -> Iterator[None]:
    """Who listens hears that the run goes on, and how it ended."""
    tell("on_begin", run.path, run.record)
    try:
        yield
    finally:
        tell("on_end", run.path, run.record)


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
        "format": SEALED,
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
    specs = {spec.name: spec for spec in fields(settings)}
    # An option that the record does not know is younger than the run, which did without it.
    then = {spec.name: meant(spec, before.get(spec.name, json_value(spec.default))) for spec in specs.values()}
    changed = [
        f"{name_of(specs[key])} was {then[key]!r}, is {value!r}"
        for key, value in after.items()
        if key != "out" and as_compared(specs[key], then[key]) != as_compared(specs[key], value)
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
    run = RunFolder(path)
    try:
        run.write("run.json", {"status": _EMPTYING})
    except CorruptFile:  # of the sums: what goes away need not be whole
        run.sums.path.unlink()
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
