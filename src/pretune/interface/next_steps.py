"""What a person may type next: a line that works when it is pasted, and the start that suits the rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pretune.config import CleanSettings, DataSettings
from pretune.modalities import Modality
from pretune.options import Settings

__all__ = ["FEW_ROWS", "LINEAR_STARTS", "next_line", "proposed_start"]

_READING = tuple(
    spec.name for group in (DataSettings, CleanSettings) for spec in dataclasses.fields(group) if spec.name != "data"
)
FEW_ROWS = 1_000
_STARTS: Mapping[tuple[str, Modality], tuple[tuple[float, str], ...]] = {
    ("finetune", Modality.TEXT): ((FEW_ROWS, "scratch:bert-tiny"), (math.inf, "scratch:bert-mini")),
    ("finetune", Modality.IMAGE): ((math.inf, "scratch:resnet-18"),),
    ("finetune", Modality.AUDIO): ((math.inf, "scratch:w2v-bert-tiny"),),
    ("pretrain", Modality.TEXT): ((10_000, "scratch:bert-tiny"), (math.inf, "scratch:bert-mini")),
    ("pretrain", Modality.IMAGE): ((math.inf, "scratch:vit-mini"),),
    ("pretrain", Modality.AUDIO): ((math.inf, "scratch:wav2vec2-tiny"),),
}
"""By verb and what the rows are made of: up to how many rows which backbone."""


LINEAR_STARTS = {one: one.linear for one in Modality}
"""With fewer than :data:`FEW_ROWS` rows with classes a linear model on simple features is the sensible first run: fresh weights reach less
(docs/decisions.md, D124).
"""


def proposed_start(verb: str, modality: Modality, rows: int, *, classes: bool = False) -> str:
    """The backbone to begin with on so many training rows, which have ``classes`` or not: the one place that decides it."""
    if verb == "finetune" and classes and rows < FEW_ROWS:
        return LINEAR_STARTS[modality]
    return next(name for below, name in _STARTS[verb, modality] if rows < below)


def next_line(verb: str, like: Settings | Mapping[str, Any] | None = None, /, **values: Any) -> str:
    """``Next: pretune VERB ...``. ``like`` are the settings of the present verb, or what a record kept of them: how it read and
    cleaned its data goes along; what was not said (None) is left to the next verb.
    """
    from pretune.interface.declare import load_verb

    settings_class = load_verb(verb).settings_class
    known = {spec.name for spec in dataclasses.fields(settings_class)}
    kept = {} if like is None else like.to_dict() if isinstance(like, Settings) else dict(like)
    carried = {name: kept[name] for name in _READING if name in known and kept.get(name) is not None}
    return f"Next: {settings_class.from_dict(carried, **values).command()}"
