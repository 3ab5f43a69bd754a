"""What all labels of a data set say together: scores that are no classes, one class under two spellings, words for none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pretune.data.checks.finding import finding
from pretune.data.columns.looks import column_flag
from pretune.data.labels.words import alike, are_scores, as_numbers
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["change_notes", "label_findings", "number_notes", "refuse_scores"]

_SHOWN = 5
_CHANGES = {
    "labels_from_bytes": "{n} {were} written as bytes (b'...') and read as words.",
    "labels_with_unseen_or_decomposed_characters": "{n} {were} changed where nothing is seen: invisible characters taken out, letters composed (NFC).",
    "labels_from_whole_floats": "{n} {were} written as 3.0 and read as 3.",
    "label_indices_without_name": "{n} {are} a number for which the file has no class name; the rows have no label.",
}


def refuse_scores(labels: Mapping[str, int], place: str, column: str = "NAME") -> None:
    """Raise :class:`DataError` where labels, those of a ``column``, are a score of each row (:func:`pretune.data.labels.words.are_scores`)."""
    if not are_scores(labels):
        return
    numbers = as_numbers(labels)
    raise DataError(
        f"the labels of {place} are numbers: {len(labels)} different ones from {min(numbers):g} to {max(numbers):g}, such as "
        f"{', '.join(list(labels)[:3])}. That is a score to estimate (regression), not a set of classes",
        f"{column_flag('value', column)} reads them as numbers to estimate; to learn classes, add a column of a few (low, middle, high) and name it: "
        "--column label=NAME; --label-type class takes each number as a class",
    )


def number_notes(labels: Mapping[str, int]) -> list[str]:
    """That labels with a fraction are taken for classes, whose order and distance do not count."""
    numbers = as_numbers(labels)
    if not any(not number.is_integer() for number in numbers):
        return []
    return [
        f"Labels are {len(labels)} numbers from {min(numbers):g} to {max(numbers):g}; each is a class of its own, and their order is not used."
    ]


def change_notes(counts: Mapping[str, int], missing_like: Mapping[str, int]) -> list[str]:
    """Sentences on labels that were changed, and on classes that are called as a missing value is written."""
    notes = [
        said.format(n=counted(counts[name], "label"), were=agree(counts[name], "were", "was"), are=agree(counts[name], "are", "is"))
        for name, said in _CHANGES.items()
        if counts.get(name)
    ]  # fmt: skip
    if missing_like:
        shown = ", ".join(f"{word!r} ({count} rows)" for word, count in sorted(missing_like.items()))
        notes.append(f"Read as classes: {shown}; where such a word means that there is no label, leave the cell empty.")
    return notes


def label_findings(labels: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """A warning where several labels look like one."""
    groups = alike(labels)
    if groups:
        shown = "; ".join(
            ", ".join(f"{ascii(label) if odd else repr(label)} ({counted(labels[label])})" for label in group)
            for group in groups[:_SHOWN]
            for odd in [len({label.isascii() for label in group}) > 1]
        )
        more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
        message = f"Labels that look like one and are several classes: {shown}{more}."
        rows = sum(labels[label] for group in groups for label in group)
        yield finding("warning", "alike-labels", message, rows, [], "write each class in one way")
