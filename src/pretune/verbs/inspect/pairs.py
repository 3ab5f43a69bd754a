"""Near pairs in the terminal: both rows, where they stand and how they are alike; and what the checks for them are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["check_lines", "pair_lines"]

_MOST = 3
_WIDTH = 100


def pair_lines(pairs: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """The first few pairs of a finding about ``count`` rows, three lines each, and where the others are shown."""
    lines = []
    for pair in pairs[:_MOST]:
        share = f"{pair['alike']:.0%} of it" if pair["kind"] == "part" else f"{pair['alike']:.0%} alike"
        lines.append(f"        {pair['words']}{f' ({share})' if pair['alike'] < 1 else ''}:")
        lines += [f"          {_side(pair, letter)}" for letter in "ab"]
    if count > min(len(pairs), _MOST):
        lines.append(f"        {count - min(len(pairs), _MOST):,} more: --out FOLDER shows them on a page, --json here")
    return lines


def check_lines(checks: Mapping[str, Any]) -> list[str]:
    """Of each kind of planted copies how many were found, then what was flagged without any."""
    lines = ["what the checks find of copies planted among these rows (95 % intervals):"]
    wide = max((len(one["kind"]) for one in checks["kinds"]), default=0)
    for one in checks["kinds"]:
        low, high = one["interval"]
        found = f"{one['found']} of {one['planted']}"
        lines.append(f"        {one['kind']:{wide}}  {found:>12}  {one['share']:6.1%} [{low:.1%}, {high:.1%}]")
    flagged = checks["flagged"]
    low, high = flagged["interval"]
    lines.append(
        f"with nothing planted {flagged['found']:,} of {flagged['of']:,} different rows ({flagged['share']:.2%} [{low:.2%}, {high:.2%}]) are near an earlier one:"
    )
    return [*lines, *pair_lines(flagged["pairs"], flagged["found"])] if flagged["found"] else lines


def _side(pair: Mapping[str, Any], letter: str) -> str:
    row = {name: pair.get(f"{letter}_{name}") for name in ("id", "label", "seconds", "text", "picture")}
    place = " ".join(
        [str(row["id"])]
        + ([f"[{row['label']}]"] if row["label"] is not None else [])
        + ([f"{row['seconds']:g} s"] if row["seconds"] is not None else [])
    )
    text = str(row["text"] or "")
    if row["picture"] is not None or row["seconds"] is not None:
        return place if place.split(" ")[0].endswith(text) else f"{place}  {text}"
    return f"{place}  {text if len(text) <= _WIDTH else text[: _WIDTH - 1] + '…'}"
