"""Answers that are clips: how they are held against true ones, and what a page lets one hear and see of them.

Shapes: F frames, M mel bands.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from pretune.answers import Wave
from pretune.backbones.text.characters import CharVocabulary
from pretune.data.media.audio import decode_audio
from pretune.metrics.base import Measured, Metric
from pretune.metrics.synthesis import SynthesisMetric
from pretune.modalities.audio.mel import MelSpec
from pretune.tasks.base import Task
from pretune.tasks.baselines.synthesis import distances, nearest_clips, simple_voices, true_frames
from pretune.tasks.blocks.synthesis import attention_picture, clip_warnings, synthesis_blocks
from pretune.tasks.shown.audio import shown_clip
from pretune.tasks.speech.manners import Manner, Said
from pretune.types import Batch, Encoded, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SpokenAnswers"]

_PICTURES = 6


class SpokenAnswers(Task):
    """The half of a task whose answers are clips of texts."""

    answer: ClassVar[str] = Wave.kind
    metric_type: ClassVar[type[Metric]] = SynthesisMetric
    mel: MelSpec
    spelling: CharVocabulary
    manner: Manner

    @abstractmethod
    def read(self, row: Mapping[str, Any]) -> Encoded:
        """A row's letters and voice."""

    @abstractmethod
    def said(self, model: torch.nn.Module, batch: Batch) -> list[Said]:
        """Each row as it is said freely."""

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A text is one item."""
        return list(predictions)

    def truths(self, dataset: Dataset) -> list[Any]:
        """The true clips and their texts."""
        pairs = zip(self.cells(dataset), dataset["text"], strict=True)
        return [{"clip": clip, "text": self.spelling.tidied(text or "")} for clip, text in pairs]

    def units(self, rows: Dataset) -> list[str] | None:
        """Texts by their voices, where some are said more than once."""
        speakers = rows["speaker"] if "speaker" in rows.column_names else [None] * len(rows)
        found = [f"{speaker or ''}: {self.spelling.tidied(text or '')}" for speaker, text in zip(speakers, rows["text"], strict=True)]  # fmt: skip
        return found if len({*found}) < len(found) else None

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id and clip, how long it lasts, whether it stopped and how its letters were attended to; beside a true clip how far it is off."""
        line = {"id": prediction.id, self.answer: prediction.answer, **prediction.detail}
        if truth is None:
            return line
        said_FM = self.mel.of(decode_audio(Wave(prediction.answer).cell(), self.mel.rate))
        path = truth["clip"].get("path")
        return {
            **line,
            "text": truth["text"],
            "truth": str(path or "a clip"),
            **distances(self.mel, said_FM, true_frames(self.mel, truth["clip"])),
        }

    @property
    def tolerance(self) -> float:
        """Phases that are searched for magnify what engines differ by."""
        return 0.1

    def record_schema(self) -> dict[str, Any]:
        """With what is told of the clip."""
        schema = super().record_schema()
        schema["properties"] |= {
            "seconds": {"type": "number", "minimum": 0},
            "letters": {"type": "integer"},
            **self.manner.extra_schema(),
            "unread": {"type": "integer", "description": "characters that the model never learned, passed over"},
            "take": {
                "type": "integer",
                "description": "which way of saying a text that stands among the rows more than once",
            },
        }
        return schema

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says which clips are likely wrong."""
        return clip_warnings(records)

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Clips to hear beside the true ones, and what is likely wrong."""

        def shown(index: int) -> dict[str, Any]:
            row = rows[index]
            return {"id": row["id"], **shown_clip(row["audio"], self.mel.rate)}

        return synthesis_blocks(records, shown, self.mel.rate)

    def explained(
        self, model: torch.nn.Module, records: Sequence[Mapping[str, Any]], rows: Any
    ) -> list[dict[str, Any]]:
        """How some texts go through their letters."""
        places = np.unique(np.linspace(0, len(rows) - 1, min(_PICTURES, len(rows))).astype(int)).tolist()
        some = [rows[place] for place in places]
        batch = self.collate([self.read(row) for row in some])
        with torch.inference_mode():
            device = next((one.device for one in model.parameters()), torch.device("cpu"))  # graphs have none
            said = self.said(model, batch.to(device))
        pictures = [
            attention_picture(one.way_SL, f"{row['id']}: {row['text']}") for row, one in zip(some, said, strict=True)
        ]
        title, note = self.manner.shown
        return [{"type": "pictures", "title": title, "note": note, "rows": pictures}]

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """``nearest-training-clip``: a real clip of the same text and voice, or of the nearest text; ``mean-frame``: the mean frame of the
        training clips for their median length, which is no speech.
        """
        cells = self.cells(train)
        simple = simple_voices(self.mel, cells, self.cells(rows), nearest_clips(train, rows))
        note = "nearest-training-clip plays a real recording of the nearest text: it shows how far two clips of one text lie apart."
        return {name: self.metric.measure(found) for name, found in simple.items()}, [note]
