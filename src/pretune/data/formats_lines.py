"""Plain text: one row a line, one row a file, and lines such as ``text@label``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pretune.data.archive import Entry
from pretune.data.encodings import find_encoding, open_text, read_lines
from pretune.data.formats import CHUNK_CHARACTERS, Chunk, Table
from pretune.errors import DataError

__all__ = ["document_table", "label_delimiter", "label_line_table", "line_chunks", "line_table"]

_LABEL_DELIMITERS = ("@", "||", "|", "__label__", "#", "::")


def _lines(entry: Entry, encoding: str) -> Iterator[str]:
    with open_text(entry.open(), encoding) as text:
        yield from read_lines(text, entry.name)


def line_chunks(lines: Iterable[str], facts: dict[str, object], rows: int = 20_000) -> Iterator[Chunk]:
    """One column "0": each line that is not blank. A row's number is its line's."""
    blank = 0
    for numbers, texts in _batches(enumerate(lines, 1), rows):
        kept = [(number, text) for number, text in zip(numbers, texts, strict=True) if text]
        blank += len(texts) - len(kept)
        if kept:
            yield _chunk([number for number, _ in kept], ([text for _, text in kept],))
    facts["blank_lines"] = blank


def _batches(numbered: Iterable[tuple[int, str]], rows: int) -> Iterator[tuple[list[int], list[str]]]:
    """Stripped lines, in batches bounded by rows and characters."""
    numbers: list[int] = []
    texts: list[str] = []
    size = 0
    for number, line in numbered:
        numbers.append(number)
        texts.append(line.strip())
        size += len(line)
        if size >= CHUNK_CHARACTERS or len(texts) >= rows:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    if texts:
        yield numbers, texts


def _chunk(numbers: Sequence[int], columns: Sequence[Sequence[str]]) -> Chunk:
    return Chunk(numbers, lambda name: columns[int(name)])


def line_table(entry: Entry, encoding: str) -> Table:
    """One unlabelled row a line; blank lines are left out and counted."""
    facts: dict[str, object] = {"format": "text, one row a line"}
    return Table(("0",), False, line_chunks(_lines(entry, encoding), facts), facts, roles={"text": "0"})


def label_delimiter(sample: Sequence[str]) -> str | None:
    """The one mark after which every sampled line ends in a class name, or None when there is none or several.

    A class name is short, without spaces, and there are few of them for many lines.
    """
    lines = [line.strip() for line in sample if line.strip()]
    found = [mark for mark in _LABEL_DELIMITERS if _ends_in_labels(lines, mark)]
    inner = [mark for mark in found if not any(mark != other and mark in other for other in found)]
    return inner[0] if len(inner) == 1 else None


def _ends_in_labels(lines: Sequence[str], mark: str) -> bool:
    if len(lines) < 4 or not all(mark in line for line in lines):
        return False
    labels = [line.rsplit(mark, 1)[1].strip() for line in lines]
    short = all(label and len(label) <= 30 and not any(c.isspace() for c in label) for label in labels)
    return short and len(set(labels)) <= max(2, min(100, len(labels) // 4))


def label_line_table(entry: Entry, encoding: str, delimiter: str) -> Table:
    """Columns "0" (text) and "1" (label) of lines cut at the last ``delimiter``; a line without one is an error."""
    facts: dict[str, object] = {"format": "text, then a label", "delimiter": delimiter, "header": False}
    chunks = _label_line_chunks(entry, encoding, delimiter, facts)
    return Table(("0", "1"), False, chunks, facts, roles={"text": "0", "label": "1"})


def _label_line_chunks(entry: Entry, encoding: str, delimiter: str, facts: dict[str, object]) -> Iterator[Chunk]:
    blank = 0
    for numbers, texts in _batches(enumerate(_lines(entry, encoding), 1), 20_000):
        kept = [(number, text.rsplit(delimiter, 1)) for number, text in zip(numbers, texts, strict=True) if text]
        blank += len(texts) - len(kept)
        for number, parts in kept:
            if len(parts) != 2:
                raise DataError(
                    f"{entry.name}:{number} has no {delimiter!r} between text and label",
                    "mend the line, or give another --delimiter",
                )
        if kept:
            rows = [parts for _, parts in kept]
            yield _chunk([n for n, _ in kept], ([row[0].strip() for row in rows], [row[1].strip() for row in rows]))
    facts["blank_lines"] = blank


def document_table(entries: Sequence[Entry], encoding: str | None) -> Table:
    """One row a file, with columns "0" (its text) and "1" (its name)."""
    facts: dict[str, object] = {"format": "text, one row a file", "files": len(entries)}
    chunks = _document_chunks(entries, encoding, facts)
    return Table(("0", "1"), False, chunks, facts, roles={"text": "0", "id": "1"})


def _document_chunks(entries: Sequence[Entry], given: str | None, facts: dict[str, object]) -> Iterator[Chunk]:
    encodings: dict[str, int] = {}
    texts: list[str] = []
    names: list[str] = []
    size = 0
    for number, entry in enumerate(entries, 1):
        encoding = find_encoding(entry, given)
        encodings[encoding] = encodings.get(encoding, 0) + 1
        text = "".join(_lines(entry, encoding)).strip()
        texts.append(text)
        names.append(entry.name)
        size += len(text)
        if size >= CHUNK_CHARACTERS or len(texts) >= 5_000 or number == len(entries):
            yield _chunk(range(number - len(texts) + 1, number + 1), (texts, names))
            texts, names, size = [], [], 0
    facts["encoding"] = ", ".join(f"{name} ({files} files)" for name, files in sorted(encodings.items()))
