"""Rows as a page shows them: texts in a table, pictures side by side, clips with their sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.report.layout import Cell, data_table, part
from pretune.report.words import plain

__all__ = ["row_parts"]

_CUT = 400


def row_parts(
    rows: Sequence[Mapping[str, Any]], title: str, *, note: str = "", more: Sequence[tuple[str, Sequence[str]]] = ()
) -> Markup:
    """``rows`` hold what there is of ``id``, ``text``, ``text_pair``, ``image`` and ``audio`` (``data:`` addresses); ``more`` are columns
    beside, each with its heading and a cell a row. Of pictures and clips they stand in the caption.
    """
    beside = [[cells[at] for _, cells in more] for at in range(len(rows))]
    captions = [" · ".join(plain(word) for word in (row["id"], *words)) for row, words in zip(rows, beside, strict=True)]  # fmt: skip
    pictures = [
        {"image": row["image"], "caption": caption}
        for row, caption in zip(rows, captions, strict=True)
        if row.get("image") and not row.get("audio")
    ]
    found = part("pictures", rows=pictures) if pictures else Markup("")
    for row, caption in zip(rows, captions, strict=True):
        if row.get("audio"):
            found += part("heading", text=caption) + part("clip", image=row["image"], audio=row["audio"], drawing="")
    inputs = [name for name in ("text", "text_pair") if any(row.get(name) for row in rows)]
    texts = [
        [Cell(plain(row["id"])), *(Cell(_cut(plain(row.get(name, "")))) for name in inputs), *(Cell(plain(word)) for word in words)]
        for row, words in zip(rows, beside, strict=True)
        if row.get("text") and not row.get("image") and not row.get("audio")
    ]  # fmt: skip
    columns = ["row", *("text", "second text")[: len(inputs)], *(heading for heading, _ in more)]
    return found + data_table(title, columns, texts, note=note)


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else f"{text[:_CUT].rstrip()} …"
