"""What a file of JSON has to hold: the types and limits of its fields, declared where the file is at home and checked when it is read.

A check is called with a value and raises :class:`Misfit` for what does not fit. They are put together::

    ABOUT = record({"task": text(), "labels": listed(text(), unique=True), "temperature?": number(above=0)})
    about = require(read_json(path), ABOUT, path)

Keys that end in ``?`` may be absent; keys that are not named may hold anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pretune.errors import CorruptFile

__all__ = [
    "Check",
    "Misfit",
    "anything",
    "flag",
    "listed",
    "mapped",
    "maybe",
    "number",
    "record",
    "require",
    "text",
    "whole",
]

Check = Callable[[Any], None]
_SHOWN = 60


class Misfit(Exception):
    """A value that is not as declared; ``place`` is the way to it (``labels[2]``), ``problem`` what is wrong."""

    def __init__(self, problem: str, place: str = "") -> None:
        self.problem, self.place = problem, place
        super().__init__(problem)

    def below(self, step: str) -> Misfit:
        """The same, of a value that lies under ``step``."""
        joint = "" if not self.place or self.place.startswith("[") else "."
        return Misfit(self.problem, f"{step}{joint}{self.place}")


def require(value: Any, check: Check, path: Path | str) -> Any:
    """The value, which fits. Raises :class:`CorruptFile` naming the file, the field and what is allowed."""
    try:
        check(value)
    except Misfit as misfit:
        place = f"{misfit.place} " if misfit.place else "it "
        raise CorruptFile(
            f"{path} is not as pretune wrote it: {place}{misfit.problem}",
            "restore the file from a copy, or make the run again (--overwrite)",
        ) from None
    return value


def anything(value: Any) -> None:
    """Any value."""


def text(*choices: str) -> Check:
    """A text; one of ``choices``, where there are any."""

    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise Misfit(f"is {_shown(value)}, and must be a text")
        if choices and value not in choices:
            raise Misfit(f"is {_shown(value)}, allowed: {', '.join(choices)}")

    return check


def number(low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf) -> Check:
    """A finite number from ``low`` to ``high``, larger than ``above``."""

    def check(value: Any) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise Misfit(f"is {_shown(value)}, and must be a number")
        if not low <= value <= high or value <= above:
            raise Misfit(f"is {_shown(value)}, and must be {_limits(low, high, above)}")

    return check


def whole(low: float = -math.inf, high: float = math.inf) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Misfit(f"is {_shown(value)}, and must be a whole number")
        if not low <= value <= high:
            raise Misfit(f"is {_shown(value)}, and must be {_limits(low, high, -math.inf)}")

    return check


def flag(value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise Misfit(f"is {_shown(value)}, and must be true or false")


def maybe(check: Check) -> Check:
    """``null``, or what fits."""
    return lambda value: None if value is None else check(value)


def listed(each: Check, *, least: int = 0, unique: bool = False) -> Check:
    """A list of values that fit: ``least`` of them or more, no two alike where they are ``unique``."""

    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise Misfit(f"is {_shown(value)}, and must be a list")
        if len(value) < least:
            raise Misfit(f"has {len(value)} entries, and must have {least} at least")
        for place, item in enumerate(value):
            _under(f"[{place}]", each, item)
        if unique and len(set(value)) < len(value):
            twice = next(item for item in value if value.count(item) > 1)
            raise Misfit(f"names {_shown(twice)} twice")

    return check


def mapped(each: Check) -> Check:
    """An object all of whose values fit."""

    def check(value: Any) -> None:
        _object(value)
        for key, item in value.items():
            _under(key, each, item)

    return check


def record(fields: Mapping[str, Check]) -> Check:
    """An object with these fields."""
    checks = [(key.removesuffix("?"), key.endswith("?"), check) for key, check in fields.items()]

    def check(value: Any) -> None:
        _object(value)
        for key, may_be_absent, inner in checks:
            if key in value:
                _under(key, inner, value[key])
            elif not may_be_absent:
                raise Misfit("is missing", key)

    return check


def _object(value: Any) -> None:
    if not isinstance(value, dict):
        raise Misfit(f"is {_shown(value)}, and must be an object")


def _under(step: str, check: Check, value: Any) -> None:
    try:
        check(value)
    except Misfit as misfit:
        raise misfit.below(step) from None


def _limits(low: float, high: float, above: float) -> str:
    words = [f"above {above:g}"] if above > -math.inf else [f"at least {low:g}"] if low > -math.inf else []
    return " and ".join([*words, *([f"at most {high:g}"] if high < math.inf else [])])


def _shown(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "null", bool: "true or false"}
    if isinstance(value, (dict, list)):
        return kinds[type(value)]
    said = "null" if value is None else repr(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]} ..."
