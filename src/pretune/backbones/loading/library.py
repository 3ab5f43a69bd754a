"""Using transformers quietly: its messages silenced, its errors turned into pretune's, its folders written durably."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from pretune.backbones.parts.removed import full_weights
from pretune.backbones.pooling.embedder import write_sentence_files
from pretune.backbones.pooling.folder import plain_form
from pretune.backbones.pooling.pool import modes_of
from pretune.backbones.presets.named import SCRATCH, preset_names
from pretune.backbones.text.limits import SANE_MAX_LENGTH, position_offset
from pretune.errors import ModelError
from pretune.files import fsync_dir, fsync_file, translate_disk_errors

__all__ = ["model_errors", "quiet_transformers", "save_model"]


def save_model(model: nn.Module, processor: Any, folder: Path) -> None:
    """Write a Hugging Face folder (safetensors, config, tokenizer or image processor) and force it to the disk.

    Where parts were pruned that the config cannot say, their places hold zeros (:mod:`pretune.backbones.parts.removed`). A pooled
    classifier is written as transformers' own class reads it, where it can be (:mod:`pretune.backbones.pooling.folder`), and with a sentence
    encoder stands what sentence-transformers reads.
    Raises :class:`~pretune.errors.DiskFull` when there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers(), translate_disk_errors(folder), _limit_told(model, processor):
        plain = plain_form(model) if modes_of(getattr(model, "config", None)) else None
        if plain is None:
            model.save_pretrained(folder, state_dict=full_weights(model))  # type: ignore[operator]
        else:
            plain.save_pretrained(folder)  # type: ignore[operator]
        processor.save_pretrained(folder)
        if modes := getattr(model, "pooled_by", ()):
            config: Any = model.config
            write_sentence_files(folder, modes, width=config.hidden_size, longest=getattr(model, "longest", None))
        for path in sorted(folder.iterdir()):
            if path.is_file():
                fsync_file(path)
        fsync_dir(folder)


@contextmanager
def _limit_told(model: Any, processor: Any) -> Iterator[None]:
    """Let a tokenizer that knows no limit say how much the model takes: transformers cuts no text without it."""
    told, positions = getattr(processor, "model_max_length", 0), getattr(model.config, "max_position_embeddings", None)
    if not (isinstance(told, int) and told > SANE_MAX_LENGTH and isinstance(positions, int) and positions > 0):
        yield
        return
    processor.model_max_length = positions - position_offset(model)
    try:
        yield
    finally:
        processor.model_max_length = told


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' own messages; pretune says what matters itself (see :class:`LoadReport`)."""
    import transformers

    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


@contextmanager
def model_errors(name: str, fix: str = "") -> Iterator[None]:
    """What a library raises on a broken or unknown model becomes a :class:`ModelError` with the library's first line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{name} cannot be loaded: {said[0][:300]}",
            fix
            or f"check the folder's config.json, or start from {SCRATCH}<preset>; presets: {', '.join(preset_names())}",
        ) from error
