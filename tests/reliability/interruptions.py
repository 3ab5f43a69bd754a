"""Experiments with signals and rivals: SIGKILL, SIGTERM and Ctrl-C at any moment, two processes for one folder."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from faults import between, mark_saves, nothing
from lab import Broken, Ended, Lab, Mark, expect, first_to_end
from trials import Plan, Report, repeat

__all__ = ["kills", "races", "terminations"]

SAVES = 7
MOST_UPDATES = 1
"""That a signal may still see: the one that was under way."""
DRAWS = 40


def kills(lab: Lab, plan: Plan) -> Report:
    """Every second kill is aimed at a save, and drawn again until it fell into one."""
    save_seconds = _save_seconds(lab)

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out, aimed = folder / "run", int(folder.name) % 2 == 0
        for _ in range(DRAWS):
            shutil.rmtree(out, ignore_errors=True)
            ended, in_save = _kill_once(lab, rng, out, save_seconds if aimed else None)
            if ended.by_signal and (in_save or not aimed):
                break
        else:
            raise Broken(f"no kill fell where it was aimed in {DRAWS} draws")
        lab.finish(out)
        return {"where": "inside a save" if in_save else "elsewhere"}

    numbers = plan.numbers(full=100, short=4)
    return repeat(lab, plan, "kills", "a run killed at any moment resumes by itself, bit-identical", numbers, trial)


def _save_seconds(lab: Lab) -> float:
    """How long a save takes here: the third of a run."""
    times: list[float] = []
    out = lab.folder / "timed"
    child = lab.start(out, before=mark_saves)
    for word in ("save", "saved"):
        child.wait_for(word, 3)
        times.append(time.monotonic())
    child.wait()
    shutil.rmtree(out)
    return max(0.003, times[1] - times[0])


def _kill_once(lab: Lab, rng: random.Random, out: Path, save_seconds: float | None) -> tuple[Ended, bool]:
    """SIGKILL at a moment of the whole run, or of a save; and whether a save was under way."""
    child = lab.start(out, before=mark_saves)
    if save_seconds is None:
        child.is_over(rng.uniform(0.0, lab.seconds))
    else:
        child.wait_for("save", rng.randrange(1, SAVES + 1))
        time.sleep(rng.uniform(0.0, save_seconds))
    child.signal(signal.SIGKILL)
    ended = child.wait()
    return ended, ended.by_signal and bool(ended.marks) and ended.marks[-1] == "save"


def terminations(lab: Lab, plan: Plan) -> Report:
    """SIGTERM anywhere, inside saves and inside evaluations; every fifth is a Ctrl-C, every seventh the end of its terminal."""

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out, number = folder / "run", int(folder.name)
        sent = signal.SIGINT if number % 5 == 4 else signal.SIGHUP if number % 7 == 3 else signal.SIGTERM
        where = ("save", "evaluation", "anywhere", "anywhere")[number % 4]
        for _ in range(DRAWS):
            shutil.rmtree(out, ignore_errors=True)
            ended, took = _stop_once(lab, rng, out, where, sent)
            if ended.code != 0:
                break
        expect(ended.code == 128 + sent, f"exit code {ended.code} after signal {sent}: {ended.text[-500:]}")
        late = _updates_after_the_signal(ended.marks)
        expect(late <= MOST_UPDATES, f"{late} more updates were made")
        expect("Traceback" not in ended.text, f"a traceback: {ended.text[-800:]}")
        saved = "everything is saved" in ended.text
        expect(saved or where == "anywhere", f"it was stopped without a save: {ended.text[-500:]}")
        lab.finish(out)
        how = "state saved" if saved else "before or after the loop"
        return {
            "updates after it": late,
            "seconds to stop": took,
            "how": how,
            "signal": signal.Signals(sent).name,
            "aim": f"aimed {where}",
        }

    numbers = plan.numbers(full=30, short=4)
    promise = (
        "SIGTERM ends it with 143, SIGHUP with 129, Ctrl-C with 130, after the update under way; the resume is exact"
    )
    return repeat(lab, plan, "terminations", promise, numbers, trial)


def _mark_evaluations(mark: Mark) -> None:
    from pretune.engine import fit
    from pretune.engine.interrupt import StopRequest
    from pretune.training.learning import Learning

    mark_saves(mark)
    between(Learning, "_evaluate", lambda: mark("evaluation"), nothing)
    between(fit, "_apply", nothing, lambda: mark("update"))
    between(StopRequest, "_note", lambda: mark("signal"), nothing)


def _updates_after_the_signal(marks: list[str]) -> int:
    """0 where it came before or after the loop."""
    return marks[marks.index("signal") :].count("update") if "signal" in marks else 0


def _stop_once(lab: Lab, rng: random.Random, out: Path, where: str, sent: int) -> tuple[Ended, float]:
    """A signal at a moment of the kind ``where``, and the seconds until the process was gone."""
    child = lab.start(out, before=_mark_evaluations)
    if where == "anywhere":
        child.is_over(rng.uniform(0.0, lab.seconds))
    else:
        child.wait_for(where, rng.randrange(1, 4))
        time.sleep(rng.uniform(0.0, 0.005))
    asked = time.monotonic()
    child.signal(sent)
    ended = child.wait()
    return ended, time.monotonic() - asked


def races(lab: Lab, plan: Plan) -> Report:
    """Two processes start together on one folder: a new one, or that of a stopped run."""

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        out, again = folder / "run", int(folder.name) % 2 == 1
        if again:
            lab.copy_stopped(5, out)
        loser, winner, took = _race(lab, rng, out)
        expect(
            (loser.code, winner.code) == (2, 0), f"exit codes {loser.code} {winner.code}: {loser.text} {winner.text}"
        )
        expect(f"process {winner.pid} " in loser.text, f"process {winner.pid} is not named: {loser.text}")
        found = lab.differences(out)
        expect(not found, "; ".join(found))
        return {"seconds to lose": took, "folder": "for a stopped run" if again else "for a new folder"}

    numbers = plan.numbers(full=50, short=3)
    return repeat(lab, plan, "races", "one winner; the loser exits with 2 and names it", numbers, trial)


def _race(lab: Lab, rng: random.Random, out: Path) -> tuple[Ended, Ended, float]:
    """Who ended first, who last, and the seconds from the start until the first."""
    reading, writing = os.pipe()

    def gate(_mark: Mark) -> None:
        os.close(writing)
        os.read(reading, 1)

    racers = [lab.start(out, before=gate) for _ in range(2)]
    time.sleep(rng.uniform(0.02, 0.05))
    opened = time.monotonic()
    os.close(writing)
    os.close(reading)
    first = first_to_end(racers)
    took = time.monotonic() - opened
    ended = first.wait()
    (last,) = (racer for racer in racers if racer is not first)
    return ended, last.wait(), took
