"""Which layers lose most when they are rounded: each group of layers is rounded alone and the answers are held against those
of the float graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pretune.backbones.graph_parts import parts_of
from pretune.compress.int8_graph import Feeds, Layer, Recipe, write_int8

__all__ = ["Sensitivity", "sensitivities"]

MOST_GROUPS = 24


class Sensitivity(NamedTuple):
    """Layers that were rounded together, alone, and the mean squared change of the logits, as a share of their variance."""

    layers: tuple[str, ...]
    change: float


def sensitivities(
    prepared: Path,
    layers: Sequence[Layer],
    recipe: Recipe,
    feeds: Feeds,
    answer: Callable[[Path], np.ndarray],
    *,
    on_group: Callable[[int], None],
) -> list[Sensitivity]:
    """The groups of layers (neighbours in the order of computation, at most 24), the most sensitive first.

    ``answer`` gives the logits of a graph on fixed rows; layers that ``recipe`` keeps in float are left out. ``on_group`` is
    told of each group done.
    """
    rounded = [layer.name for layer in layers if layer.name not in recipe.keep_float]
    groups = [tuple(part.tolist()) for part in np.array_split(np.array(rounded), min(MOST_GROUPS, len(rounded)))]
    reference = answer(prepared)
    spread = float(np.var(reference)) or 1.0
    found = []
    for group in groups:
        alone = prepared.with_name(f"{prepared.stem}-alone.onnx")
        kept = tuple(layer.name for layer in layers if layer.name not in group)
        try:
            write_int8(prepared, alone, dataclasses.replace(recipe, keep_float=kept), feeds)
            change = float(np.mean((answer(alone) - reference) ** 2)) / spread
        finally:
            for part in parts_of(alone).values():
                part.unlink(missing_ok=True)
        found.append(Sensitivity(group, change))
        on_group(1)
    return sorted(found, key=lambda one: -one.change)
