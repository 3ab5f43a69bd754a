"""What kinds of voices do differently: how they are told true frames, what they learn, and how they speak freely.

Shapes: B rows of a batch, L letters, F frames, M mel bands, K numbers that a voice says of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from pretune.types import Batch

__all__ = ["Manner", "Said", "told_frames"]


class Said(NamedTuple):
    """A text as it was said: frames (F, M), how letters went through it (S, L), and what its record says beside."""

    mel_FM: np.ndarray
    way_SL: np.ndarray
    detail: dict[str, Any]


class Manner(ABC):
    """How a kind of voice speaks. ``step``: true clips are filled up with silence to whole steps of so many frames."""

    loss_parts: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[str, str]]
    """The title of the pictures of :attr:`Said.way_SL`, and how they are read."""
    default_take: ClassVar[int | None]
    """None: it has one way of saying a text."""
    has_attention: ClassVar[bool]
    """Can another kind learn from it how long letters last?"""
    step: int

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Of a model's config."""

    @abstractmethod
    def forced(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, F, K) of the true frames of rows with clips."""

    @abstractmethod
    def frames(self, logits: torch.Tensor) -> torch.Tensor:
        """The frames (B, F, M) among what :meth:`forced` gives."""

    @abstractmethod
    def losses(self, logits: torch.Tensor, true_BFM: torch.Tensor, frames_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each of ``loss_parts`` summed over the frames of a row (B,), times its weight."""

    @abstractmethod
    def taught(self, logits: torch.Tensor, lesson: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
        """(B,) how far it is from what a teacher that was told the same true frames said, summed over the frames of a row."""

    @abstractmethod
    def said(self, model: torch.nn.Module, batch: Batch) -> list[Said]:
        """Each row said freely."""

    @abstractmethod
    def portable(self) -> dict[str, Any]:
        """What an exported voice has to know of it, ``manner`` among it."""

    def draw_as(self, take: int) -> None:  # noqa: B027 - only those that draw do
        """Say texts in another way from now on."""

    def lesson(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What a student of the voice is told: what it says of true frames."""
        return self.forced(model, batch)

    def learned_from(self, batch: Batch, lesson: torch.Tensor) -> None:  # noqa: B027 - most learn from what they say alone
        """Let the batch have what of a lesson the voice is told before it speaks."""

    def lessons_told(self, lessons: Iterable[np.ndarray]) -> str:
        """What a person is to know of the lessons; nothing in most cases."""
        return ""

    def extra_schema(self) -> Mapping[str, Any]:
        """JSON schema of what :attr:`Said.detail` may hold."""
        return {}


def told_frames(said: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
    """(B, F): true at frames of a row, false behind its end."""
    return torch.arange(said.shape[1], device=said.device)[None] < frames_B[:, None]
