"""Names of class indices from a label file beside the data: line i is the name of class i."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretune.data.archives.streams import Entry
from pretune.data.text.encodings import find_encoding, open_text, read_lines

__all__ = ["label_names"]

_NUMBER = re.compile("0|[1-9][0-9]{0,8}")


def label_names(
    labels: Sequence[str], files: Sequence[Entry], encoding: str | None
) -> tuple[dict[str, str] | None, str]:
    """Label to name, in the order of the labels' numbers, when one of ``files`` fits them, and a sentence for people ("" when
    there is nothing to say).
    """
    if not files or not labels:
        return None, ""
    if not all(_NUMBER.fullmatch(label) for label in labels):
        several = sum("," in label and label.replace(",", "").isdigit() for label in labels)
        if not several:
            return None, ""
        return (
            None,
            f'{several} labels such as "4,27" seem to name several classes each; every combination is read as a class of its own; --column labels=NAME reads several labels a row.',
        )
    numbers = {int(label) for label in labels}
    fitting = {entry.name: names for entry in files if _fits(names := _lines(entry, encoding), numbers)}
    if len(fitting) != 1:
        listed = ", ".join(entry.name for entry in files)
        why = "several files fit" if fitting else "the number of lines does not fit"
        return None, f"Labels are integers; they were not named by {listed}, as {why}."
    file, names = fitting.popitem()
    return {
        str(number): names[number] for number in sorted(numbers)
    }, f"Labels 0 to {max(numbers)} were named by the lines of {file}."


def _lines(entry: Entry, encoding: str | None) -> list[str]:
    with open_text(entry.open(), find_encoding(entry, encoding)) as text:
        lines = [line.strip() for line in read_lines(text, entry.name)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _fits(names: Sequence[str], numbers: set[int]) -> bool:
    """Every number has a name, and no more than half of the names have no number."""
    whole = all(names) and len(set(names)) == len(names)
    return whole and max(numbers) < len(names) <= 2 * len(numbers)
