"""What simple methods say of answers in conversations: tokens by their frequency, all alike, and the answer of the nearest question.

Shapes: N rows to answer, V vocabulary, T tokens of a conversation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.metrics.base import Measured, Metric
from pretune.tasks.baselines.writing import Nearest
from pretune.tasks.rows.chats import bytes_in, turns_of
from pretune.tasks.written.picking import picked_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.modalities.text.chat import ChatEncoder

__all__ = ["chat_baselines"]

_AT_A_TIME = 1_000


def chat_baselines(
    encoder: ChatEncoder, train: Dataset, rows: Dataset, truths: Sequence[Any], metric: Metric
) -> tuple[dict[str, Measured], list[str]]:
    """``token-frequencies`` (each token of an answer by how often answers of the training rows have it), ``all-tokens-alike`` (what fresh
    weights say), ``nearest`` (the answer of the training row whose question is nearest by TF-IDF; of 20 it picks what is most like that answer and the question); each measured, and notes.
    """
    counts_V = np.ones(len(encoder.tokenizer))
    for learned, _ in _answers(encoder, train):
        np.add.at(counts_V, learned, 1)
    nats_V, best = -np.log(counts_V / counts_V.sum()), int(counts_V.argmax())
    alike = math.log(len(counts_V))
    by_count, by_chance = [], []
    for learned, size in _answers(encoder, rows):
        told = {"tokens": len(learned), "bytes": size}
        by_count.append({**told, "nll": float(nats_V[learned].sum()), "right": int((learned == best).sum())})
        by_chance.append({**told, "nll": alike * len(learned), "right": len(learned) / len(counts_V)})
    near = Nearest(train)
    asked, answers = list(rows["text"]), [texts[0] for texts in rows["target"]]
    nearest = near.targets_of(asked)

    def likeness(row: int, texts: Sequence[str]) -> list[float]:
        both = (near.likeness(texts, nearest[row]), near.likeness(texts, asked[row]))
        return [one + other for one, other in zip(*both, strict=True)]

    picked = picked_rows(rows["id"], answers, likeness)
    said = [
        {"id": row, "target": text, "truth": truth, "picked": picked.get(number)}
        for number, (row, text, truth) in enumerate(zip(rows["id"], nearest, truths, strict=True))
    ]
    found = {"token-frequencies": by_count, "all-tokens-alike": by_chance, "nearest": said}
    return {name: metric.measure(records) for name, records in found.items()}, near.notes


def _answers(encoder: ChatEncoder, rows: Dataset) -> Iterator[tuple[np.ndarray, int]]:
    """Of each row the tokens that are learned, and the bytes of its answers."""
    for start in range(0, len(rows), _AT_A_TIME):
        for row in rows.select(range(start, min(len(rows), start + _AT_A_TIME))):
            cells: Any = row
            if texts := cells.get("target"):
                chat, _ = encoder.fitted(turns_of(cells, texts[0]))
                yield chat.input_ids[chat.learned_T > 0], bytes_in(chat.learned_T)
