"""The encoding of a text file: stated, marked (BOM), or found by evidence. Never a silent guess."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TextIO

from pretune.data.archives.streams import Entry
from pretune.data.text.encodings_guess import guessed_encoding, looks_chinese
from pretune.errors import DataError, UsageError, did_you_mean

__all__ = ["check_encoding_name", "find_encoding", "open_text", "read_lines"]

MAX_LINE_CHARACTERS = 256 * 2**20
_BLOCK_BYTES = 2**20
_EVIDENCE_BYTES = 4 * 2**20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "latin-1",
    "cp1252",
    "gb18030",
    "gbk",
    "big5",
    "shift_jis",
)
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class _Failure:
    offset: int
    line: int
    byte: int


def check_encoding_name(given: str) -> str:
    """The codec's own name of ``--encoding``. Raises :class:`UsageError` when there is no such text encoding."""
    try:
        info = codecs.lookup(given)
    except (LookupError, ValueError):
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise UsageError(f"--encoding is {given!r}, which is no text encoding", did_you_mean(given, _COMMON))
    return info.name


def find_encoding(entry: Entry, given: str | None) -> str:
    """The encoding in which the whole file decodes: ``given``, by its mark (BOM), UTF-8, or GB18030/Latin by evidence.

    Reads the file once, in blocks. Raises :class:`DataError` with the byte, line and flag when there is none.
    """
    with entry.open() as stream:
        head = stream.read(4)
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    if given is not None:
        encoding = check_encoding_name(given)
        encoding = "utf-8-sig" if marked == "utf-8-sig" and encoding == "utf-8" else encoding
    else:
        encoding = marked or "utf-8"
    failure = _first_failure(entry, encoding)
    if failure is None:
        return encoding
    if failure.byte == 0:
        raise _nul_error(entry, failure)
    if given is not None or marked is not None:
        said = "--encoding says" if given is not None else "its first bytes say"
        raise DataError(
            f"{entry.name} is not {encoding}, which {said}: byte {failure.offset} (line {failure.line}) is 0x{failure.byte:02x}",
            "leave --encoding out to have it found, or give the right one, such as --encoding gb18030",
        )
    return _legacy_encoding(entry, failure)


def _blocks(entry: Entry) -> Iterator[bytes]:
    with entry.open() as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _first_failure(entry: Entry, encoding: str) -> _Failure | None:
    """Where the file stops being text in this encoding, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    wide = encoding.replace("_", "-").startswith(("utf-16", "utf-32"))
    offset = line = 0
    for block in _blocks(entry):
        if not wide and (nul := block.find(0)) >= 0:
            return _Failure(offset + nul, line + block.count(b"\n", 0, nul) + 1, 0)
        pending = decoder.getstate()[0]
        try:
            decoded = decoder.decode(block)
        except UnicodeError as error:
            return _failure(error, offset - len(pending), line, pending + block)
        if wide and "\0" in decoded:
            return _Failure(offset, line + 1, 0)
        offset += len(block)
        line += block.count(b"\n")
    pending = decoder.getstate()[0]
    try:
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        return _failure(error, offset - len(pending), line, pending or b"\xff")
    return None


def _failure(error: UnicodeError, base: int, line: int, data: bytes) -> _Failure:
    start = min(getattr(error, "start", 0), len(data) - 1)
    return _Failure(base + start, line + data.count(b"\n", 0, start) + 1, data[start] or 0xFF)


def _nul_error(entry: Entry, failure: _Failure) -> DataError:
    with entry.open() as stream:
        head = stream.read(4096)
    where = f"{entry.name} holds a NUL byte at byte {failure.offset} (line {failure.line})"
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 3 and head[first::2].count(0) > 0.4 * len(head[first::2]):
            return DataError(f"{where}; it looks like UTF-16 without a mark", f"give --encoding {name}")
    return DataError(
        f"{where}: it is not a text file, or a damaged one", "give a text table, JSON lines, Parquet or Arrow"
    )


def _legacy_encoding(entry: Entry, failure: _Failure) -> str:
    evidence = _evidence(entry)
    if _CONTROL.search(evidence):
        raise DataError(
            f"{entry.name} is not a text file: byte {failure.offset} (line {failure.line}) is 0x{failure.byte:02x}, and it holds control characters",
            "give a text table, JSON lines, Parquet or Arrow",
        )
    if not _looks_latin(evidence) and looks_chinese(evidence) and _first_failure(entry, "gb18030") is None:
        return "gb18030"
    if _looks_latin(evidence):
        for encoding in ("cp1252",) if re.search(rb"[\x80-\x9f]", evidence) else ("latin-1", "cp1252"):
            if _first_failure(entry, encoding) is None:
                return encoding
    guess = guessed_encoding(evidence)
    raise DataError(
        f"the encoding of {entry.name} was not found: byte {failure.offset} (line {failure.line}) is 0x{failure.byte:02x}, not UTF-8, "
        "and the text looks neither like Chinese in GB18030 nor like Latin letters",
        f"it may be --encoding {guess}; look at what pretune inspect shows with it"
        if guess
        else "give it, for example --encoding big5, --encoding shift_jis, --encoding euc_kr or --encoding cp1251",
    )


def _evidence(entry: Entry) -> bytes:
    """Lines that hold bytes over 0x7f, up to a few megabytes of them."""
    found, size = [], 0
    with entry.open() as stream:
        while size < _EVIDENCE_BYTES and (line := stream.readline(_BLOCK_BYTES)):
            if not line.isascii():
                found.append(line)
                size += len(line)
    return b"".join(found)


def _looks_latin(evidence: bytes) -> bool:
    """Bytes over 0x7f are few and stand alone between ASCII letters, as accents do."""
    runs = _HIGH_RUN.findall(evidence)
    high = sum(map(len, runs))
    return 0 < high <= 0.25 * len(evidence) and high <= 1.4 * len(runs)


def open_text(stream: BinaryIO, encoding: str) -> TextIO:
    """The stream as text, line ends kept as they are."""
    return io.TextIOWrapper(stream, encoding=encoding, newline="")


def read_lines(text: TextIO, name: str) -> Iterator[str]:
    """Lines with their ends. Raises :class:`DataError` for a line too long to hold in memory."""
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_CHARACTERS), ""), 1):
        if len(line) >= MAX_LINE_CHARACTERS:
            raise DataError(
                f"{name}:{number} is longer than {MAX_LINE_CHARACTERS // 2**20} million characters",
                "is it really one row a line? Cut it into rows, or give JSON or Parquet",
            )
        yield line
