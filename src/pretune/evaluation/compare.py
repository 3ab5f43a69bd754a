"""Which of two models is better, on the same rows: the paired interval of the score that matters for their task.

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretune.errors import DataError
from pretune.evaluation.intervals import bootstrap, groups_of, paired_bootstrap
from pretune.files import jsonable
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec
from pretune.types import Interval

__all__ = ["as_sentence", "compare", "compare_records", "mcnemar_p", "rows_needed"]

_Z_SIGNIFICANCE, _Z_POWER = 1.959963984540054, 0.8416212335729143  # two-sided 5 %, 80 % power


def compare_records(
    records_a: Iterable[Record],
    records_b: Iterable[Record],
    metric: Metric,
    *,
    names: tuple[str, str] = ("A", "B"),
    intersect: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two predictions files, lines of ``{"id", <the answer>, "truth", "group", ...}``; see :func:`compare`.

    Rows must be the same; with ``intersect`` those in common are compared and the others counted (``left_out``). Rows without
    a truth are left out and counted. Where all rows name their ``group`` (of one patient, one file), groups are drawn.

    Raises :class:`DataError` when rows or truths differ, an id comes twice, or nothing is left.
    """
    a, b = (_read(records, name, metric) for records, name in zip((records_a, records_b), names, strict=True))
    common = _common_rows(a, b, names, intersect)
    rows_a, rows_b = ([side.by_id[row] for row in common] for side in (a, b))
    _same_truths(rows_a, rows_b, names)
    found = compare(
        metric.measure(rows_a), metric.measure(rows_b), metric,
        names=names, groups_N=groups_of(rows_a), resamples=resamples, seed=seed,
        same_answers=sum(one[metric.answer] == other[metric.answer] for one, other in zip(rows_a, rows_b, strict=True)),
    )  # fmt: skip
    return {**found, "left_out": _left_out(a, b, len(common))}


def compare(
    a: Measured,
    b: Measured,
    metric: Metric,
    *,
    names: tuple[str, str] = ("A", "B"),
    groups_N: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
    same_answers: int | None = None,
) -> dict[str, Any]:
    """Compare the answers of two models to the same rows.

    One rule decides: one is better where the paired 95 % interval of the metric's primary score leaves zero out. It comes
    from the paired bootstrap; where the score is the share of right rows and rows are independent it is made to agree with the exact
    McNemar test (:func:`_agreeing`). Where a row can be right or wrong, McNemar's table stands beside it.

    A score that is not defined (NaN) is None, and where it is the primary one no difference is shown.

    Returns a JSON-able mapping with ``verdict`` (a sentence), ``better`` ("a", "b" or None), ``primary`` (name, both values with
    intervals, the difference B - A), ``scores`` (all differences) and ``mcnemar`` (or None).
    """
    spec = metric.specs[metric.primary]
    scores = paired_bootstrap(a, b, metric.specs, resamples=resamples, seed=seed, groups_N=groups_N)
    pair = scores[metric.primary]
    table = None if a.right_N is None or b.right_N is None else _discordance(a.right_N, b.right_N)
    if table is not None and spec.of_right_rows and groups_N is None:
        low, high = _agreeing(Interval(pair["low"], pair["high"]), table, a.num_rows)
        scores[metric.primary] = pair = {**pair, "low": low, "high": high}
    better = _better(pair, spec)
    one_a, one_b = (
        bootstrap(one, {metric.primary: spec}, resamples=resamples, seed=seed, groups_N=groups_N)[metric.primary]
        for one in (a, b)
    )
    needed = None if better else _needed(pair, spec, table, a.num_rows, groups_N)
    facts = _Facts(
        names, a.num_rows, None if groups_N is None else len(np.unique(groups_N)), metric.primary, spec, pair, table,
        better, needed, same_answers,
    )  # fmt: skip
    return jsonable({
        "names": list(names),
        "n": a.num_rows,
        "num_groups": facts.num_groups,
        "same_answers": same_answers,
        "primary": {
            "name": metric.primary, "rising": spec.rising, "unit": spec.unit,
            **pair, "a": one_a.to_dict(), "b": one_b.to_dict(),
        },
        "mcnemar": table,
        "scores": scores,
        "n_needed": needed,
        "better": better,
        "verdict": _verdict(facts),
    })  # fmt: skip


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided exact p of the rows on which one model alone is right (McNemar 1947); 1 when there is none."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def rows_needed(share_only_a: float, share_only_b: float) -> int | None:
    """Rows to show a difference like this one with 80 % power at 5 % (Connor 1987, Biometrics 43, the formula for n).

    Of the shares of rows on which one model alone is right; None when they are equal.
    """
    discordant, difference = share_only_a + share_only_b, share_only_b - share_only_a
    if difference == 0:
        return None
    spread = max(discordant - difference**2, 0.0)
    root = _Z_SIGNIFICANCE * math.sqrt(discordant) + _Z_POWER * math.sqrt(spread)
    return math.ceil((root / difference) ** 2)


@dataclass(frozen=True, slots=True)
class _Side:
    """The labelled predictions of one model."""

    by_id: dict[str, Record]
    unlabelled: int


def _read(records: Iterable[Record], name: str, metric: Metric) -> _Side:
    by_id: dict[str, Record] = {}
    unlabelled = 0
    for record in records:
        if metric.needs_truth and record.get("truth") is None:
            unlabelled += 1
            continue
        if record["id"] in by_id:
            raise DataError(
                f'the id "{record["id"]}" comes twice in the predictions of {name}',
                "write them again with `pretune evaluate`",
            )
        by_id[record["id"]] = record
    return _Side(by_id, unlabelled)


def _common_rows(a: _Side, b: _Side, names: tuple[str, str], intersect: bool) -> list[str]:
    for side, name in ((a, names[0]), (b, names[1])):
        if not side.by_id:
            raise DataError(
                f"the predictions of {name} have no row with a known label",
                "evaluate it on labelled rows: pretune evaluate RUN",
            )
    common = [row for row in a.by_id if row in b.by_id]
    same = len(common) == len(a.by_id) == len(b.by_id)
    if not common or not (same or intersect):
        raise DataError(
            f"the rows differ: {names[0]} has {len(a.by_id)}, {names[1]} has {len(b.by_id)}, {len(common)} are in both",
            "evaluate both on the same data" + (", or compare the rows in common with --intersect" if common else ""),
        )
    return common


def _same_truths(rows_a: Sequence[Record], rows_b: Sequence[Record], names: tuple[str, str]) -> None:
    differing = [(a, b) for a, b in zip(rows_a, rows_b, strict=True) if a.get("truth") != b.get("truth")]
    if differing:
        a, b = differing[0]
        raise DataError(
            f'{len(differing)} of {len(rows_a)} rows have another true label in {names[0]} than in {names[1]}, the first is "{a["id"]}" '
            f'("{a["truth"]}" and "{b["truth"]}")',
            "evaluate both on the same data, with the same label column",
        )


def _left_out(a: _Side, b: _Side, common: int) -> dict[str, int]:
    return {
        "only_in_a": len(a.by_id) - common,
        "only_in_b": len(b.by_id) - common,
        "unlabelled_in_a": a.unlabelled,
        "unlabelled_in_b": b.unlabelled,
    }


def _discordance(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, Any]:
    right_a, right_b = right_a.astype(bool), right_b.astype(bool)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    both = int((right_a & right_b).sum())
    neither = len(right_a) - both - only_a - only_b
    return {
        "both_right": both, "only_a": only_a, "only_b": only_b, "both_wrong": neither, "p": mcnemar_p(only_a, only_b)
    }  # fmt: skip


def _agreeing(drawn: Interval, table: Mapping[str, Any], n: int) -> tuple[float, float]:
    """The interval of a difference in the share of right rows, zero inside exactly where McNemar's exact p is 5 % or more.

    The wider of two: the bootstrap's, and the exact one of the rows on which one model alone is right (Clopper & Pearson 1934
    for their share, given their number). Where the exact one leaves zero out and the bootstrap's does not, its end decides.
    """
    from scipy.stats import binomtest

    discordant = table["only_a"] + table["only_b"]
    if not discordant:
        return drawn.low, drawn.high
    share = binomtest(table["only_b"], discordant, 0.5).proportion_ci(0.95, method="exact")
    low, high = ((2 * end - 1) * discordant / n for end in (share.low, share.high))
    wide_low, wide_high = min(low, drawn.low), max(high, drawn.high)
    if low > 0 >= wide_low:
        wide_low = low
    if high < 0 <= wide_high:
        wide_high = high
    return wide_low, wide_high


def _better(pair: Mapping[str, float], spec: ScoreSpec) -> str | None:
    if pair["low"] <= 0 <= pair["high"] or not math.isfinite(pair["difference"]):
        return None
    return "b" if (pair["low"] > 0) == spec.rising else "a"


def _needed(
    pair: Mapping[str, float], spec: ScoreSpec, table: Mapping[str, Any] | None, n: int, groups_N: np.ndarray | None
) -> int | None:
    """Rows to show a difference of this size with 80 % power; None where there is none, or rows are not independent."""
    if groups_N is not None or not math.isfinite(pair["difference"]) or pair["difference"] == 0:
        return None
    if table is not None and spec.of_right_rows:
        return rows_needed(table["only_a"] / n, table["only_b"] / n)
    error = (pair["high"] - pair["low"]) / (2 * _Z_SIGNIFICANCE)
    return math.ceil(n * ((_Z_SIGNIFICANCE + _Z_POWER) * error / pair["difference"]) ** 2)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a verdict is formed from."""

    names: tuple[str, str]
    n: int
    num_groups: int | None
    score: str
    spec: ScoreSpec
    pair: Mapping[str, float]
    table: Mapping[str, Any] | None
    better: str | None
    needed: int | None
    same_answers: int | None


def _verdict(facts: _Facts) -> str:
    if facts.better:
        return f"{facts.names[0] if facts.better == 'a' else facts.names[1]} is better: {_evidence(facts)}"
    if facts.same_answers == facts.n:
        return f"no difference was shown: both give the same answer to each of {facts.n} rows"
    if not math.isfinite(facts.pair["difference"]):
        return f"no difference was shown: {_title(facts)} is not defined on these {facts.n} rows"
    if facts.spec.of_right_rows and facts.table and not facts.table["only_a"] + facts.table["only_b"]:
        return f"no difference was shown: both are right on the same {facts.table['both_right']} of {facts.n} rows"
    text = f"no difference was shown: {facts.names[1]} against {facts.names[0]} {_evidence(facts)}"
    if facts.num_groups is not None:
        return text
    if facts.needed is None:
        return f"{text}; as much speaks for one as for the other"
    return f"{text}; about {facts.needed:,} rows would be needed to show a difference of this size with 80 % power"


def _evidence(facts: _Facts) -> str:
    """The difference of the better one (or of B) to the other, with its interval and what it stands on."""
    sign = -1 if facts.better == "a" else 1
    low, high = sorted((sign * facts.pair["low"], sign * facts.pair["high"]))
    title = _title(facts)
    if facts.spec.unit in ("share", "rate"):
        size = f"{sign * facts.pair['difference'] * 100:+.1f} points of {title} [{low * 100:.1f}, {high * 100:.1f}]"
    else:
        size = f"{sign * facts.pair['difference']:+.3f} of {title} [{low:.3f}, {high:.3f}]"
    how = f"exact McNemar p {_p_text(facts.table['p'])}, " if facts.table and facts.spec.of_right_rows else ""
    if facts.num_groups is None:
        return f"{size}, {how}n = {facts.n}"
    if facts.num_groups > 1:
        return f"{size}, n = {facts.n} in {facts.num_groups} groups, which the interval is drawn by"
    return f"{size}, n = {facts.n}, all of one group: it says nothing of others"


def _title(facts: _Facts) -> str:
    return facts.spec.title or facts.score.replace("_", " ")


def as_sentence(verdict: str) -> str:
    """A verdict with a full stop, and a capital where it does not begin with the name of a run."""
    return f"{'N' + verdict[1:] if verdict.startswith('no difference') else verdict}."


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}" if p < 0.01 else f"= {p:.2f}"
