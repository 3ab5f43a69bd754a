"""The attention weights of a transformer: softmaxed products of queries and keys, of every layer and head, and their rollout.

They come from the model with its plain attention; that it answers as the ordinary one does is checked each time, and that
every row sums to 1. Shapes: H heads of a layer (they may differ where some were pruned), T positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretune.backbones.detection.queries import num_queries
from pretune.errors import ModelError, UsageError
from pretune.explain.reading import Reading
from pretune.modalities import Modality

__all__ = [
    "Attention",
    "attention_of",
    "check_size",
    "checked_difference",
    "has_attention",
    "rollout",
    "rows_of",
    "strongest",
]

MOST_BYTES = 2 * 2**30
_CLOSE = 1e-3
"""Largest difference of an output from the ordinary model's, of its largest value: two orders of the same sums."""

_SUM_CLOSE = 1e-4
_PREFIXES = ("class token", "distillation token")


@dataclass(frozen=True, kw_only=True)
class Attention:
    """``layers`` holds the weights (H, T, T) of each layer, float32: row q says where position q looks. ``rolled`` (T, T) is the
    rollout up to each layer. ``difference`` is how far the outputs were from the ordinary model's.
    """

    reading: Reading
    layers: tuple[np.ndarray, ...]
    rolled: tuple[np.ndarray, ...]
    difference: float

    @property
    def heads(self) -> tuple[int, ...]:
        """Heads of each layer."""
        return tuple(len(layer) for layer in self.layers)


def attention_of(plain: torch.nn.Module, ordinary: torch.nn.Module, reading: Reading) -> Attention | None:
    """The weights in ``plain``, which is changed to plain attention, for an example; ``ordinary`` is the model as it answers.

    ``has_attention(plain.config)`` must hold; None where the model gives no weights all the same. Raises :class:`ModelError`
    where there is no weight for every pair of positions, or where both models disagree, and :class:`UsageError` where the
    weights would not fit into memory.
    """
    config: Any = plain.config
    check_size(config, len(reading.tokens))
    device = next(ordinary.parameters()).device
    inputs = {name: tensor.to(device) for name, tensor in reading.inputs.items()}
    with torch.inference_mode():
        expected = _answer(ordinary.eval()(**inputs))
        outputs = _with_weights(plain.to(device).eval(), inputs)
    found = None if outputs is None else outputs.attentions
    if not found:
        return None
    difference = checked_difference(_answer(outputs), expected, config.model_type)
    reading = _with_prefix(reading, found[0].shape[-1])
    count = len(reading.tokens)
    layers = tuple(_of_layer(layer, count, config.model_type) for layer in found)
    return Attention(reading=reading, layers=layers, rolled=tuple(rollout(layers)), difference=difference)


def checked_difference(found: torch.Tensor, expected: torch.Tensor, model_type: str) -> float:
    """How far the outputs of plain attention are from the ordinary ones. Raises :class:`ModelError` where that is too far."""
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not difference <= _CLOSE:
        raise ModelError(
            f"{model_type} answers otherwise with plain attention (by {difference:.2g}): its weights cannot be shown",
            "this is a model that computes attention in its own way",
        )
    return difference


def has_attention(config: Any) -> bool:
    """Is this the config of a model in which every position attends to every other one? In a detector with queries these attend to places."""
    return isinstance(getattr(config, "num_attention_heads", None), int) and not num_queries(config)


def check_size(config: Any, positions: int) -> None:
    """Raise :class:`UsageError` where the weights of so many positions take more than 2 GiB."""
    heads = config.num_hidden_layers * config.num_attention_heads
    if 4 * heads * positions**2 > MOST_BYTES:
        most = int((MOST_BYTES / 4 / heads) ** 0.5)
        raise UsageError(
            f"{positions} positions in {heads} heads have {heads * positions**2:,} attention weights, too many to hold",
            f"give an example of at most {most} positions (tokens, patches, or frames of 20 ms)",
        )


def _with_weights(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Any:
    """The outputs with all attention weights; None for a model that cannot give any."""
    try:
        model.set_attn_implementation("eager")  # type: ignore[operator]
        return model(**inputs, output_attentions=True)
    except (TypeError, ValueError, AttributeError):
        return None  # models of other libraries (timm) do not know the words


def _answer(outputs: Any) -> torch.Tensor:
    found = getattr(outputs, "logits", None)
    return (outputs.last_hidden_state if found is None else found).float()


def _with_prefix(reading: Reading, positions: int) -> Reading:
    """The reading of a picture with the tokens that the model puts before the patches; others as they are."""
    extra = positions - len(reading.tokens)
    if reading.kind is not Modality.IMAGE or extra <= 0:
        return reading
    names = [*_PREFIXES[: min(extra, 1 + (extra == 2))]]
    names += [f"register {number + 1}" for number in range(extra - len(names))]
    return dataclasses.replace(
        reading, tokens=(*names, *reading.tokens), is_special=(*(True,) * extra, *reading.is_special), prefix=extra
    )


def _of_layer(weights: torch.Tensor, count: int, model_type: str) -> np.ndarray:
    """(H, T, T) of the one row of a batch, padding cut off. Raises :class:`ModelError`."""
    if weights.ndim != 4 or weights.shape[0] != 1 or weights.shape[2] != weights.shape[3] or weights.shape[2] < count:
        raise ModelError(
            f"{model_type} computes attention in windows or between shortened rows ({tuple(weights.shape)}): there is no "
            "weight for every pair of positions",
            "the attributions of a fine-tuned run say what its answer hangs on",
        )
    return rows_of(weights, count, count, model_type)


def rows_of(weights: torch.Tensor, rows: int, columns: int, model_type: str) -> np.ndarray:
    """(H, rows, columns) of the one item of a batch, each row a share of 1. Raises :class:`ModelError` where they are not."""
    found = weights[0, :, :rows, :columns].float().cpu().numpy()
    worst = float(np.abs(found.sum(axis=-1) - 1).max())
    if not worst <= _SUM_CLOSE:
        raise ModelError(
            f"the attention weights of {model_type} do not sum to 1 (by {worst:.2g})",
            "this is a model that computes attention in its own way",
        )
    return found


def rollout(layers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How much of each position's input reaches each position by each layer, (T, T) each, rows summing to 1: the heads'
    mean with the residual path, multiplied through the layers (Abnar & Zuidema 2020, arXiv 2005.00928, section 3.2).
    """
    rolled: list[np.ndarray] = []
    for layer in layers:
        mixed = 0.5 * layer.mean(axis=0, dtype=np.float64) + 0.5 * np.eye(layer.shape[-1])
        mixed /= mixed.sum(axis=-1, keepdims=True)
        rolled.append(mixed @ rolled[-1] if rolled else mixed)
    return rolled


def strongest(attention: Attention) -> list[dict[str, Any]]:
    """For each layer and head (from 1), the largest weight from a position to another one, special tokens left out."""
    own = ~np.array(attention.reading.is_special)
    is_pair_TT = own[:, None] & own[None] & ~np.eye(len(own), dtype=bool)
    if not is_pair_TT.any():
        return []
    tokens, found = attention.reading.tokens, []
    for number, layer in enumerate(attention.layers):
        for head, weights in enumerate(layer):
            query, key = np.unravel_index(int(np.where(is_pair_TT, weights, -1.0).argmax()), weights.shape)
            found.append(
                {
                    "layer": number + 1, "head": head + 1, "from": tokens[query], "to": tokens[key],
                    "weight": round(float(weights[query, key]), 6),
                }
            )  # fmt: skip
    return found
