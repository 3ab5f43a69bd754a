"""How a figure is written, by its unit; and whether it reaches what was asked, which is told in the unit as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["UNITS", "Unit", "duration", "reaches", "threshold_text"]


@dataclass(frozen=True)
class Unit:
    """``factor`` makes the shown figure of the kept one; ``after`` stands behind it. ``timed``: other work on the machine changes it."""

    after: str
    digits: int
    factor: float = 1.0
    sign: bool = False
    timed: bool = False

    def number(self, value: float, digits: int | None = None) -> str:
        """The figure alone."""
        places = self.digits if digits is None else digits
        return f"{self.factor * value:{'+' if self.sign else ''},.{places}f}"

    def text(self, result: dict[str, Any], digits: int | None = None) -> str:
        """The figure of a result with its unit, its brackets and its p."""
        if self is UNITS["of"]:
            told = f"{result['value']:,.0f} of {result['n']:,.0f}"
        else:
            told = f"{self.number(result['value'], digits)}{self.after}"
        if result.get("low") is not None and result.get("high") is not None:
            told += f" [{self.number(result['low'], digits).lstrip('+')}, {self.number(result['high'], digits).lstrip('+')}]"
        return told if result.get("p") is None else f"{told}, {_p_text(result['p'])}"


def _p_text(p: float | str) -> str:
    """Of a p that was published as a bound (``< 0.0001``) that bound."""
    if isinstance(p, str):
        return f"p {p}"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.2f}"


UNITS = {
    "share": Unit(" %", 2, 100.0),
    "points": Unit(" points", 1, 100.0, sign=True),
    "times": Unit(" times", 2, timed=True),
    "ms": Unit(" ms", 2, timed=True),
    "seconds": Unit(" s", 1, timed=True),
    "minutes": Unit(" minutes", 1, timed=True),
    "MB": Unit(" MB", 1),
    "GiB": Unit(" GiB", 2),
    "a second": Unit(" a second", 1, timed=True),
    "number": Unit("", 3),
    "count": Unit("", 0),
    "of": Unit("", 0),
}
"""``share`` is kept as a fraction and shown as a percentage, ``points`` likewise; ``of`` is a count with what it is counted of as n."""


def _shown(unit: Unit, value: float, digits: int | None) -> float:
    """The figure as it is read: rounded, so that the table never contradicts itself."""
    return float(unit.number(value, digits).replace(",", ""))


def reaches(asked: str, unit_name: str, result: dict[str, Any], digits: int | None = None) -> bool:
    """Does the figure, as it is shown, reach ``at least 95``, ``at most 5``, ``exactly 48`` or ``all``?"""
    unit = UNITS[unit_name]
    if asked == "all":
        return result["value"] == result["n"]
    number = float(asked.split()[-1])
    shown = _shown(unit, result["value"], digits)
    how = asked.removesuffix(asked.split()[-1]).strip()
    return {"at least": shown >= number, "at most": shown <= number, "exactly": shown == number}[how]


def threshold_text(asked: str) -> str:
    """``≥ 95``, ``≤ 5``, ``= 48``, ``all``."""
    return asked.replace("at least", "≥").replace("at most", "≤").replace("exactly", "=")


def duration(minutes: float) -> str:
    """About how long a chapter takes, for people."""
    if minutes < 1:
        return "under a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"
