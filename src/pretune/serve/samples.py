"""A few rows of the data that the model was tried on, for a person to click at on the page."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pretune.answers import answer_of
from pretune.data.columns.roles import kinds_in
from pretune.modalities import FILES, Modality
from pretune.serve.intake import Takes

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["samples_of"]

_LOOKED_AT = 500
_MOST_CHARACTERS, _MOST_OF_PASSAGES = 400, 2000
_MOST_BYTES = 2**19


def samples_of(rows: Dataset, takes: Takes, count: int) -> list[dict[str, Any]]:
    """``count`` rows at most, in their order, of as many labels as there are among the first 500; long ones are left out.

    A text is ``{"text", ("text_pair",) "label"}``; a picture or clip ``{"name", "type", "data" (base64), "label"}``; label is what
    the data says of it (a transcript too), None where it says nothing.
    """
    held = rows.select(range(min(len(rows), _LOOKED_AT)))
    media = _cells(held, takes.modality) if takes.modality.is_file else {}
    words = held.select_columns([name for name in held.column_names if name not in FILES])
    found: dict[int, dict[str, Any]] = {}
    seen: set[str] = set()
    for only_new in (True, False):
        for place in range(len(words)):
            row: Mapping[str, Any] = words[place]
            label = _label(row, takes.modality)
            if len(found) >= count or place in found or (only_new and str(label) in seen):
                continue
            made = _file(media[place]) if media else _text(row, takes)
            if made is not None:
                found[place] = {**made, "label": label}
                seen.add(str(label))
    return [found[place] for place in sorted(found)]


def _cells(rows: Dataset, modality: Modality) -> dict[int, Mapping[str, Any]]:
    """The cells as they are held, not decoded."""
    held: Iterable[Any] = rows.with_format("arrow")[:][modality].to_pylist()
    return dict(enumerate(held))


def _label(row: Mapping[str, Any], modality: Modality) -> str | None:
    if modality.is_file and row.get("text"):
        return str(row["text"])
    kind = next((kind for kind in kinds_in(row) if row[kind] not in (None, [])), None)
    answer = None if kind is None else answer_of(kind, row[kind])
    return None if answer is None else answer.said()


def _text(row: Mapping[str, Any], takes: Takes) -> dict[str, Any] | None:
    found = {name: row[name] for name in takes.fields if row.get(name)}
    most = _MOST_OF_PASSAGES if takes.titles else _MOST_CHARACTERS
    if not set(takes.needed) <= set(found) or sum(map(len, found.values())) > most:
        return None
    return found


def _file(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    path, data = cell.get("path") or "", cell.get("bytes")
    try:
        if data is None and Path(path).stat().st_size <= _MOST_BYTES:
            data = Path(path).read_bytes()
    except OSError:
        return None
    if not data or len(data) > _MOST_BYTES:
        return None
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return {"name": PurePath(path).name, "type": kind, "data": base64.b64encode(data).decode("ascii")}
