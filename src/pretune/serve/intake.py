"""From the bytes of a request to the rows that it asks about. What is not as it should be is refused, naming the row."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pretune.data.dialogue.turns import TURNS_FIX, Unusable, conversation_of, without_answer
from pretune.data.media.audio import clip_seconds
from pretune.data.rows import sound_text
from pretune.errors import did_you_mean
from pretune.modalities import FILES, Modality
from pretune.serve.forms import form_rows
from pretune.serve.limits import Limits
from pretune.serve.problems import Gone, Problem

if TYPE_CHECKING:
    from fastapi import Request

__all__ = ["Takes", "read_body", "rows_of"]

_FIRST_ID = 1
_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w.=+-]+)*;base64,", re.ASCII)
_MAX_ID = 1000
_ONLY = "the row"


@dataclass(frozen=True)
class Takes:
    """What rows of a model hold. ``pairs`` is whether it learned from two texts, None where that is not known. Texts are cleaned
    by ``cleaned``, in steps that ``steps`` names, as those were that it learned from. ``titles`` are what people call its fields, ``more`` texts that may stand beside (a speaker). ``turns``: ``messages`` may stand in place
    of the text, all that was said so far.
    """

    modality: Modality
    pairs: bool | None = False
    steps: tuple[str, ...] = ()
    cleaned: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    titles: Mapping[str, str] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    turns: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The keys of a row beside its id."""
        if self.modality.is_file:
            return (self.modality,)
        return (*(("text",) if self.pairs is False else ("text", "text_pair")), *self.more)

    @property
    def needed(self) -> tuple[str, ...]:
        """The keys that every row must have."""
        return ("text", "text_pair") if self.pairs else self.fields[:1]

    @property
    def example(self) -> str:
        """A row as it should be, for error messages."""
        word = "the file's bytes in base64" if self.modality.is_file else "..."
        return json.dumps({"rows": [dict.fromkeys(self.needed, word)]})


async def read_body(request: Request, limits: Limits, take: Callable[[int], None]) -> bytes:
    """The request's body. Raises :class:`Problem` 413 as soon as it is too large, 408 when it takes too long, and :class:`Gone`.

    ``take`` is told of every piece, and may refuse it.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limits.body_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.seconds):
            more = True
            while more:
                part, more = await _part(request)
                size += len(part)
                if size > limits.body_bytes:
                    parts.clear()
                    raise _too_large(limits)
                take(len(part))
                parts.append(part)
    except TimeoutError:
        raise Problem(
            408, f"the request did not arrive within {limits.seconds:g} seconds", "send it faster, or send less"
        ) from None
    return b"".join(parts)


async def _part(request: Request) -> tuple[bytes, bool]:
    """The next piece of the body, and whether more follows."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413,
        f"the request is larger than {limits.body_bytes / 2**20:g} MiB",
        "send fewer rows at a time or smaller files, or serve with a larger --max-body-mb",
        unread=True,
    )


def rows_of(body: bytes, content_type: str, row_id: str | None, takes: Takes, limits: Limits) -> list[dict[str, Any]]:
    """Rows as reading gives them (``{"id", "text", ...}``), of JSON, of a form, or of one text, picture or clip as it is.

    ``row_id`` names a row that is sent as it is. Raises :class:`Problem`.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return _json_rows(_parsed(body), takes, limits)
    if kind == "multipart/form-data":
        rows = form_rows(body, parameters, takes.fields, limits.rows)
        return _json_rows([row if row_id is None else {**row, "id": row_id} for row in rows], takes, limits)
    is_raw = kind.startswith(f"{takes.modality}/") or (kind == "application/octet-stream" and takes.modality.is_file)
    if not is_raw:
        raise Problem(
            415,
            f"the content type is {kind or 'not given'}, which this model cannot read",
            f"send JSON with the header Content-Type: application/json, such as {takes.example}"
            + ("; or a form" if takes.pairs else f"; or a form; or one row as it is, as {takes.modality.own_bytes}"),
        )
    if not body:
        raise Problem(422, "the request is empty", f"send a row, such as {takes.example}")
    value = body if takes.modality.is_file else _raw_text(body, parameters, takes)
    return [_row({takes.modality: value, **({} if row_id is None else {"id": row_id})}, 0, takes, limits, 1)]


def _raw_text(body: bytes, parameters: str, takes: Takes) -> str:
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters, re.ASCII)
    if takes.pairs:
        raise Problem(415, "this model compares two texts, and a text as it is holds one", f"send {takes.example}")
    if charset and charset[1].lower().replace("_", "-") not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise Problem(415, f"the text is said to be {charset[1]}", "send it as UTF-8")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"the text is not UTF-8: byte {error.start} cannot be read", "send it as UTF-8") from None


class _NotJson(ValueError):
    """A number that JSON does not have."""


def _parsed(body: bytes) -> Any:
    """The JSON value. Raises :class:`Problem` 400."""

    def no_number(word: str) -> float:
        raise _NotJson(f"{word} is not a number of JSON")

    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=no_number)
    except json.JSONDecodeError as error:
        found = f"{error.msg}: line {error.lineno} column {error.colno}"
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is not UTF-8"
    except RecursionError:
        found = "it is nested too deeply"
    except ValueError as error:
        found = str(error) if isinstance(error, _NotJson) else "a number in it is too long"
    raise Problem(400, f"the request is not JSON: {found}", "check quotes, commas and brackets; text must be UTF-8")


def _json_rows(value: Any, takes: Takes, limits: Limits) -> list[dict[str, Any]]:
    if isinstance(value, Mapping) and "rows" in value:
        if extra := [key for key in value if key != "rows"]:
            raise Problem(422, f'"{_short(extra[0])}" stands beside "rows"', f"send {takes.example} and no more")
        value = value["rows"]
    elif isinstance(value, Mapping) and "inputs" in value:
        value = _inputs(value, takes)
    elif isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value:
        found = "an empty list of rows" if value == [] else f"{_kind(value)} where rows should be"
        raise Problem(422, f"the request holds {found}", f"send {takes.example}")
    if len(value) > limits.rows:
        raise Problem(
            413, f"the request holds {len(value):,} rows, the limit is {limits.rows:,}", "send several smaller requests"
        )
    return [_row(row, place, takes, limits, len(value)) for place, row in enumerate(value)]


def _inputs(value: Mapping[str, Any], takes: Takes) -> list[Any]:
    """The rows of a request as Hugging Face's services take it: ``inputs``, and ``parameters`` that this service has none of."""
    for key, own in value.items():
        if key not in ("inputs", "options", "parameters"):
            raise Problem(422, f'"{_short(key)}" stands beside "inputs"', f"send {takes.example}")
        if key == "parameters" and own not in (None, {}):
            raise Problem(422, "this service takes no parameters", f"leave them out, or send {takes.example}")
    given = value["inputs"]
    return [_input(one, takes) for one in (given if isinstance(given, list) else [given])]


def _input(value: Any, takes: Takes) -> Any:
    """A text or file by itself is the row's first field, two texts are a pair."""
    if isinstance(value, list) and len(value) == 2 and not takes.modality.is_file and takes.pairs is not False:
        return dict(zip(takes.fields, value, strict=False))
    return value if isinstance(value, Mapping) else {takes.fields[0]: value}


def _messages(row: Mapping[str, Any], where: str, limits: Limits) -> dict[str, Any]:
    """Turns and text of a row with ``messages``. Raises :class:`Problem` for what is no conversation that waits for an answer."""
    if row.get("text") is not None:
        raise Problem(
            422, f'{where} has a "text" beside its "messages"', "send one of them: the last message is the text"
        )
    found = conversation_of(row["messages"])
    if isinstance(found, Unusable):
        raise Problem(422, f"{where} {found.why}", TURNS_FIX)
    before, answer = without_answer(found)
    if answer is not None:
        raise Problem(422, f"the messages of {where} end in an answer", "let the last be the user's")
    text = "\n".join(turn["content"] for turn in before)
    return {"text": _value(text, "text", where, limits), "turns": before}


def _row(row: Any, place: int, takes: Takes, limits: Limits, count: int) -> dict[str, Any]:
    """One row, checked. Raises :class:`Problem`."""
    where = f"row {place + _FIRST_ID}" if count > 1 else _ONLY
    if not isinstance(row, Mapping):
        raise Problem(422, f"{where} is {_kind(row)}, not an object", f"send {takes.example}")
    said = _messages(row, where, limits) if takes.turns and row.get("messages") is not None else {}
    row = {**{key: value for key, value in row.items() if not said or key != "messages"}, **said}
    if unknown := [key for key in row if key not in ("id", *takes.fields, *said)]:
        raise Problem(
            422,
            f'{where} has the field "{_short(unknown[0])}", which this model does not take',
            did_you_mean(unknown[0], ("id", *takes.fields)),
        )
    if lacking := [key for key in takes.needed if row.get(key) is None]:
        raise Problem(422, f'{where} lacks the field "{lacking[0]}"', f"send {takes.example}")
    found: dict[str, Any] = {"id": _id(row.get("id"), place, where)}
    for name in takes.fields:
        if row.get(name) is not None:
            found[name] = _value(row[name], name, where, limits)
    found = takes.cleaned({**found, **{name: value for name, value in said.items() if name not in found}})
    if not takes.modality.is_file and (empty := [name for name in takes.needed if not found[name].strip()]):
        after = f" after cleaning ({', '.join(takes.steps)})" if takes.steps else ""
        raise Problem(422, f'the "{empty[0]}" of {where} holds no text{after}', "send a text")
    return found


def _id(value: Any, place: int, where: str) -> str:
    if value is None:
        return str(place + _FIRST_ID)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or len(str(value)) > _MAX_ID:
        raise Problem(
            422, f"{where} has {_kind(value)} as id", f"an id is a text of up to {_MAX_ID} letters, or a number"
        )
    return sound_text(str(value))


def _value(value: Any, name: str, where: str, limits: Limits) -> Any:
    if name in FILES:
        return _file(value, Modality(name), where, limits)
    if not isinstance(value, str):
        raise Problem(422, f'{where} has {_kind(value)} as "{name}"', "give it as text, in quotes")
    if len(value) > limits.characters:
        raise Problem(
            413,
            f"{where} has {len(value):,} characters, the limit is {limits.characters:,}",
            "send a part of the text, or serve with a larger --max-characters",
        )
    return sound_text(value)


def _file(value: Any, name: Modality, where: str, limits: Limits) -> dict[str, Any]:
    """A picture or clip as a cell that the readers know; ``path`` is a name for messages, never a place."""
    data = value if isinstance(value, bytes) else _unpacked(value, name, where)
    noun = f"the {name.one}"
    held = {"bytes": data, "path": noun if where == _ONLY else f"{noun} of {where}"}
    if not data:
        raise Problem(422, f"{held['path']} is empty", "send the bytes of a file")
    if name is Modality.AUDIO and (seconds := clip_seconds(held)) > limits.clip_seconds:
        raise Problem(
            413,
            f"{held['path']} lasts {seconds:,.1f} seconds, the limit is {limits.clip_seconds:g}",
            "send a part of it, or serve with a larger --max-seconds",
        )
    return held


def _unpacked(value: Any, name: str, where: str) -> bytes:
    if not isinstance(value, str):
        raise Problem(422, f'{where} has {_kind(value)} as "{name}"', "give the file's bytes in base64, as a text")
    begun = _DATA_URL.match(value)
    try:
        return base64.b64decode("".join(value[begun.end() if begun else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(
            400, f'the "{name}" of {where} is not base64', "encode the file's bytes, as `base64 -w0 FILE` does"
        ) from None


def _kind(value: Any) -> str:
    """What JSON calls the value."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _short(text: str) -> str:
    return sound_text(text[:40])
