"""Texts as points: a text and its pair lie near each other, near as people said they are, or nearer than any other text of an update.

Shapes: B items of a batch, R texts of them (all first ones, then the second ones of those that have one), T tokens, D numbers of a vector, N rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import TargetText, Value, Vector
from pretune.backbones.pooling.choice import chosen_pooling
from pretune.backbones.pooling.pool import MODES
from pretune.backbones.text.limits import encoder_for, encoder_of
from pretune.backbones.text_kinds import goes_on
from pretune.config import READ_BY_MODALITY
from pretune.errors import DataError, ModelError, UsageError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.embedding import EmbeddingMetric, ranks_of
from pretune.modalities import Modality
from pretune.modalities.text.encoder import LONG_TEXT, TextEncoder, collate_text
from pretune.schema import Check, listed, number, text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.baselines.embedding import embedding_baselines
from pretune.tasks.blocks.embedding import embedding_blocks
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.rows.paired import PairedRows, paired_item, pieces_of, second_column, store_paired, texts_in
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["SentenceEmbedding"]

TEMPERATURE = 0.05
"""Of the softmax over cosines (Gao et al. 2021, arXiv 2104.08821, section 3)."""

_SCORED = ("text", "text_pair", Value.kind)
_DIGITS = 6
_CLOSE = 1e-3
"""A cosine so near to 1 is that of the same vector, in two engines."""


@final
class SentenceEmbedding(Task):
    """A vector of length 1 for a text; models learn from pairs.

    Without scores a pair is told from all other pairs of its update (InfoNCE both ways with in-batch negatives: van den Oord et al. 2018, arXiv
    1807.03748; Henderson et al. 2017, arXiv 1705.00652, section 4.4). What stands in an update more than once is no negative of itself. A row's loss so depends on the rows
    beside it, which are a function of (seed, update): an update is never cut, and a run repeats to the bit. With scores (``low`` to ``high`` in the
    training rows) the cosine learns them as 0 to 1 (Reimers & Gurevych 2019, arXiv 1908.10084, section 3), each row for itself.
    ``began`` names the trained model that learning began from, "" for a fresh one.
    """

    name: ClassVar[str] = "sentence-embedding"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", TargetText.kind)
    answer: ClassVar[str] = Vector.kind
    metric_type: ClassVar[type[Metric]] = EmbeddingMetric
    default_batch_size: ClassVar[int] = 64
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["text"], "pooling")
    kept: ClassVar[Mapping[str, Check]] = {
        "max_length": whole(1),
        "long_text": text(*LONG_TEXT[:2]),
        "pooling": listed(text(*MODES)),
        "width": whole(1),
        "began": text(),
        "low?": number(),
        "high?": number(),
    }
    taught_variation: ClassVar[str] = "none"
    by_name: ClassVar[bool] = True
    answers_alone: ClassVar[bool] = True
    answers_untrained: ClassVar[bool] = True
    lacks: ClassVar[Mapping[str, str]] = {
        **Task.lacks,
        "explain": "a vector says nothing by itself: what speaks for the nearness of two texts is not drawn",
    }
    labels: tuple[str, ...] = ()

    def __init__(
        self, encoder: TextEncoder, *, pooling: Sequence[str], width: int, scale: tuple[float, float] | None = None, began: str = ""
    ) -> None:  # fmt: skip
        self.encoder, self.pooling, self.width = encoder, tuple(pooling), width
        self.scale, self.began = scale, began

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there pairs, and do their scores differ, where they have some?"""
        _scale_of(training_rows(data, "text"))

    @classmethod
    def lacking(cls, found: Collection[str]) -> list[str]:
        """The second text is the answer to the first, or stands beside it where the pair has a score."""
        stands_beside = all(name in found for name in _SCORED)
        return [] if stands_beside else super().lacking(found)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`. Raises :class:`UsageError` for what leaves nothing to learn, or more than one vector."""
        if settings.adapt in ("head", "linear"):
            raise UsageError(
                f"--adapt is {settings.adapt}, and {cls.name} has no head", "use full, lora, top:N or llrd"
            )
        if settings.long_text == "windows":
            raise UsageError("--long-text is windows, and a text has one vector", "choose truncate or head-tail")
        modes = chosen_pooling(settings.pooling, backbone).modes or (
            ("last",) if goes_on(backbone.config) else ("mean",)
        )
        width = len(modes) * int(backbone.config.hidden_size)
        began = backbone.name if backbone.kind == "pretrained" else ""
        scale = _scale_of(training_rows(data, "text"))
        return cls(encoder_for(backbone, settings), pooling=modes, width=width, scale=scale, began=began)

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The encoder, its states pooled."""
        model, report = backbone.build("AutoModel", seed=seed, pooling=self.pooling, embeds=True)
        model.longest = self.encoder.max_length  # type: ignore[assignment]
        return model, report

    @property
    def ties_rows(self) -> bool:
        """Without scores the rows of an update are each other's negatives."""
        return self.scale is None

    @property
    def num_outputs(self) -> int:
        """One a number of the vector."""
        return self.width

    @property
    def runs_in_parts(self) -> bool:
        """A batch has more texts than rows."""
        return True

    @property
    def tolerance(self) -> float:
        """Of 1 less the cosine."""
        return _CLOSE

    def inputs_identity(self) -> str:
        """The tokenizer, and how texts are cut into tokens."""
        return self.encoder.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """One item: the tokens of the text, and those of its pair."""
        told = example.target
        pair = told.values[0] if isinstance(told, TargetText) else example.inputs.get("text_pair")
        ((first,),) = self.encoder.encode([example.inputs["text"]])
        second = None if pair is None else self.encoder.encode([pair])[0][0]
        score = told.number if isinstance(told, Value) else None
        return [paired_item(example.id, first, second, self._target(pair is not None, score), example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> PairedRows:
        """See :class:`pretune.tasks.base.Task`."""
        has_pair = second_column(dataset) is not None
        scores = dataset[Value.kind] if Value.kind in dataset.column_names else [None] * len(dataset)
        targets = [self._target(has_pair, score) for score in scores]
        return store_paired(self.encoder, dataset, targets, fingerprint=fingerprint)

    def _target(self, has_pair: bool, score: float | None) -> float | None:
        """The cosine that a pair is to have; None where that is not known."""
        if not has_pair or (self.scale is not None and score is None):
            return None
        if self.scale is None or score is None:
            return 1.0
        low, high = self.scale
        return (float(score) - low) / (high - low)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens."""
        return (
            isinstance(other, SentenceEmbedding) and other.encoder.pieces_identity() == self.encoder.pieces_identity()
        )

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: on the teacher's scale."""
        made = super().student(data, backbone, settings)
        made.scale, made.began = self.scale, ""
        return made

    def check_teacher(self, teacher: Task) -> None:
        """Its vectors have as many numbers."""
        if not isinstance(teacher, SentenceEmbedding) or teacher.width != self.width:
            raise ModelError(
                f"the teacher's vectors have {teacher.num_outputs} numbers, the student's {self.width}",
                "take a student as wide as its teacher: --student layers:N",
            )

    def for_teacher(self, item: Encoded) -> Encoded:
        """With both texts."""
        return Encoded(item.id, item.arrays, item.cost, None, item.weight)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``inputs`` (R, T); ``targets`` (B,) are cosines, NaN where they are not known. ``extras``: ``pairs``, the places (R - B,) of the
        items with a second text, ``alike`` (B, B) which items share a text on either side, ``weights`` (B,).
        """
        pieces, having = pieces_of(rows)
        padded = collate_text(pieces, self.encoder.padding, max_length=self.encoder.max_length)
        targets_B = torch.tensor([np.nan if row.target is None else row.target for row in rows], dtype=torch.float32)
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        extras = {"pairs": torch.tensor(having, dtype=torch.int64), "alike": _alike(rows), "weights": weights_B}
        count = float(weights_B[~targets_B.isnan()].sum())
        ids = tuple(row.id for row in rows)
        return Batch(padded.inputs, targets_B, {TERM: count}, ids, padded.num_tokens, padded.num_padded, extras)

    def _vectors(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors (B, D) of the texts and of their pairs, zeros where there is none."""
        vectors_RD = model(**batch.inputs).logits
        count = len(batch.ids)
        first_BD, second_RD = vectors_RD[:count], vectors_RD[count:]
        return first_BD, torch.zeros_like(first_BD).index_copy(0, batch.extras["pairs"], second_RD)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, 2 D): the vector of a text, then that of its pair, zeros where there is none."""
        return torch.cat(self._vectors(model, batch), dim=-1)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """The items' losses, summed."""
        refuse_unlabelled(self, batch, rows="rows without a second text (or its score)", answer="second text")
        return Loss.of(self.hard_losses(self.logits_of(model, batch), batch).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those whose cosine is known."""
        assert batch.targets is not None
        return ~batch.targets.isnan()

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """The items' weights."""
        return batch.extras["weights"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Squared distances from the known cosines; without scores the mean of the two cross entropies of finding the other text."""
        assert batch.targets is not None
        with torch.autocast(logits.device.type, enabled=False):
            first_BD, second_BD = logits.float().chunk(2, dim=-1)
            known_B = self.is_labelled(batch)
            if self.scale is None:
                losses_B = _contrasted(first_BD, second_BD, batch.extras["alike"], known_B)
            else:
                losses_B = ((first_BD * second_BD).sum(dim=-1) - batch.targets.nan_to_num()).square()
            return torch.where(known_B, losses_B, 0.0) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """The squared distance from the teacher's vectors, of both texts (Reimers & Gurevych 2020, arXiv 2004.09813, section 2)."""
        return (logits.float() - teachers).square().sum(dim=-1) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """:meth:`logits_of` as float64."""
        return in_double(finite_answers(self.logits_of(model, batch), batch.ids))

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The vector; in ``detail`` that of the second text and their cosine, where there is one."""
        both_B2D = self.outputs(model, batch).unflatten(-1, (2, -1)).cpu().numpy()
        having = set(batch.extras["pairs"].tolist())
        return [
            Prediction(row, _rounded(both_2D[0]), (), _pair_told(both_2D) if place in having else {})
            for place, (row, both_2D) in enumerate(zip(batch.ids, both_B2D, strict=True))
        ]

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """One item a row; rows that are pairs get the ``rank`` of their second text among those of all these rows."""
        rows = list({one.id: one for one in predictions}.values()) if len(predictions) > 1 else list(predictions)
        places = [place for place, one in enumerate(rows) if "pair_vector" in one.detail]
        if self.scale is not None or not places:
            return rows
        text_ND = np.array([rows[place].answer for place in places], dtype=np.float32)
        pair_ND = np.array([rows[place].detail["pair_vector"] for place in places], dtype=np.float32)
        for place, rank in zip(places, ranks_of(text_ND, pair_ND).tolist(), strict=True):
            one = rows[place]
            rows[place] = Prediction(one.id, one.answer, (), {**one.detail, "rank": rank})
        return rows

    def truths(self, dataset: Dataset) -> list[Any]:
        """The scores; without scores the second texts. Raises :class:`DataError` where there are none."""
        column = second_column(dataset) if self.scale is None else Value.kind
        if column is None or column not in dataset.column_names:
            lack, name = ("second texts", TargetText.kind) if self.scale is None else ("scores", Value.kind)
            raise DataError(f"the rows have no {lack} to score against", f"name their column with --column {name}=NAME")
        return texts_in(dataset[:], column) if self.scale is None else list(dataset[column])

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, vector, of a pair the other vector and the cosine; beside a truth the rank too."""
        detail = {key: value for key, value in prediction.detail.items() if key != "rank" or truth is not None}
        line = {"id": prediction.id, self.answer: prediction.answer, **detail}
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With what a pair has more."""
        schema = super().record_schema()
        schema["properties"]["pair_vector"] = dict(Vector.schema())
        schema["properties"]["similarity"] = {"type": "number", "minimum": -1.0, "maximum": 1.0}
        return schema

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Ranks and the worst rows; with scores cosines beside them."""
        return embedding_blocks(records, rows, scored=self.scale is not None)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """``tfidf-cosine``, and ``untrained``: the model as it was before it learned."""

        def before(backbone: Backbone) -> Task:
            return type(self).restore(self.to_dict(), backbone)

        return embedding_baselines(train, rows, scored=self.scale is not None, began=self.began, restored=before)

    def portable(self) -> dict[str, Any]:
        """Special tokens and padding."""
        told = {**dataclasses.asdict(self.encoder.padding), **dataclasses.asdict(self.encoder.template)}
        return {"modality": self.modality, "reader": "embedded", **told}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        scale = (about["low"], about["high"]) if "low" in about else None
        encoder = encoder_of(backbone, about)
        return cls(encoder, pooling=about["pooling"], width=about["width"], scale=scale, began=about["began"])

    def to_dict(self) -> dict[str, Any]:
        """Name, how texts are cut and pooled, the range of the scores."""
        return {
            "task": self.name, "max_length": self.encoder.max_length, "long_text": self.encoder.long_text,
            "pooling": list(self.pooling), "width": self.width, "began": self.began,
            **({} if self.scale is None else {"low": self.scale[0], "high": self.scale[1]}),
        }  # fmt: skip


def _scale_of(train: Dataset) -> tuple[float, float] | None:
    """The least and the largest score; None where there are none. Raises :class:`DataError` where all are alike."""
    if TargetText.kind in train.column_names or Value.kind not in train.column_names:
        return None
    scores = np.array([one for one in train[Value.kind] if one is not None], dtype=np.float64)
    if len(scores) == 0 or scores.min() == scores.max():
        raise DataError(
            "the scores of the pairs are all alike, and nothing can be learned from that",
            f"leave them out with --column {Value.kind}=, where all pairs belong together",
        )
    return float(scores.min()), float(scores.max())


def _alike(rows: Sequence[Encoded]) -> torch.Tensor:
    """Which items share a text on either side, bool (B, B)."""
    found_BB = np.zeros((len(rows), len(rows)), dtype=bool)
    for side in ("input_ids", "pair_ids"):
        numbers: dict[bytes, int] = {}
        texts = [row.arrays[side].astype(np.int64).tobytes() if side in row.arrays else b"" for row in rows]
        number_B = np.array([numbers.setdefault(one, len(numbers)) for one in texts])
        has_B = np.array([one != b"" for one in texts])
        found_BB |= (number_B[:, None] == number_B) & has_B & has_B[:, None]
    return torch.from_numpy(found_BB)


def _contrasted(
    first_BD: torch.Tensor, second_BD: torch.Tensor, alike_BB: torch.Tensor, known_B: torch.Tensor
) -> torch.Tensor:
    """InfoNCE both ways (B,): items that are alike are no negatives of each other, nor those without a second text."""
    scores_BB = first_BD @ second_BD.T / TEMPERATURE
    own_BB = torch.eye(len(first_BD), dtype=torch.bool, device=first_BD.device)
    left_out_BB = (alike_BB | ~known_B | ~known_B[:, None]) & ~own_BB
    scores_BB = scores_BB.masked_fill(left_out_BB, float("-inf"))
    places_B = torch.arange(len(first_BD), device=first_BD.device)
    ways = (functional.cross_entropy(one, places_B, reduction="none") for one in (scores_BB, scores_BB.T))
    return sum(ways) / 2  # type: ignore[return-value]


def _rounded(vector_D: np.ndarray) -> list[float]:
    return [round(one, _DIGITS) for one in vector_D.tolist()]


def _pair_told(both_2D: np.ndarray) -> dict[str, Any]:
    cosine = float(np.clip(both_2D[0] @ both_2D[1], -1.0, 1.0))
    return {"pair_vector": _rounded(both_2D[1]), "similarity": round(cosine, _DIGITS)}
