"""Rows of one clip, whatever is answered to them.

Shapes: B clips of a batch, T samples of a clip, F frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.backbones.audio.spec import audio_spec_of, without_own_masks
from pretune.config import READ_BY_MODALITY
from pretune.metrics.base import Measured
from pretune.modalities import Modality
from pretune.modalities.audio.clips import AudioSpec, run_model
from pretune.schema import Check, text
from pretune.tasks.base import Task
from pretune.tasks.baselines.audio import audio_baselines
from pretune.tasks.inputs.row_task import RowTask
from pretune.tasks.rows.audio import (
    DEFAULT_FRAMES,
    DEFAULT_UPDATES,
    HIDDEN_FRAMES,
    VARIATIONS,
    ClipRows,
    FrameMask,
    batch_of_clips,
    clip_of,
    clips_of,
    frame_mask_of,
    heard_whole,
    learned_clip,
    real_frames,
    variation_of,
)
from pretune.tasks.rows.trunk import POSITIONS
from pretune.tasks.shown.audio import HOW_TO_READ, shown_clip
from pretune.tasks.shown.parts import Parts, clip_parts
from pretune.types import Batch, Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["OfClips"]


class OfClips(RowTask):
    """Labels of clips.

    ``augment`` is one of :data:`pretune.tasks.rows.audio.VARIATIONS`; anything but ``none`` also hides frames, as many as
    the model's config says (``mask_time_prob``, ``mask_time_length``), and ranges of mel bands where the model reads features.
    """

    modality: ClassVar[Modality] = Modality.AUDIO
    default_updates: ClassVar[int] = DEFAULT_UPDATES
    default_cost: ClassVar[float] = DEFAULT_FRAMES
    default_batch_size: ClassVar[int] = 8
    learning_inputs: ClassVar[tuple[str, ...]] = HIDDEN_FRAMES
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "augment")
    kept: ClassVar[Mapping[str, Check]] = {"augment?": text(*VARIATIONS)}
    auto_class: ClassVar[str] = "AutoModelForAudioClassification"

    def __init__(
        self, labels: Sequence[str], hearing: AudioSpec, *, augment: str = "none", mask: FrameMask | None = None, **options: Any
    ) -> None:  # fmt: skip
        super().__init__(labels, **options)
        self.hearing = hearing
        self.variation = VARIATIONS[augment]
        self.mask = mask

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        return cls(
            labels, audio_spec_of(backbone), augment=variation_of(settings), mask=frame_mask_of(backbone), **options
        )

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone."""
        return super().build(without_own_masks(backbone), seed=seed)

    def encode(self, example: Example) -> list[Encoded]:
        """One clip, decoded."""
        clip = clip_of(example.inputs["audio"], self.hearing)
        target = self.target_of(example.target)
        return [Encoded(example.id, {"samples": clip}, self.hearing.cost(len(clip)), target, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ClipRows:
        """See :class:`pretune.tasks.base.Task`."""
        targets = self.targets_by_row(dataset)
        return ClipRows(dataset, clips_of(dataset, self.hearing, fingerprint), self.hearing, targets.__getitem__)

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return self.variation.name != "none"

    @property
    def runs_in_parts(self) -> bool:
        """A model that is not told of padding reads clips of each length apart."""
        return not self.hearing.masked

    def same_inputs_as(self, other: Task) -> bool:
        """Clips at the same rate."""
        return isinstance(other, OfClips) and other.hearing.rate == self.hearing.rate

    def for_teacher(self, item: Encoded) -> Encoded:
        """The varied clip with all its frames and bands."""
        return heard_whole(item)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The clip varied, and frames of it hidden."""
        return learned_clip(row, rng, self.variation, self.mask, self.hearing)

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """``input_values`` (B, T) or ``input_features`` (B, F, features), masks, and the samples of each clip (B,)."""
        inputs, lengths_B = batch_of_clips(rows, self.hearing)
        costs = [row.cost for row in rows]
        return {**inputs, "lengths": lengths_B}, sum(costs), len(rows) * max(costs)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """As for any labels; ``extras``: ``lengths`` (B,) are the samples of each clip, ``positions`` (B, F) which frames are real."""
        batch = super().collate(rows)
        batch.extras["lengths"] = batch.inputs.pop("lengths")
        batch.extras[POSITIONS] = real_frames(batch.inputs, batch.extras["lengths"], self.hearing)
        return batch

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the model says of the batch, (B, C)."""
        return run_model(model, batch.inputs, batch.extras["lengths"], self.hearing)

    def parts(self, example: Example) -> Parts:
        """Stretches of time; a blank is silence."""
        return clip_parts(clip_of(example.inputs["audio"], self.hearing), self.hearing, example.id)

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Id, spectrum and sound."""
        return {"id": row["id"], **shown_clip(row["audio"], self.hearing.rate)}

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """As for any classification, with a word on how to read a spectrum."""
        *others, mistakes = super().blocks(records, rows)
        return [*others, {**mistakes, "note": f"{mistakes['note']} {HOW_TO_READ}"}]

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and logistic regression on mel bands."""
        return audio_baselines(train, rows, self.known_answers(train, rows), self.hearing.rate)

    def portable(self) -> dict[str, Any]:
        """How clips are heard."""
        return self.hearing.portable()

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(
            about.get("labels", ()), audio_spec_of(backbone), augment=about.get("augment", "none"), mask=frame_mask_of(backbone),
            **cls.saved_options(about),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """What the labels need, and how the clips were varied."""
        return {**super().to_dict(), "augment": self.variation.name}
