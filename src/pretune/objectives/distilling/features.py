"""A small encoder of pictures or sound learns the features of a large one, without labels (hints: Romero et al. 2015, FitNets,
arXiv 1412.6550, section 2.2; of speech: Chang et al. 2022, DistilHuBERT, arXiv 2110.01900, section 2.2).

Shapes: B rows of a batch, P places of a row (patches, frames, or one for all), S width of the student, H of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

import numpy as np
import torch
from torch import nn

from pretune.backbones.audio.spec import audio_spec_of, without_own_masks
from pretune.backbones.load import load_backbone
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import uniform
from pretune.errors import ModelError
from pretune.metrics.base import ScoreSpec
from pretune.modalities import FILES, Modality
from pretune.modalities.image.transform import collate_pixels, image_transform_of, interpolate_positions, patches_of
from pretune.modalities.image.views import DRAWS, VIEWS
from pretune.objectives.distilling.teaching import TaughtSettings, at_rest
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.two_views import seeded_heads
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.audio import ClipRows, batch_of_clips, clips_of, real_frames
from pretune.tasks.rows.pictures import store_pictures
from pretune.tasks.rows.trunk import POSITIONS
from pretune.types import TERM, Batch, Encoded, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits

__all__ = ["DistilFeatures"]

_SURVEYED_ROWS = 256
_BUDGET_COST = 8192


class _Reader(Protocol):
    """How rows of one kind become batches. ``facts`` are what ``pretune.json`` says of it."""

    facts: Mapping[str, Any]

    def build(self, backbone: Backbone, seed: int) -> tuple[nn.Module, Any]: ...

    def encode_rows(self, dataset: Dataset, fingerprint: str) -> EncodedRows: ...

    def empty(self) -> Encoded:
        """A row with nothing in it."""
        ...

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray | None) -> Batch:
        """``extras["positions"]`` (B, P): which places are real; none where all are. Without keys nothing is varied."""
        ...


class _Pictures:
    """Pictures of the student's size, varied by ``augment``, the same for both."""

    def __init__(self, backbone: Backbone, teacher: Backbone, settings: TaughtSettings) -> None:
        self.geometry = image_transform_of(backbone.processor).at(settings.image_size)
        self.augment = "light" if settings.augment == "auto" else settings.augment
        other = image_transform_of(teacher.processor)
        if (other.mean, other.std, other.scale) != (self.geometry.mean, self.geometry.std, self.geometry.scale):
            raise ModelError(
                "teacher and student scale the colours of pictures differently",
                "choose --student scratch:... or a model with the teacher's mean and deviation",
            )
        self.facts: Mapping[str, Any] = {"image_size": self.geometry.crop[0], "augment": self.augment}

    def build(self, backbone: Backbone, seed: int) -> tuple[nn.Module, Any]:
        model, report = backbone.build("AutoModel", seed=seed)
        interpolate_positions(model, backbone.config, self.geometry)
        return model, report

    def encode_rows(self, dataset: Dataset, fingerprint: str) -> EncodedRows:
        return store_pictures(dataset, self.geometry, fingerprint=fingerprint)

    def empty(self) -> Encoded:
        return Encoded("", {"pixels": np.zeros((*self.geometry.crop, 3), dtype=np.uint8)}, 1)

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray | None) -> Batch:
        pictures = [row.arrays["pixels"] for row in rows]
        if keys_B is None or self.augment == "none":
            pixels = collate_pixels(pictures, self.geometry)
        else:
            pixels = VIEWS[self.augment].of(pictures, uniform(keys_B, DRAWS, 0), self.geometry)
        cost = patches_of(self.geometry) * len(rows)
        return Batch(
            {"pixel_values": pixels}, None, {TERM: float(len(rows))}, tuple(row.id for row in rows), cost, cost
        )


class _Clips:
    """Clips at the rate that both hear, all their frames heard by both."""

    def __init__(self, backbone: Backbone, teacher: Backbone) -> None:
        self.hearing = audio_spec_of(backbone)
        if audio_spec_of(teacher) != self.hearing or not self.hearing.masked:
            raise ModelError(
                "teacher and student do not hear alike: sampling rate, what they read, or frames differ, or one is not told of padding",
                "choose --student scratch:... of the teacher's family, or layers:K",
            )
        self.facts: Mapping[str, Any] = {"sampling_rate": self.hearing.rate}

    def build(self, backbone: Backbone, seed: int) -> tuple[nn.Module, Any]:
        return without_own_masks(backbone).build("AutoModel", seed=seed)

    def encode_rows(self, dataset: Dataset, fingerprint: str) -> EncodedRows:
        return ClipRows(dataset, clips_of(dataset, self.hearing, fingerprint), self.hearing)

    def empty(self) -> Encoded:
        return Encoded("", {"samples": np.zeros(self.hearing.rate, dtype=np.int16)}, 1)

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray | None) -> Batch:
        inputs, lengths_B = batch_of_clips(rows, self.hearing)
        positions_BP = real_frames(inputs, lengths_B, self.hearing)
        costs, ids = [row.cost for row in rows], tuple(row.id for row in rows)
        extras = {POSITIONS: positions_BP}
        return Batch(inputs, None, {TERM: float(positions_BP.sum())}, ids, sum(costs), len(rows) * max(costs), extras)


def _places(model: nn.Module, inputs: Mapping[str, torch.Tensor], *, mean: bool) -> torch.Tensor:
    """(B, P, width): the last hidden state by place, or its mean over them (P = 1)."""
    hidden = model(**inputs).last_hidden_state.float()
    places = hidden if hidden.ndim == 3 else hidden.flatten(2).transpose(1, 2)
    return places.mean(dim=1, keepdim=True) if mean else places


class _Apprentice(nn.Module):
    """A student with the map from its features to its teacher's, which learns with it."""

    def __init__(self, student: nn.Module, width: int, teachers: int, seed: int) -> None:
        super().__init__()
        self.student = student
        self.projection = seeded_heads(seed, lambda: nn.Linear(width, teachers))
        with torch.no_grad():  # features have a variance of 1 in all: it begins by knowing hardly more than their mean
            for weight in self.projection.parameters():
                weight.div_(teachers**0.5)


@final
class DistilFeatures(Pretraining):
    """The squared error of the teacher's last hidden states as the student's predict them by a linear map, over their variance on
    the training rows, summed over places: 1 a place for a student that knows nothing but the mean.

    Places are compared one by one where both have as many, else their means. Pictures are varied anew in every pass, the same
    for both, so that the teacher runs on every batch.
    """

    name: ClassVar[str] = "feature-distillation"
    modalities: ClassVar[tuple[Modality, ...]] = FILES
    columns: ClassVar[tuple[str, ...]] = ("image", "audio")
    primary: str = "explained"
    specs: Mapping[str, ScoreSpec] = {"explained": ScoreSpec(rising=True, limits=(-1e6, 1.0))}
    default_epochs: tuple[float, float] = (60.0, 20.0)
    reading: str = (
        "Explained is the share of the variance of the teacher's features that the student's features predict linearly: 1 for all of it, 0 for "
        "a student that knows only their mean."
    )
    log_names: tuple[str, ...] = ()

    def __init__(self, backbone: Backbone, settings: TaughtSettings, *, seed: int) -> None:
        large = load_backbone(settings.teacher)
        self.reader: _Reader = (
            _Pictures(backbone, large, settings) if backbone.modality is Modality.IMAGE else _Clips(backbone, large)
        )
        student, self.report = self.reader.build(backbone, seed)
        self.student = student
        self.teacher = at_rest(self.reader.build(large, seed)[0])
        tried = self.reader.collate([self.reader.empty()], None).inputs
        with torch.no_grad():
            own, others = (_places(one.eval(), tried, mean=False) for one in (student, self.teacher))
        self._only_means = own.shape[1] != others.shape[1]
        self._mean: torch.Tensor | None = None
        self._variance = 1.0
        self.model = _Apprentice(student, own.shape[2], others.shape[2], seed)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> DistilFeatures:
        """See :class:`Pretraining`; the settings are :class:`TaughtSettings`."""
        assert isinstance(settings, TaughtSettings), "a student has a teacher"
        return cls(backbone, settings, seed=seed)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> EncodedRows:
        """See :class:`Pretraining`."""
        return self.reader.encode_rows(dataset, fingerprint)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows. The teacher's features are surveyed on the first of them."""
        self._survey(rows)

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"rows": self._counted(self.reader.collate([rows[int(i)] for i in rows_R], keys_R))}

        return {"rows": Stream(rows.lengths_N, collate, batch_size, group_by_length)}

    def _counted(self, batch: Batch) -> Batch:
        if self._only_means:
            batch.counts = {TERM: float(len(batch.ids))}
        return batch

    @torch.no_grad()
    def _survey(self, rows: EncodedRows) -> None:
        """Mean and variance of the teacher's features."""
        found = []
        for i in range(min(_SURVEYED_ROWS, len(rows))):
            batch = self.reader.collate([rows[i]], None)
            places = _places(self.teacher, batch.inputs, mean=self._only_means)[0]
            found.append(
                places if self._only_means or POSITIONS not in batch.extras else places[batch.extras[POSITIONS][0]]
            )
        together = torch.cat(found)
        self._mean = together.mean(dim=0)
        self._variance = max(float((together - self._mean).square().sum(dim=-1).mean()), 1e-12)

    def _errors(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """(B, P) squared errors over the variance, 0 where a place is not real."""
        assert self._mean is not None, "the teacher's features were surveyed"
        with torch.no_grad():
            device = next(iter(batch.inputs.values())).device
            self.teacher.to(device)
            wanted = _places(self.teacher, batch.inputs, mean=self._only_means) - self._mean.to(device)
        found = model.projection(_places(model.student, batch.inputs, mean=self._only_means)).float()  # type: ignore[operator,arg-type]
        errors_BP = (found - wanted / self._variance**0.5).square().sum(dim=-1)
        if self._only_means or POSITIONS not in batch.extras:
            return errors_BP
        return torch.where(batch.extras[POSITIONS], errors_BP, torch.zeros_like(errors_BP))

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """See the class."""
        batch = feed["rows"]
        errors_BP = self._errors(model, batch)
        places = 1 if POSITIONS in batch.extras else errors_BP.shape[1]
        return Loss.of(errors_BP.sum() / places)

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 2) of rows as they stand: real places, and their errors summed."""
        self.model.eval()
        stats = np.zeros((len(rows), 2))
        for places in cut_by_budget(rows.lengths_N, max_cost=_BUDGET_COST, max_rows=2**31):
            batch = self.reader.collate([rows[int(i)] for i in places], None).to(device.device)
            with inference(device):
                errors_BP = self._errors(self.model, batch)
            real = batch.extras[POSITIONS].sum(dim=1) if POSITIONS in batch.extras and not self._only_means else None
            stats[places, 0] = errors_BP.shape[1] if real is None else real.cpu().numpy()
            stats[places, 1] = errors_BP.sum(dim=1).cpu().numpy()
            if on_batch:
                on_batch(len(places))
        return stats

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """``explained``: 1 less the mean error."""
        return {"explained": 1 - sums_K[..., 1] / np.maximum(sums_K[..., 0], 1e-12)}

    def saved(self) -> nn.Module:
        """The student's encoder."""
        return self.student

    def to_dict(self) -> dict[str, Any]:
        """Name, and how rows are read."""
        return {"task": self.name, **self.reader.facts}
