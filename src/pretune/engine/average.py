"""An exponential moving average of a model's weights, to be evaluated and kept in place of the last ones
(Polyak & Juditsky 1992; for networks Tarvainen & Valpola 2017, arXiv 1703.01780, section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from pretune.errors import CorruptFile

__all__ = ["Average"]

_RAMP = 10


class Average:
    """Average weights of ``model``: each update moves them by ``1 - decay`` towards the present ones.

    Early on the decay is ``(1 + n) / (10 + n)`` after n updates, so that the weights of the beginning are soon forgotten.
    Running statistics of batch norm are averaged as weights are.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._own = _floating(model)
        self._average = {name: tensor.detach().clone() for name, tensor in self._own.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (_RAMP + self.updates))
        for name, tensor in self._own.items():
            self._average[name].lerp_(tensor, 1.0 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew at the model's present weights."""
        self.updates = 0
        for name, tensor in self._own.items():
            self._average[name].copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model has the average weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._own.items():
            before = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(before)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averages by the names of the model's state."""
        return dict(self._average)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor], updates: int) -> None:
        """Put back what :meth:`tensors` gave after ``updates``. Raises :class:`CorruptFile` where they are of another model."""
        if tensors.keys() != self._average.keys() or any(
            tensor.shape != self._average[name].shape for name, tensor in tensors.items()
        ):
            raise CorruptFile("the checkpoint's average weights are of another model", "start again with --overwrite")
        for name, tensor in tensors.items():
            self._average[name].copy_(tensor)
        self.updates = updates


def _floating(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and running statistics; of tied ones the first name."""
    found: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.is_floating_point() and key not in seen:
            seen.add(key)
            found[name] = tensor
    return found
