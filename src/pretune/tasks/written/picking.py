"""Is the right answer the one that is picked among those of other rows (hits@1 of 20: Zhang et al. 2018, arXiv 1801.07243, section 5.1)?

Whoever cannot write like the truth may still know it when it is seen. Shapes: N rows, J candidates of a row, the right one first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pretune.engine.randomness import seed_of

__all__ = ["CANDIDATES", "candidates_of", "is_picked", "picked_rows"]

CANDIDATES = 20
_MOST_ROWS = 500


def candidates_of(ids: Sequence[str], answers: Sequence[str]) -> dict[int, list[str]]:
    """For at most 500 rows (by number) the right answer and 19 other ones of the rows, which are a function of the row's id and of what
    answers there are. Nothing where there are fewer than 20 different ones.
    """
    different = sorted(set(answers))
    if len(different) < CANDIDATES:
        return {}
    draws = np.array([seed_of("picking", row) for row in ids], dtype=np.uint64)
    found = {}
    for row in np.sort(np.argsort(draws, kind="stable")[:_MOST_ROWS]).tolist():
        chosen = np.random.default_rng(int(draws[row])).choice(len(different), CANDIDATES, replace=False)
        others = [different[place] for place in chosen.tolist() if different[place] != answers[row]]
        found[row] = [answers[row], *others[: CANDIDATES - 1]]
    return found


def picked_rows(
    ids: Sequence[str], answers: Sequence[str], scores_of: Callable[[int, Sequence[str]], Sequence[float]]
) -> dict[int, bool]:
    """Of the rows of :func:`candidates_of` whether the right answer is picked. ``scores_of`` is given a row's number and J texts."""
    return {row: is_picked(scores_of(row, texts)) for row, texts in candidates_of(ids, answers).items()}


def is_picked(scores_J: Sequence[float]) -> bool:
    """Is the first score above all others? What scores alike is not told apart."""
    return scores_J[0] > max(scores_J[1:])
