"""What reading tells people about rows that were moved, and about what was found by looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.wording import agree, counted

__all__ = ["encoding_notes", "row_notes", "tag_notes"]

_GUESSED = ("gb18030", "latin-1", "cp1252")


def row_notes(
    counts: Mapping[str, int],
    literal: Mapping[str, int],
    moved: Mapping[str, int],
    *,
    labelled: bool,
    lack: str = "label",
) -> list[str]:
    """Sentences on rows without an answer or a split. ``literal`` counts words that were none, ``moved`` rows by split; ``lack`` is
    what such rows have none of.
    """
    notes = [
        f"{count} rows of {split} have no {lack}; they were moved to the split unlabelled."
        for split, count in moved.items()
    ]
    if not labelled:
        notes.append("There are no labels: all rows are in the split unlabelled.")
    if literal:
        words = ", ".join(f"{word!r} ({count} rows)" for word, count in sorted(literal.items()))
        notes.append(f"Counted as no {lack}: {words}.")
    if none := counts.get("rows_with_none_of_the_labels"):
        notes.append(f"{none} rows have none of the labels: their list is empty, which is an answer too.")
    if unsaid := counts.get("rows_without_split"):
        notes.append(
            f"{unsaid} rows name no split in their column of splits; they were read as those of their file, or train."
        )
    if unnamed := counts.get("names_without_group"):
        notes.append(f"{unnamed} rows have a name in which --group-from finds nothing: each is a group of its own.")
    return notes


_MENDED = {
    "tags_out_of_place": "{n} cannot stand there in their scheme (such as an I- that follows no B- of its type), and begin an entity, as conlleval reads them.",
    "blank_words": "{n} held nothing but blanks, and went with its tag.",
    "spans_with_blanks": "{n} began or ended in a blank, and lost it.",
    "spans_over_others": "{n} lay over a longer one and was left out: a word has one tag.",
}
_MENDED_NOUNS = {
    "tags_out_of_place": "tag",
    "blank_words": "word",
    "spans_with_blanks": "span",
    "spans_over_others": "span",
}


def tag_notes(files: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> list[str]:
    """Sentences on how tags were written, and on what of them was mended."""
    schemes: dict[str, list[str]] = {}
    for file in files:
        if "tags" in file:
            schemes.setdefault(file["tags"], []).append(file["name"])
    notes = []
    for scheme, names in schemes.items():
        where = "" if len(schemes) == 1 else f" in {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        if scheme == "plain":
            notes.append(f"Tags{where} are words without a scheme of entities (B-, I-): each word has one of its own.")
        else:
            turned = "" if scheme == "IOB2" else ", and are turned into IOB2 (B- begins each entity)"
            notes.append(f"Tags{where} are written in {scheme}{turned}.")
    if documents := sum(file.get("documents", 0) for file in files):
        notes.append(f"{counted(documents, 'line')} -DOCSTART- begin documents; the rows of each are a group.")
    if comments := sum(file.get("comments", 0) for file in files):
        notes.append(f"{counted(comments, 'line')} of comments (#) {agree(comments, 'were', 'was')} left out.")
    return notes + [
        said.format(n=counted(counts[name], _MENDED_NOUNS[name])) for name, said in _MENDED.items() if counts.get(name)
    ]


def encoding_notes(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on encodings that evidence told, not a mark."""
    return [
        f"{file['name']} was read as {file['encoding']}, found by evidence, not by a mark; --encoding says otherwise."
        for file in files
        if file.get("encoding") in _GUESSED
    ]
