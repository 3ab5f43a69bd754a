"""A small masked language model learns what a large one expects at masked words (DistilBERT: Sanh et al. 2019, arXiv
1910.01108, section 2), and what happens inside it (TinyBERT's general distillation, MiniLM).

Shapes: R rows, T tokens, M masked positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.heads import IGNORED, heads_at, in_blocks
from pretune.backbones.load import load_backbone
from pretune.backbones.text.limits import encoder_for
from pretune.errors import ModelError
from pretune.metrics.base import ScoreSpec
from pretune.modalities import Modality
from pretune.modalities.text.encoder import collate_text
from pretune.objectives.distilling.distil import MatchedStudent
from pretune.objectives.distilling.matched_student import compared_inside
from pretune.objectives.distilling.teaching import TaughtSettings, at_rest
from pretune.objectives.pretraining import Measure, Pretraining
from pretune.objectives.text.masked_text_pretraining import MaskedTextPretraining
from pretune.tasks.soft_losses import softened_divergence
from pretune.types import Batch, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream
    from pretune.engine.devices import Device
    from pretune.tasks.protocols import EncodedRows

__all__ = ["DistilMaskedText"]

_TRIED_ROWS = 3


@final
class DistilMaskedText(Pretraining):
    """Masked tokens, right and as the teacher expects them, summed over masked places; inner states as in
    :class:`pretune.objectives.distilling.distil.Distil`, a row's counted once for each of its masked places.

    Masks are drawn anew in every pass, so that the teacher runs on every batch. One without a head for masked words (a sentence
    encoder) teaches by its inner states alone. ``left_out`` says in words what is not compared.
    """

    name: ClassVar[str] = MaskedTextPretraining.name
    modalities: ClassVar[tuple[Modality, ...]] = MaskedTextPretraining.modalities
    columns: ClassVar[tuple[str, ...]] = MaskedTextPretraining.columns
    primary: str = MaskedTextPretraining.primary
    specs: Mapping[str, ScoreSpec] = MaskedTextPretraining.specs
    default_epochs: tuple[float, float] = MaskedTextPretraining.default_epochs
    reading: str = MaskedTextPretraining.reading
    log_names: tuple[str, ...] = ("correct", "hard", "soft")

    def __init__(self, backbone: Backbone, settings: TaughtSettings, texts: Sequence[str], *, seed: int) -> None:
        large = load_backbone(settings.teacher)
        self.own = MaskedTextPretraining(backbone, settings, seed=seed)
        self.settings = settings
        if encoder_for(large, settings).pieces_identity() != self.own.encoder.pieces_identity():
            raise ModelError(
                f"{backbone.name} cuts texts into other tokens than its teacher {settings.teacher}",
                "masked words can only be compared token by token: choose scratch:... with the teacher's tokenizer, or layers:K",
            )
        teacher, told = large.build("AutoModelForMaskedLM", seed=seed)
        self.has_head = not [name for name in told.initialised if ".pooler." not in name]
        self.words = min(len(large.tokenizer), len(backbone.tokenizer))
        self.report, self.model = self.own.report, self.own.model
        pieces = [row[0] for row in self.own.encoder.encode(list(texts)[:_TRIED_ROWS])]
        padded = collate_text(pieces, self.own.encoder.padding, max_length=self.own.encoder.max_length)
        tried = {name: value.cpu() for name, value in padded.inputs.items()}
        self.left_out, self.listener = "", None
        if settings.hidden or settings.attention:
            found, self.left_out = compared_inside(
                self.own.model, teacher,
                lambda: self.own.model(**_read_by(self.own.model, tried)), lambda: teacher(**_read_by(teacher, tried)),
                hidden=settings.hidden, attention=settings.attention, seed=seed,
            )  # fmt: skip
            if found is not None:
                self.model, self.listener = found.pupil, found.listener
                self.log_names = (*type(self).log_names, *found.pupil.matching.names)
        if not self.has_head and self.listener is None:
            raise ModelError(
                f"{settings.teacher} has no head for masked words, and nothing inside it can be compared",
                "choose a masked language model as teacher, or leave --hidden and --attention at auto",
            )
        self.teacher = at_rest(teacher)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> DistilMaskedText:
        """See :class:`Pretraining`; the settings are :class:`TaughtSettings`."""
        assert isinstance(settings, TaughtSettings), "a student has a teacher"
        return cls(backbone, settings, data["train"][:_TRIED_ROWS]["text"], seed=seed)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> EncodedRows:
        """See :class:`Pretraining`."""
        return self.own.encode_rows(dataset, fingerprint=fingerprint)

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """See :class:`MaskedTextPretraining`."""
        return self.own.begin(rows, fingerprint=fingerprint)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows."""
        self.own.adaptation = self.adaptation
        return self.own.streams(rows, batch_size=batch_size, group_by_length=group_by_length)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """See the class."""
        batch = feed["text"]
        positions_M, targets_M = in_blocks(batch)
        student = model.student if isinstance(model, MatchedStudent) else model
        with heads_at(student, positions_M):
            logits_MV = model(**batch.inputs).logits[0].float()
        said_MV = self._said(batch, positions_M)
        hard = functional.cross_entropy(logits_MV, targets_M, reduction="sum", ignore_index=IGNORED)
        correct = float((logits_MV.detach().argmax(-1) == targets_M).sum())
        total, parts = hard, {"correct": correct, "hard": float(hard.detach()), "soft": 0.0}
        if self.has_head:
            words = self.words
            apart_M = softened_divergence(logits_MV[:, :words], said_MV[:, :words], self.settings.temperature)
            soft = torch.where(targets_M != IGNORED, apart_M, torch.zeros_like(apart_M)).sum()
            total = self.settings.hard_weight * hard + (1 - self.settings.hard_weight) * soft
            parts["soft"] = float(soft.detach())
        if isinstance(model, MatchedStudent):
            for name, inside in self._inside(model, batch).items():
                total, parts[name] = total + inside, float(inside.detach())
        return Loss.of(total, parts)

    @torch.no_grad()
    def _said(self, batch: Batch, positions_M: torch.Tensor) -> torch.Tensor:
        """The teacher's logits (M, V) at the masked places."""
        self.teacher.to(positions_M.device)
        with heads_at(self.teacher, positions_M):
            return self.teacher(**_read_by(self.teacher, batch.inputs)).logits[0].float()

    def _inside(self, model: MatchedStudent, batch: Batch) -> dict[str, torch.Tensor]:
        assert self.listener is not None, "a pupil's teacher is listened to"
        own, others = model.listener.take(), self.listener.take()
        assert own and others, "both have just been run"  # noqa: PT018
        mask_BT = batch.inputs["attention_mask"]
        found = model.matching(own, torch.cat([one.float() for one in others], dim=-1), mask_BT)._asdict()
        places_B = torch.bincount(batch.extras["positions"] // mask_BT.shape[1], minlength=len(mask_BT))
        return {name: (apart_B * places_B).sum() for name, apart_B in found.items() if apart_B is not None}

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """See :class:`MaskedTextPretraining`."""
        return self.own.statistics(rows, device, on_batch)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`MaskedTextPretraining`."""
        return self.own.scores(sums_K)

    def measures(self, rows: EncodedRows, device: Device) -> Sequence[Measure]:
        """See :class:`MaskedTextPretraining`."""
        return self.own.measures(rows, device)

    def saved(self) -> torch.nn.Module:
        """The student."""
        return self.own.model

    def to_dict(self) -> dict[str, Any]:
        """See :class:`MaskedTextPretraining`."""
        return self.own.to_dict()


def _read_by(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inputs less the segment ids, where the model has none of them."""
    return {
        name: value
        for name, value in inputs.items()
        if name != "token_type_ids" or getattr(model.config, "type_vocab_size", 0) > 1
    }
