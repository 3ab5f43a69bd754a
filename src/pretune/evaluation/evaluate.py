"""The evaluation of one split, as metrics.json holds it. Knows no task: only sums over rows and functions of them.

Shapes: N rows, K statistics of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretune.evaluation.intervals import ScoresFunction, bootstrap

__all__ = ["Scoring", "evaluate_rows", "jsonable"]

FEW_ROWS = 50


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What evaluation has to know of a task. ``limits``: see :func:`pretune.evaluation.intervals.bootstrap`."""

    task: str
    scores: ScoresFunction
    higher_is_better: Mapping[str, bool]
    primary: str
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def evaluate_rows(
    stats_NK: np.ndarray | Sequence[np.ndarray],
    scoring: Scoring,
    *,
    split: str,
    seeds: Sequence[int] = (0,),
    looks: int = 1,
    blocks: Sequence[Mapping[str, Any]] = (),
    baselines: Mapping[str, np.ndarray] | None = None,
    leaked_N: np.ndarray | None = None,
    groups_N: np.ndarray | None = None,
    notes: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The evaluation mapping (JSON-able: a number that is not finite becomes None).

    ``stats_NK`` are the rows' statistics, or one such array for each of ``seeds``, the kept model's first: ``scores``
    and all else are of the first, ``seed_scores`` of all. ``baselines`` maps a name to statistics of the same rows.
    ``leaked_N`` marks rows that are in the training split too: scores are repeated without them. ``groups_N`` makes
    intervals draw groups. ``seed`` is the bootstrap's. Raises :class:`pretune.errors.DataError` when there is no row.
    """
    every_seed = [stats_NK] if isinstance(stats_NK, np.ndarray) else list(stats_NK)
    assert len(every_seed) == len(seeds), f"{len(every_seed)} sets of statistics for {len(seeds)} seeds"
    kept_NK = every_seed[0]

    def scored(rows_NK: np.ndarray, groups: np.ndarray | None = groups_N) -> dict[str, Any]:
        found = bootstrap(
            rows_NK, scoring.scores, resamples=resamples, seed=seed, limits=scoring.limits, groups_N=groups
        )
        return {name: score.to_dict() for name, score in found.items()}

    leaks, leak_notes = None, []
    if leaked_N is not None:
        clean = ~leaked_N
        without = scored(kept_NK[clean], None if groups_N is None else groups_N[clean]) if clean.any() else {}
        leaks, leak_notes = _leaks(leaked_N, without, split)
    evaluation: dict[str, Any] = {
        "split": split,
        "task": scoring.task,
        "n": len(kept_NK),
        "seeds": list(seeds),
        "primary": scoring.primary,
        "higher_is_better": scoring.higher_is_better[scoring.primary],
        "looks": looks,
        "scores": scored(kept_NK),
        "baselines": {name: scored(rows_NK) for name, rows_NK in (baselines or {}).items()},
        "leaks": leaks,
        "blocks": list(blocks),
        "notes": [*notes, *leak_notes, *_size_notes(len(kept_NK), groups_N)],
    }
    if len(every_seed) > 1:
        evaluation["seed_scores"] = _seed_scores(every_seed, scoring.scores)
    return jsonable(evaluation)


def jsonable(value: Any) -> Any:
    """The same value in plain JSON types: NumPy's become Python's, NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _leaks(leaked_N: np.ndarray, without: Mapping[str, Any], split: str) -> tuple[dict[str, Any] | None, list[str]]:
    count = int(np.count_nonzero(leaked_N))
    if count == 0:
        return None, [f"No row of {split} is also a training row."]
    note = f"{count} of {len(leaked_N)} rows of {split} are also training rows; the scores without them stand beside."
    return {"n": count, "without": without}, [note]


def _size_notes(num_rows: int, groups_N: np.ndarray | None) -> list[str]:
    units, word, notes = num_rows, "rows", []
    if groups_N is not None and (groups := len(np.unique(groups_N))) > 1:
        units, word = groups, "groups"
        notes.append(f"Intervals come from drawing {units} groups, as rows of one group are alike.")
    elif groups_N is not None:
        notes.append("All rows are of one group: intervals come from drawing rows, and say nothing of other groups.")
    if units < FEW_ROWS:
        notes.append(f"With {units} {word} the intervals are rough, and rather too narrow than too wide.")
    return notes


def _seed_scores(every_seed: Sequence[np.ndarray], scores: ScoresFunction) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and values over seeds."""
    sums_SK = np.stack([rows_NK.sum(axis=0, dtype=np.float64) for rows_NK in every_seed])
    by_name = scores(sums_SK)
    return {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values.tolist()}
        for name, values in by_name.items()
    }
