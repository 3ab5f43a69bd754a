"""Counts and figures in sentences: ``1 row holds``, ``2,000 rows hold``. The one place where a noun or verb is put into its number."""

from __future__ import annotations

__all__ = ["agree", "counted", "figure"]


def counted(count: object, noun: str = "row", plural: str = "") -> str:
    """``1 row``, ``2,000 rows``, ``0.5 epochs``; ``plural`` where it is not the noun with an s. What is no number is a dash."""
    if not isinstance(count, (int, float)):
        return f"– {plural or noun + 's'}"
    number = f"{int(count) if float(count).is_integer() else count:,}"
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def agree(count: float, plural: str, singular: str) -> str:
    """The verb that fits the count."""
    return singular if count == 1 else plural


def figure(value: float, digits: int = 6, *, grouped: bool = True) -> str:
    """A number with as many significant digits, those before the point all of them: never an exponent, but for a tiny one."""
    whole = abs(value) >= 10 ** (digits - 1)
    sign = "," if grouped else ""
    return format(value, f"{sign}.0f" if whole else f"{sign}.{digits}g")
