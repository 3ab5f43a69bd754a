"""Run the steps of a chapter and read its figures off what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acceptance.chapters import Chapter, Claim, Step
from acceptance.commands import seed_of
from acceptance.lookup import NotThere, look_up
from acceptance.machine import commit_here, machine_here, machine_text
from acceptance.places import ROOT, place_of
from acceptance.results import read_result
from acceptance.units import UNITS
from pretune.machine import Neighbours

__all__ = ["NotMeasured", "measure", "missing_data"]

_SECONDS = "@seconds"
_BUSY = 0.3


class NotMeasured(Exception):
    """A step failed; the message says which, and what to do."""


def missing_data(chapter: Chapter) -> list[str]:
    """What the chapter needs and is not here."""
    return [need for need in chapter.needs.values() if place_of(need) is None]


def measure(
    chapter: Chapter, into: Path, say: Callable[[str], None], only: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Run the steps that were not run in ``into`` before; where some are named (``only``), these and what they need. Gives the chapter's result, in which figures that were not measured now stay as
    they were, and what failed: a step, behind which no other is run, or a figure that its step does not print.
    """
    work = _Work(chapter, into, {name: str(place_of(need)) for name, need in chapter.needs.items()})
    work.begin()
    done: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for step in chapter.steps_for(only) if only else chapter.steps:
        try:
            done[step.name] = work.do(step, say)
        except NotMeasured as problem:
            problems.append(str(problem))
            break
    figures = {one["name"]: one for one in read_result(chapter.name)["claims"]}
    for claim in chapter.claims:
        if claim.value is not None and all(step in done for step in claim.steps):
            try:
                figures[claim.name] = _figure(chapter, claim, done)
            except NotThere as problem:
                problems.append(f"{chapter.name}, {claim.name}: {problem}")
    last = {
        "commit": commit_here(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(sum(one["seconds"] for one in done.values()), 1),
        "machine": machine_here(),
    }
    claims = [figures[claim.name] for claim in chapter.claims if claim.name in figures]
    return {"chapter": chapter.name, "claims": claims, "last_run": last}, problems


@dataclass(frozen=True)
class _Work:
    """The folder in which the commands of a chapter run, and where the data lies that they name."""

    chapter: Chapter
    folder: Path
    places: dict[str, str]

    def begin(self) -> None:
        """Make the folder and the files that the chapter brings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.chapter.files.items():
            (self.folder / name).write_text(self._placed(text), encoding="utf-8")

    def do(self, step: Step, say: Callable[[str], None]) -> dict[str, Any]:
        """The record of a step: from the disk where it was run before, otherwise it is run now."""
        path = self.folder / "steps" / f"{step.name}.json"
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before["command"] == step.run:
                say(f"  {step.name}: was run before")
                return before
            raise NotMeasured(
                f"{self.chapter.name}: {step.name} was run with another command in {self.folder}; remove that folder, or name another with --into"
            )
        say(f"  {step.name}: {step.run}")
        found = self._run(step)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return found

    def _run(self, step: Step) -> dict[str, Any]:
        program, *rest = step.words
        words = [self._placed(word) for word in rest]
        start = [sys.executable, "-m", "pretune"] if program == "pretune" else [sys.executable]
        if program == "pretune" and step.reads is None:
            words.append("--json")
        paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        commit, neighbours, began = commit_here(), Neighbours(), time.monotonic()
        ended = subprocess.run(
            [*start, *words], cwd=self.folder, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        seconds = time.monotonic() - began
        if ended.returncode:
            raise NotMeasured(
                f"{self.chapter.name}: {step.name} ended with code {ended.returncode}:\n  {step.run}\n{ended.stdout[-2000:]}"
            )
        return {
            "command": step.run,
            "commit": commit,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "seconds": round(seconds, 1),
            "others_busy": round(neighbours.busy(), 2),
            "output": self._output(step, ended.stdout),
        }

    def _placed(self, text: str) -> str:
        """A word or a file's text, with the data that it names (``sst2/``, ``intent=atis/``) where that lies."""
        for name, place in self.places.items():
            text = re.sub(rf"(?<![\w/.-]){re.escape(name)}/", lambda _, place=place: f"{place}/", text)
        return text

    def _output(self, step: Step, printed: str) -> Any:
        if step.reads is not None:
            return json.loads((self.folder / step.reads).read_text(encoding="utf-8"))
        lines = printed.strip().splitlines()
        try:
            return json.loads(lines[-1]) if lines else {}
        except json.JSONDecodeError:
            return {"text": printed}


def _figure(chapter: Chapter, claim: Claim, done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The result of one claim. Raises :class:`NotThere`."""
    assert claim.value is not None
    found = _at(claim.value, done)
    whole = found if isinstance(found, dict) else {"value": found}
    if "value" not in whole and "difference" in whole:  # what `pretune compare` says
        whole = {**whole, "value": whole["difference"]}
    if not isinstance(whole.get("value"), (int, float)):
        raise NotThere(f"{claim.value} is no number: {found!r:.80}")
    value = whole["value"] * claim.scale
    ends = {key: whole.get(key) for key in ("low", "high")}
    if claim.over:
        value, ends = value / _number(claim.over, done), {}
    if claim.minus:
        value, ends = value - _number(claim.minus, done), {}
    for key in ("low", "high"):
        if path := getattr(claim, key):
            ends[key] = _at(path, done)
    rows = _at(claim.n, done) if claim.n else whole.get("n", _rows(done[claim.steps[0]]["output"]))
    commands = chapter.commands_of(claim)
    record = done[claim.steps[0]]
    busy = max(done[name]["others_busy"] for name in claim.steps)
    hurried = UNITS[claim.unit].timed or any(
        command.startswith("pretune ") and "--minutes" in command for command in commands
    )
    told = {
        "name": claim.name,
        "commands": commands,
        "unit": claim.unit,
        "value": value,
        **{key: end * claim.scale for key, end in ends.items() if end is not None},
        "n": rows,
        "p": _at(claim.p, done) if claim.p else None,
        "seed": seed_of(commands),
        "asked": claim.asked,
        "hoped": claim.hoped,
        "commit": record["commit"],
        "date": record["date"],
        "machine": machine_text(machine_here()),
        "note": f"beside other work, which kept {busy:.1f} processors busy" if busy > _BUSY and hurried else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _number(source: str, done: dict[str, dict[str, Any]]) -> float:
    found = _at(source, done)
    return found["value"] if isinstance(found, dict) else found


def _rows(output: Any) -> int | None:
    found = output.get("n") if isinstance(output, dict) else None
    return found if isinstance(found, int) else None


def _at(source: str, done: dict[str, dict[str, Any]]) -> Any:
    step, _, path = source.partition(" ")
    return done[step]["seconds"] if path == _SECONDS else look_up(done[step]["output"], path)
