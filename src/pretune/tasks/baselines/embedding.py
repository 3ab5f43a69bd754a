"""What pairs of texts are held against: the words that they share, and the model as it was before it learned.

Shapes: N rows, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Value
from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
from pretune.errors import PretuneError
from pretune.metrics.base import Measured
from pretune.metrics.texts.embedding import EmbeddingMetric
from pretune.tasks.baselines.text import MAX_FEATURES, MAX_ROWS, MAX_TEXT_CHARACTERS
from pretune.tasks.rows.paired import second_column, texts_in
from pretune.types import Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.tasks.base import Task

__all__ = ["embedding_baselines", "tfidf_cosines"]

_BLOCK_ROWS, _SCRIPT_ROWS, _ALIKE = 1024, 2_000, 1e-6


def embedding_baselines(
    train: Dataset, rows: Dataset, *, scored: bool, began: str, restored: Callable[[Backbone], Task]
) -> tuple[dict[str, Measured], list[str]]:
    """Each measured, by name, and notes in sentences. ``began`` is what learning began from ("" for fresh weights), and ``restored`` makes the
    task of it.
    """
    metric = EmbeddingMetric(scored=scored)
    result, notes = {"tfidf-cosine": _tfidf(metric, train, rows)}, []
    if not began:
        return result, notes
    try:
        result["untrained"] = _untrained(metric, rows, began, restored)
    except PretuneError as error:
        notes.append(f"The model before it learned is not measured: {error.problem}.")
    return result, notes


def _measured(
    metric: EmbeddingMetric, rows: Dataset, cosines: Callable[[], np.ndarray], ranks: Callable[[], np.ndarray]
) -> Measured:
    if metric.scored:
        return metric.of_cosines(np.array(rows[Value.kind], dtype=np.float64), cosines())
    return metric.of_ranks(ranks())


def _tfidf(metric: EmbeddingMetric, train: Dataset, rows: Dataset) -> Measured:
    text_ND, pair_ND = tfidf_cosines(train, rows)

    def own() -> np.ndarray:
        return np.asarray(text_ND.multiply(pair_ND).sum(axis=1)).ravel()

    return _measured(metric, rows, own, lambda: _sparse_ranks(text_ND, pair_ND, own(), rows))


def tfidf_cosines(train: Dataset, rows: Dataset) -> tuple[Any, Any]:
    """Sparse vectors of length 1 (N, D) of both texts of the rows; words (1 to 3 characters of unspaced scripts) are weighed by the training rows' texts.

    At most the first :data:`MAX_ROWS` training rows and the first :data:`MAX_TEXT_CHARACTERS` characters of a text are read.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    first = train[: min(len(train), MAX_ROWS)]
    second = second_column(train) or "text"
    fitted = [one[:MAX_TEXT_CHARACTERS] for one in (*first["text"], *texts_in(first, second))]
    unspaced = mostly_unspaced(shares(count_scripts(fitted[:_SCRIPT_ROWS])))
    units: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else {"token_pattern": r"(?u)\b\w+\b"}
    )
    words = TfidfVectorizer(**units, sublinear_tf=True, max_features=MAX_FEATURES)
    try:
        words.fit(fitted)
    except ValueError:  # scikit-learn's word for an empty vocabulary
        words = TfidfVectorizer(analyzer="char").fit(["a"])
    sides = ([one[:MAX_TEXT_CHARACTERS] for one in side] for side in _sides(rows))
    first_ND, second_ND = (words.transform(side) for side in sides)
    return first_ND, second_ND


def _sides(rows: Dataset) -> tuple[list[str], list[str]]:
    """The first and the second texts."""
    return list(rows["text"]), texts_in(rows[:], second_column(rows) or "text")


def _sparse_ranks(text_ND: Any, pair_ND: Any, own_N: np.ndarray, rows: Dataset) -> np.ndarray:
    """As :func:`pretune.metrics.texts.embedding.ranks_of`; of pairs that are as near half are taken to stand before it, as nothing tells them apart."""
    text_N, pair_N = (np.unique(side, return_inverse=True)[1] for side in _sides(rows))
    rank_N = np.ones(len(own_N), dtype=np.int64)
    for start in range(0, len(own_N), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        near_BN = np.asarray((text_ND[part] @ pair_ND.T).todense())
        is_other = (text_N[part, None] != text_N) & (pair_N[part, None] != pair_N)
        before_B = (is_other & (near_BN > own_N[part, None] + _ALIKE)).sum(axis=1)
        equal_B = (is_other & (np.abs(near_BN - own_N[part, None]) <= _ALIKE)).sum(axis=1)
        rank_N[part] += before_B + (equal_B + 1) // 2
    return rank_N


def _untrained(metric: EmbeddingMetric, rows: Dataset, began: str, restored: Callable[[Backbone], Task]) -> Measured:
    """The model that learning began from, read as this one is. Raises :class:`PretuneError` where it is no more to be had."""
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.load import load_backbone
    from pretune.engine.devices import choose_device
    from pretune.tasks.predicting import predict_items

    backbone = load_backbone(began)
    before = restored(backbone)
    model, _ = before.build(backbone, seed=0)
    device = choose_device(precision="fp32", threads=None)
    if device.device.type == "cpu":
        make_fast(model)
    pairs = [{"text": one, "text_pair": other} for one, other in zip(*_sides(rows), strict=True)]
    items = [item for place, pair in enumerate(pairs) for item in before.encode(Example(str(place), pair))]
    found = predict_items(before, model.to(device.device), items, device)
    return _measured(
        metric,
        rows,
        lambda: np.array([one.detail["similarity"] for one in found]),
        lambda: np.array([one.detail["rank"] for one in found]),
    )
