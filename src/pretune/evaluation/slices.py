"""Scores by slice: parts of the rows that have something in common, each held against all the other rows
(docs/decisions.md, D212).

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.evaluation.drift.two_sample import adjusted_by_holm
from pretune.evaluation.intervals import bootstrap, drawn_alike
from pretune.evaluation.weak_words import WeakWord
from pretune.metrics.base import Measured, Metric
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SliceScore", "scores_by_slice", "slice_blocks", "slice_notes", "slices_of"]

LEAST_ROWS = 20
"""Fewer rows, in a slice or beside it, say too little to be shown."""
_MOST = 30
"""Slices of one column at most, the largest."""
_COLUMN, _WORD = "column", "word"
_LEVEL = 0.05


@dataclass(frozen=True)
class SliceScore:
    """The primary score of a slice of ``n`` rows, with its interval, and how far it is from that of the other rows.

    ``p`` is of that difference, after Holm's correction for all slices looked at; ``worse``: is it under 5 %, and the slice
    the worse side?
    """

    by: str
    name: str
    n: int
    value: float
    low: float
    high: float
    difference: float
    p: float
    worse: bool

    def to_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return asdict(self)


def slices_of(rows: Dataset, *, found: bool) -> dict[str, list[str | None]]:
    """What tells rows apart, and the slice of each row (None: of none): the column ``slice`` where there is one; with ``found`` the
    quarters of their length (seconds, pixels, else characters) and the script of their texts too.
    """
    told: dict[str, list[str | None]] = {}
    if "slice" in rows.column_names:
        told[_COLUMN] = list(rows["slice"])
    for column, look in _LOOKS.items() if found else ():
        for by, names in look(rows).items() if column in rows.column_names else ():
            if by not in told and len({*names} - {None}) > 1:
                told[by] = names
    return told


def _by_seconds(rows: Dataset) -> dict[str, list[str | None]]:
    return {"length": _quarters(np.array(rows["seconds"], dtype=float), "s", digits=1)}


def _by_pixels(rows: Dataset) -> dict[str, list[str | None]]:
    area_N = np.array(rows["width"], dtype=float) * np.array(rows["height"], dtype=float) / 1e6
    return {"size": _quarters(area_N, "megapixels", digits=2)}


def _by_letters(rows: Dataset) -> dict[str, list[str | None]]:
    """The length of each text and the script of most of its letters."""
    from pretune.data.text.scripts import count_scripts, shares

    texts = rows["text"]
    return {
        "length": _quarters(np.array([len(text) for text in texts], dtype=float), "characters", digits=0),
        "script": [next(iter(shares(count_scripts([text]))), None) for text in texts],
    }


_LOOKS: Mapping[str, Callable[[Any], dict[str, list[str | None]]]] = {
    "seconds": _by_seconds, "width": _by_pixels, "text": _by_letters,
}  # fmt: skip
"""By a column that rows of the kind have; a name that an earlier one gave stays its."""


def _quarters(values_N: np.ndarray, unit: str, *, digits: int) -> list[str | None]:
    """The quarter of each value, by its ends; rows of equal value are of one quarter."""
    if not len(values_N):
        return []
    ends = np.unique(np.quantile(values_N, (0.25, 0.5, 0.75)))
    quarter_N = np.searchsorted(ends, values_N)
    names = {}
    for quarter in np.unique(quarter_N):
        own = values_N[quarter_N == quarter]
        names[int(quarter)] = f"{own.min():.{digits}f} to {own.max():.{digits}f} {unit}"
    return [names[int(quarter)] for quarter in quarter_N]


def scores_by_slice(
    measured: Measured, metric: Metric, slices: Mapping[str, Sequence[str | None]], *, words: Sequence[WeakWord] = (),
    groups_N: np.ndarray | None = None, resamples: int = 2000, seed: int = 0,
) -> list[SliceScore]:  # fmt: skip
    """The primary score of every slice of at least 20 rows that leaves as many beside it, the largest 30 of a column; then of the rows of
    each of ``words``, among those that had no part in finding it.

    A difference is tested by the spread of both sides' resampled scores, which are drawn apart, against a normal law.
    """
    found: list[tuple[str, str, np.ndarray]] = []
    for by, names in slices.items():
        names_N = np.array([name if name is not None else "" for name in names], dtype=object)
        counts = Counter(name for name in names if name is not None)
        for name, count in counts.most_common(_MOST):
            if LEAST_ROWS <= count <= measured.num_rows - LEAST_ROWS:
                found.append((by, name, names_N == name))
    options: dict[str, Any] = {"resamples": resamples, "groups_N": groups_N}
    every_N = np.ones(measured.num_rows, dtype=bool)
    among = [every_N] * len(found) + [one.among_N for one in words]
    found += [(_WORD, one.word, one.rows_N) for one in words]
    sides = [
        _against_others(measured, metric, mask_N, among_N, seed=seed, **options)
        for (_, _, mask_N), among_N in zip(found, among, strict=True)
    ]
    p_by_place = adjusted_by_holm({str(place): side[-1] for place, side in enumerate(sides)})
    rising = metric.specs[metric.primary].rising
    return [
        SliceScore(
            by, name, int(mask_N.sum()), *side[:4], p_by_place[str(place)],
            worse=p_by_place[str(place)] < _LEVEL and (side[3] < 0) == rising,
        )
        for place, ((by, name, mask_N), side) in enumerate(zip(found, sides, strict=True))
    ]  # fmt: skip


def _against_others(
    measured: Measured,
    metric: Metric,
    mask_N: np.ndarray,
    among_N: np.ndarray,
    *,
    resamples: int,
    groups_N: np.ndarray | None,
    seed: int,
) -> tuple[float, float, float, float, float]:
    """Value, low and high of the slice; its difference from the other rows of ``among_N``, and the p of that."""
    name, others_N = metric.primary, among_N & ~mask_N
    own, others = measured.take(np.flatnonzero(mask_N)), measured.take(np.flatnonzero(others_N))
    own_groups, other_groups = (None, None) if groups_N is None else (groups_N[mask_N], groups_N[others_N])
    score = bootstrap(own, metric.specs, resamples=resamples, seed=seed, groups_N=own_groups)[name]
    drawn = drawn_alike([own], resamples=resamples, seed=seed, groups_N=own_groups)[0][name]
    drawn_others = drawn_alike([others], resamples=resamples, seed=seed + 1, groups_N=other_groups)[0][name]
    difference = score.value - float(others.scores()[name])
    spread = float(np.nanstd(drawn - drawn_others))
    p = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread > 0 else float(difference == 0)
    return score.value, score.interval.low, score.interval.high, difference, p


def slice_notes(found: Sequence[SliceScore]) -> list[str]:
    """What is to be said of them, in a sentence that says how many were looked at."""
    if not found:
        return [f"No slice has {LEAST_ROWS} rows and leaves {LEAST_ROWS} beside it: none is shown."]
    worse = [one for one in found if one.worse]
    tested = f"{counted(len(found), 'slice')} {agree(len(found), 'were', 'was')} held against the other rows (Holm's correction)"
    if any(one.by == _WORD for one in found):
        tested += ", words that were looked for in one half of the rows on the other half"
    if not worse:
        return [f"{tested}: none was shown to be worse."]
    named = ", ".join(f"{one.name} ({one.by})" for one in worse[:5])
    more = f" and {len(worse) - 5} more" if len(worse) > 5 else ""
    return [f"{tested}: worse {agree(len(worse), 'are', 'is')} {named}{more}."]


def slice_blocks(found: Sequence[SliceScore], metric: Metric) -> list[dict[str, Any]]:
    """A table of them, the worst first."""
    if not found:
        return []
    name = metric.primary
    rising, unit = metric.specs[name].rising, metric.specs[name].unit

    def shown(difference: float) -> str:
        return f"{100 * difference:+.1f} points" if unit in ("share", "rate") else f"{difference:+.3g}"

    ordered = sorted(found, key=lambda one: one.value if rising else -one.value)
    return [
        {
            "type": "table",
            "title": "Scores by slice",
            "columns": [
                {"name": "by", "kind": "text"}, {"name": "slice", "kind": "text"}, {"name": "n", "kind": "number"},
                {"name": name, "kind": "score"}, {"name": "against the others", "kind": "text"},
                {"name": "p (Holm)", "kind": "number"}, {"name": "", "kind": "text"},
            ],
            "rows": [
                [
                    one.by, one.name, one.n, {"value": one.value, "low": one.low, "high": one.high}, shown(one.difference),
                    round(one.p, 4), "worse" if one.worse else "",
                ]
                for one in ordered
            ],
            "note": "Each slice against all rows that are not in it. One false alarm among all slices is as rare as 5 in 100.",
        }
    ]  # fmt: skip
