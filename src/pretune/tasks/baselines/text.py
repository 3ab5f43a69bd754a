"""What simple methods reach on the same rows: the shares of the labels, and TF-IDF with logistic regression.

Shapes: N test rows, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
from pretune.metrics.base import Measured
from pretune.tasks.baselines.parts import KnownAnswers
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["baselines", "text_baselines"]

MAX_FEATURES = 200_000
MAX_ROWS = 100_000
MAX_TEXT_CHARACTERS = 2_000
MAX_CHARACTERS = {True: 3_000_000, False: 10_000_000}
"""Characters of training text in all, unspaced scripts and others: what about ten seconds of one core can count."""

MAX_WORK = 2e9
"""Features x classes x passes of the solver: about ten seconds of one core."""

_TEST_CHUNK_ROWS, _SCRIPT_ROWS = 10_000, 2_000


def text_baselines(train: Dataset, rows: Dataset, known: KnownAnswers) -> tuple[dict[str, Measured], list[str]]:
    """:func:`baselines` of rows of texts, or of pairs of texts."""
    unspaced = mostly_unspaced(shares(count_scripts(train[:_SCRIPT_ROWS]["text"])))
    return baselines(_Texts(train), _Texts(rows), known, unspaced=unspaced)


def baselines(
    train_texts: Iterable[str], test_texts: Iterable[str], known: KnownAnswers, *, unspaced: bool
) -> tuple[dict[str, Measured], list[str]]:
    """Each baseline measured, by name, and notes in sentences.

    ``majority`` gives every row the shares of the training labels (one added to each count), ``mean`` the mean of numbers.
    ``tfidf-logistic`` (``tfidf-ridge`` for numbers) counts
    words and word pairs, or 1 to 3 characters where ``unspaced`` (Chinese, Japanese, Thai, ...). Its cost is bounded:
    large training sets are sampled by a hash of the text, the notes say how far. ``train_texts`` is read twice. The two
    texts of a pair come joined. The same input gives the same output.
    """
    result = {known.prior_name: known.measured(known.prior())}
    share, notes = _share_to_use(train_texts, unspaced)
    chosen = [
        (number, text[:MAX_TEXT_CHARACTERS]) for number, text in enumerate(train_texts) if _hash_share(text) < share
    ]
    model = _fit([text for _, text in chosen], known, np.array([number for number, _ in chosen], dtype=int), unspaced)
    if model is None:
        return result, [*notes, "No TF-IDF baseline: the training rows have one answer only, or no word."]
    result[f"tfidf-{known.method}"] = known.measured(_predict(model, test_texts, known))
    return result, notes


def _cut(texts: Iterable[str]) -> Iterator[str]:
    return (text[:MAX_TEXT_CHARACTERS] for text in texts)


def _hash_share(text: str) -> float:
    """A number in 0..1 that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big") / 2**64


def _share_to_use(train_texts: Iterable[str], unspaced: bool) -> tuple[float, list[str]]:
    """The share of training rows that the bounds allow (above 1: all), and what to tell."""
    num_rows = num_characters = num_cut = 0
    for text in train_texts:
        num_rows += 1
        num_characters += min(len(text), MAX_TEXT_CHARACTERS)
        num_cut += len(text) > MAX_TEXT_CHARACTERS
    share = min(MAX_ROWS / max(num_rows, 1), MAX_CHARACTERS[unspaced] / max(num_characters, 1))
    notes = []
    if share < 1:
        notes.append(
            f"The TF-IDF baseline was fitted on about {share:.1%} of the {num_rows} training rows, chosen by hash of the text."
        )
    if num_cut:
        notes.append(
            f"The TF-IDF baseline read the first {MAX_TEXT_CHARACTERS} characters of {counted(num_cut, 'longer training text')}."
        )
    return (2.0 if share >= 1 else share), notes


def _fit(
    texts: list[str], known: KnownAnswers, chosen_M: np.ndarray, unspaced: bool
) -> Callable[[list[str]], np.ndarray] | None:
    """What gives texts answers, learned from the training rows ``chosen_M``; None when there is nothing to learn from."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not known.has_choice(chosen_M):
        return None
    by_word: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    units: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else by_word
    rare = 2 if len(texts) >= 1000 else 1
    single: Any = np.float32  # half the memory; the stubs know float64 only
    words = TfidfVectorizer(
        **units,
        sublinear_tf=True,
        min_df=rare,
        max_features=MAX_FEATURES,
        dtype=single,
    )
    try:
        features = words.fit_transform(texts)
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None
    passes = known.passes(features, chosen_M, MAX_WORK)
    answer = known.fitted(features, chosen_M, strength=10.0, passes=passes, sparse=True)
    return lambda some: answer(words.transform(some))


def _predict(model: Callable[[list[str]], np.ndarray], texts: Iterable[str], known: KnownAnswers) -> np.ndarray:
    """Answers (N, ...); a class without a training row gets 0."""
    waiting, parts = _cut(texts), []
    while chunk := list(islice(waiting, _TEST_CHUNK_ROWS)):
        parts.append(model(chunk))
    return np.concatenate(parts) if parts else known.nothing()


class _Texts:
    """The texts of rows, the two of a pair joined, read as often as asked and never all at once."""

    def __init__(self, rows: Dataset) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        if "text_pair" not in self._rows.column_names:
            yield from self._rows["text"]
        else:
            for first, second in zip(self._rows["text"], self._rows["text_pair"], strict=True):
                yield f"{first} {second}"
