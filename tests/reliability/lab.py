"""Runs of `pretune` that can be killed: forked from one process that has imported everything, a second or so each.

A trial starts a :class:`Child` in a folder of its own, hurts it, runs the same call again, and compares what came out
with the straight run by :meth:`Lab.differences`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sample import make_model, write_rows

__all__ = ["Broken", "Child", "Ended", "Lab", "Mark", "expect", "first_to_end", "log_of"]

Mark = Callable[[str], None]
"""What a child calls to tell its parent where it is."""

STEPS, EVAL_EVERY, SAVE_EVERY = 12, 5, 2
LONGEST_SECONDS = 120.0
EXACT_FILES = ("rows.jsonl", "train_keys.npy")
TIMINGS = {
    "examples_per_second",
    "median_tokens_per_second",
    "mfu",
    "peak_memory_bytes",
    "seconds",
    "tokens_per_second",
    "training_seconds",
}


class Broken(Exception):
    """A promise was not kept in this trial."""


def expect(kept: bool, problem: str) -> None:
    """Raise :class:`Broken` unless ``kept``."""
    if not kept:
        raise Broken(problem)


@dataclass(frozen=True)
class Ended:
    """How a child went: its exit code as a shell shows it, whether a signal ended it, what it said, its marks in order, its time of
    the processor and its peak of memory (its own children's among them).
    """

    pid: int
    code: int
    by_signal: bool
    seconds: float
    text: str
    marks: list[str]
    processor_seconds: float = 0.0
    peak_bytes: int = 0


@dataclass
class Child:
    """A forked `pretune` at work. Its output goes to a file, its marks through a pipe."""

    pid: int
    output: Path
    marks_end: int
    began: float = field(default_factory=time.monotonic)
    marks: list[str] = field(default_factory=list)
    _torn: bytes = b""

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait_for(self, name: str, count: int = 1) -> bool:
        """Wait until the child has made its ``count``-th mark ``name``; False when it ended before."""
        while self.marks.count(name) < count:
            if not self._read():
                return False
        return True

    def is_over(self, within: float) -> bool:
        """Does the child end within so many seconds? It stays to be waited for."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return True
            time.sleep(0.002)
        return False

    def wait(self) -> Ended:
        """Its end; :class:`Broken` when it hangs."""
        if not self.is_over(LONGEST_SECONDS):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise Broken(f"hung for {LONGEST_SECONDS:.0f} s: {self.output.read_text(errors='replace')[-500:]}")
        _, status, used = os.wait4(self.pid, 0)
        seconds = time.monotonic() - self.began
        while self._read():
            pass
        os.close(self.marks_end)
        by_signal = os.WIFSIGNALED(status)
        code = 128 + os.WTERMSIG(status) if by_signal else os.WEXITSTATUS(status)
        text = self.output.read_text(errors="replace")
        return Ended(
            self.pid, code, by_signal, seconds, text, self.marks, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
        )  # fmt: skip

    def _read(self) -> bool:
        found = os.read(self.marks_end, 65536)
        *whole, self._torn = (self._torn + found).split(b"\n")
        self.marks += [mark.decode() for mark in whole]
        return bool(found)


class Lab:
    """A small model with dropout, a few rows, and the straight run that every trial must end equal to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = folder / "rows.csv"
        folder.mkdir(parents=True)
        os.environ["PRETUNE_CACHE"] = str(folder / "cache")
        write_rows(self.rows)
        self.model = make_model(folder / "backbone", self.rows, dropout=0.1)
        self.calm_model = make_model(folder / "calm", self.rows, dropout=0.0)
        self.reference = folder / "straight"
        # Everything is imported, measured and cached here, once, so that a fork starts warm.
        warm = folder / "warm"
        from pretune.cli import main

        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            codes = [main(words) for words in self.calls(warm)]
        expect(codes == [0, 0], f"the warm-up failed: {said.getvalue()}")
        shutil.rmtree(warm)
        ended = self.run(self.reference)
        expect(ended.code == 0, f"the straight run failed: {ended.text}")
        self.seconds = ended.seconds

    def calls(self, out: Path, *more: str, model: Path | None = None) -> list[list[str]]:
        """The two command lines of a trial: fine-tune, and predict with the result."""
        learn = [
            "finetune", str(model or self.model), "--data", str(self.rows), "--out", str(out),
            "--max-steps", str(STEPS), "--eval-every", str(EVAL_EVERY), "--save-every", str(SAVE_EVERY),
            "--batch-size", "16", "--micro-batch-size", "8", "--learning-rate", "0.003",
            "--precision", "fp32", "--threads", "1", *more,
        ]  # fmt: skip
        predict = ["predict", str(out), str(self.rows), "--out", str(out / "rows.jsonl")]
        return [learn, [*predict, "--precision", "fp32", "--threads", "1"]]

    def start(
        self,
        out: Path,
        *more: str,
        before: Callable[[Mark], None] | None = None,
        model: Path | None = None,
    ) -> Child:
        """Fork a child that fine-tunes into ``out`` and predicts. ``before`` runs in the child first: it sets the traps."""
        return self.fork(self.calls(out, *more, model=model), out, before=before)

    def fork(self, calls: Sequence[list[str]], out: Path, *, before: Callable[[Mark], None] | None = None) -> Child:
        """Fork a child that runs these command lines; what it says goes beside ``out``."""
        out.parent.mkdir(parents=True, exist_ok=True)
        output = out.with_name(f"{out.name}.{time.monotonic_ns()}.txt")
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _be_child(calls, output, writing, before)
        os.close(writing)
        return Child(pid, output, reading)

    def run(
        self, out: Path, *more: str, before: Callable[[Mark], None] | None = None, model: Path | None = None
    ) -> Ended:
        """A whole child."""
        return self.start(out, *more, before=before, model=model).wait()

    def stopped(self, step: int) -> Path:
        """A run that was stopped by SIGTERM in the save of ``step``: made once, to be copied."""
        out = self.folder / f"stopped-{step}"
        if not out.exists():

            def before(_mark: Mark) -> None:
                from pretune.engine import checkpoint

                real = checkpoint.save

                def save(folder: Path, state: Any) -> Path:
                    if state.step == step:
                        os.kill(os.getpid(), signal.SIGTERM)
                    return real(folder, state)

                checkpoint.save = save  # type: ignore[assignment]

            ended = self.run(out, before=before)
            expect(ended.code == 143, f"the run to be stopped ended with {ended.code}: {ended.text}")
        return out

    def copy_stopped(self, step: int, out: Path) -> Path:
        """A copy of :meth:`stopped` at ``out`` that the same call of ``out`` resumes."""
        shutil.copytree(self.stopped(step), out)
        return out

    def finish(self, out: Path, *more: str) -> Ended:
        """Give the same call again; it must end well, and equal to the straight run."""
        ended = self.run(out, *more)
        expect(ended.code == 0, f"the resumed run ended with {ended.code}: {ended.text[-800:]}")
        found = self.differences(out)
        expect(not found, "; ".join(found))
        return ended

    def differences(self, out: Path, straight: Path | None = None) -> list[str]:
        """What is not bit-identical to the straight run: model folder, predictions, log, record, names of files."""
        found, straight = [], straight or self.reference
        mine, theirs = _names(out), _names(straight)
        if mine != theirs:
            found.append(f"files: only here {sorted(mine - theirs)}, missing {sorted(theirs - mine)}")
        for name in sorted(mine & theirs):
            exact = (name.startswith("model/") and name != "model/README.md") or name in EXACT_FILES
            if exact and (out / name).read_bytes() != (straight / name).read_bytes():
                found.append(f"{name} differs")
        if _untimed(log_of(out)) != _untimed(log_of(straight)):
            found.append(f"log.jsonl differs: {_steps(out)} against {_steps(straight)}")
        for key in ("status", "result", "training", "model", "data_fingerprint"):
            if _untimed(_record(out).get(key)) != _untimed(_record(straight).get(key)):
                found.append(f"run.json {key}: {_record(out).get(key)}")
        return found


def first_to_end(children: Sequence[Child]) -> Child:
    """Wait for whichever ends first; it stays to be waited for."""
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        for child in children:
            if child.is_over(0.005):
                return child
    raise Broken("none of them ends")


def _be_child(calls: Sequence[list[str]], output: Path, marks_end: int, before: Callable[[Mark], None] | None) -> None:
    """Never returns."""
    code = 70
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from pretune.cli import main

        if before is not None:
            before(lambda name: os.write(marks_end, f"{name}\n".encode()) and None)
        for words in calls:
            code = main(words)
            if code:
                break
    except BaseException as error:
        os.write(2, f"escaped: {error!r}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _names(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.name != ".lock"}


def _record(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


def log_of(out: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl; a line that is torn in two is an error."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _steps(out: Path) -> str:
    return " ".join(f"{line['kind'][0]}{line['step']}" for line in log_of(out))


def _untimed(value: Any) -> Any:
    if isinstance(value, list):
        return [_untimed(inner) for inner in value]
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if key not in TIMINGS}
    return value
