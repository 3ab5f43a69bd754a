"""Do pages, results and chapters agree?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acceptance.chapters import Chapter, ChapterError, Claim
from acceptance.commands import problem_of
from acceptance.places import CHAPTERS, RESULTS, ROOT
from acceptance.render import Measured, pages, read_all
from acceptance.units import UNITS

__all__ = ["misquoted", "problems", "stale_pages"]

_AGAIN = "python -m acceptance render"
_QUOTING = ("README.md", "README.zh.md")
_QUOTED = re.compile(r"(-?\d+(?:\.\d+)?) ?%? \[(-?\d+(?:\.\d+)?), (-?\d+(?:\.\d+)?)\]")


def problems() -> list[str]:
    """What does not agree, each with what to do; empty where all is well. Claims without a result are no problem: the page says
    "not measured".
    """
    try:
        measured = read_all()
    except ChapterError as error:
        return [str(error)]
    found = [*_strays(CHAPTERS, "*.yaml", {*measured, "contents"}), *_strays(RESULTS, "*.json", set(measured))]
    for one in measured.values():
        found += _of_chapter(one)
    found += [problem for name in _QUOTING for problem in misquoted((ROOT / name).read_text("utf-8"), name, measured)]
    return found or stale_pages()


def misquoted(text: str, name: str, measured: dict[str, Measured]) -> Iterator[str]:
    """Figures with an interval that no result rounds to."""
    units = {claim.name: UNITS[claim.unit] for one in measured.values() for claim in one.chapter.claims}
    results = [result for one in measured.values() for result in one.results.values() if result["name"] in units]
    figures = [
        [units[result["name"]].factor * result[key] for key in ("value", "low", "high")]
        for result in results
        if "low" in result and "high" in result
    ]
    for quoted in _QUOTED.finditer(text):
        slack = 0.5 * 10.0 ** -len(quoted[1].partition(".")[2]) + 1e-6
        asked = [float(number) for number in quoted.groups()]
        if not any(all(abs(a - b) <= slack for a, b in zip(asked, figure, strict=True)) for figure in figures):
            yield f"{name}: {quoted[0]!r} is no figure of docs/results: quote the one of today"


def stale_pages() -> list[str]:
    """Pages that are not what chapters and results make of them."""
    return [
        f"{path.relative_to(ROOT)} is not what chapters and results make of it: {_AGAIN}"
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def _strays(folder: Path, pattern: str, known: set[str]) -> Iterator[str]:
    for path in sorted(folder.glob(pattern)):
        if path.stem not in known:
            yield f"{path.relative_to(ROOT)} is in no part of acceptance/chapters/contents.yaml"


def _of_chapter(measured: Measured) -> Iterator[str]:
    chapter = measured.chapter
    for step in chapter.steps:
        if problem := problem_of(step.run):
            yield f"{chapter.name}: `{step.run}` would be refused: {problem}"
    claims = {claim.name: claim for claim in chapter.claims}
    for name, result in measured.results.items():
        if name not in claims:
            yield f"{chapter.name}: the result {name!r} belongs to no claim: remove it, or write the claim"
        else:
            yield from _of_claim(chapter, claims[name], result)


def _of_claim(chapter: Chapter, claim: Claim, result: dict[str, Any]) -> Iterator[str]:
    where = f"{chapter.name}: {claim.name}"
    if not isinstance(result.get("value"), (int, float)):
        yield f"{where}: its result has no value"
    if result.get("unit") != claim.unit:
        yield f"{where}: its result is in {result.get('unit')}, the claim in {claim.unit}"
    if (result.get("asked"), result.get("hoped")) != (claim.asked, claim.hoped):
        yield f"{where}: what is asked ({claim.asked}) was not what was asked when it was measured ({result.get('asked')})"
    if claim.value and result.get("commands") != chapter.commands_of(claim):
        yield f"{where}: its commands changed since it was measured: make accept ARGS={chapter.name}"
