"""The chapter of a private run, or of one that was audited: what is guaranteed, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.layout import Section, part
from pretune.report.privacy_words import guarantee_lines
from pretune.report.words import plain

__all__ = ["privacy_section"]


def privacy_section(record: Mapping[str, Any]) -> Section | None:
    """The guarantee in sentences; None for a run without one."""
    facts = record.get("privacy")
    if not facts:
        return None
    return Section(
        "privacy", "What it may give away", (part("sentences", rows=[plain(one) for one in guarantee_lines(facts)]),)
    )
