"""Labels by a linear model on simple features: the terms of a text, the mel bands of a clip, a tiny picture and its colours.

These tasks are the others' twins: the same names, labels and scores, for backbones of the kind ``linear:...``
(:mod:`pretune.backbones.linear`). Shapes: B rows of a batch, N rows, T terms of a text, F features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch

from pretune.errors import UsageError
from pretune.metrics.base import Measured
from pretune.modalities import Modality
from pretune.modalities.text.terms import Terms
from pretune.schema import Check, text
from pretune.tasks.base import Task
from pretune.tasks.baselines.audio import audio_baselines, clip_numbers
from pretune.tasks.baselines.image import image_baselines, picture_numbers
from pretune.tasks.baselines.text import text_baselines
from pretune.tasks.classes.classification import Classification
from pretune.tasks.classes.labelling import Labelling
from pretune.tasks.classes.multilabel_classification import MultilabelClassification
from pretune.tasks.linear.rows import NumberRows, TermRows, store_numbers, store_terms
from pretune.tasks.shown.audio import HOW_TO_READ, shown_clip
from pretune.tasks.shown.parts import Parts
from pretune.tasks.shown.thumbnails import thumbnail
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["LINEAR_TASKS"]


class _Linear(Labelling):
    """What linear models share: nothing is varied, and nothing of them is looked into."""

    features: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Logistic regression is solved with the labels as they are."""
        super().__init_subclass__()
        cls.reads = tuple(name for name in cls.reads if name != "label_smoothing")

    def parts(self, example: Example) -> Parts:
        """Refused: see :meth:`unexplained`."""
        raise UsageError(*self.unexplained())

    def unexplained(self) -> tuple[str, str]:
        """Its weights say it."""
        return (
            f"linear:{self.features} is not explained row by row: its answer is a sum of its features, whose weights are in "
            "model/model.safetensors",
            "explain a run of a neural network",
        )

    def same_inputs_as(self, other: Task) -> bool:
        """The same features of the same rows."""
        return isinstance(other, _Linear) and other.inputs_identity() == self.inputs_identity()

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """Refused: what it knows its training rows say."""
        raise UsageError(
            f"a linear model (linear:{self.features}) has nothing to teach that its training rows do not say",
            "fine-tune the student on them: pretune finetune STUDENT --data DATA",
        )

    def to_dict(self) -> dict[str, Any]:
        """What the labels need, and which features these are."""
        return {**super().to_dict(), "features": self.features}


class _OfTerms(_Linear):
    """Labels of texts by their terms; the two texts of a pair are joined."""

    modality: ClassVar[Modality] = Modality.TEXT
    features: ClassVar[str] = "tfidf"
    kept: ClassVar[Mapping[str, Check]] = {"features": text("tfidf")}
    reads: ClassVar[tuple[str, ...]] = ("vocab_size",)
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"

    def __init__(self, labels: Sequence[str], terms: Terms, **options: Any) -> None:
        super().__init__(labels, **options)
        self.terms, self.numbers = terms, terms.numbers()

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        return cls(labels, backbone.processor, **options)

    def inputs_identity(self) -> str:
        """The vocabulary's."""
        return self.terms.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """The terms of the text, or of both of a pair."""
        joined = " ".join(
            example.inputs[name] for name in ("text", "text_pair") if example.inputs.get(name) is not None
        )
        ids_T, values_T = self.terms.encode(joined, self.numbers)
        target = self.target_of(example.target)
        return [_of_terms(example.id, ids_T, values_T, target, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> TermRows:
        """See :class:`pretune.tasks.base.Task`."""
        store = store_terms(dataset, self.terms, self.numbers, fingerprint=fingerprint)
        return TermRows(store, dataset, self.targets_by_row(dataset))

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """``term_ids`` and ``term_values`` (B, T), zeros behind a text's end."""
        width = max(1, *(len(row.arrays["term_ids"]) for row in rows))
        ids_BT, values_BT = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float32)
        for number, row in enumerate(rows):
            count = len(row.arrays["term_ids"])
            ids_BT[number, :count], values_BT[number, :count] = row.arrays["term_ids"], row.arrays["term_values"]
        inputs = {"term_ids": torch.from_numpy(ids_BT), "term_values": torch.from_numpy(values_BT)}
        return inputs, sum(row.cost for row in rows), len(rows) * width

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and TF-IDF with logistic regression."""
        return text_baselines(train, rows, self.known_answers(train, rows))

    def portable(self) -> dict[str, Any]:
        """Which program reads them; the terms are in terms.json."""
        return {"modality": self.modality, "reader": "terms"}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(about["labels"], backbone.processor, **cls.saved_options(about))


def _of_terms(row_id: str, ids_T: np.ndarray, values_T: np.ndarray, target: Any, weight: float) -> Encoded:
    return Encoded(row_id, {"term_ids": ids_T, "term_values": values_T}, max(1, len(ids_T)), target, weight)


class _OfNumbers(_Linear):
    """Labels of rows of F numbers, of clips or pictures."""

    column: ClassVar[str]
    fixed_inputs: ClassVar[tuple[str, ...]] = ("numbers",)

    @abstractmethod
    def numbers_of(self, cell: Mapping[str, Any]) -> np.ndarray:
        """The features of a picture's or clip's cell, float32 (F,)."""

    def encode(self, example: Example) -> list[Encoded]:
        """The features of one picture or clip."""
        numbers_F = self.numbers_of(example.inputs[self.column])
        return [Encoded(example.id, {"numbers": numbers_F}, 1, self.target_of(example.target), example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> NumberRows:
        """See :class:`pretune.tasks.base.Task`."""
        cells = dataset.with_format("arrow")[:][self.column]
        numbers_NF = store_numbers(
            len(cells), lambda row: self.numbers_of(cells[row].as_py()), name=f"{fingerprint}:{self.inputs_identity()}"
        )
        return NumberRows(numbers_NF, dataset, self.targets_by_row(dataset))

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """``numbers`` (B, F)."""
        numbers_BF = np.stack([row.arrays["numbers"] for row in rows]).astype(np.float32)
        return {"numbers": torch.from_numpy(numbers_BF)}, len(rows), len(rows)


class _OfMelBands(_OfNumbers):
    """Labels of clips by the mean and the spread of their mel bands."""

    modality: ClassVar[Modality] = Modality.AUDIO
    features: ClassVar[str] = "log-mel"
    kept: ClassVar[Mapping[str, Check]] = {"features": text("log-mel")}
    column: ClassVar[str] = "audio"
    reads: ClassVar[tuple[str, ...]] = (*_Linear.reads, "sampling_rate")
    auto_class: ClassVar[str] = "AutoModelForAudioClassification"

    def __init__(self, labels: Sequence[str], rate: int, **options: Any) -> None:
        super().__init__(labels, **options)
        self.rate = rate

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        return cls(labels, int(backbone.config.rate), **options)

    def inputs_identity(self) -> str:
        """The features' name and rate."""
        return f"{self.features}:{self.rate}"

    def numbers_of(self, cell: Mapping[str, Any]) -> np.ndarray:
        """See :func:`pretune.tasks.baselines.audio.clip_numbers`."""
        return clip_numbers(cell, self.rate)

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Id, spectrum and sound."""
        return {"id": row["id"], **shown_clip(row["audio"], self.rate)}

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """As for any classification, with a word on how to read a spectrum."""
        *others, mistakes = super().blocks(records, rows)
        return [*others, {**mistakes, "note": f"{mistakes['note']} {HOW_TO_READ}"}]

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and logistic regression on mel bands."""
        return audio_baselines(train, rows, self.known_answers(train, rows), self.rate)

    def portable(self) -> dict[str, Any]:
        """Which program reads them, and the rate."""
        return {"modality": self.modality, "reader": "mel_bands", "rate": self.rate}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(about["labels"], int(backbone.config.rate), **cls.saved_options(about))


class _OfPixels(_OfNumbers):
    """Labels of pictures by a tiny picture and its colours."""

    modality: ClassVar[Modality] = Modality.IMAGE
    features: ClassVar[str] = "pixels"
    kept: ClassVar[Mapping[str, Check]] = {"features": text("pixels")}
    column: ClassVar[str] = "image"
    auto_class: ClassVar[str] = "AutoModelForImageClassification"

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        return cls(labels, **options)

    def inputs_identity(self) -> str:
        """The features' name."""
        return self.features

    def numbers_of(self, cell: Mapping[str, Any]) -> np.ndarray:
        """See :func:`pretune.tasks.baselines.image.picture_numbers`."""
        return picture_numbers(cell)

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Id and thumbnail."""
        return {"id": row["id"], "image": thumbnail(row["image"])}

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and logistic regression on tiny pictures and colours."""
        return image_baselines(train, rows, self.known_answers(train, rows))

    def portable(self) -> dict[str, Any]:
        """Which program reads them."""
        return {"modality": self.modality, "reader": "pixels"}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(about["labels"], **cls.saved_options(about))


@final
class LinearTextClassification(_OfTerms, Classification):
    """One label for a text or a pair of texts."""

    name: ClassVar[str] = "text-classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")


@final
class LinearTextMultilabelClassification(_OfTerms, MultilabelClassification):
    """Any number of labels for a text or a pair of texts."""

    name: ClassVar[str] = "text-multilabel-classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "labels")


@final
class LinearAudioClassification(_OfMelBands, Classification):
    """One label for a clip."""

    name: ClassVar[str] = "audio-classification"
    columns: ClassVar[tuple[str, ...]] = ("audio", "label")


@final
class LinearAudioMultilabelClassification(_OfMelBands, MultilabelClassification):
    """Any number of labels for a clip."""

    name: ClassVar[str] = "audio-multilabel-classification"
    columns: ClassVar[tuple[str, ...]] = ("audio", "labels")


@final
class LinearImageClassification(_OfPixels, Classification):
    """One label for a picture."""

    name: ClassVar[str] = "image-classification"
    columns: ClassVar[tuple[str, ...]] = ("image", "label")


@final
class LinearImageMultilabelClassification(_OfPixels, MultilabelClassification):
    """Any number of labels for a picture."""

    name: ClassVar[str] = "image-multilabel-classification"
    columns: ClassVar[tuple[str, ...]] = ("image", "labels")


LINEAR_TASKS: tuple[type[Labelling], ...] = (
    LinearTextClassification,
    LinearTextMultilabelClassification,
    LinearAudioClassification,
    LinearAudioMultilabelClassification,
    LinearImageClassification,
    LinearImageMultilabelClassification,
)
