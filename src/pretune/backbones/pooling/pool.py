"""How the states of a text's tokens become one vector, and a classifier that reads it.

Shapes: B rows of a batch, T positions, F features of a position, P pooled features (F times the number of modes), C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from pretune.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "HEAD",
    "MODES",
    "OWN",
    "POOLED",
    "Pool",
    "modes_of",
    "parse_pooling",
    "pooled_class",
    "pooled_states",
    "trunk_class",
]

MODES = ("first", "max", "mean", "weighted-mean", "last")
"""In the order in which several are joined, which is that of sentence-transformers."""

OWN = "own"
"""The head that transformers has for the architecture: for BERT and its kin one that reads the first position."""

POOLED = "pooled"
"""What config.json calls it: ``{"modes": [...]}``, and how the folder says it to other programs (:mod:`pooled_folder`)."""

HEAD = "pooled_classifier"
_EPS = 1e-12


def parse_pooling(text: str) -> tuple[str, ...]:
    """The modes of ``mean`` or ``first+mean``, in the order in which they are joined; none for ``own``.

    Raises :class:`UsageError` for a word that is no mode.
    """
    if text == OWN:
        return ()
    words = [word.strip() for word in text.split("+")]
    for word in words:
        if word not in MODES:
            raise UsageError(
                f"--pooling is {text!r}", f"{did_you_mean(word, ('auto', OWN, *MODES))}, or several with +: first+mean"
            )
    return tuple(mode for mode in MODES if mode in words)


def modes_of(config: Any) -> tuple[str, ...]:
    """The modes that a config asks for; none where the architecture's own head is meant."""
    return tuple((getattr(config, POOLED, None) or {}).get("modes", ()))


class Pool(nn.Module):
    """One vector a row: the states of its real positions by each of ``modes``, joined, and normed to mean 0 and variance 1.

    The norm takes the place of the length norm of sentence encoders: a classifier behind it meets features of one size,
    whatever the trunk. It has no weights.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        self.modes = tuple(modes)

    def forward(self, output: Any, mask_BT: torch.Tensor | None) -> torch.Tensor:
        """(B, P) float32 of an encoder's output; ``mask_BT`` says which positions are real, None that all are."""
        pooled_BP = pooled_states(self.modes, output, mask_BT)
        return functional.layer_norm(pooled_BP, pooled_BP.shape[-1:], eps=_EPS)


def pooled_states(modes: Sequence[str], output: Any, mask_BT: torch.Tensor | None) -> torch.Tensor:
    """(B, P) float32: the real positions' states by each of ``modes``, joined. ``mask_BT`` says which are real, None that all are."""
    states_BTF = output.last_hidden_state.float()
    is_real_BT = torch.ones(states_BTF.shape[:2], device=states_BTF.device) if mask_BT is None else mask_BT
    return torch.cat([_pooled(mode, states_BTF, is_real_BT.bool()) for mode in modes], dim=-1)


def _pooled(mode: str, states_BTF: torch.Tensor, is_real_BT: torch.Tensor) -> torch.Tensor:
    if mode == "max":
        return states_BTF.masked_fill(~is_real_BT[..., None], float("-inf")).amax(dim=1)
    if mode in ("first", "last"):
        numbers_BT = is_real_BT.int().cumsum(dim=1)
        place_B = (numbers_BT if mode == "last" else is_real_BT.int()).argmax(dim=1)
        place_B1F = place_B[:, None, None].expand(-1, 1, states_BTF.shape[-1])
        return states_BTF.gather(1, place_B1F)[:, 0]
    weights_BT = is_real_BT.to(states_BTF.dtype)
    if mode == "weighted-mean":  # Muennighoff 2022, arXiv 2202.08904, section 3.1.1: later positions count more
        weights_BT = weights_BT * weights_BT.cumsum(dim=1)
    weights_BT = weights_BT / weights_BT.sum(dim=1, keepdim=True).clamp(min=1.0)
    return (weights_BT[:, None] @ states_BTF)[:, 0]


@functools.cache
def pooled_class(encoder: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """A classifier on what :class:`Pool` makes of the states of an ``encoder`` (``BertModel``), in transformers' own form.

    The class stands beside the encoder's other heads: the same base class, prefix of names and first weights. Its modes are
    those of the config (:func:`modes_of`).
    """
    family, made = trunk_class(encoder)

    class Pooled(family):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            modes = modes_of(config)
            setattr(self, self.base_model_prefix, made(config))
            self.pool = Pool(modes)
            self.dropout = nn.Dropout(_dropout_of(config))
            setattr(self, HEAD, nn.Linear(config.hidden_size * len(modes), config.num_labels))
            self.post_init()

        def forward(self, **inputs: Any) -> Any:
            """Logits (B, C), and what the encoder gives besides."""
            from transformers.modeling_outputs import SequenceClassifierOutput

            output = self.base_model(**inputs)
            pooled_BP = self.pool(output, inputs.get("attention_mask"))
            logits_BC = getattr(self, HEAD)(self.dropout(pooled_BP))
            return SequenceClassifierOutput(
                logits=logits_BC,
                hidden_states=getattr(output, "hidden_states", None),
                attentions=getattr(output, "attentions", None),
            )

    Pooled.__name__ = Pooled.__qualname__ = f"Pooled{encoder.__name__.removesuffix('Model')}Classifier"
    return Pooled


def trunk_class(encoder: type[PreTrainedModel]) -> tuple[type[PreTrainedModel], Callable[[Any], nn.Module]]:
    """The base class of an ``encoder`` and its heads, and what makes the encoder of a config, without a pooler of its own."""
    import inspect

    from transformers import PreTrainedModel

    family = next(base for base in encoder.__mro__[1:] if issubclass(base, PreTrainedModel))
    has_pooler = "add_pooling_layer" in inspect.signature(encoder.__init__).parameters
    return family, lambda config: encoder(config, **({"add_pooling_layer": False} if has_pooler else {}))


def _dropout_of(config: Any) -> float:
    """What the architecture's own head drops."""
    for name in ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout"):
        found = getattr(config, name, None)
        if isinstance(found, (int, float)):
            return float(found)
    return 0.0
