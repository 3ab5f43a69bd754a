"""Which column names or holds pictures or clips, and which columns go with it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pretune.data.formats.base import ABSENT, Table
from pretune.data.media.kinds import HEAD_BYTES, kind_of_bytes, kind_of_name
from pretune.data.places.folder_names import folder_depth
from pretune.errors import DataError

__all__ = ["MEDIA_NAMES", "SPEAKER_NAMES", "TRANSCRIPT_NAMES", "folder_column", "mask_column", "media_column"]

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
    "image_id",
    "img_id",
    "image_name",
    "photo",
    "picture",
    "clip",
    "recording",
    "id",
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
_MASK_NAMES = (
    "mask", "mask_path", "mask_file", "mask_filepath", "mask_name", "segmentation", "segmentation_mask", "segmentation_path", "seg", "seg_path",
    "label_path", "annotation", "annotation_path", "label_mask", "掩码",
)  # fmt: skip
SPEAKER_NAMES = ("speaker", "speaker_id", "client_id", "spk", "spk_id", "voice", "reader", "说话人")
_SOUND = re.compile(r"audio|wav|speech|sound|clip|voice|音频")
_LEAST_SHARE, _MIXED_SHARE = 0.9, 0.5
_MOST_CELLS, _FEW_WORDS = 200, 4
_NOUNS = {"image": "pictures", "audio": "clips"}


def media_column(
    table: Table, values: Mapping[str, Sequence[Any]], kinds: Collection[str], name: str
) -> tuple[str, str] | None:
    """``(kind, column)`` of the column that names or holds media, of one of the ``kinds``; None when there is none.

    ``values`` are sampled cells by column. Raises :class:`DataError` when several columns fit, and where most cells of a
    column of a usual name do, but not nearly all.
    """
    looks = {column: _Kinds(table, column, cells) for column, cells in values.items()}
    every = {column: table.media.get(column) or looks[column].kind for column in values}
    found = {column: kind for column, kind in every.items() if kind is not None and kind in kinds}
    by_plain = {re.sub(r"[\s\-]+", "_", column.strip().casefold()): column for column in values}
    usual = [by_plain[word] for word in MEDIA_NAMES if word in by_plain]
    if not found:
        for column in usual:
            if looks[column].common in kinds:
                looks[column].refuse_mixed(name)
        return None
    usual = [column for column in usual if column in found]
    if len(found) > 1 and (not usual or len(set(found.values())) > 1):
        listed = ", ".join(f"{column} ({kind})" for column, kind in found.items())
        column, kind = next(iter(found.items()))
        raise DataError(
            f"{name} has several columns of pictures or clips: {listed}", f"name one: --column {kind}={column}"
        )
    column = usual[0] if usual else next(iter(found))
    if looks[column].by_stem and (texts := [other for other in values if looks[other].holds_sentences]):
        raise DataError(
            f"{name}: the column {column} holds names of {_NOUNS[found[column]]} that are there, and {texts[0]} holds texts: which are the rows made of?",
            f"--column {found[column]}={column} for the {_NOUNS[found[column]]}, --column {found[column]}= for the texts",
        )
    return found[column], column


def mask_column(table: Table, values: Mapping[str, Sequence[Any]]) -> str | None:
    """The column that names or holds the masks of the rows' pictures: one with a usual name whose cells are pictures; None where there is none."""
    by_plain = {re.sub(r"[\s\-]+", "_", column.strip().casefold()): column for column in values}
    usual = [by_plain[word] for word in _MASK_NAMES if word in by_plain]
    return next(
        (one for one in usual if (table.media.get(one) or _Kinds(table, one, values[one]).kind) == "image"), None
    )


class _Kinds:
    """What the sampled cells of one column name or hold."""

    def __init__(self, table: Table, column: str, cells: Sequence[Any]) -> None:
        filled = [cell for cell in cells if cell is not None and cell is not ABSENT and cell != ""]
        self.column, self.cells = column, filled[:_MOST_CELLS]
        self.kinds = [_kind_of_cell(column, cell) for cell in self.cells]
        self.by_stem = bool(
            not any(self.kinds) and table.stems and len(set(map(str, self.cells))) >= _LEAST_SHARE * len(self.cells)
        )
        if self.by_stem:
            self.kinds = [table.stems.get(unicodedata.normalize("NFC", str(cell).strip())) for cell in self.cells]
        counts = Counter(kind for kind in self.kinds if kind in ("image", "audio"))
        self.common, self.count = counts.most_common(1)[0] if counts else (None, 0)
        self.count += self.kinds.count("web")

    @property
    def kind(self) -> str | None:
        """``image`` or ``audio`` when nearly all cells are names of such files, or hold their bytes."""
        return self.common if self.cells and self.count >= _LEAST_SHARE * len(self.cells) else None

    @property
    def holds_sentences(self) -> bool:
        """Whether half of the cells are texts of some words."""
        return (
            sum(isinstance(cell, str) and len(cell.split()) >= _FEW_WORDS for cell in self.cells) > len(self.cells) / 2
        )

    def refuse_mixed(self, name: str) -> None:
        """Raise :class:`DataError` where most cells are names of pictures or clips and the others are not."""
        if self.common is None or self.count < _MIXED_SHARE * len(self.cells):
            return
        others = [
            str(cell)[:60]
            for cell, kind in zip(self.cells, self.kinds, strict=True)
            if kind not in (self.common, "web")
        ]
        noun = _NOUNS[self.common]
        raise DataError(
            f"{name}: {self.count} of {len(self.cells)} sampled cells of the column {self.column} name {noun}, {len(others)} do not, such as {others[0]!r}",
            f"mend them, or --column {self.common}={self.column} leaves out what cannot be opened; --column text={self.column} reads the cells as texts",
        )


def _kind_of_cell(column: str, cell: Any) -> str | None:
    """``image``, ``audio``, ``web`` for an address, or None."""
    if isinstance(cell, str):
        plain = cell.strip()
        if len(plain) >= 1_000 or "\n" in plain:
            return None
        return "web" if "://" in plain and " " not in plain else kind_of_name(plain)
    if isinstance(cell, bytes):
        return kind_of_bytes(cell[:HEAD_BYTES])
    if isinstance(cell, Mapping) and set(cell) == {"bytes", "path"}:
        kind = kind_of_bytes(cell["bytes"][:HEAD_BYTES]) if cell["bytes"] else kind_of_name(str(cell["path"] or ""))
        return kind or ("audio" if _SOUND.search(column.casefold()) else "image")
    return None


def folder_column(table: Table, role: str, column: str, name: str) -> str:
    """The column ``folder:N`` of rows that are files in folders. Raises :class:`DataError` for another name, or other rows."""
    flag = f"--group {column}" if role == "group" else f"--column {role}={column}"
    if not table.in_folders:
        raise DataError(
            f"{flag}: the rows of {name} are not files in folders",
            "name a column of the table, or --group-from finds groups in the names of the files",
        )
    is_content = column in table.columns[:1]
    if folder_depth(column) or (column in table.columns and is_content == (role in ("text", "image", "audio"))):
        return column
    raise DataError(
        f"{flag}: {name} is files in folders, and has no column {column!r}",
        f"--column {role}=folder:1 takes the first folder of each path, folder:2 the second, folder:-1 the last",
    )
