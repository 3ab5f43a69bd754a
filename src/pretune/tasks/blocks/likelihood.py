"""What a report shows of texts that were scored, and the simple method beside the model.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.backbones.blocks import BlockEncoder
from pretune.metrics.base import Measured
from pretune.metrics.texts.language_model import LanguageModelMetric
from pretune.tasks.rows.texts import bytes_of

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["likelihood_blocks", "token_frequencies"]

_AT_A_TIME, _SHOWN, _SHOWN_CHARACTERS = 1000, 8, 300


def token_frequencies(encoder: BlockEncoder, train: Dataset, rows: Dataset) -> Measured:
    """Rows told by how often the training rows have each token, one added to every count, whatever stands before it."""
    counts_V = np.ones(len(encoder.tokenizer))
    for tokens in _tokens(encoder, train):
        np.add.at(counts_V, tokens, 1)
    nats_V, best = -np.log(counts_V / counts_V.sum()), int(counts_V.argmax())
    sizes = (bytes_of(text, pair) for text, pair in _texts(rows))
    records = [
        {"nll": nats_V[tokens].sum(), "tokens": len(tokens), "bytes": size, "right": int((tokens == best).sum())}
        for tokens, size in zip(_tokens(encoder, rows), sizes, strict=True)
    ]
    return LanguageModelMetric().measure(records)


def _texts(rows: Dataset) -> list[tuple[str, str | None]]:
    pairs = rows["text_pair"] if "text_pair" in rows.column_names else [None] * len(rows)
    return list(zip(rows["text"], pairs, strict=True))


def _tokens(encoder: BlockEncoder, rows: Dataset) -> list[np.ndarray]:
    """The tokens of each row that are told: all but the first."""
    found = []
    for at in range(0, len(rows), _AT_A_TIME):
        part = _texts(rows.select(range(at, min(len(rows), at + _AT_A_TIME))))
        pairs = [pair for _, pair in part if pair is not None]
        made = encoder.encode([text for text, _ in part], pairs or None)
        found += [np.concatenate([piece.input_ids[1:] for piece in pieces]) for pieces in made]
    return found


def likelihood_blocks(records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
    """The rows that the model finds least and most likely, by bits per byte."""
    bits = {
        number: float(record["nll"]) / math.log(2) / record["bytes"]
        for number, record in enumerate(records)
        if record["bytes"]
    }
    order = sorted(bits, key=lambda number: -bits[number])
    columns = [
        {"name": "row", "kind": "text"},
        {"name": "bits per byte", "kind": "number"},
        {"name": "text", "kind": "text"},
    ]
    found = []
    for title, chosen in (("Least likely texts", order[:_SHOWN]), ("Most likely texts", order[::-1][:_SHOWN])):
        cells = [[rows[n]["id"], round(bits[n], 3), rows[n]["text"][:_SHOWN_CHARACTERS]] for n in chosen]
        found.append({"type": "table", "title": title, "note": "", "columns": columns, "rows": cells})
    return found if bits else []
