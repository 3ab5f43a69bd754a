"""What happens inside an encoder: hidden states between its layers, and query, key and value of its last attention.

Hooks listen on the layers themselves, so that every architecture whose layers can be told apart is heard alike.
Shapes: B rows of a batch, T positions, H width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import encoder_layers

__all__ = ["Listener", "attention_inputs"]

_NAMES = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("linear_q", "linear_k", "linear_v"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
)


def attention_inputs(layer: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module] | None:
    """The linear maps that make query, key and value of a layer's attention; None where they have none of the usual names."""
    for module in layer.modules():
        for names in _NAMES:
            found = [getattr(module, name, None) for name in names]
            if all(isinstance(part, nn.Linear) for part in found):
                return found[0], found[1], found[2]  # type: ignore[return-value]
    return None


class Listener:
    """Keeps the inner states of each forward pass of ``model``.

    ``levels`` are places between layers: 0 is what the first layer reads, i what layer i gives. With ``relations`` also query,
    key and value of the last layer. Layers that are listened to must not have been taken over by blocks
    (:mod:`pretune.backbones.cpu.layer` leaves those alone that are): listen first.
    """

    def __init__(self, model: nn.Module, levels: Sequence[int], *, relations: bool) -> None:
        layers = encoder_layers(model)
        self._wanted: list[Any] = [*levels]
        self._heard: dict[Any, torch.Tensor] = {}
        self._times: dict[Any, int] = {}
        self._handles = [self._listen_at(layers, level) for level in dict.fromkeys(levels)]
        parts = attention_inputs(layers[-1]) if relations else None
        for name, part in zip(("query", "key", "value"), parts or (), strict=False):
            self._wanted.append(name)
            self._handles.append(part.register_forward_hook(self._keeper(name)))

    def _listen_at(self, layers: list[nn.Module], level: int) -> Any:
        if level:
            return layers[level - 1].register_forward_hook(self._keeper(level))

        def keep(_layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._keep(0, inputs[0] if inputs else named["hidden_states"])

        return layers[0].register_forward_pre_hook(keep, with_kwargs=True)

    def _keeper(self, name: Any) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._keep(name, output[0] if isinstance(output, tuple) else output)

        return keep

    def _keep(self, name: Any, value: torch.Tensor) -> None:
        self._heard[name] = value
        self._times[name] = self._times.get(name, 0) + 1

    def take(self) -> list[torch.Tensor] | None:
        """The states of the forward pass since the last call, (B, T, H) each, in the order of the levels, then query, key and
        value; None unless each was heard once. Nothing is kept.
        """
        heard, times = self._heard, self._times
        self._heard, self._times = {}, {}
        if any(times.get(name) != 1 for name in self._wanted):
            return None
        return [heard[name] for name in self._wanted]

    def close(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
