"""What rows of text and speech say of the model that is to say them: letters, voices, and how long a letter lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.backbones.own import FASTSPEECH, TACOTRON
from pretune.backbones.text.characters import BLANK, UNKNOWN, CharVocabulary, new_vocabulary
from pretune.errors import CorruptFile, ModelError, UsageError
from pretune.modalities.audio.mel import MelSpec

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone

__all__ = [
    "frames_per_letter",
    "letters_of",
    "refuse_new",
    "refuse_other_backbone",
    "refuse_untaught",
    "speakers_of",
    "spelling_in",
]

_TYPICAL, _ROWS = 8.0, 20_000
_SHOWN = 10


def refuse_other_backbone(backbone: Backbone, adapt: str) -> None:
    """Raise :class:`UsageError` for a model that says nothing, and for ways of learning that need layers under a head."""
    if backbone.config.model_type not in (TACOTRON, FASTSPEECH):
        raise UsageError(
            f"{backbone.name} ({backbone.config.model_type}) does not speak",
            "text-to-speech begins from scratch:tacotron-tiny, -mini, -small or -base, or from a run of it",
        )
    if adapt != "full":
        raise UsageError(f"--adapt is {adapt}, and text-to-speech has no head on a trunk", "leave --adapt out")


def refuse_untaught(backbone: Backbone) -> None:
    """Raise :class:`UsageError` for a model that learns from a voice alone how long letters last."""
    if backbone.config.model_type == FASTSPEECH:
        name = backbone.name if backbone.folder is None else "scratch:fastspeech-tiny"
        raise UsageError(
            f"{backbone.name} learns from a trained voice how long letters last, not from clips and texts alone",
            f"train scratch:tacotron-tiny, and let it teach: pretune distill VOICE --student {name} (--data CLIPS gives more rows)",
        )


def letters_of(texts: Sequence[str]) -> CharVocabulary:
    """The letters of the texts in lower case. Raises :class:`pretune.errors.DataError` where there are none."""
    found = new_vocabulary(text.lower() for text in texts)
    return CharVocabulary(found.tokens, delimiter=found.delimiter, case="lower")


def spelling_in(config: Any) -> CharVocabulary:
    """The letters of a trained model. Raises :class:`CorruptFile` where its config has none."""
    tokens = getattr(config, "tokens", None)
    if not isinstance(tokens, list) or tokens[:2] != [BLANK, UNKNOWN] or len(tokens) + 1 != config.vocab_size:
        raise CorruptFile("config.json does not name the model's letters", "copy the model's folder again")
    return CharVocabulary(tuple(map(str, tokens)), delimiter=str(tokens[2]), case="lower")


def speakers_of(rows: Dataset) -> tuple[str, ...]:
    """The voices by the number of their rows; none where rows name none."""
    if "speaker" not in rows.column_names:
        return ()
    counts = Counter(name for name in rows["speaker"] if name is not None)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def refuse_new(
    texts: Sequence[str], spelling: CharVocabulary, speakers: Sequence[str], known: Sequence[str], name: str
) -> None:
    """Raise :class:`ModelError` where rows have letters or voices that a trained model has not."""
    letters = {letter for text in texts for letter in spelling.tidied(text)} - {" "} - {*spelling.tokens}
    voices = {*speakers} - {*known} if known else set()
    for what, new in (("letters", letters), ("voices", voices)):
        if new:
            raise ModelError(
                f"the rows have {what} that {name} never learned: {', '.join(sorted(new)[:_SHOWN])}",
                "begin from scratch:tacotron-... with all rows, or leave those rows out",
            )


def frames_per_letter(rows: Dataset, spelling: CharVocabulary, mel: MelSpec) -> float:
    """Median frames of a letter, the end counted as one; a usual number where rows do not tell how long they last."""
    if "seconds" not in rows.column_names:
        return _TYPICAL
    few = rows.select(range(min(len(rows), _ROWS)))
    letters = np.array([len(spelling.tidied(text or "")) + 1 for text in few["text"]])
    return round(float(np.median(np.array(few["seconds"]) * mel.rate / mel.hop / letters)), 2) or _TYPICAL
