"""The chapter of a private run, or of one that was audited: what is guaranteed, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.layout import Section, part
from pretune.report.privacy_words import AUDIT_FILE, audit_lines, guarantee_lines
from pretune.report.words import plain
from pretune.runfolder import RunFolder

__all__ = ["privacy_section"]


def privacy_section(run: RunFolder, record: Mapping[str, Any]) -> Section | None:
    """The guarantee and what the last audit found, in sentences; None for a run with neither."""
    facts, lines = record.get("privacy"), []
    if run.has(AUDIT_FILE):
        found = run.read_object(AUDIT_FILE, "auc", "found", "told_apart", "epsilon", "members", "others", "split")
        lines += [line.strip() for line in audit_lines(found)]
    if facts:
        lines += guarantee_lines(facts)
    return Section("privacy", "What it may give away", (part("sentences", rows=[plain(one) for one in lines]),)) if lines else None  # fmt: skip
