"""Experiments with files: a crash at every operation, a full disk, flipped bits, nothing left that is whole."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import CRASHED, Disk, between, crash_at, full_from, nothing
from lab import STEPS, Ended, Lab, Mark, expect
from trials import Plan, Report, repeat

__all__ = ["all_corrupt", "bit_flips", "crash_points", "full_disks"]

BEFORE_STEP, STEP = 8, 10
"""The run is stopped at one save; the next is the one that crashes."""

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
DISK_BYTES = 3 << 20
PAGE = 4096


def arm_for_save(disk: Disk) -> None:
    """Count the operations of the next save: checkpoint, LAST, pruning."""
    from pretune.engine import checkpoint

    between(checkpoint, "save", disk.arm, nothing)
    between(checkpoint, "prune", nothing, disk.disarm)


def arm_for_finish(disk: Disk) -> None:
    """Count the operations from the model folder to the last word of run.json."""
    from pretune.training import record

    between(record, "write_model", disk.arm, nothing)
    between(record, "finish_model", nothing, disk.disarm)


def arm_for_beginning(disk: Disk) -> None:
    """Count from the first touch of the run folder to the first update."""
    from pretune.training.learning import Learning

    disk.arm()
    between(Learning, "go", disk.disarm, nothing)


@dataclass(frozen=True)
class Stage:
    """A part of a run: what to count, the save the run was stopped at before, and more words for the command line."""

    trap: Callable[[Disk], None]
    stopped_at: int | None
    words: tuple[str, ...] = ()


STAGES = {
    "a save": Stage(arm_for_save, BEFORE_STEP),
    "the end": Stage(arm_for_finish, STEPS),
    "the beginning": Stage(arm_for_beginning, None),
    "a resume": Stage(arm_for_beginning, BEFORE_STEP),
    "an overwrite": Stage(arm_for_beginning, BEFORE_STEP, ("--overwrite",)),
}


def crash_points(lab: Lab, plan: Plan) -> Report:
    """Every operation of each stage, before, half-way and after; the short form takes some of them."""
    points = [(stage, *point) for stage in STAGES for point in _points(lab, stage)]
    if not plan.full:
        points = random.Random(plan.seed).sample(points, 10)

    def trial(_rng: random.Random, folder: Path) -> dict[str, Any]:
        stage, number, moment, operation = points[int(folder.name)]
        ended = _crash(lab, stage, folder / "run", number, moment)
        what = f"{moment} operation {number} of {stage} ({operation})"
        expect(ended.code == CRASHED, f"no crash {what}: {ended.code} {ended.text[-300:]}")
        try:
            lab.finish(folder / "run")
        except Exception as error:
            error.args = (f"{what}: {error}",)
            raise
        return {"stage": f"in {stage}"}

    numbers = plan.numbers(full=len(points), short=len(points))
    promise = "a crash at every write, fsync, rename and unlink recovers, bit-identical"
    return repeat(lab, plan, "crash-points", promise, numbers, trial)


def _points(lab: Lab, stage: str) -> Iterator[tuple[int, str, str]]:
    """Number, moment and name of every point of a stage; after one operation is before the next, but for the last."""
    out = lab.folder / f"count-{stage.replace(' ', '-')}" / "run"
    ended = _crash(lab, stage, out, 0, "never")
    expect(ended.code == 0, f"counting {stage} failed: {ended.text}")
    shutil.rmtree(out.parent)
    for number, operation in enumerate(ended.marks, start=1):
        yield number, "before", operation
        if operation.endswith("(write)"):
            yield number, "half", operation
    if ended.marks:
        yield len(ended.marks), "after", ended.marks[-1]


def _crash(lab: Lab, stage: str, out: Path, number: int, moment: str) -> Ended:
    part = STAGES[stage]
    if part.stopped_at is not None:
        lab.copy_stopped(part.stopped_at, out)

    def before(mark: Mark) -> None:
        disk = Disk(out, crash_at(number, moment, mark))
        disk.install()
        part.trap(disk)

    return lab.run(out, *part.words, before=before)


def full_disks(lab: Lab, plan: Plan) -> Report:
    """A small real disk that fills up at a random operation; errors of the same kind where none can be mounted."""

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        with _small_disk(folder / "disk") as is_real:
            out, ballast = folder / "disk" / "run", folder / "disk" / "ballast"
            while True:
                ended = _run_on_full_disk(lab, rng, out, ballast if is_real else None, operations)
                if ended.code or lab.differences(out):
                    break
                # What was pruned after the disk was full made room enough: nobody was hurt, another draw.
                shutil.rmtree(out)
                ballast.unlink(missing_ok=True)
            _expect_told(ended)
            whole = _last_whole(out)
            ballast.unlink(missing_ok=True)
            lab.finish(out)
        return {
            "disk": "a real full disk" if is_real else "simulated errors",
            "kept": "no checkpoint yet" if whole is None else "last checkpoint whole",
        }

    operations = _count_operations(lab)
    numbers = plan.numbers(full=20, short=3)
    promise = "a full disk: exit 1, said what to do, last checkpoint whole, exact after space is freed"
    return repeat(lab, plan, "full-disks", promise, numbers, trial)


def _run_on_full_disk(lab: Lab, rng: random.Random, out: Path, ballast: Path | None, operations: int) -> Ended:
    number, left = rng.randrange(1, operations), rng.randrange(0, 16) * PAGE

    def before(mark: Mark) -> None:
        disk = Disk(out, full_from(number, mark, None if ballast is None else lambda: _fill(ballast, left)))
        disk.install()
        disk.arm()

    return lab.run(out, before=before)


def _count_operations(lab: Lab) -> int:
    """Operations before the last checkpoint is removed; a disk that fills later hurts nobody."""
    out = lab.folder / "count-all"

    def before(mark: Mark) -> None:
        disk = Disk(out, crash_at(0, "never", mark))
        disk.install()
        disk.arm()

    ended = lab.run(out, before=before)
    shutil.rmtree(out)
    writes = [
        place for place, name in enumerate(ended.marks) if name.startswith("write model") or "safetensors" in name
    ]
    return writes[-1]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A tmpfs of a few MiB at ``folder``; False where this user may not mount one."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        is_real = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except OSError:
        is_real = False
    try:
        yield is_real
    finally:
        if is_real:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path: Path, leave_bytes: int) -> None:
    """Write until the disk is full, then give back a little."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(PAGE))
    os.ftruncate(descriptor, max(0, os.fstat(descriptor).st_size - leave_bytes))
    os.close(descriptor)


def _expect_told(ended: Ended) -> None:
    """One clear error: that space is missing, and what to do."""
    expect(ended.code == 1, f"exit code {ended.code} after {ended.marks}: {ended.text[-800:]}")
    expect("free some space" in ended.text, f"the message does not help: {ended.text[-500:]}")
    for word in ("Traceback", "defect", "escaped"):
        expect(word not in ended.text, f"{word!r} in what it said after {ended.marks}: {ended.text[-800:]}")


def _last_whole(out: Path) -> int | None:
    from pretune.engine.checkpoint import load_last

    found = load_last(out / "checkpoints")
    expect(found is None or not found.notes, f"the newest checkpoint is not whole: {found and found.notes}")
    return found.step if found else None


def bit_flips(lab: Lab, plan: Plan) -> Report:
    """One bit of the newest checkpoint; every tenth trial goes on through the command line to the end."""
    from pretune.engine.checkpoint import load_last, steps_on_disk

    stopped = lab.stopped(BEFORE_STEP)
    newest, before = steps_on_disk(stopped / "checkpoints")[:2]

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out = folder / "run"
        shutil.copytree(stopped, out)
        name = FILES[int(folder.name) % len(FILES)]
        victim = out / "checkpoints" / f"step-{newest:08d}" / name
        place = _flip(rng, victim)
        found = load_last(out / "checkpoints")
        expect(found is not None and found.step == before, f"bit {place} of {name}: used step {found and found.step}")
        told = " ".join(found.notes) if found else ""
        expect(str(victim) in told, f"bit {place} of {name} is not named: {told}")
        if int(folder.name) % 10 == 0:
            ended = lab.finish(out)
            expect(str(victim) in ended.text, f"the command does not name {victim}: {ended.text[-500:]}")
        return {"file": name, "how": "resumed to the end" if int(folder.name) % 10 == 0 else "found"}

    numbers = plan.numbers(full=200, short=41)
    promise = "a flipped bit is found, its file named, the checkpoint before it used"
    return repeat(lab, plan, "bit-flips", promise, numbers, trial)


def _flip(rng: random.Random, path: Path) -> int:
    content = bytearray(path.read_bytes())
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return place


def all_corrupt(lab: Lab, plan: Plan) -> Report:
    """Every checkpoint has one damaged file: flipped, cut short, empty or gone."""
    kinds = ("flipped", "cut short", "empty", "gone")
    cases = list(itertools.product(kinds, FILES))

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        kind, name = cases[int(folder.name)]
        out = lab.copy_stopped(BEFORE_STEP, folder / "run")
        victims = sorted((out / "checkpoints").glob(f"step-*/{name}"))
        for victim in victims:
            _damage(rng, victim, kind)
        kept = sorted(path.name for path in (out / "checkpoints").rglob("*"))
        ended = lab.run(out)
        expect(ended.code == 2, f"exit code {ended.code}: {ended.text[-500:]}")
        left = sorted(path.name for path in (out / "checkpoints").rglob("*"))
        expect(left == kept, f"checkpoints were removed: {left}")
        expect(str(victims[-1]) in ended.text, f"{victims[-1]} is not named: {ended.text[-500:]}")
        expect("--overwrite" in ended.text, f"no way out is shown: {ended.text[-500:]}")
        expect("Traceback" not in ended.text and "defect" not in ended.text, ended.text[-500:])
        return {"kind": kind}

    numbers = plan.numbers(full=len(cases), short=4)
    promise = "with no whole checkpoint: exit 2, the file named, nothing thrown away"
    return repeat(lab, plan, "all-corrupt", promise, numbers, trial)


def _damage(rng: random.Random, path: Path, kind: str) -> None:
    if kind == "flipped":
        _flip(rng, path)
    elif kind == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()
