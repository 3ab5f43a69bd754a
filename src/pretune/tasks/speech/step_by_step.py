"""A voice that says some frames a step, each told those before it: Tacotron 2 (Shen et al. 2018, arXiv 1712.05884).

Shapes: B rows of a batch, L letters, S decoder steps of R frames each, F = S x R frames, M mel bands, P units of the pre-net.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from pretune.engine.randomness import dropout_mask
from pretune.modalities.audio.speech_steps import most_steps
from pretune.tasks.shown.alignment import attended, off_diagonal
from pretune.tasks.speech.letter_lengths import letters_of_frames
from pretune.tasks.speech.manners import Manner, Said, told_frames
from pretune.tasks.speech.spoken_losses import spoken_losses, taught_losses
from pretune.types import Batch

__all__ = ["LIMIT", "StepByStep"]

LIMIT = (60.0, 4.0)
"""Where a text that does not stop is cut off (:func:`pretune.modalities.audio.speech_steps.most_steps`)."""


class StepByStep(Manner):
    """What it says of a frame is 2 M + 2 numbers: the frame before and behind the post-net, the logit of "this step is the last" and how far
    attention is off the diagonal. A lesson has the frame's letter behind them.

    The pre-net's dropout stays on: it is drawn from the text, its voice and the take, so that a row is said alike in every batch.
    """

    loss_parts: ClassVar[tuple[str, ...]] = ("frames", "stop", "attention")
    shown: ClassVar[tuple[str, str]] = (
        "Attention to the letters",
        "Decoder steps to the right, letters of the text upwards (the last is its end): a text that is said whole is a rising line.",
    )
    default_take: ClassVar[int | None] = 0
    has_attention: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        self.step: int = config.frames_per_step
        self.units: int = config.prenet_size
        self.dropout: float = config.prenet_dropout
        self.frames_per_letter: float = config.frames_per_letter
        self.limit: tuple[float, ...] = tuple(getattr(config, "limit", None) or LIMIT)

    def forced(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See :class:`~pretune.tasks.speech.manners.Manner`."""
        return self._forced(model, batch)[0]

    def _forced(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What it says, each step told the true frames before it, and its attention (B, S, L)."""
        assert batch.targets is not None, "there are true frames"
        frames_B, letters_B = batch.extras["frames"], batch.extras["letters"]
        steps_B = frames_B // self.step
        keep = None if model.training else self._draws(batch, int(steps_B.max()))
        found = model(**batch.inputs, frames=batch.targets, frame_mask=told_frames(batch.targets, frames_B), keep=keep)
        off_BS = (found.attention_BSL * off_diagonal(steps_B, letters_B, found.attention_BSL)).sum(dim=2)
        steps = torch.stack([found.stop_BS, off_BS], dim=-1).repeat_interleave(self.step, dim=1)
        return torch.cat([found.before_BFM, found.after_BFM, steps], dim=-1), found.attention_BSL

    def lesson(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """With the letter of each frame behind it, as attention went: (B, F, 2 M + 3)."""
        logits, attention_BSL = self._forced(model, batch)
        letters_BF = letters_of_frames(attention_BSL, batch.extras["frames"], batch.extras["letters"], self.step)
        return torch.cat([logits, letters_BF[..., None].to(logits)], dim=-1)

    def _draws(self, batch: Batch, steps: int) -> torch.Tensor:
        """Which units of the pre-net stay (B, S, 2, P): a row's are a function of its text, its voice and the take alone."""
        return torch.stack([self._drawn(batch, step) for step in range(steps)], dim=1)

    def _drawn(self, batch: Batch, step: int) -> torch.Tensor:
        """Those of one step (B, 2, P)."""
        keys_B = batch.extras["keys"].cpu().numpy().view(np.uint64)
        kept = dropout_mask(keys_B, (2, self.units), self.dropout, purpose=step)
        return torch.from_numpy(kept).to(batch.inputs["input_ids"].device)

    def frames(self, logits: torch.Tensor) -> torch.Tensor:
        """Those behind the post-net."""
        bands = (logits.shape[-1] - 2) // 2
        return logits[..., bands : 2 * bands]

    def losses(self, logits: torch.Tensor, true_BFM: torch.Tensor, frames_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """L1 and squared error of the frames, before and behind the post-net, the logit of the end and attention off the diagonal."""
        return spoken_losses(logits, true_BFM, frames_B, self.step)

    def taught(self, logits: torch.Tensor, lesson: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
        """How far frames and ends are from the teacher's."""
        return taught_losses(logits, lesson, frames_B)

    def said(self, model: torch.nn.Module, batch: Batch) -> list[Said]:
        """Frames until each row stops or has its most; attention (S, L) is the way through the letters."""
        letters_B = batch.extras["letters"]
        most = [most_steps(letters, self.frames_per_letter, self.step, self.limit) for letters in letters_B.tolist()]
        most_B = torch.tensor(most, device=letters_B.device)
        found, steps_B = model.say(**batch.inputs, most_steps=most_B, draw=lambda step: self._drawn(batch, step))  # type: ignore[operator]
        mels_BFM, attention_BSL, stop_BS = (
            one.detach().float().cpu().numpy() for one in (found.after_BFM, found.attention_BSL, found.stop_BS)
        )
        return [
            self._row(mels_BFM[row], attention_BSL[row, :steps, :letters], stop_BS[row])
            for row, (steps, letters) in enumerate(zip(steps_B.tolist(), letters_B.tolist(), strict=True))
        ]

    def _row(self, mel_FM: np.ndarray, way_SL: np.ndarray, stop_S: np.ndarray) -> Said:
        steps = len(way_SL)
        return Said(mel_FM[: steps * self.step], way_SL, {"stopped": bool(stop_S[steps - 1] >= 0), **attended(way_SL)})

    def portable(self) -> dict[str, Any]:
        """Steps, and what is drawn."""
        return {
            "manner": "steps", "step": self.step, "units": self.units, "dropout": self.dropout,
            "frames_per_letter": self.frames_per_letter, "limit": list(self.limit),
        }  # fmt: skip

    def extra_schema(self) -> Mapping[str, Any]:
        """Whether it stopped, and what attention passed over."""
        return {
            "stopped": {
                "type": "boolean",
                "description": "false: it was cut off at the most frames that such a text gets",
            },
            "covered": {"type": "integer", "description": "letters that were attended to"},
        }
