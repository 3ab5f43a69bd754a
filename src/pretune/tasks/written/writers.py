"""Which models write texts for texts; what others are refused with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.errors import ModelError

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["refuse_reader", "refuse_untied"]


def refuse_reader(backbone: Backbone) -> None:
    """Raise :class:`ModelError` for a backbone that writes no texts, or whose tokenizer pads on the left."""
    if not getattr(backbone.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{backbone.name} ({backbone.config.model_type}) reads texts and writes none",
            "choose an encoder-decoder: scratch:seq2seq-tiny, or a folder of T5, BART, Marian or Pegasus",
        )


def refuse_untied(backbone: Backbone, report: LoadReport) -> None:
    """Raise :class:`ModelError` for a folder without its input embeddings: transformers 5 fills them in silence from the output layer
    (transformers issue 48154), and the answers would be noise."""
    if report.fresh or backbone.folder is None:
        return
    from safetensors import safe_open

    names: list[str] = []
    for path in backbone.folder.glob("*.safetensors"):
        with safe_open(path, "pt") as held:
            names += held.keys()
    if names and not any(name.endswith(("shared.weight", "embed_tokens.weight")) for name in names):
        raise ModelError(
            f"{backbone.name}: the file of weights holds no embeddings of input tokens (shared.weight)",
            "the folder was saved without its tied weights: copy it again from where it was trained",
        )
