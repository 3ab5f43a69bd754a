"""A chapter: the commands a person types, and which fields of what they print are the figures that are published."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from acceptance.places import CHAPTERS, ROOT
from acceptance.units import UNITS

__all__ = ["Chapter", "ChapterError", "Claim", "Part", "Step", "read_chapter", "read_contents"]

_OUT = ("--out", "--json")
_OURS = "repository/"


class ChapterError(Exception):
    """A chapter that says what it must not; the message names the file and what to change."""


@dataclass(frozen=True)
class Step:
    """One command. Its result is the JSON that it prints (``--json`` is added), or the file ``reads`` that it writes. ``writes`` is the
    folder that it makes where no ``--out`` says so.
    """

    name: str
    run: str
    reads: str | None = None
    writes: str | None = None

    @property
    def words(self) -> list[str]:
        """The command line, cut as a shell cuts it."""
        return shlex.split(self.run, comments=True)

    @property
    def makes(self) -> str | None:
        """The folder or file that it is told to write."""
        given = (value for flag, value in itertools.pairwise(self.words) if flag in _OUT)
        return self.writes or next(given, None)

    def takes(self, made: str) -> bool:
        """Does a word of it name what another step makes?"""
        return any(word == made or word.startswith(f"{made}/") for word in self.words)


@dataclass(frozen=True)
class Claim:
    """One published figure.

    ``value`` is ``STEP PATH``: the step and the field of its result (:mod:`acceptance.lookup`), a number or an object with value,
    low, high and n. ``over`` is what it is divided by, ``minus`` what is taken from it. ``low``, ``high``, ``n`` and ``p`` are paths of their own where they lie
    elsewhere. A figure without ``value`` was read off by hand.
    """

    name: str
    unit: str = "share"
    value: str | None = None
    over: str | None = None
    minus: str | None = None
    low: str | None = None
    high: str | None = None
    n: str | None = None
    p: str | None = None
    asked: str | None = None
    hoped: str | None = None
    digits: int | None = None
    scale: float = 1.0
    note: str | None = None

    @property
    def steps(self) -> list[str]:
        """The steps whose results it is read from."""
        sources = (self.value, self.over, self.minus, self.low, self.high, self.n, self.p)
        return list(dict.fromkeys(source.split()[0] for source in sources if source))


@dataclass(frozen=True)
class Chapter:
    """A chapter of the page. ``needs`` are names in its commands and what they stand for; ``files`` are written before the first step
    (``repository/PATH``: what stands in that file).
    """

    name: str
    title: str
    about: str
    minutes: float
    steps: tuple[Step, ...]
    claims: tuple[Claim, ...]
    needs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    brackets: str | None = None
    after: str | None = None

    def step(self, name: str) -> Step:
        """The step of that name. Raises :class:`ChapterError`."""
        for step in self.steps:
            if step.name == name:
                return step
        raise ChapterError(
            f"{self.name}: there is no step {name!r}; its steps are {', '.join(s.name for s in self.steps)}"
        )

    def commands_of(self, claim: Claim) -> list[str]:
        """The commands that its figure comes from, in order."""
        return [step.run for step in self.steps_for(claim.steps)]

    def steps_for(self, names: Iterable[str]) -> list[Step]:
        """These steps and those that make what they take, in order. Raises :class:`ChapterError` for a name that is none."""
        wanted = {self.step(name).name for name in names}
        for step in reversed(self.steps):
            if step.makes and any(self.step(name).takes(step.makes) for name in wanted if name != step.name):
                wanted.add(step.name)
        return [step for step in self.steps if step.name in wanted]


@dataclass(frozen=True)
class Part:
    """Chapters under one heading; ``page`` is the document that shows them."""

    title: str
    page: str
    chapters: tuple[str, ...]


def read_contents() -> list[Part]:
    """The parts in their order, and the chapters of each (``contents.yaml``)."""
    told = yaml.safe_load((CHAPTERS / "contents.yaml").read_text(encoding="utf-8"))
    return [Part(one["title"], one.get("page", "acceptance"), tuple(one["chapters"])) for one in told]


def read_chapter(name: str, folder: Path = CHAPTERS) -> Chapter:
    """The chapter in ``NAME.yaml``. Raises :class:`ChapterError` for what it cannot mean."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ChapterError(f"there is no chapter {name!r}: python -m acceptance list")
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    _refuse_unknown(path, told, Chapter, besides={"name"})
    told["files"] = {key: _text_of(path, text) for key, text in (told.get("files") or {}).items()}
    steps = tuple(_step(path, key, value) for key, value in (told.pop("steps", None) or {}).items())
    claims = tuple(_claims(path, told.pop("claims", None) or []))
    if not claims:
        raise ChapterError(f"{path.name} claims nothing")
    chapter = Chapter(name=name, steps=steps, claims=claims, **told)
    for claim in claims:
        for step in claim.steps:
            chapter.step(step)
    return chapter


def _step(path: Path, name: str, told: Any) -> Step:
    if isinstance(told, str):
        return Step(name, told.strip())
    _refuse_unknown(path, told, Step, besides={"name"})
    return Step(name, told["run"].strip(), told.get("reads"), told.get("writes"))


def _claims(path: Path, told: list[dict[str, Any]]) -> Iterator[Claim]:
    names = [one.get("name") for one in told]
    for one in told:
        _refuse_unknown(path, one, Claim)
        if names.count(one["name"]) > 1:
            raise ChapterError(f"{path.name}: the claim {one['name']!r} stands there twice")
        claim = Claim(**one)
        if claim.unit not in UNITS:
            raise ChapterError(f"{path.name}, {claim.name}: unit {claim.unit!r} is none of {', '.join(UNITS)}")
        for threshold in (claim.asked, claim.hoped):
            if threshold is not None and not re.match(r"(at least|at most|exactly) -?[\d.]+$|all$", threshold):
                raise ChapterError(
                    f"{path.name}, {claim.name}: {threshold!r} is none of `at least 95`, `at most 5`, `exactly 48` and `all`"
                )
        yield claim


def _refuse_unknown(
    path: Path, told: Mapping[str, Any], cls: type, besides: frozenset[str] | set[str] = frozenset()
) -> None:
    known = {one.name for one in fields(cls)} - besides
    for key in told:
        if key not in known:
            raise ChapterError(f"{path.name}: {key!r} is none of {', '.join(sorted(known))}")


def _text_of(path: Path, text: str) -> str:
    """A file's text; ``repository/PATH`` stands for a file of this one, so that nothing is written twice."""
    if not text.startswith(_OURS):
        return text
    place = ROOT / text.removeprefix(_OURS).strip()
    if not place.is_file():
        raise ChapterError(f"{path.name}: there is no file {text.strip()}")
    return place.read_text(encoding="utf-8")
