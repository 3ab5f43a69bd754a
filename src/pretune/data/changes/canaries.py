"""Made-up rows: planted among the training rows, they say how well a model learns single rows by heart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pretune.answers import Label
from pretune.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["PREFIX", "canaries", "planted_in"]

PREFIX = "canary-"
"""How the ids of planted rows begin."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_TEXTS = ("text", "text_pair")
_WORDS, _SYLLABLES = 6, (2, 3)


def canaries(
    columns: Sequence[str], count: int, labels: Sequence[str], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``count`` rows to plant and as many that are not, each of words that no language has, with a label drawn at random; which are which is drawn
    too, all by ``seed``. Raises :class:`UsageError` for rows that are not texts.
    """
    told = [name for name in columns if name in _TEXTS]
    if not told or Label.kind not in columns:
        raise UsageError(
            "--canaries are made of words, and these rows are no texts of one class each", "leave --canaries out"
        )
    rng = random.Random(f"canaries:{seed}")
    rows = [
        {"id": f"{PREFIX}{place}", **{name: _sentence(rng) for name in told}, "label": rng.choice(labels)}
        for place in range(2 * count)
    ]
    chosen = set(rng.sample(range(2 * count), count))
    return [row for place, row in enumerate(rows) if place in chosen], [
        row for place, row in enumerate(rows) if place not in chosen
    ]


def planted_in(train: Dataset, rows: Sequence[dict[str, Any]]) -> Dataset:
    """The training rows with these behind them; columns that they do not have are empty there."""
    from datasets import Dataset, concatenate_datasets

    columns = {name: [row.get(name) for row in rows] for name in train.column_names}
    return concatenate_datasets([train, Dataset.from_dict(columns, features=train.features)])


def _sentence(rng: random.Random) -> str:
    def word() -> str:
        return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(*_SYLLABLES)))

    return " ".join(word() for _ in range(_WORDS))
