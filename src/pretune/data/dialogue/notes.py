"""Sentences on what was read of conversations."""

from __future__ import annotations

from collections.abc import Mapping

from pretune.data.dialogue.turns import unusable_in
from pretune.wording import agree, counted

__all__ = ["turn_notes"]


def turn_notes(counts: Mapping[str, int]) -> list[str]:
    """Sentences on rows that are no conversations."""
    notes = []
    lost = unusable_in(counts)
    if total := sum(lost.values()):
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in sorted(lost.items(), key=lambda one: -one[1]))
        notes.append(f"Left out: {counted(total)} that {agree(total, 'are no conversations', 'is no conversation')}: {reasons}.")  # fmt: skip
    return notes
