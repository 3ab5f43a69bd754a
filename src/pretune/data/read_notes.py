"""What reading tells people about rows that were moved, and about what was found by looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["encoding_notes", "row_notes"]

_GUESSED = ("gb18030", "latin-1", "cp1252")


def row_notes(
    counts: Mapping[str, int], literal: Mapping[str, int], moved: Mapping[str, int], *, labelled: bool
) -> list[str]:
    """Sentences on rows without a label or a split. ``literal`` counts words that were no label, ``moved`` rows by split."""
    notes = [
        f"{count} rows of {split} have no label; they were moved to the split unlabelled."
        for split, count in moved.items()
    ]
    if not labelled:
        notes.append("There are no labels: all rows are in the split unlabelled.")
    if literal:
        words = ", ".join(f"{word!r} ({count} rows)" for word, count in sorted(literal.items()))
        notes.append(f"Counted as no label: {words}.")
    if none := counts.get("rows_with_none_of_the_labels"):
        notes.append(f"{none} rows have none of the labels: their list is empty, which is an answer too.")
    if unsaid := counts.get("rows_without_split"):
        notes.append(
            f"{unsaid} rows name no split in their column of splits; they were read as those of their file, or train."
        )
    if unnamed := counts.get("names_without_group"):
        notes.append(f"{unnamed} rows have a name in which --group-from finds nothing: each is a group of its own.")
    return notes


def encoding_notes(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on encodings that evidence told, not a mark."""
    return [
        f"{file['name']} was read as {file['encoding']}, found by evidence, not by a mark; --encoding says otherwise."
        for file in files
        if file.get("encoding") in _GUESSED
    ]
