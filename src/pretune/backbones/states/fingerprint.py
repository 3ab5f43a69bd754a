"""What two models are told apart by: their weights."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

__all__ = ["note_weights"]


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def note_weights(digest: _Digest, module: nn.Module) -> None:
    """Take the name and the bytes of every tensor of ``module`` into a hash."""
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
