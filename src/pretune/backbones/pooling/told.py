"""What a model folder says of its pooling: sentence encoders in ``modules.json`` and ``1_Pooling/config.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pretune.backbones.pooling.pool import MODES
from pretune.errors import ModelError

__all__ = ["ToldPooling", "told_pooling"]

_MODULES, _USUAL = "modules.json", "1_Pooling"
_NAMES = {
    "cls": "first",
    "cls_token": "first",
    "max": "max",
    "max_tokens": "max",
    "mean": "mean",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",  # but for its length, which the norm behind it takes away
    "weightedmean": "weighted-mean",
    "weightedmean_tokens": "weighted-mean",
    "lasttoken": "last",
}
"""sentence-transformers' words, older and newer, as ours."""

_CHANGES_NOTHING = ("Normalize", "Dropout", "LayerNorm")
_MOST_BYTES = 1_000_000


class ToldPooling(NamedTuple):
    """``modes`` as :data:`~pretune.backbones.pooling.pool.MODES` calls them, ``where`` that stands, and what of it is not followed."""

    modes: tuple[str, ...]
    where: str
    notes: tuple[str, ...] = ()


def told_pooling(folder: Path, width: int | None) -> ToldPooling | None:
    """What the folder says; None where it says nothing. ``width`` is the number of features of a position.

    Raises :class:`ModelError` for files that are damaged, that are of another model, or that ask for what pretune does not know.
    """
    place, later = _USUAL, []
    if (folder / _MODULES).is_file():
        modules = _read(folder / _MODULES, list)
        kinds = [(str(one.get("type", "")).rpartition(".")[2], str(one.get("path", ""))) for one in modules if isinstance(one, dict)]  # fmt: skip
        at = next((number for number, (kind, _) in enumerate(kinds) if kind == "Pooling"), None)
        if at is None:
            return None
        place = kinds[at][1]
        if Path(place).name != place:
            raise ModelError(f"{folder / _MODULES} names a folder {place!r} outside of its own", "copy the file again")
        later = [path or kind for kind, path in kinds[at + 1 :] if kind not in _CHANGES_NOTHING]
    path = folder / place / "config.json"
    if not path.is_file():
        return None
    modes = _modes(path, _read(path, dict), width)
    notes = (f"{', '.join(later)} of {folder} come after the pooling and are not used",) if later else ()
    return ToldPooling(modes, f"{place}/config.json", notes)


def _modes(path: Path, told: Mapping[str, Any], width: int | None) -> tuple[str, ...]:
    size = told.get("embedding_dimension", told.get("word_embedding_dimension", width))
    if width is not None and size != width:
        raise ModelError(
            f"{path} is of a model with {size} features a token, this one has {width}",
            "the folder mixes files of two models: copy it again, or say it yourself with --pooling",
        )
    named = told.get("pooling_mode")
    if named is None:
        prefix = "pooling_mode_"
        named = [key.removeprefix(prefix) for key, value in told.items() if key.startswith(prefix) and value is True]
    words = [named] if isinstance(named, str) else list(named) if isinstance(named, list) else [str(named)]
    unknown = [str(word) for word in words if word not in _NAMES]
    if unknown:
        raise ModelError(
            f"{path} asks for a pooling by {', '.join(unknown)}, which pretune does not know ({', '.join(_NAMES)})",
            "choose one yourself: --pooling mean",
        )
    found = {_NAMES[word] for word in words} or {"mean"}  # sentence-transformers' own default
    return tuple(mode for mode in MODES if mode in found)


def _read(path: Path, kind: type) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}", "copy the file again") from None
    if not isinstance(value, kind):
        raise ModelError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}", "copy the file again")
    return value
