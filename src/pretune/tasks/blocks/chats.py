"""What a report shows of conversations: which tokens are learned, on real rows; the least likely answers, and how written ones fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.metrics.base import Metric
from pretune.metrics.texts.writing import references_of
from pretune.tasks.blocks.writing import writing_blocks
from pretune.tasks.rows.chats import turns_of

if TYPE_CHECKING:
    from pretune.modalities.text.chat import ChatEncoder

__all__ = ["chat_blocks"]

_SHOWN, _LIKELY, _CHARACTERS = 6, 10, 400
_LINE_END = "↵"


def chat_blocks(
    encoder: ChatEncoder, records: Sequence[Mapping[str, Any]], rows: Any, metric: Metric
) -> list[dict[str, Any]]:
    """``rows[i]`` is row i."""
    return [*_learned(encoder, records, rows), _unlikely(records, rows), *writing_blocks(records, rows, metric, "dialogue")]  # fmt: skip


def _learned(encoder: ChatEncoder, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
    """The first rows as the model is given them, marks included, with the stretches whose tokens are learned."""
    shown, learned, read = [], 0, 0
    for place in range(min(_SHOWN, len(records))):
        chat, _ = encoder.fitted(turns_of(rows[place], references_of(records[place])[0]))
        learned, read = learned + int((chat.learned_T > 0).sum()), read + len(chat.input_ids)
        marks = _stretches(chat.learned_T > 0, chat.spans_T)
        shown.append({"id": rows[place]["id"], "text": chat.text.replace("\n", _LINE_END), "learned": marks})
    note = (
        f"The first {len(shown)} rows as the model reads them, marks of the chat template included ({_LINE_END} ends a line). Learned are the "
        f"answers and the marks that end them, {learned:,} of {read:,} tokens here; all else is only read."
    )
    return [{"type": "tagged", "title": "What is learned", "note": note, "sides": ["learned"], "rows": shown}]


def _stretches(is_learned_T: np.ndarray, spans_T: np.ndarray) -> list[list[Any]]:
    """First letter, the one behind the last, and a word, of each run of learned tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_learned_T.astype(np.int8), [0]])))
    return [[int(spans_T[a][0]), int(spans_T[b - 1][1]), "learned"] for a, b in edges.reshape(-1, 2)]


def _unlikely(records: Sequence[Mapping[str, Any]], rows: Any) -> dict[str, Any]:
    """The answers that the model finds least likely, by bits per byte."""
    bits = {i: record["nll"] / math.log(2) / record["bytes"] for i, record in enumerate(records) if record.get("bytes")}
    cells = [
        [rows[i]["id"], round(bits[i], 3), rows[i]["text"][-_CHARACTERS:], references_of(records[i])[0][:_CHARACTERS]]
        for i in sorted(bits, key=lambda i: -bits[i])[:_LIKELY]
    ]
    names = ("row", "bits per byte", "question", "answer")
    columns = [{"name": name, "kind": "number" if name == "bits per byte" else "text"} for name in names]
    return {"type": "table", "title": "Least likely answers", "note": "", "columns": columns, "rows": cells}
