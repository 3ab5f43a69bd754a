"""Plain text: one row a line, one row a file, and lines with their label before or behind the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import CHUNK_CHARACTERS, Chunk, Table
from pretune.data.places.folder_names import in_folders
from pretune.data.text.encodings import find_encoding, open_text, read_lines
from pretune.errors import DataError

__all__ = [
    "document_table",
    "first_labels",
    "label_delimiter",
    "label_first_table",
    "label_line_table",
    "line_chunks",
    "line_table",
]

_LABEL_DELIMITERS = ("@", "||", "|", "__label__", "#", "::")
_MARK = "__label__"
_FEWEST_LINES, _LINES_A_LABEL = 10, 10


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


def _chunk(numbers: Sequence[int], columns: Sequence[Sequence[Any]]) -> Chunk:
    return Chunk(numbers, lambda name: columns[int(name)])


def line_table(entry: Entry, encoding: str) -> Table:
    """One unlabelled row a line; blank lines are left out and counted."""
    facts: dict[str, object] = {"format": "text, one row a line"}
    return Table(("0",), False, line_chunks(_lines(entry, encoding), facts), facts, roles={"text": "0"}, by_line=True)


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

    def cut(line: str, where: str) -> tuple[str, str]:
        text, mark, label = line.rpartition(delimiter)
        if not mark:
            raise DataError(
                f"{where} has no {delimiter!r} between text and label", "mend the line, or give another --delimiter"
            )
        return text.strip(), label.strip()

    chunks = _cut_chunks(entry, encoding, cut, facts)
    return Table(("0", "1"), False, chunks, facts, roles={"text": "0", "label": "1"}, by_line=True)


def first_labels(sample: Sequence[str]) -> list[str] | None:
    """The words with which the sampled lines begin, the commonest first, where they look like labels; None otherwise.

    So they do where most begin with fastText's ``__label__``, or where they are few, short, recur and a text follows.
    """
    lines = [line.split(None, 1) for line in sample if line.strip()]
    words = Counter(line[0].lstrip("\ufeff") for line in lines)
    if _is_marked(sample):
        return [word for word, _ in words.most_common()]
    whole = sum(len(line) == 2 for line in lines) >= 0.98 * len(lines) and len(lines) >= _FEWEST_LINES
    few = 2 <= len(words) <= max(2, len(lines) // _LINES_A_LABEL) and max(map(len, words)) <= 30
    recurring = sum(times >= 2 for times in words.values()) >= 0.9 * len(words)
    return [word for word, _ in words.most_common()] if whole and few and recurring else None


def label_first_table(entry: Entry, encoding: str, sample: Sequence[str], delimiter: str | None = None) -> Table:
    """Columns "0" (label) and "1" (text) of lines that begin with their label, up to the first blank or ``delimiter``.

    fastText's mark ``__label__`` is taken off; where sampled lines have several, column "0" holds lists of labels.
    """
    several, is_marked = any(len(_marked(line)[0]) > 1 for line in sample), _is_marked(sample)
    facts: dict[str, object] = {"format": "a label, then text", "header": False}
    if delimiter is not None:
        facts["delimiter"] = delimiter

    def cut(line: str, where: str) -> tuple[object, str]:
        labels, text = _marked(line)
        if is_marked and not labels:
            raise DataError(f"{where} does not begin with {_MARK}, as other lines do: {line[:60]!r}", "mend the line")
        if not labels:
            label, _, text = line.partition(delimiter) if delimiter is not None else _first_word(line)
            labels = [label.strip()]
        if not text.strip():
            raise DataError(
                f"{where} has no text after its label: {line[:60]!r}", "mend the line, or leave it out of the file"
            )
        if len(labels) > 1 and not several:
            raise DataError(
                f"{where} has {len(labels)} labels where the first {len(sample)} lines have one: {line[:60]!r}",
                "put such a line near the top, or give each line one label",
            )
        return (labels if several else labels[0]), text.strip()

    chunks = _cut_chunks(entry, encoding, cut, facts)
    roles = {"labels" if several else "label": "0", "text": "1"}
    return Table(("0", "1"), False, chunks, facts, roles=roles, by_line=True)


def _is_marked(sample: Sequence[str]) -> bool:
    lines = [line for line in sample if line.strip()]
    return sum(bool(_marked(line)[0]) for line in lines) > 0.5 * len(lines)


def _marked(line: str) -> tuple[list[str], str]:
    """fastText's labels at the beginning of a line, and the rest of it."""
    labels, rest = [], line.strip().lstrip("\ufeff")
    while rest.startswith(_MARK):
        word, _, rest = _first_word(rest)
        labels.append(word.removeprefix(_MARK))
        rest = rest.removeprefix(", ")  # as in "__label__1 , text"
    return labels, rest


def _first_word(line: str) -> tuple[str, str, str]:
    word, *rest = line.lstrip("\ufeff").split(None, 1)
    return word, " ", rest[0] if rest else ""


def _cut_chunks(
    entry: Entry, encoding: str, cut: Callable[[str, str], tuple[object, object]], facts: dict[str, object]
) -> Iterator[Chunk]:
    """Two columns: what ``cut`` makes of each line that is not blank, told the line and where it stands."""
    blank = 0
    for numbers, texts in _batches(enumerate(_lines(entry, encoding), 1), 20_000):
        kept = [
            (number, cut(text, f"{entry.name}:{number}")) for number, text in zip(numbers, texts, strict=True) if text
        ]
        blank += len(texts) - len(kept)
        if kept:
            yield _chunk([number for number, _ in kept], ([row[0] for _, row in kept], [row[1] for _, row in kept]))
    facts["blank_lines"] = blank


def document_table(entries: Sequence[Entry], encoding: str | None) -> Table:
    """One row a file, with columns "0" (its text) and "1" (its name), and each folder of its path by ``folder:N``."""
    facts: dict[str, object] = {"format": "text, one row a file", "files": len(entries)}
    chunks = _document_chunks(entries, encoding, facts)
    return Table(("0", "1"), False, chunks, facts, roles={"text": "0", "id": "1"}, in_folders=True)


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
            columns = in_folders(names, {"0": texts, "1": names})
            yield Chunk(range(number - len(texts) + 1, number + 1), columns)
            texts, names, size = [], [], 0
    facts["encoding"] = ", ".join(f"{name} ({files} files)" for name, files in sorted(encodings.items()))
