"""What can be wrong with transcripts before learning, and with what a CTC model writes after it, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.errors import DataError, ModelError
from pretune.metrics.base import values_of
from pretune.metrics.recognition import RecognitionMetric
from pretune.tasks.speech.ctc_decoding import least_frames

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.backbones.text.characters import CharVocabulary
    from pretune.modalities.audio.clips import AudioSpec

__all__ = [
    "collapse_warnings",
    "refuse_other_writing",
    "refuse_too_long",
    "refuse_without_characters",
    "transcripts_found",
    "transcripts_of",
]

_MOST_TOO_LONG = 0.2
_NAMED_ROWS = 5
_FEW_RECORDS = 10
_NOTHING_LEARNED = 0.9
"""Characters wrong, as a share: letters written at random get so far."""


def refuse_without_characters(backbone: Backbone) -> None:
    """Raise :class:`ModelError` for a backbone that transformers knows no CTC model of."""
    from transformers import MODEL_FOR_CTC_MAPPING

    if not backbone.trust_remote_code and type(backbone.config) not in MODEL_FOR_CTC_MAPPING:
        raise ModelError(
            f"{backbone.name} ({backbone.config.model_type}) has no head that writes characters",
            "choose a model that hears words, such as scratch:w2v-bert-tiny",
        )


def refuse_too_long(train: Dataset, spelling: CharVocabulary, hearing: AudioSpec) -> None:
    """Raise :class:`DataError` where more than a fifth of the transcripts need more frames than CTC has in their clips."""
    if "seconds" not in train.column_names:
        return
    long: list[int] = []
    for number, (text, seconds) in enumerate(zip(train["text"], train["seconds"], strict=True)):
        frames = hearing.frames(round(seconds * hearing.rate))
        if text is not None and least_frames(spelling.encode(text)) > max(1, frames):
            long.append(number)
    if len(long) <= _MOST_TOO_LONG * len(train):
        return
    row = train[long[0]]
    raise DataError(
        f"{len(long)} of {len(train)} transcripts are longer than CTC can write: that of row {row['id']} needs "
        f"{least_frames(spelling.encode(row['text']))} frames, its clip of {row['seconds']:.2f} seconds has "
        f"{hearing.frames(round(row['seconds'] * hearing.rate))}",
        "do the transcripts belong to these clips, and is --column text=... the right column?",
    )


def transcripts_of(dataset: Dataset) -> list[str]:
    """The transcripts as they stand in the rows. Raises :class:`DataError` where one is lacking."""
    if "text" not in dataset.column_names:
        raise DataError(
            "the rows have no transcripts to score against",
            "name their column with --column text=NAME, or use pretune predict",
        )
    lacking = [i for i, text in zip(dataset["id"], dataset["text"], strict=True) if text is None]
    if lacking:
        raise DataError(f"row {lacking[0]} has no transcript to score against", "give every row of the split a text")
    return list(dataset["text"])


def transcripts_found(
    ids: Sequence[str], targets: Sequence[tuple[int, ...] | None], fits_N: np.ndarray, unknown: int
) -> dict[str, Any]:
    """Counts of transcripts that cannot be written as they are, with a sentence on each kind.

    ``targets`` are their characters, ``fits_N`` whether the clip has frames enough for them.
    """
    long = [ids[int(i)] for i in np.flatnonzero(~fits_N)]
    strange = [ids[i] for i, target in enumerate(targets) if target is not None and unknown in target]
    empty = [ids[i] for i, target in enumerate(targets) if target == ()]
    notes = [
        *_told(long, "longer than CTC can write in the frames of the clip: not learned from"),
        *_told(strange, "of characters that no training transcript has: they cannot be written right"),
        *_told(empty, "empty: the model learns to write nothing there"),
    ]
    counts = {"too_long_transcripts": len(long), "unknown_characters": len(strange), "empty_transcripts": len(empty)}
    return {**counts, "notes": notes}


def _told(ids: Sequence[str], what: str) -> list[str]:
    if not ids:
        return []
    named = ", ".join(ids[:_NAMED_ROWS]) + (f" and {len(ids) - _NAMED_ROWS} more" if len(ids) > _NAMED_ROWS else "")
    return [f"{len(ids)} transcripts are {what} (rows {named})"]


def collapse_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences for a model that writes nothing, the same everywhere, or nearly all wrong; none when all is well."""
    spoken = [record for record in records if record["truth"]]
    if not spoken:
        return []
    silent = sum(not record["text"] for record in spoken)
    if silent > len(spoken) / 2:
        return [
            f"The model writes nothing for {silent} of {len(spoken)} utterances. A CTC model first learns to answer with the "
            "blank alone and leaves that after some hundreds of updates: learn longer (--epochs), with a larger "
            "--learning-rate, or from a pre-trained backbone."
        ]
    said, count = Counter(record["text"] for record in spoken).most_common(1)[0]
    same = count > 0.9 * len(spoken) and len({record["truth"] for record in spoken}) > 2
    if len(spoken) >= _FEW_RECORDS and same:
        return [
            f'The model writes "{said}" for {count} of {len(spoken)} utterances: it does not listen yet. Learn longer (--epochs).'
        ]
    cer = values_of(RecognitionMetric().measure(spoken))["cer"]
    if cer >= _NOTHING_LEARNED:
        return [
            f"The model gets {100 * min(cer, 1.0):.0f} % of the characters wrong: it has not learned to write yet. Learn longer (--epochs), "
            "with a larger --learning-rate, or from another backbone (scratch:w2v-bert-tiny learns from few clips)."
        ]
    return []


def refuse_other_writing(
    teachers: CharVocabulary, teacher: AudioSpec, spelling: CharVocabulary, hearing: AudioSpec
) -> None:
    """Raise :class:`ModelError` where a teacher's frames cannot be held against a student's: other characters, other lengths."""
    if teachers.tokens != spelling.tokens:
        raise ModelError(
            "teacher and student write with other characters", "start the student from scratch:..., or layers:K"
        )
    frames, own = (one.frames(10 * one.rate) for one in (teacher, hearing))
    if frames != own:
        raise ModelError(
            f"the teacher makes {frames} frames of ten seconds, the student {own}",
            "choose a student whose frames are as long as the teacher's",
        )
