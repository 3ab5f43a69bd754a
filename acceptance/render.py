"""The pages, made of chapters and results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acceptance.chapters import Chapter, Claim, Part, read_chapter, read_contents
from acceptance.places import ROOT
from acceptance.results import read_result
from acceptance.units import UNITS, duration, reaches, threshold_text

__all__ = ["Measured", "pages", "read_all", "write_pages"]

_GENERATED = "<!-- Made by `python -m acceptance render` from acceptance/chapters and docs/results: change these, not this page. -->"
_LINKED = {"acceptance": "acceptance.md", "benchmarks": "benchmarks.md"}


@dataclass(frozen=True)
class Measured:
    """A chapter beside what was measured."""

    chapter: Chapter
    results: dict[str, dict[str, Any]]

    def verdict(self, claim: Claim) -> bool | None:
        """Reached what was asked; None where nothing was asked or nothing measured."""
        return self.reached(claim, claim.asked)

    def reached(self, claim: Claim, asked: str | None) -> bool | None:
        """Reached a threshold; None where there is none, or nothing was measured."""
        result = self.results.get(claim.name)
        return None if result is None or asked is None else reaches(asked, claim.unit, result, claim.digits)


def read_all() -> dict[str, Measured]:
    """Every chapter of the contents, by name."""
    found = {}
    for part in read_contents():
        for name in part.chapters:
            results = {one["name"]: one for one in read_result(name)["claims"]}
            found[name] = Measured(read_chapter(name), results)
    return found


def pages() -> dict[Path, str]:
    """The text of each generated page."""
    parts, measured = read_contents(), read_all()
    docs = ROOT / "docs"
    return {
        docs / "acceptance.md": _page("acceptance", parts, measured),
        docs / "benchmarks.md": _page("benchmarks", parts, measured),
    }


def write_pages() -> list[Path]:
    """Write the pages that differ from what they would be; those that were written."""
    written = []
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _page(page: str, parts: list[Part], measured: dict[str, Measured]) -> str:
    here = [part for part in parts if part.page == page]
    shown = [measured[name] for part in here for name in part.chapters]
    letters = _letters(measured if page == "acceptance" else {one.chapter.name: one for one in shown})
    lines = [_GENERATED, "", *(_opening if page == "acceptance" else _opening_of_speed)(measured, shown)]
    lines += ["", "## Contents", ""]
    for part in parts if page == "acceptance" else here:
        lines.append(
            f"- **{part.title}**: {'; '.join(_link(measured[name].chapter, part, page) for name in part.chapters)}"
        )
    for part in here:
        lines += ["", f"## {part.title}"]
        for name in part.chapters:
            lines += ["", *_chapter(measured[name], letters)]
    if page == "acceptance":
        for part in parts:
            if part.page != page:
                lines += ["", *_elsewhere(part, measured, letters)]
    return "\n".join([*lines, ""])


def _elsewhere(part: Part, measured: dict[str, Measured], letters: dict[str, str]) -> Iterator[str]:
    """What was asked of a part that has a page of its own."""
    yield f"## {part.title}"
    yield ""
    yield f"Commands, sides and all figures: [{_LINKED[part.page]}]({_LINKED[part.page]})."
    yield ""
    yield "| what | figure | reached | asked | measured |"
    yield "|---|---|---|---|---|"
    for one in (measured[name] for name in part.chapters):
        for claim in one.chapter.claims:
            if claim.asked:
                cells = [_link(one.chapter, part, "acceptance"), claim.name, _reached(one, claim), _asked(claim, one)]
                yield f"| {' | '.join(cells)} | {_measured(one.results.get(claim.name), letters)} |"


def _link(chapter: Chapter, part: Part, page: str) -> str:
    return f"[{chapter.title}]({'' if part.page == page else _LINKED[part.page]}#{_anchor(chapter.title)})"


def _anchor(title: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _opening(measured: dict[str, Measured], shown: list[Measured]) -> Iterator[str]:
    del shown
    yield "# What pretune reaches"
    yield ""
    yield (
        "Every figure here comes from the commands above it, typed as they stand on public data (the names ending in `/` are folders of it; pretune downloads nothing). "
        "Read a row from left to right: what was measured; what was reached, with its 95 % interval in brackets; what was asked for before it was measured, where something was; "
        "how many rows it was measured on; the commit and the day. A figure that falls short of what was asked is **bold**, and stays. "
        "A small n means a wide interval: the interval, not the figure, says what to expect of new data. Figures of other days stand in the history of this file, and what did not work in [decisions.md](decisions.md)."
    )
    yield ""
    yield from _machines(measured)
    yield ""
    yield (
        '`make accept` lists the chapters with their minutes, `make accept ARGS="news-titles"` measures one anew on your machine, writes `docs/results/` and this page, and goes on where it was stopped. '
        "What changes with the machine (times, what is learned in so many minutes) will differ on yours; accuracies of fixed numbers of updates should fall inside the intervals."
    )
    yield ""
    yield from _tally(measured)


def _opening_of_speed(measured: dict[str, Measured], shown: list[Measured]) -> Iterator[str]:
    del measured
    yield "# Speed against transformers.Trainer"
    yield ""
    yield (
        "Same model, data, seed, number of epochs and of updates; each side in a fresh process, in turn, nothing else running. Ratios are pretune's examples a second over the other side's: "
        "with several runs of each side the median, with the smallest and the largest in brackets. A ratio that falls short of what was asked is **bold**. They move with the machine: fp32 products, which Trainer's "
        "defaults use, ran at 190, 327 and 344 GFLOP/s on three occasions on one machine, bf16 products at 1,124 and 1,844. Accuracies are those of a few dozen updates and only show that both sides learn alike. "
        "`make bench` measures all of it on yours (about an hour; `.venv/bin/python -m benchmarks --quick` looks once, in about 10 minutes). The other figures of pretune are in [acceptance.md](acceptance.md)."
    )
    yield ""
    yield from _machines({one.chapter.name: one for one in shown})


def _letters(measured: dict[str, Measured]) -> dict[str, str]:
    """A letter for each machine that figures were measured on."""
    results = [result for one in measured.values() for result in one.results.values()]
    machines = dict.fromkeys(result["machine"] for result in results if "machine" in result)
    return {machine: chr(ord("A") + place) for place, machine in enumerate(machines)}


def _machines(measured: dict[str, Measured]) -> Iterator[str]:
    letters = _letters(measured)
    if len(letters) == 1:
        yield f"Measured on: {min(letters)}."
    else:
        yield "Measured on one of these machines (the letter stands behind the day):"
        yield ""
        yield from (f"- {letter}: {machine}" for machine, letter in letters.items())


def _tally(measured: dict[str, Measured]) -> Iterator[str]:
    """How much was asked, and what was missed."""
    verdicts = [(one, claim, one.verdict(claim)) for one in measured.values() for claim in one.chapter.claims]
    judged = [entry for entry in verdicts if entry[2] is not None]
    missed = [(one, claim) for one, claim, reached in judged if not reached]
    yield f"Of {len(judged)} figures for which something was asked, {len(judged) - len(missed)} reach it."
    if missed:
        yield "These do not:"
        yield ""
    for one, claim in missed:
        unit = UNITS[claim.unit]
        result = one.results[claim.name]
        asked = threshold_text(claim.asked or "")
        yield f"- {one.chapter.title}: {claim.name}, {unit.text({'value': result['value'], 'n': result.get('n', 0)}, claim.digits)} (asked: {asked})"


def _chapter(measured: Measured, letters: dict[str, str]) -> Iterator[str]:
    chapter = measured.chapter
    yield f"### {chapter.title}"
    yield ""
    yield chapter.about.strip()
    if chapter.steps:
        yield ""
        yield "```"
        yield from (step.run for step in chapter.steps)
        yield "```"
        yield ""
        yield f"Again: `make accept ARGS={chapter.name}`, {duration(chapter.minutes)}."
    for name, text in chapter.files.items():
        yield ""
        yield f"`{name}`:"
        yield ""
        yield f"```{Path(name).suffix.removeprefix('.')}"
        yield text.rstrip()
        yield "```"
    yield ""
    yield from _table(measured, letters)
    if chapter.after:
        yield ""
        yield chapter.after.strip()


def _table(measured: Measured, letters: dict[str, str]) -> Iterator[str]:
    """A row a claim; a column that would be empty is left out."""
    chapter = measured.chapter
    seeds = {result["seed"] for result in measured.results.values() if "seed" in result}
    days = {name: result.get("note") for name, result in measured.results.items()}
    of_all = next(iter(days.values())) if len(days) > 1 and len(set(days.values())) == 1 else None
    rows = []
    for claim in chapter.claims:
        result = measured.results.get(claim.name)
        rows.append({
            "figure": claim.name,
            "reached": _reached(measured, claim),
            "asked": _asked(claim, measured),
            "n": _rows(claim, result),
            "measured": _measured(result, letters),
            "note": _joined(claim.note, None if of_all else days.get(claim.name)),
        })  # fmt: skip
    columns = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('--:' if name == 'n' else '---' for name in columns)}|"
    yield from (f"| {' | '.join(row[name].replace('|', chr(92) + '|') for name in columns)} |" for row in rows)
    said = [
        f"Seed {', '.join(map(str, sorted(seeds)))}." if seeds else "",
        f"Brackets: {chapter.brackets}." if chapter.brackets else "",
        f"All of it {of_all}." if of_all else "",
    ]
    if any(said):
        yield ""
        yield " ".join(filter(None, said))


def _joined(*parts: str | None, by: str = "; ") -> str:
    return by.join(filter(None, parts))


def _reached(measured: Measured, claim: Claim) -> str:
    result = measured.results.get(claim.name)
    if result is None:
        return "not measured"
    told = UNITS[claim.unit].text(result, claim.digits)
    return f"**{told}**" if measured.verdict(claim) is False else told


def _asked(claim: Claim, measured: Measured) -> str:
    told = _threshold(claim, claim.asked, measured)
    return f"{told} (hoped: {_threshold(claim, claim.hoped, measured)})" if claim.hoped else told


def _threshold(claim: Claim, asked: str | None, measured: Measured) -> str:
    if asked is None:
        return ""
    return threshold_text(asked) + (": missed" if measured.reached(claim, asked) is False else "")


def _rows(claim: Claim, result: dict[str, Any] | None) -> str:
    rows = (result or {}).get("n")
    return "" if rows is None or claim.unit == "of" else f"{rows:,}"


def _measured(result: dict[str, Any] | None, letters: dict[str, str]) -> str:
    result = result or {}
    commit = f"`{result['commit']}`" if "commit" in result else ""
    return _joined(
        commit, result.get("date"), letters[result["machine"]] if len(letters) > 1 and result else "", by=", "
    )
