"""A sentence encoder: what is pooled of a text's states, as a vector of length 1, in a folder that sentence-transformers takes.

Shapes: B texts of a batch, T positions, P numbers of a vector.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.nn import functional

from pretune.backbones.pooling.pool import MODES, pooled_states, trunk_class
from pretune.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["embedder_class", "write_sentence_files"]

_WORDS = {"first": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weighted-mean": "weightedmean_tokens", "last": "lasttoken"}  # fmt: skip
"""Ours as sentence-transformers' ``1_Pooling/config.json`` has them."""

_MODULES = "modules.json"
_PARTS = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


@functools.cache
def embedder_class(encoder: type[PreTrainedModel], modes: tuple[str, ...]) -> type[PreTrainedModel]:
    """An ``encoder`` (``BertModel``) of transformers whose ``logits`` are vectors of length 1: its states pooled by ``modes``.

    ``longest`` is the longest text in tokens that its folder tells of.
    """
    family, made = trunk_class(encoder)

    class Embedder(family):  # type: ignore[misc, valid-type]
        longest: int | None = None

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.pooled_by = modes
            setattr(self, self.base_model_prefix, made(config))
            self.post_init()

        def forward(self, **inputs: Any) -> Any:
            """Vectors (B, P) as ``logits``, and what the encoder gives besides."""
            from transformers.modeling_outputs import SequenceClassifierOutput

            output = self.base_model(**inputs)
            pooled_BP = pooled_states(modes, output, inputs.get("attention_mask"))
            return SequenceClassifierOutput(
                logits=functional.normalize(pooled_BP, dim=-1),
                hidden_states=getattr(output, "hidden_states", None),
                attentions=getattr(output, "attentions", None),
            )

    Embedder.__name__ = Embedder.__qualname__ = f"{encoder.__name__.removesuffix('Model')}Embedder"
    return Embedder


def write_sentence_files(folder: Path, modes: Sequence[str], *, width: int, longest: int | None) -> None:
    """What sentence-transformers reads of a folder beside the model: its modules, the pooling of ``width`` features a token, the norm, and
    the ``longest`` text in tokens.
    """
    library = "sentence_transformers.models"
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{library}.{kind}"}
        for number, (path, kind) in enumerate(_PARTS)
    ]
    pooling = {f"pooling_mode_{_WORDS[mode]}": mode in modes for mode in MODES}
    files: dict[str, Any] = {
        _MODULES: modules,
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine", "prompts": {}, "default_prompt_name": None},
        "1_Pooling/config.json": {"word_embedding_dimension": width, **pooling, "include_prompt": True},
        "2_Normalize/config.json": {},
    }  # fmt: skip
    for name, held in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_json(folder / name, held)
