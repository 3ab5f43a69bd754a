"""What can be told of rows without a model: single numbers with a name, and plain features for a classifier.

A column of inputs has its own (:data:`PLAIN`): texts their length, scripts and words, pictures their light, colours and sharpness, clips
their loudness and mel bands. Shapes: N rows, F features, M mel bands, T samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.media.audio import decode_audio
from pretune.data.media.image import decode_image
from pretune.data.text.scripts import SCRIPTS, count_scripts
from pretune.evaluation.drift.words import TypicalWord, terms_of, typical_words, unspaced
from pretune.tasks.baselines.image import picture_numbers
from pretune.tasks.inputs.log_mel import log_mel
from pretune.tasks.shown.audio import shown_clip
from pretune.tasks.shown.thumbnails import thumbnail

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["PLAIN", "PlainLook", "look_at", "shown"]

_RATE = 16_000
_SIDE_PX = 512
_SHARE_OF_A_SCRIPT = 0.01
_MAX_TERMS = 50_000
_MAX_TEXT_CHARACTERS = 20_000
_SILENCE = 1e-8
_FULL = 0.999


@dataclass(frozen=True)
class PlainLook:
    """``numbers`` by name, each (N,), NaN where a row has none; ``features`` (N, F) dense or sparse, called ``title`` for people. ``typical``
    are words typical of the new rows, and of the reference.
    """

    title: str
    numbers: Mapping[str, np.ndarray]
    features: Any
    typical: tuple[Sequence[TypicalWord], Sequence[TypicalWord]] = ((), ())


def look_at(reference: Dataset, new: Dataset, learned: Dataset | None, columns: Iterable[str]) -> list[PlainLook]:
    """A look at each of the input ``columns`` that both sets have, reference rows first; ``learned`` are the training rows."""
    shared = [name for name in columns if all(name in rows.column_names for rows in (reference, new))]
    return [PLAIN[name](name, reference, new, learned) for name in shared if name in PLAIN]


def _texts(
    name: str, reference: Dataset, new: Dataset, learned: Dataset | None, *, title: str = "words", before: str = ""
) -> PlainLook:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [str(text or "")[:_MAX_TEXT_CHARACTERS] for rows in (reference, new) for text in _column(rows, name)]
    pairs = unspaced(texts)
    terms = [[*terms_of(text, pairs=pairs)] for text in texts]
    known = None if learned is None or name not in learned.column_names else _vocabulary(_column(learned, name), pairs)
    options: dict[str, Any] = {"analyzer": terms.__getitem__, "dtype": np.float32}
    vectorizer = TfidfVectorizer(**options, sublinear_tf=True, min_df=2, max_features=_MAX_TERMS)
    try:
        features: Any = vectorizer.fit_transform(range(len(texts)))
    except ValueError:  # scikit-learn's word for an empty vocabulary
        features = np.zeros((len(texts), 1), dtype=np.float32)
    numbers = {before + key: values for key, values in _text_numbers(texts, terms, known).items()}
    typical = typical_words(terms[: len(reference)], terms[len(reference) :])
    return PlainLook(title, numbers, features, typical)


def _column(rows: Dataset, name: str) -> list[Any]:
    """All cells at once: one by one they take ten times as long."""
    table: Any = rows
    return table[name][:]


def _vocabulary(texts: Iterable[Any], pairs: bool) -> set[str]:
    found: set[str] = set()
    for text in texts:
        found.update(terms_of(str(text or "")[:_MAX_TEXT_CHARACTERS], pairs=pairs))
    return found


def _text_numbers(
    texts: Sequence[str], terms: Sequence[Sequence[str]], known: set[str] | None
) -> dict[str, np.ndarray]:
    lengths_N = np.array([len(text) for text in texts], dtype=np.float64)
    some_N = np.where(lengths_N > 0, lengths_N, np.nan)
    words_N = np.array([len(text.split()) for text in texts], dtype=np.float64)

    def share(test: Callable[[str], bool]) -> np.ndarray:
        return np.array([sum(map(test, text)) for text in texts]) / some_N

    numbers = {
        "characters": lengths_N,
        "words": words_N,
        "characters a word": np.array([len("".join(text.split())) for text in texts])
        / np.where(words_N, words_N, np.nan),
        "share of digits": share(str.isdigit),
        "share of capitals": share(str.isupper),
        "share of signs": share(lambda sign: not sign.isalnum() and not sign.isspace()),
    }
    letters_NS = np.stack([count_scripts([text]) for text in texts])
    whole_N = letters_NS.sum(axis=1)
    shares_NS = letters_NS / np.where(whole_N, whole_N, np.nan)[:, None]
    for place in np.flatnonzero(letters_NS.sum(axis=0) > _SHARE_OF_A_SCRIPT * max(whole_N.sum(), 1)):
        numbers[f"share of {SCRIPTS[place]} letters"] = shares_NS[:, place]
    if known is not None:
        unseen = [sum(term not in known for term in row) / len(row) if row else np.nan for row in terms]
        numbers["share of words not in train"] = np.array(unseen)
    return numbers


def _pictures(name: str, reference: Dataset, new: Dataset, learned: Dataset | None) -> PlainLook:
    cells = [cell for rows in (reference, new) for cell in rows.with_format("arrow")[:][name].to_pylist()]
    numbers = _by_name([_picture_measures(cell) for cell in cells])
    return PlainLook("pixels and colours", numbers, _features([picture_numbers(cell) for cell in cells], numbers))


def _picture_measures(cell: Mapping[str, Any]) -> dict[str, float]:
    picture = decode_image(cell)
    width, height = picture.size
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    pixels_HW3 = np.asarray(picture, dtype=np.float32) / 255
    light_HW = pixels_HW3 @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    most_HW, least_HW = pixels_HW3.max(axis=2), pixels_HW3.min(axis=2)
    edges_HW = (
        4 * light_HW[1:-1, 1:-1] - light_HW[:-2, 1:-1] - light_HW[2:, 1:-1] - light_HW[1:-1, :-2] - light_HW[1:-1, 2:]
    )
    red, green, blue = pixels_HW3.mean(axis=(0, 1)).tolist()
    return {
        "brightness": float(light_HW.mean()),
        "contrast": float(light_HW.std()),
        "saturation": float(((most_HW - least_HW) / np.maximum(most_HW, 1e-3)).mean()),
        "red over blue": red - blue,
        "green over red and blue": green - (red + blue) / 2,
        "sharpness and noise (log)": float(np.log(edges_HW.std() + 1e-4)) if edges_HW.size else np.nan,
        "width in pixels": float(width),
        "height in pixels": float(height),
        "width over height": width / height,
    }


def _clips(name: str, reference: Dataset, new: Dataset, learned: Dataset | None) -> PlainLook:
    rows = [(cell, rate) for side in (reference, new) for cell, rate in _cells_and_rates(side, name)]
    samples = [decode_audio(cell, _RATE) for cell, _ in rows]
    decibels = [log_mel(clip, _RATE) for clip in samples]
    numbers = _by_name(
        [
            {**_clip_measures(clip, bands_MF), "sampling rate of the file (Hz)": float(rate)}
            for clip, bands_MF, (_, rate) in zip(samples, decibels, rows, strict=True)
        ]
    )
    means = [np.concatenate([bands_MF.mean(axis=1), bands_MF.std(axis=1)]) for bands_MF in decibels]
    return PlainLook("mel bands", numbers, _features(means, numbers))


def _cells_and_rates(rows: Dataset, name: str) -> Iterable[tuple[Any, Any]]:
    table: Any = rows.with_format("arrow")[:]
    rates = table["rate"].to_pylist() if "rate" in table.column_names else [np.nan] * len(rows)
    return zip(table[name].to_pylist(), rates, strict=True)


def _clip_measures(samples_T: np.ndarray, decibels_MF: np.ndarray) -> dict[str, float]:
    power_M = (10 ** (decibels_MF / 10)).mean(axis=1)
    loud_F = decibels_MF.mean(axis=0)
    return {
        "seconds": len(samples_T) / _RATE,
        "loudness (dB)": float(10 * np.log10(np.mean(samples_T.astype(np.float64) ** 2) + _SILENCE)),
        "quietest tenth (dB)": float(np.percentile(loud_F, 10)),
        "share at full scale": float((np.abs(samples_T) > _FULL).mean()),
        "middle mel band": float((power_M @ np.arange(len(power_M))) / power_M.sum()),
        "highest tenth of the bands (dB)": float(decibels_MF[-len(decibels_MF) // 10 :].mean()),
    }


def _by_name(measures: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([one[name] for one in measures], dtype=np.float64) for name in measures[0]}


def _features(rows: Sequence[np.ndarray], numbers: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the rows look like, and their single numbers, (N, F) float32."""
    columns = np.stack([np.nan_to_num(values) for values in numbers.values()], axis=1)
    return np.concatenate([np.stack(rows), columns], axis=1).astype(np.float32)


PLAIN: Mapping[str, Callable[..., PlainLook]] = {
    "text": _texts,
    "text_pair": partial(_texts, title="words of the second text", before="second text: "),
    "image": _pictures,
    "audio": _clips,
}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a page can show it: its id, its texts, a small picture, a spectrum with its sound."""
    found: dict[str, Any] = {name: row[name] for name in ("id", "text", "text_pair") if row.get(name) is not None}
    if row.get("image") is not None:
        found["image"] = thumbnail(row["image"])
    return {**found, **shown_clip(row["audio"], _RATE)} if row.get("audio") is not None else found
