"""The evaluation of one split, as metrics.json holds it. Knows no task: only what its metric measured.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pretune.evaluation.compare import compare
from pretune.evaluation.intervals import bootstrap
from pretune.evaluation.slices import LEAST_ROWS, scores_by_slice, slice_blocks, slice_notes
from pretune.evaluation.weak_words import weak_words
from pretune.files import jsonable
from pretune.metrics.base import Measured, Metric, ScoreSpec, values_of
from pretune.wording import agree, counted

__all__ = ["ScoredBy", "chosen_by", "evaluate_rows"]

FEW_ROWS = 50


def chosen_by(split: str) -> list[str]:
    """What a score on this split has to say for itself: a sentence for the rows by which models are chosen, else nothing."""
    if split != "validation":
        return []
    return ["Validation rows chose which state of the model was kept: scores on them are too good for new rows."]


class ScoredBy(Protocol):
    """What evaluation has to know of an objective of pre-training: its scores, and which one matters."""

    specs: Mapping[str, ScoreSpec]
    primary: str


def evaluate_rows(
    measured: Measured | Sequence[Measured], metric: Metric | ScoredBy, *, task: str, split: str, seeds: Sequence[int] = (0,),
    looks: int = 1, blocks: Sequence[Mapping[str, Any]] = (), baselines: Mapping[str, Measured] | None = None,
    leaked_N: np.ndarray | None = None, groups_N: np.ndarray | None = None, notes: Sequence[str] = (),
    slices: Mapping[str, Sequence[str | None]] | None = None, texts: Sequence[str] | None = None,
    resamples: int = 2000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The evaluation mapping (JSON-able: a number that is not finite becomes None).

    ``measured`` are the measured rows, or one such thing for each of ``seeds``, the kept model's first: ``scores``
    and all else are of the first, ``seed_scores`` of all. ``baselines`` maps a name to the same rows answered by a simple
    method; each is compared with the model, pair by pair (``against``: verdicts on the rows that were not trained on).
    ``leaked_N`` marks rows that are in the training split too: scores are repeated without them. ``groups_N`` makes
    intervals draw groups. ``slices`` maps what rows are told apart by to the slice of each row
    (:mod:`pretune.evaluation.slices`), and words by which the model is weak are looked for in ``texts``. ``seed`` is the bootstrap's. Raises :class:`pretune.errors.DataError` when there is no row.
    """
    every_seed = [measured] if isinstance(measured, Measured) else list(measured)
    assert len(every_seed) == len(seeds), f"{len(every_seed)} sets of answers for {len(seeds)} seeds"
    kept = every_seed[0]

    def scored(rows: Measured, groups: np.ndarray | None = groups_N) -> dict[str, Any]:
        found = bootstrap(rows, metric.specs, resamples=resamples, seed=seed, groups_N=groups)
        return {name: score.to_dict() for name, score in found.items()}

    clean_N = np.ones(kept.num_rows, dtype=bool) if leaked_N is None else ~leaked_N
    leaks, leak_notes = None, []
    if leaked_N is not None:
        without = scored(kept.take(clean_N), None if groups_N is None else groups_N[clean_N]) if clean_N.any() else {}
        leaks, leak_notes = _leaks(leaked_N, without, split)
    evaluation: dict[str, Any] = {
        "split": split,
        "task": task,
        "n": kept.num_rows,
        "seeds": list(seeds),
        "primary": metric.primary,
        "higher_is_better": metric.specs[metric.primary].rising,
        "specs": {name: {"rising": spec.rising, "unit": spec.unit, "title": spec.title} for name, spec in metric.specs.items()},
        "looks": looks,
        "scores": scored(kept),
        "baselines": {name: scored(rows) for name, rows in (baselines or {}).items()},
        "leaks": leaks,
        "blocks": list(blocks),
        "notes": [*notes, *leak_notes, *_size_notes(kept.num_rows, groups_N)],
    }  # fmt: skip
    if baselines and isinstance(metric, Metric):
        rows = clean_N if clean_N.any() else ~clean_N
        evaluation["against"] = _against_each(kept, baselines, metric, rows, groups_N, resamples, seed)
    if isinstance(metric, Metric):
        _add_slices(evaluation, kept, metric, slices or {}, texts, groups_N, resamples, seed)
    if len(every_seed) > 1:
        evaluation["seed_scores"] = _seed_scores(every_seed)
    return jsonable(evaluation)


def _add_slices(
    evaluation: dict[str, Any], rows: Measured, metric: Metric, slices: Mapping[str, Sequence[str | None]],
    texts: Sequence[str] | None, groups_N: np.ndarray | None, resamples: int, seed: int,
) -> None:  # fmt: skip
    """Slices, and words that the model is weak at, as facts, as a sentence and as a table; nothing where none are asked for."""
    words = []
    if texts is not None and rows.right_N is not None:
        words = weak_words(rows.right_N, texts, least=LEAST_ROWS, groups_N=groups_N)
    if not slices and not words:
        return
    found = scores_by_slice(rows, metric, slices, words=words, groups_N=groups_N, resamples=resamples, seed=seed)
    evaluation["slices"] = [one.to_dict() for one in found]
    evaluation["notes"] += slice_notes(found)
    evaluation["blocks"] += slice_blocks(found, metric)


def _against_each(
    model: Measured, baselines: Mapping[str, Measured], metric: Metric, rows_N: np.ndarray, groups_N: np.ndarray | None,
    resamples: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The model against each simple method on the rows ``rows_N``."""
    groups = None if groups_N is None else groups_N[rows_N]
    return {
        name: _against(model.take(rows_N), one.take(rows_N), metric, name, groups, resamples, seed)
        for name, one in baselines.items()
    }


def _against(
    model: Measured, simple: Measured, metric: Metric, name: str, groups_N: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:
    """The model against a simple method on the same rows: ``better`` is "model", "baseline" or None; differences are model's
    minus baseline's."""
    found = compare(
        simple, model, metric, names=(name, "this model"), groups_N=groups_N, resamples=resamples, seed=seed
    )
    keys = ("difference", "low", "high")
    better = {"a": "baseline", "b": "model", None: None}[found["better"]]
    return {
        "better": better, "n": found["n"], **{key: found["primary"][key] for key in keys}, "verdict": found["verdict"],
    }  # fmt: skip


def _leaks(leaked_N: np.ndarray, without: Mapping[str, Any], split: str) -> tuple[dict[str, Any] | None, list[str]]:
    count = int(np.count_nonzero(leaked_N))
    if count == 0:
        return None, [f"No row of {split} is also a training row."]
    note = f"{count} of {counted(len(leaked_N))} of {split} {agree(count, 'are also training rows; the scores without them stand', 'is also a training row; the scores without it stand')} beside."
    return {"n": count, "without": without}, [note]


def _size_notes(num_rows: int, groups_N: np.ndarray | None) -> list[str]:
    units, word, notes = num_rows, "rows", []
    if groups_N is not None and (groups := len(np.unique(groups_N))) > 1:
        units, word = groups, "groups"
        notes.append(f"Intervals come from drawing {counted(units, 'group')}, as rows of one group are alike.")
    elif groups_N is not None:
        notes.append("All rows are of one group: intervals come from drawing rows, and say nothing of other groups.")
    if units < FEW_ROWS:
        notes.append(f"With {units} {word} the intervals are rough, and rather too narrow than too wide.")
    return notes


def _seed_scores(every_seed: Sequence[Measured]) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and values over seeds."""
    each = [values_of(one) for one in every_seed]
    by_name = {name: [one[name] for one in each] for name in each[0]}
    return {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
        for name, values in by_name.items()
    }
