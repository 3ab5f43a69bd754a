"""The rows of a form (``multipart/form-data``, RFC 7578), as browsers and ``curl -F`` send it: one file a part, or fields of text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PureWindowsPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from pretune.errors import did_you_mean
from pretune.modalities import FILES
from pretune.serve.problems import Problem

__all__ = ["form_rows"]

_GENERAL = ("file", "files", "inputs")
"""Names of fields that say no more than "here it is"."""
_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]{1,70})\"|([^\s;,\"]{1,70}))", re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?i)\r\ncontent-disposition:[ \t]*form-data([^\r\n]*)")
_PARAMETER = re.compile(
    rb"(?i);[ \t]*(?P<key>[\w-]+\*?)[ \t]*=[ \t]*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s;\"]+))"
)
_ENCODED = re.compile(rb"(?i)\r\ncontent-transfer-encoding:(?![ \t]*(?:binary|7bit|8bit)[ \t]*(?:\r\n|$))")
_AS_SENT = "send it as `curl -F` does: multipart/form-data with a boundary, a name for each part"


class _Part(NamedTuple):
    """A part of a form; ``file`` is the name of the file that it was, "" where it was none."""

    name: str
    file: str
    value: bytes


def form_rows(body: bytes, parameters: str, fields: tuple[str, ...], most_rows: int) -> list[dict[str, Any]]:
    """Rows with ``fields`` (the first is what a row must have), unchecked: files as bytes, texts as text.

    Parts of the first field (or called file, files or inputs) are a row each, named after the file; ``id`` names a single one.
    ``parameters`` are those of the content type. Raises :class:`Problem`.
    """
    parts = _parts(body, parameters, most_rows * (len(fields) + 1))
    columns: dict[str, list[_Part]] = {name: [] for name in ("id", *fields)}
    for part in parts:
        name = fields[0] if part.name in _GENERAL else part.name
        if name not in columns:
            raise Problem(
                422, f'the form has the field "{part.name[:40]}", which this model does not take',
                did_you_mean(part.name, ("file", "id", *fields)),
            )  # fmt: skip
        columns[name].append(part)
    count = len(columns[fields[0]])
    for name, found in columns.items():
        if found and len(found) != count:
            raise Problem(
                422, f'the form has {len(found)} of "{name}" and {count} of "{fields[0]}"', "send one of each for a row"
            )
    return [_row(columns, place, fields) for place in range(count)]


def _row(columns: dict[str, list[_Part]], place: int, fields: tuple[str, ...]) -> dict[str, Any]:
    names = Counter(part.file for part in columns[fields[0]])
    file = columns[fields[0]][place].file
    row: dict[str, Any] = {"id": file} if file and names[file] == 1 else {}
    for name in ("id", *fields):
        if columns[name]:
            value = columns[name][place].value
            row[name] = value if name in FILES else _text(value, name)
    return row


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f'the field "{name}" is not UTF-8: its byte {error.start}', "send text as UTF-8") from None


def _parts(body: bytes, parameters: str, most: int) -> list[_Part]:
    found = _BOUNDARY.search(parameters)
    if found is None:
        raise Problem(400, "the form has no boundary in its Content-Type", _AS_SENT)
    boundary = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    _, *parts = (b"\r\n" + body).split(boundary, most + 1)
    if not parts or not parts[-1].startswith(b"--"):
        many = len(parts) > most
        raise Problem(
            413 if many else 400, "the form has too many parts" if many else "the form does not end with its boundary",
            "send several smaller requests" if many else _AS_SENT,
        )  # fmt: skip
    return [_part(part) for part in parts[:-1]]


def _part(given: bytes) -> _Part:
    """One part: a blank rest of the boundary's line, headers, an empty line, the value."""
    padding, line_end, rest = given.partition(b"\r\n")
    head, blank, value = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not line_end or not blank:
        raise Problem(400, "a part of the form has no headers", _AS_SENT)
    if _ENCODED.search(head):
        raise Problem(415, "a part of the form is encoded once more", "send files as they are")
    told = _DISPOSITION.search(head)
    named = {} if told is None else {one["key"].lower(): one for one in _PARAMETER.finditer(told[1])}
    if b"name" not in named:
        raise Problem(400, "a part of the form has no name", _AS_SENT)
    file = _said(named[b"filename*"]) if b"filename*" in named else _said(named.get(b"filename"))
    return _Part(_said(named[b"name"]), PureWindowsPath(file).name, value)


def _said(parameter: re.Match[bytes] | None) -> str:
    """The value of a header's parameter: as it stands in quotes, or (RFC 8187) by percents after its charset."""
    if parameter is None:
        return ""
    value = (parameter["quoted"] or parameter["plain"] or b"").decode("utf-8", "replace")
    if parameter["key"].endswith(b"*"):
        return unquote(value.rpartition("'")[2], errors="replace")
    return re.sub(r"\\(.)", r"\1", value) if parameter["quoted"] else value
