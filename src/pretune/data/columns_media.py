"""Which column names or holds pictures or clips, and which columns go with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pretune.data.formats import ABSENT, Table
from pretune.data.media import kind_of_bytes, kind_of_name
from pretune.errors import DataError

__all__ = ["MEDIA_NAMES", "TRANSCRIPT_NAMES", "media_column"]

MEDIA_NAMES = (
    "image",
    "audio",
    "audio_filepath",
    "image_path",
    "audio_path",
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "path",
    "file",
    "img",
    "img_path",
    "image_file",
    "wav",
    "wav_path",
    "audio_file",
    "图片",
    "音频",
)
"""Usual names of such a column; the first that is there wins where several columns would do."""

TRANSCRIPT_NAMES = (
    "text",
    "sentence",
    "transcript",
    "transcription",
    "normalized_text",
    "normalised_text",
    "normalized_transcription",
    "words",
    "utterance",
    "文本",
    "句子",
)
_SOUND = re.compile(r"audio|wav|speech|sound|clip|voice|音频")
_LEAST_SHARE = 0.9


def media_column(table: Table, values: Mapping[str, Sequence[Any]], name: str) -> tuple[str, str] | None:
    """``(kind, column)`` of the column that names or holds media, None when there is none.

    ``values`` are sampled cells by column. Raises :class:`DataError` when several columns fit.
    """
    kinds = {column: table.media.get(column) or media_kind_of_cells(column, cells) for column, cells in values.items()}
    found = {column: kind for column, kind in kinds.items() if kind}
    if not found:
        return None
    by_plain = {re.sub(r"[\s\-]+", "_", column.strip().casefold()): column for column in found}
    usual = [by_plain[word] for word in MEDIA_NAMES if word in by_plain]
    if len(found) > 1 and (not usual or len(set(found.values())) > 1):
        listed = ", ".join(f"{column} ({kind})" for column, kind in found.items())
        column, kind = next(iter(found.items()))
        raise DataError(
            f"{name} has several columns of pictures or clips: {listed}", f"name one: --column {kind}={column}"
        )
    column = usual[0] if usual else next(iter(found))
    return str(found[column]), column


def media_kind_of_cells(column: str, cells: Sequence[Any]) -> str | None:
    """``image`` or ``audio`` when nearly all cells are names of such files, or hold their bytes."""
    filled = [cell for cell in cells if cell is not None and cell is not ABSENT and cell != ""]
    if not filled:
        return None
    kinds = [_kind_of_cell(column, cell) for cell in filled[:200]]
    kind = max(("image", "audio"), key=kinds.count)
    return kind if kinds.count(kind) >= _LEAST_SHARE * len(kinds) else None


def _kind_of_cell(column: str, cell: Any) -> str | None:
    if isinstance(cell, str):
        short = len(cell) < 1_000 and "\n" not in cell and "://" not in cell
        return kind_of_name(cell.strip()) if short else None
    if isinstance(cell, bytes):
        return kind_of_bytes(cell[:12])
    if isinstance(cell, Mapping) and set(cell) == {"bytes", "path"}:
        kind = kind_of_bytes(cell["bytes"][:12]) if cell["bytes"] else kind_of_name(str(cell["path"] or ""))
        return kind or ("audio" if _SOUND.search(column.casefold()) else "image")
    return None
