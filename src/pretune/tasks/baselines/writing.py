"""What simple methods write: the source itself, its first sentence, and what the nearest training row was answered by.

Shapes: N rows to answer, M training rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
from pretune.metrics.base import Measured, Metric

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Nearest", "first_sentence", "main_script", "scored_as", "writing_baselines"]

_LOOKED_AT, _MAX_ROWS, _MAX_FEATURES, _CHUNK_ROWS = 2_000, 100_000, 200_000, 500
_SUMMARY_SHARE = 0.6
"""A target of at most this share of its source's characters, in the same script and with the same words, is a summary."""
_SHARED_WORDS = 0.3
_END = re.compile(r"(?<=[.!?。!?])[\s\"'”’)]+|(?<=[。!?])")


def main_script(texts: Sequence[str]) -> str:
    """The script of most letters; "" for texts without letters."""
    found = shares(count_scripts(list(texts)))
    return max(found, key=found.__getitem__, default="")


def scored_as(train: Dataset) -> str:
    """``summarization`` where targets are shorter than their sources, in the same script, and made of words of these; else ``translation``."""
    rows = train.select(range(min(_LOOKED_AT, len(train))))
    pairs = [(text, texts[0]) for text, texts in zip(rows["text"], rows["target"], strict=True) if texts]
    sources, targets = [text for text, _ in pairs], [text for _, text in pairs]
    if sum(map(len, targets)) > _SUMMARY_SHARE * sum(map(len, sources)) or main_script(sources) != main_script(targets):
        return "translation"
    cut = _letters if mostly_unspaced(shares(count_scripts(targets))) else _words
    shared = [len(cut(target) & cut(text)) / len(cut(target)) for text, target in pairs if cut(target)]
    return "summarization" if shared and float(np.mean(shared)) >= _SHARED_WORDS else "translation"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _letters(text: str) -> set[str]:
    return set("".join(text.split()))


def first_sentence(text: str) -> str:
    """Up to the first end of a sentence, or of a line."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _END.split(line, maxsplit=1)[0].strip() or line


def writing_baselines(
    train: Dataset, rows: Dataset, truths: Sequence[Any], metric: Metric, purpose: str
) -> tuple[dict[str, Measured], list[str]]:
    """``copy`` (the source), ``nearest`` (the target of the training row whose source is nearest by TF-IDF), and of summaries
    ``first-sentence``; each measured, and notes in sentences."""
    sources = list(rows["text"])
    near = Nearest(train)
    said = {"copy": sources, "nearest": near.targets_of(sources)}
    if purpose == "summarization":
        said = {"first-sentence": list(map(first_sentence, sources)), **said}
    return {name: metric.measure(_records(rows["id"], texts, truths)) for name, texts in said.items()}, near.notes


def _records(ids: Sequence[str], texts: Sequence[str], truths: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"id": row, "target": text, "truth": truth} for row, text, truth in zip(ids, texts, truths, strict=True)
    ]  # fmt: skip


class Nearest:
    """TF-IDF of the training rows' sources, by which the nearest is found. ``notes`` are in sentences."""

    def __init__(self, train: Dataset) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        step = -(-len(train) // _MAX_ROWS)
        held = train.select(range(0, len(train), step))
        self.notes = [f"The nearest training row was looked for among every {step}th of them."] if step > 1 else []
        known = list(held["text"])
        self.targets = [texts[0] if texts else "" for texts in held["target"]]
        unspaced = mostly_unspaced(shares(count_scripts(known[:_LOOKED_AT])))
        units: dict[str, Any] = (
            {"analyzer": "char", "ngram_range": (1, 2)} if unspaced else {"token_pattern": r"(?u)\b\w+\b"}
        )
        single: Any = np.float32
        self._words = TfidfVectorizer(**units, sublinear_tf=True, max_features=_MAX_FEATURES, dtype=single)
        try:
            self._features: Any = self._words.fit_transform(known)
        except ValueError:  # scikit-learn's word for an empty vocabulary
            self._features = None

    def targets_of(self, sources: Sequence[str]) -> list[str]:
        """The target of the training row whose source is nearest (cosine), for each source."""
        if self._features is None:
            return [self.targets[0]] * len(sources)
        found: list[str] = []
        for start in range(0, len(sources), _CHUNK_ROWS):
            near_NM: Any = self._words.transform(sources[start : start + _CHUNK_ROWS]) @ self._features.T
            found += [self.targets[int(place)] for place in np.asarray(near_NM.argmax(axis=1)).ravel()]
        return found

    def likeness(self, texts: Sequence[str], other: str) -> list[float]:
        """Cosine of each text with another one."""
        if self._features is None:
            return [0.0] * len(texts)
        own_N: Any = self._words.transform(list(texts))
        theirs_1: Any = self._words.transform([other])
        return (own_N @ theirs_1.T).toarray()[:, 0].tolist()
