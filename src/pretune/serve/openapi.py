"""The description of the service for programs (OpenAPI): what a row of this model is, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.serve.intake import Takes

__all__ = ["body_of", "one_row_body", "queries", "responses_of", "stream_responses", "with_token"]

_TEXT = {"type": "string"}
_WORDS = {**_TEXT, "pattern": r"\S"}
"""What a model reads: blanks alone are refused."""
_ROW_WORDS = {
    "speaker": {"type": "string", "description": "whose voice; the one with most clips where it is left out"},
    "text": {**_WORDS, "description": "the text"},
    "text_pair": {**_WORDS, "description": "the text that it is compared with"},
    "image": {**_TEXT, "format": "byte", "description": "the bytes of a picture file in base64 (a data: address too)"},
    "audio": {**_TEXT, "format": "byte", "description": "the bytes of a sound file in base64 (a data: address too)"},
}
_QUERIES: Mapping[str, Any] = {
    "id": {"schema": _TEXT, "description": "id of a row that is sent as it is, not in JSON"},
    "label": {"schema": _TEXT, "description": "the label to explain; default: the most probable one"},
    "test": {
        "schema": {"type": "boolean", "default": False},
        "description": "take the parts out by their scores and see whether the answer falls: can the explanation be believed? (many times as long)",
    },
}
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["error", "fix"],
    "properties": {
        "error": {**_TEXT, "description": "what was found"},
        "fix": {**_TEXT, "description": "what to do about it"},
    },
}
_PROBLEMS = {
    400: "not JSON, not base64, not UTF-8",
    401: "the token is missing or another one",
    403: "sent by a page of another site",
    408: "the request did not arrive in time",
    413: "the request, a text, a picture or a clip is too large",
    415: "a content type that this model does not read",
    421: "this machine was called by a name that it does not answer to",
    422: "fields that are missing, unknown or of the wrong kind; a file that cannot be decoded",
    500: "a defect, or a damaged model",
    501: "answers of this model cannot be explained",
    503: "too many requests wait, or the answer took too long: come again after Retry-After seconds",
}


def body_of(takes: Takes, most_rows: int) -> dict[str, Any]:
    """``requestBody`` of an endpoint that takes one row or many."""
    row = _row(takes)
    many = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": most_rows, "items": row}},
    }
    given = {"anyOf": [_TEXT if takes.modality.is_file else _WORDS, row]} if takes.needed == takes.fields[:1] else row
    inputs = {
        "type": "object",
        "required": ["inputs"],
        "description": "as Hugging Face's services take it",
        "properties": {
            "inputs": {"anyOf": [given, {"type": "array", "minItems": 1, "maxItems": most_rows, "items": given}]}
        },
    }
    return _body({"oneOf": [many, row, inputs]}, takes)


def one_row_body(takes: Takes) -> dict[str, Any]:
    """``requestBody`` of an endpoint that takes one row."""
    return _body(_row(takes), takes)


def with_token(description: dict[str, Any]) -> dict[str, Any]:
    """The whole description, with how a request brings the token."""
    scheme = {"type": "http", "scheme": "bearer", "description": "what the service was started with: --auth-token"}
    description.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    return description


def queries(*names: str) -> list[dict[str, Any]]:
    """``parameters`` behind the question mark of an address."""
    return [{"name": name, "in": "query", "required": False, **_QUERIES[name]} for name in names]


def responses_of(record: Mapping[str, Any], result: str, statuses: Sequence[int]) -> dict[int | str, Any]:
    """``responses`` of an endpoint whose answer has ``result``: ``rows`` (records of this schema) or ``explanation`` (and the record)."""
    parts: dict[str, Any] = {"milliseconds": {"type": "number", "description": "from the last byte in to the answer"}}
    if result == "rows":
        parts = {"rows": {"type": "array", "items": record, "description": "in the order of the request"}, **parts}
    else:
        parts = {"row": record, "explanation": {"type": "object"}, **parts}
    ok = {"type": "object", "required": [*parts], "properties": parts}
    return {
        200: {"description": "the answer", "content": {"application/json": {"schema": ok}}},
        **{
            status: {"description": _PROBLEMS[status], "content": {"application/json": {"schema": _PROBLEM}}}
            for status in statuses
        },
    }


def stream_responses(record: Mapping[str, Any], statuses: Sequence[int]) -> dict[int | str, Any]:
    """``responses`` of an endpoint that answers with lines of JSON: texts so far, then the record, or what went wrong."""
    last = {"type": "object", "required": ["row"], "properties": {"row": record, "milliseconds": {"type": "number"}}}
    so_far = {
        "type": "object",
        "required": ["text"],
        "properties": {"text": {**_TEXT, "description": "the answer so far"}},
    }
    found = responses_of(record, "rows", statuses)
    said = {"schema": {"oneOf": [so_far, last, _PROBLEM]}}
    return {**found, 200: {"description": "a line of JSON for each", "content": {"application/x-ndjson": said}}}


_MESSAGES: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "description": "in place of the text: all that was said so far, the user's turn last",
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"type": "string", "enum": ["system", "user", "assistant"]}, "content": _TEXT},
    },
}


def _row(takes: Takes) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [] if takes.turns else list(takes.needed),
        "additionalProperties": False,
        "properties": {
            "id": {
                "type": ["string", "integer"],
                "description": "comes back with the answer; default: the row's number",
            },
            **{name: _field(name, takes) for name in takes.fields},
            **({"messages": _MESSAGES} if takes.turns else {}),
        },
    }


def _field(name: str, takes: Takes) -> dict[str, Any]:
    words = _ROW_WORDS[name]
    return {**words, "description": f"the {takes.titles[name]}"} if name in takes.titles else words


def _body(schema: dict[str, Any], takes: Takes) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if takes.modality.is_file:
        content[f"{takes.modality}/*"] = {"schema": {"type": "string", "format": "binary"}}
    elif not takes.pairs:
        content["text/plain"] = {"schema": _WORDS}
    content["multipart/form-data"] = {"schema": _form(takes)}
    return {"required": True, "content": content}


def _form(takes: Takes) -> dict[str, Any]:
    """A form with one row: `curl -F file=@photo.jpg`, `curl -F text=...`."""
    binary = {"type": "string", "format": "binary"}
    own = dict.fromkeys(takes.fields, binary if takes.modality.is_file else _TEXT)
    return {"type": "object", "properties": {"id": _TEXT, **own, **({} if takes.pairs else {"file": binary})}}
