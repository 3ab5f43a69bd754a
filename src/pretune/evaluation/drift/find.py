"""Is there drift: every test of two sets of rows, taken together so that a false alarm of any is as rare as is said.

Shapes: N rows, the reference rows first; M of them are new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pretune.evaluation.drift.answers import share_test
from pretune.evaluation.drift.two_sample import (
    Domain,
    NumberTest,
    adjusted_by_holm,
    domain_classifier,
    mmd_test,
    number_tests,
)

__all__ = ["LEAST_ROWS", "Drift", "Tested", "find_drift"]

LEAST_ROWS = 10
"""Rows that either set needs: with fewer no test says anything."""


class Tested(NamedTuple):
    """One test: its p, and the p that holds for all tests together."""

    name: str
    p: float
    adjusted_p: float


@dataclass(frozen=True)
class Drift:
    """``domains`` and ``mmd`` by the name of the features, ``numbers`` with the smallest p first; ``tests`` are those that decide."""

    is_found: bool
    alpha: float
    tests: tuple[Tested, ...]
    domains: Mapping[str, Domain]
    mmd: Mapping[str, float]
    numbers: tuple[NumberTest, ...]

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        p_by_name = {test.name: test for test in self.tests}
        views = {
            name: {
                "auc": domain.auc.to_dict(), "auc_p": domain.p, "auc_adjusted_p": p_by_name[_auc(name)].adjusted_p,
                "mmd": self.mmd[name], "mmd_p": p_by_name[_mmd(name)].p, "mmd_adjusted_p": p_by_name[_mmd(name)].adjusted_p,
            }
            for name, domain in self.domains.items()
        }  # fmt: skip
        return {
            "drift": self.is_found, "alpha": self.alpha, "tests": [test._asdict() for test in self.tests],
            "features": views, "numbers": [test._asdict() for test in self.numbers],
        }  # fmt: skip


def find_drift(
    features: Mapping[str, Any],
    numbers: Mapping[str, np.ndarray],
    is_new_N: np.ndarray,
    answers: Sequence[str] = (),
    *,
    alpha: float = 0.05,
    permutations: int = 499,
    resamples: int = 2000,
    seed: int = 0,
) -> Drift:
    """Test ``features`` by their name, single ``numbers`` and shares of ``answers`` (a word a row; none: not tested). There is drift where
    any test says so at ``alpha`` after Holm's adjustment over all; the numbers are one test, by the smallest p adjusted after
    Benjamini & Hochberg (which is Simes' test of there being no difference at all).
    """
    domains = {
        name: domain_classifier(values, is_new_N, permutations=permutations, resamples=resamples, seed=seed)
        for name, values in features.items()
    }
    mmd = {name: mmd_test(values, is_new_N, permutations=permutations, seed=seed) for name, values in features.items()}
    tests = number_tests(numbers, is_new_N)
    p_by_name = {
        **{_auc(name): domain.p for name, domain in domains.items()},
        **{_mmd(name): p for name, (_, p) in mmd.items()},
    }
    if tests:
        p_by_name["single numbers"] = tests[0].adjusted_p
    if answers:
        olds = [answer for answer, new in zip(answers, is_new_N.tolist(), strict=True) if not new]
        news = [answer for answer, new in zip(answers, is_new_N.tolist(), strict=True) if new]
        p_by_name["shares of the answers"] = share_test(olds, news, seed=seed)
    adjusted = adjusted_by_holm(p_by_name)
    return Drift(
        is_found=any(p <= alpha for p in adjusted.values()),
        alpha=alpha,
        tests=tuple(Tested(name, p, adjusted[name]) for name, p in p_by_name.items()),
        domains=domains,
        mmd={name: value for name, (value, _) in mmd.items()},
        numbers=tuple(tests),
    )


def _auc(name: str) -> str:
    return f"{name}: classifier"


def _mmd(name: str) -> str:
    return f"{name}: MMD"
