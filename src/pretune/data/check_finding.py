"""One finding of the data passport, and the small words its sentences need."""

from __future__ import annotations

from typing import Any

__all__ = ["SEVERITIES", "agree", "counted", "finding"]

SEVERITIES = ("error", "warning", "note")
"""From the most severe."""


def finding(severity: str, code: str, message: str, count: int, rows: list[str], fix: str) -> dict[str, Any]:
    """A finding as JSON; ``rows`` are the first ids, ``fix`` names what to do."""
    return {"severity": severity, "code": code, "message": message, "count": count, "rows": rows, "fix": fix}


def counted(count: int, what: str = "row") -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def agree(count: int, plural: str, singular: str) -> str:
    """The verb that fits the count."""
    return singular if count == 1 else plural
