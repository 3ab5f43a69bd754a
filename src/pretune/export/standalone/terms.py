"""Texts to terms with TF-IDF values for the exported model in this folder; :mod:`predict` uses it.

Shapes: B items of a batch, T different terms of a text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MOST_CHARACTERS = 2_000
LONGEST = {"words": 2, "characters": 3}


class Reader:
    """Texts to the numbers and values of their terms; the two texts of a pair are joined."""

    most_together = 32

    def __init__(self, folder: Path, _about: dict[str, Any], _beside: Callable[[str], Any]) -> None:
        told = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
        self.unit: str = told["unit"]
        self.numbers = {name: number for number, name in enumerate(told["names"], start=1)}
        self.rarity: list[float] = told["rarity"]

    def items(self, row: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Numbers and values (T,) of the known terms."""
        text = " ".join(str(row[name]) for name in ("text", "text_pair") if row.get(name) is not None)
        counts = Counter(self.numbers[term] for term in self.terms(text) if term in self.numbers)
        ids = sorted(counts)
        values = [(1.0 + math.log(counts[number])) * self.rarity[number - 1] for number in ids]
        length = max(math.sqrt(sum(value * value for value in values)), 1e-12)
        return [(np.array(ids, dtype=np.int64), np.array([value / length for value in values], dtype=np.float32))]

    def terms(self, text: str) -> list[str]:
        """Every term of a text, as often as it stands there."""
        text = text[:MOST_CHARACTERS].lower()
        is_words = self.unit == "words"
        units = re.findall(r"(?u)\b\w+\b", text) if is_words else list(re.sub(r"\s+", " ", text))
        joint = " " if is_words else ""
        lengths = range(1, LONGEST[self.unit] + 1)
        return [joint.join(units[start : start + n]) for n in lengths for start in range(len(units) - n + 1)]

    def inputs(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """``term_ids`` and ``term_values`` (B, T), zeros behind a text's end."""
        width = max(1, *(len(ids) for ids, _ in items))
        ids_BT, values_BT = np.zeros((len(items), width), np.int64), np.zeros((len(items), width), np.float32)
        for number, (ids, values) in enumerate(items):
            ids_BT[number, : len(ids)], values_BT[number, : len(ids)] = ids, values
        return {"term_ids": ids_BT, "term_values": values_BT}

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item."""
        return logits
