"""Do the splits look alike, and does the corpus of pre-training? What ``pretune inspect --drift`` adds to a passport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.data.checks.finding import finding
from pretune.evaluation.drift.find import LEAST_ROWS, find_drift
from pretune.evaluation.drift.plain import PLAIN, look_at
from pretune.report.pages.drift_words import auc_text
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["drift_findings", "drift_lines", "splits_apart"]

MAX_ROWS = 2000
"""Rows of either side that are looked at, drawn at random, one of each group."""
_ALPHA = 0.05
_PAIRS = (("train", "validation"), ("train", "test"), ("corpus", "train"))
_SHOWN_NUMBERS, _SHOWN_WORDS = 4, 6


def splits_apart(parts: Mapping[str, Dataset], *, seed: int = 0) -> list[dict[str, Any]]:
    """Each of validation and test against train, and train against ``corpus``, by words, pixels or mel bands and single numbers.

    One false alarm among all pairs is as rare as 5 in 100. A side of fewer than ten rows is passed over.
    """
    drawn = {name: _drawn(rows, seed) for name, rows in parts.items()}
    pairs = [pair for pair in _PAIRS if all(len(drawn.get(name, ())) >= LEAST_ROWS for name in pair)]
    return [_apart(reference, new, drawn, alpha=_ALPHA / len(pairs), seed=seed) for reference, new in pairs]


def _drawn(rows: Dataset, seed: int) -> Dataset:
    import numpy as np

    from pretune.runs.rows import row_groups

    order = np.random.default_rng(seed).permutation(len(rows))
    if (groups_N := row_groups(rows)) is not None:
        order = order[np.sort(np.unique(groups_N[order], return_index=True)[1])]
    return rows.select(np.sort(order[:MAX_ROWS]))


def _apart(reference: str, new: str, drawn: Mapping[str, Dataset], *, alpha: float, seed: int) -> dict[str, Any]:
    import numpy as np

    looks = look_at(drawn[reference], drawn[new], None, PLAIN)
    is_new_N = np.repeat([False, True], [len(drawn[reference]), len(drawn[new])])
    found = find_drift(
        {look.title: look.features for look in looks},
        {name: values for look in looks for name, values in look.numbers.items()},
        is_new_N, alpha=alpha, seed=seed,
    )  # fmt: skip
    words = {side: [word._asdict() for look in looks for word in look.typical[place]] for place, side in enumerate(("new", "reference"))}  # fmt: skip
    return {
        "of": reference, "new": new, "rows": {reference: len(drawn[reference]), new: len(drawn[new])}, **found.facts(),
        "typical_words": words,
    }  # fmt: skip


def drift_lines(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of each pair, in lines for the terminal."""
    return [line for pair in pairs for line in _lines(pair)] or [
        f"no two parts of {LEAST_ROWS} rows or more to hold against each other (--drift)"
    ]


def _lines(pair: Mapping[str, Any]) -> Iterator[str]:
    verdict = "looks different from" if pair["drift"] else "looks like"
    views = "; ".join(f"{name}, AUC {auc_text(view['auc'])}" for name, view in pair["features"].items())
    yield f"{pair['new']} {verdict} {pair['of']}: {views} (0.5: not told apart)"
    if not pair["drift"]:
        return
    for test in pair["numbers"][:_SHOWN_NUMBERS]:
        if test["adjusted_p"] <= pair["alpha"]:
            yield f"  {test['name']}: median {test['reference']:.4g} in {pair['of']}, {test['new']:.4g} in {pair['new']}"
    for side, name in (("new", pair["new"]), ("reference", pair["of"])):
        if words := pair["typical_words"][side][:_SHOWN_WORDS]:
            yield f"  words typical of {name}: {', '.join(word['word'] for word in words)}"


def drift_findings(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A warning of each pair that is not alike."""
    fixes = {
        "validation": "what is chosen on validation may not be best for such rows: see what differs, or split anew (--splits none)",
        "test": "scores on test tell of other rows than those learned from: say so with them, or split anew (--splits none)",
        "train": "pre-training on this corpus may help less than on texts like the rows: pretune study tells",
    }
    return [
        finding(
            "warning", "drift", f"{next(_lines(pair))}, n = {counted(pair['rows'][pair['new']])}", pair["rows"][pair["new"]], [],
            fixes[pair["new"]],
        )
        for pair in pairs if pair["drift"]
    ]  # fmt: skip
