"""What a question can be answered with by its words alone: the bars that a model has to pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.answers import AnswerSpan
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.question_answering import answer_tokens

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["lexical_baselines", "nearest_name", "nearest_sentence"]

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?!\S)|[。！？]|\n|$)|[^\n]+")
_NAME = re.compile(r"(?:[A-ZÀ-ÖØ-Þ][\w’'-]*(?:\s+(?=[A-ZÀ-ÖØ-Þ]))?)+|\d[\d.,:%]*\d%?|\d%?", re.UNICODE)
_CLOSE = 60
"""Characters around a name in which words of the question are counted."""


def lexical_baselines(rows: Dataset, truths: Sequence[Any], metric: Metric) -> tuple[dict[str, Measured], list[str]]:
    """``nearest-sentence`` answers with the sentence that has most words of the question, ``nearest-name`` with the name (words that begin
    with a capital) or number of the passage that has most of them around it and is not in the question.
    """
    records: dict[str, list[Mapping[str, Any]]] = {"nearest-sentence": [], "nearest-name": []}
    for row, question, passage, truth in zip(rows["id"], rows["text"], rows["text_pair"], truths, strict=True):
        words = frozenset(answer_tokens(question))
        for name, answer in (("nearest-sentence", nearest_sentence), ("nearest-name", nearest_name)):
            start, stop = answer(words, passage)
            span = {
                "text": passage[start:stop],
                "start": start if stop > start else -1,
                "end": stop if stop > start else -1,
            }
            records[name].append({"id": row, AnswerSpan.kind: span, "truth": truth})
    return {name: metric.measure(lines) for name, lines in records.items()}, []


def nearest_sentence(words: frozenset[str], passage: str) -> tuple[int, int]:
    """The characters of the sentence with most of these words, the shortest of equals."""
    spans = list(_sentences(passage))
    return max(spans, key=lambda span: (_share(words, passage, span), span[0] - span[1]), default=(0, 0))


def nearest_name(words: frozenset[str], passage: str) -> tuple[int, int]:
    """The characters of the name or number that is not in the question and has most of its words near by."""
    spans = [found.span() for found in _NAME.finditer(passage)]
    spans = [span for span in spans if not set(answer_tokens(passage[slice(*span)])) <= words]
    return max(
        spans,
        key=lambda span: _share(words, passage, (max(0, span[0] - _CLOSE), span[1] + _CLOSE)),
        default=nearest_sentence(words, passage),
    )


def _sentences(passage: str) -> Iterator[tuple[int, int]]:
    for found in _SENTENCE.finditer(passage):
        text = found.group()
        start = found.start() + len(text) - len(text.lstrip())
        if text.strip():
            yield start, start + len(text.strip())


def _share(words: frozenset[str], passage: str, span: tuple[int, int]) -> int:
    return len(words & set(answer_tokens(passage[slice(*span)])))
