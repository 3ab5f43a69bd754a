"""A voice that says all frames at once, after it has foreseen how long letters last: FastSpeech (Ren et al. 2019, arXiv 1905.09263).

It learns both from a voice with attention: the letter of each frame is that voice's (:mod:`pretune.tasks.speech.letter_lengths`), so that
true frames and those of the teacher, which was told the true ones before, are said in one and the same time.
Shapes: B rows of a batch, L letters, F frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch

from pretune.backbones.audio.fastspeech import placed
from pretune.errors import ModelError
from pretune.tasks.speech.letter_lengths import UNKNOWN, durations_of
from pretune.tasks.speech.manners import Manner, Said, told_frames
from pretune.tasks.speech.spoken_losses import frames_apart
from pretune.types import Batch

__all__ = ["AtOnce"]

DURATION_WEIGHT = 1.0
"""Of the squared error of the logarithm of a letter's frames, beside a frame's own error."""
_DURATIONS = "durations"


class AtOnce(Manner):
    """What it says of a frame is M + 1 numbers: the frame, and the squared error of the logarithm of how long its letter lasts, shared by
    the letter's frames. Letters last as the teacher's lesson says; without one in the foreseen proportions, as long as the clip in all.
    """

    loss_parts: ClassVar[tuple[str, ...]] = ("frames", "durations")
    shown: ClassVar[tuple[str, str]] = (
        "How long letters last",
        "Frames to the right, letters of the text upwards (the last is its end), as the model foresees them.",
    )
    default_take: ClassVar[int | None] = None
    has_attention: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.step: int = config.frames_per_step

    def forced(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See the class: (B, F, M + 1)."""
        assert batch.targets is not None, "there are true frames"
        width = batch.targets.shape[1]
        lasts_BL = batch.extras.get(_DURATIONS)
        found = model(**batch.inputs, frames=batch.extras["frames"], width=width, durations=lasts_BL)
        lasts_BL = found.durations_BL
        off_BL = (found.logs_BL.float() - lasts_BL.clamp(min=1).log()) ** 2 / lasts_BL.clamp(min=1)
        letters_BF, _ = placed(lasts_BL, torch.arange(width, device=lasts_BL.device))
        return torch.cat([found.frames_BFM, off_BL.gather(1, letters_BF)[..., None].to(found.frames_BFM)], dim=-1)

    def frames(self, logits: torch.Tensor) -> torch.Tensor:
        """All but the last number."""
        return logits[..., :-1]

    def losses(self, logits: torch.Tensor, true_BFM: torch.Tensor, frames_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """L1 and squared error of the frames, and of how long letters last."""
        mask_BF = told_frames(logits, frames_B).float()
        said_BFM, off_BF = logits[..., :-1].float(), logits[..., -1].float()
        return {
            "frames": (frames_apart(said_BFM, true_BFM.float()) * mask_BF).sum(dim=1),
            "durations": DURATION_WEIGHT * (off_BF * mask_BF).sum(dim=1),
        }

    def taught(self, logits: torch.Tensor, lesson: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
        """The same beside the teacher's frames."""
        bands = logits.shape[-1] - 1
        return sum(self.losses(logits, lesson[..., bands : 2 * bands], frames_B).values(), torch.zeros_like(frames_B))

    def learned_from(self, batch: Batch, lesson: torch.Tensor) -> None:
        """How long letters last; rows of which that is not known weigh nothing."""
        frames_B = batch.extras["frames"]
        width, letters = int(frames_B.max()), batch.inputs["input_ids"].shape[1]
        letters_BF = lesson[:, :width, -1].cpu()
        batch.extras[_DURATIONS] = durations_of(letters_BF, frames_B, letters)
        batch.extras["weights"] = batch.extras["weights"] * (letters_BF[:, 0] > UNKNOWN)

    def lessons_told(self, lessons: Iterable[np.ndarray]) -> str:
        """How many clips are left out. Raises :class:`ModelError` where all are."""
        unclear = [bool(lesson[0, -1] == UNKNOWN) for lesson in lessons]
        if all(unclear):
            raise ModelError(
                f"the teacher's attention goes no clear way through the letters of any of {len(unclear)} clips: how long letters last cannot be learned from it",
                "train the teacher longer: its report shows its attention, which has to be rising lines",
            )
        if not any(unclear):
            return ""
        return f"{sum(unclear)} of {len(unclear)} clips are not learned from: the teacher's attention goes no clear way through their letters"

    def said(self, model: torch.nn.Module, batch: Batch) -> list[Said]:
        """All frames of each row; the way through the letters (F, L) is 1 at a frame's letter."""
        found = model.say(**batch.inputs)  # type: ignore[operator]
        mels_BFM = found.frames_BFM.detach().float().cpu().numpy()
        durations_BL, letters = found.durations_BL.cpu().numpy(), batch.extras["letters"].tolist()
        ways = [np.repeat(np.eye(n), lasts_L[:n], axis=0) for lasts_L, n in zip(durations_BL, letters, strict=True)]
        return [Said(mel_FM[: len(way_FL)], way_FL, {}) for mel_FM, way_FL in zip(mels_BFM, ways, strict=True)]

    def portable(self) -> dict[str, Any]:
        """Nothing is drawn."""
        return {"manner": "at once", "step": self.step}
