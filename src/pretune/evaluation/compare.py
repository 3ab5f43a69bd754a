"""Which of two models is better, on the same rows: exact McNemar test and paired bootstrap.

Shapes: N rows, K statistics of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from pretune.errors import DataError
from pretune.evaluation.intervals import ScoresFunction, bootstrap, groups_of, paired_bootstrap

__all__ = ["as_sentence", "compare", "mcnemar_p", "rows_needed"]

SIGNIFICANCE = 0.05
_Z_SIGNIFICANCE, _Z_POWER = 1.959963984540054, 0.8416212335729143  # two-sided 5 %, 80 % power
_READ_AT_ONCE = 1024
_ANSWERS = ("label", "labels", "text")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Side:
    """The predictions of one model: id to place, and arrays in the order read."""

    place: dict[str, int]
    truth: list[Any]
    label: list[Any]
    stats: np.ndarray | None
    group: list[str | None]
    unlabelled: int


def compare(
    records_a: Iterable[Record],
    records_b: Iterable[Record],
    *,
    names: tuple[str, str] = ("A", "B"),
    statistics: Callable[[list[Record]], np.ndarray] | None = None,
    scores: ScoresFunction | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    intersect: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two predictions files, line by line read as ``{"id", "label", "labels" or "text", "truth", "group", ...}``.

    Decides by the exact McNemar test on right and wrong rows at 5 % (McNemar 1947; exact: binomial of the rows on which
    one alone is right), which takes rows for independent. Where all rows name their ``group`` (of one patient, one file),
    intervals come from drawing groups, and that of the difference in accuracy must exclude zero too. ``statistics`` (records to ``(n, K)``) and ``scores`` add further paired differences, B - A.
    Rows must be the same; with ``intersect`` those in common are compared and the others counted. Rows without a truth
    are left out and counted.

    Returns a JSON-able mapping with ``verdict`` (a sentence) and ``better`` ("a", "b" or None). Raises
    :class:`DataError` when rows or truths differ, an id comes twice, or nothing is left.
    """
    a, b = (_read(records, name, statistics) for records, name in zip((records_a, records_b), names, strict=True))
    common = _common_rows(a, b, names, intersect)
    places_a, places_b = ([side.place[row] for row in common] for side in (a, b))
    _same_truths(a, b, common, names)
    right_a, right_b = (
        np.array([side.truth[i] == side.label[i] for i in places], dtype=np.float64)
        for side, places in ((a, places_a), (b, places_b))
    )
    table = _discordance(right_a, right_b)
    groups_N = groups_of({"group": a.group[i]} for i in places_a)
    accuracy = _accuracies(right_a, right_b, groups_N, resamples, seed)
    needed = None if groups_N is not None else rows_needed(*(table[k] / len(common) for k in ("only_a", "only_b")))
    better = _better(table, accuracy if groups_N is not None else None)
    num_groups = None if groups_N is None else len(np.unique(groups_N))
    further = {}
    if a.stats is not None and b.stats is not None and scores is not None:
        further = paired_bootstrap(
            a.stats[places_a],
            b.stats[places_b],
            scores,
            higher_is_better=higher_is_better,
            resamples=resamples,
            seed=seed,
            groups_N=groups_N,
        )
    return {
        "names": list(names),
        "n": len(common),
        "num_groups": num_groups,
        "left_out": _left_out(a, b, len(common)),
        "same_answers": sum(a.label[i] == b.label[j] for i, j in zip(places_a, places_b, strict=True)),
        "accuracy": accuracy,
        "mcnemar": table,
        "scores": further,
        "n_needed": None if better else needed,
        "better": better,
        "verdict": _verdict(names, len(common), num_groups, accuracy, table, better, needed),
    }


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided exact p of the rows on which one model alone is right; 1 when there is none."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def rows_needed(share_only_a: float, share_only_b: float) -> int | None:
    """Rows to show a difference like this one with 80 % power at 5 % (Connor 1987, Biometrics 43, the formula for n).

    Takes the shares of rows on which one model alone is right. None when the two shares are equal.
    """
    discordant, difference = share_only_a + share_only_b, share_only_b - share_only_a
    if difference == 0:
        return None
    spread = max(discordant - difference**2, 0.0)
    root = _Z_SIGNIFICANCE * math.sqrt(discordant) + _Z_POWER * math.sqrt(spread)
    return math.ceil((root / difference) ** 2)


def _read(records: Iterable[Record], name: str, statistics: Callable[[list[Record]], np.ndarray] | None) -> _Side:
    place: dict[str, int] = {}
    truth, label, parts, group = [], [], [], []
    unlabelled = 0
    waiting = iter(records)
    while chunk := list(islice(waiting, _READ_AT_ONCE)):
        labelled = [record for record in chunk if record.get("truth") is not None]
        unlabelled += len(chunk) - len(labelled)
        for record in labelled:
            if place.setdefault(record["id"], len(truth)) != len(truth):
                raise DataError(
                    f'the id "{record["id"]}" comes twice in the predictions of {name}',
                    "write them again with `pretune evaluate`",
                )
            truth.append(record["truth"])
            label.append(next(record[key] for key in _ANSWERS if key in record))
            group.append(record.get("group"))
        if statistics is not None and labelled:
            parts.append(statistics(labelled))
    return _Side(place, truth, label, np.concatenate(parts) if parts else None, group, unlabelled)


def _common_rows(a: _Side, b: _Side, names: tuple[str, str], intersect: bool) -> list[str]:
    for side, name in ((a, names[0]), (b, names[1])):
        if not side.truth:
            raise DataError(
                f"the predictions of {name} have no row with a known label",
                "evaluate it on labelled rows: pretune evaluate RUN",
            )
    common = [row for row in a.place if row in b.place]
    same = len(common) == len(a.place) == len(b.place)
    if not common or not (same or intersect):
        raise DataError(
            f"the rows differ: {names[0]} has {len(a.place)}, {names[1]} has {len(b.place)}, {len(common)} are in both",
            "evaluate both on the same data" + (", or compare the rows in common with --intersect" if common else ""),
        )
    return common


def _same_truths(a: _Side, b: _Side, common: list[str], names: tuple[str, str]) -> None:
    differing = [row for row in common if a.truth[a.place[row]] != b.truth[b.place[row]]]
    if differing:
        first = differing[0]
        raise DataError(
            f'{len(differing)} of {len(common)} rows have another true label in {names[0]} than in {names[1]}, the first is "{first}" '
            f'("{a.truth[a.place[first]]}" and "{b.truth[b.place[first]]}")',
            "evaluate both on the same data, with the same label column",
        )


def _left_out(a: _Side, b: _Side, common: int) -> dict[str, int]:
    return {
        "only_in_a": len(a.place) - common,
        "only_in_b": len(b.place) - common,
        "unlabelled_in_a": a.unlabelled,
        "unlabelled_in_b": b.unlabelled,
    }


def _discordance(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, Any]:
    only_a, only_b = int((right_a > right_b).sum()), int((right_b > right_a).sum())
    both = int((right_a * right_b).sum())
    counts = {
        "both_right": both,
        "only_a": only_a,
        "only_b": only_b,
        "both_wrong": len(right_a) - both - only_a - only_b,
    }
    return {**counts, "p": mcnemar_p(only_a, only_b)}


def _accuracies(
    right_a: np.ndarray, right_b: np.ndarray, groups_N: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:
    def accuracy(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"accuracy": sums[..., 1] / sums[..., 0]}

    stats_a, stats_b = (np.stack([np.ones_like(right), right], axis=1) for right in (right_a, right_b))
    limits = {"accuracy": (0.0, 1.0)}
    one_a, one_b = (
        bootstrap(stats, accuracy, limits=limits, resamples=resamples, seed=seed, groups_N=groups_N)["accuracy"]
        for stats in (stats_a, stats_b)
    )
    drawn = paired_bootstrap(stats_a, stats_b, accuracy, resamples=resamples, seed=seed, groups_N=groups_N)
    pair = drawn["accuracy"]
    return {**pair, "a": one_a.to_dict(), "b": one_b.to_dict()}


def _better(table: Mapping[str, Any], grouped: Mapping[str, Any] | None) -> str | None:
    """``grouped`` is the difference in accuracy with its interval over groups, where rows have groups."""
    if table["p"] >= SIGNIFICANCE or (grouped is not None and grouped["low"] <= 0 <= grouped["high"]):
        return None
    return "a" if table["only_a"] > table["only_b"] else "b"


def _verdict(
    names: tuple[str, str],
    n: int,
    num_groups: int | None,
    accuracy: Mapping[str, Any],
    table: Mapping[str, Any],
    better: str | None,
    needed: int | None,
) -> str:
    sign = -1 if better == "a" else 1
    low, high = sorted((sign * accuracy["low"], sign * accuracy["high"]))
    evidence = (
        f"{sign * accuracy['difference'] * 100:+.1f} points of accuracy [{low * 100:.1f}, {high * 100:.1f}], "
        f"exact McNemar p {_p_text(table['p'])}, n = {n}"
    )
    if num_groups is not None:
        evidence += (
            f" in {num_groups} groups, which the interval is drawn by"
            if num_groups > 1
            else ", all of one group: it says nothing of others"
        )
    if better:
        return f"{names[0] if better == 'a' else names[1]} is better: {evidence}"
    if not table["only_a"] + table["only_b"]:
        return f"no difference was shown: both are right on the same {table['both_right']} of {n} rows"
    text = f"no difference was shown: {names[1]} against {names[0]} {evidence}"
    if num_groups is not None:
        return text
    if needed is None:
        return f"{text}; as many rows speak for one as for the other"
    return f"{text}; about {needed} rows would be needed to show a difference of this size with 80 % power"


def as_sentence(verdict: str) -> str:
    """A verdict with a full stop, and a capital where it does not begin with the name of a run."""
    return f"{'N' + verdict[1:] if verdict.startswith('no difference') else verdict}."


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}" if p < 0.01 else f"= {p:.2f}"
