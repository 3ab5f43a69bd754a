"""One finding of the data passport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["SEVERITIES", "finding"]

SEVERITIES = ("error", "warning", "note")
"""From the most severe."""


def finding(
    severity: str,
    code: str,
    message: str,
    count: int,
    rows: list[str],
    fix: str,
    pairs: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A finding as JSON; ``rows`` are the first ids, ``fix`` names what to do, ``pairs`` are rows with their twins (see ``check_pairs``),
    where it is about such.
    """
    told = {"severity": severity, "code": code, "message": message, "count": count, "rows": rows, "fix": fix}
    return told | ({"pairs": list(pairs)} if pairs else {})
