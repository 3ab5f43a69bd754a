"""The part of the passport that pictures and clips give: sizes, lengths, rates, and what was left out while reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.checks.finding import finding
from pretune.data.checks.rows import SHOWN_ROWS, histogram_of
from pretune.data.media.base import mend_of, reason_words
from pretune.data.split import whole_column
from pretune.modalities import Modality, modality_of_columns
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import datasets

__all__ = ["media_findings", "media_scan"]

_TINY_PX = 8
_LONG_SECONDS, _SHORT_SECONDS = 30.0, 0.1
_SIGNS = {
    "silent": (
        "silent (never over -60 dB of full scale)",
        "is something missing in these files? remove them, or give them a label",
    ),
    "clipped": (
        "clipped (peaks cut off at full scale, one sample in a thousand or more)",
        "they were recorded too loud; a model may learn the distortion where it goes with a label",
    ),
}


def media_scan(dataset: datasets.Dataset) -> dict[str, Any]:
    """What the files of one split measure; nothing for text.

    Pictures: ``width`` and ``height`` (min, median, max, px), ``length`` (of the shorter side, px) and the rows with a side
    under 8 px. Clips: ``hours``, ``rates`` (Hz to rows), ``length`` in seconds, and the rows over 30 s and under 0.1 s.
    """
    scans = {Modality.IMAGE: _pictures, Modality.AUDIO: _clips}
    scan = scans.get(modality_of_columns(dataset.column_names))
    return {} if scan is None else scan(dataset)


def _pictures(dataset: datasets.Dataset) -> dict[str, Any]:
    sides = {name: whole_column(dataset, name) for name in ("width", "height")}
    sizes = {name: _spread(values) for name, values in sides.items()}
    tiny = np.flatnonzero((sides["width"] < _TINY_PX) | (sides["height"] < _TINY_PX))
    middle = {f"median_{name}": round(spread["median"]) for name, spread in sizes.items() if spread}
    shorter = histogram_of(np.minimum(sides["width"], sides["height"])) or {}
    shorter.pop("total", None)  # pixels of sides add up to nothing
    return {**sizes, **middle, "length": _lengths("pixels", shorter or None), "tiny_pictures": _rows(dataset, tiny)}


def _clips(dataset: datasets.Dataset) -> dict[str, Any]:
    seconds, rates = whole_column(dataset, "seconds").astype(np.float64), whole_column(dataset, "rate")
    return {
        "hours": round(float(seconds.sum()) / 3600, 4),
        "rates": {str(rate): count for rate, count in Counter(rates.tolist()).most_common()},
        "length": _lengths("seconds", histogram_of(seconds)),
        "long_clips": _rows(dataset, np.flatnonzero(seconds > _LONG_SECONDS)),
        "short_clips": _rows(dataset, np.flatnonzero(seconds < _SHORT_SECONDS)),
    }


def _lengths(unit: str, found: dict[str, Any] | None) -> dict[str, Any]:
    return {"unit": unit, "characters": None, "words": None, unit: found}


def _spread(values: np.ndarray) -> dict[str, Any] | None:
    if not len(values):
        return None
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def _rows(dataset: datasets.Dataset, places: np.ndarray) -> dict[str, Any]:
    ids = list(dataset.select_columns(["id"]).select(places[:SHOWN_ROWS])["id"]) if len(places) else []
    return {"count": len(places), "rows": ids}


def media_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Files left out, pictures too small to see, clips much longer or shorter than usual, silent or clipped, several rates."""
    yield from _left_out(passport["facts"].get("read", {}).get("left_out", []))
    media = passport["facts"].get("read", {}).get("media")
    if media is None:
        return
    noun = Modality(media["kind"]).one
    for reason, found in media["left_out"].items():
        message = f"{counted(found['count'], noun)} {agree(found['count'], 'were', 'was')} left out: {agree(found['count'], 'they', 'it')} {reason_words(reason, found['count'])}."
        yield finding(
            "warning",
            f"left-out-{reason.replace('_', '-')}",
            message,
            found["count"],
            found["files"],
            mend_of(reason, found["count"]),
        )
    for sign, found in media.get("signs", {}).items():
        what, fix = _SIGNS[sign]
        message = f"{counted(found['count'], noun)} {agree(found['count'], 'are', 'is')} {what}."
        yield finding("warning", f"{sign}-{noun}s", message, found["count"], found["files"], fix)
    for name, split in passport["splits"].items():
        yield from _odd_sizes(name, split)
    rates = Counter[str]()
    for split in passport["splits"].values():
        rates.update(split.get("rates") or {})
    if len(rates) > 1:
        shown = ", ".join(f"{rate} Hz ({count:,})" for rate, count in rates.most_common(4))
        message = f"Clips have {len(rates)} sampling rates: {shown}."
        yield finding("note", "several-rates", message, len(rates), [], "all are resampled to the model's rate")


def _left_out(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Files of a place that gave no rows, where they look as if they should."""
    for one in found:
        if one["code"]:
            message = f"{counted(one['count'], 'file')} {agree(one['count'], 'were', 'was')} left out: {one['why']}."
            yield finding("warning", one["code"], message, one["count"], one["files"], one["fix"])


def _odd_sizes(name: str, split: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    says = {
        "tiny_pictures": (
            "warning",
            "tiny-pictures",
            f"a side under {_TINY_PX} px",
            "are these thumbnails or placeholders? remove them",
        ),
        "long_clips": (
            "note",
            "long-clips",
            f"more than {_LONG_SECONDS:g} seconds",
            "memory grows with the length: cut them, or use a smaller batch",
        ),
        "short_clips": (
            "note",
            "short-clips",
            f"less than {_SHORT_SECONDS:g} seconds",
            "too short for a word: are they cut off?",
        ),
    }
    for key, (severity, code, what, fix) in says.items():
        found: dict[str, Any] = split.get(key) or {"count": 0}
        if found["count"]:
            message = f"{counted(found['count'])} of {name} {agree(found['count'], 'have', 'has')} {what}."
            yield finding(severity, code, message, found["count"], found["rows"], fix)
