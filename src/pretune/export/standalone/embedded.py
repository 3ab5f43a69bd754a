"""Texts to vectors for the exported model in this folder; :mod:`predict` uses it.

Shapes: D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """The texts of a row one by one: one vector each, and of a pair how near they are."""

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.texts = beside("texts").Reader(folder, about, beside)
        self.most_together = self.texts.most_together

    def items(self, row: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Token ids and segment ids of each text."""
        return [item for key in ("text", "text_pair") if key in row for item in self.texts.items({"text": row[key]})]

    def inputs(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """The model's inputs, each (B, T)."""
        return self.texts.inputs(items)

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The vector of an item."""
        return logits

    def answer(self, outputs: list[np.ndarray], items: list[Any]) -> dict[str, Any]:
        """The vector, and of a pair the other one and their cosine."""
        vectors = [[round(one, 6) for one in vector_D.astype(np.float64).tolist()] for vector_D in outputs]
        if len(vectors) == 1:
            return {"vector": vectors[0]}
        cosine = float(np.clip(outputs[0].astype(np.float64) @ outputs[1].astype(np.float64), -1, 1))
        return {"vector": vectors[0], "pair_vector": vectors[1], "similarity": round(cosine, 6)}
