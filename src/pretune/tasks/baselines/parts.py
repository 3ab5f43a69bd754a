"""What simple methods need of right answers: labels, one a row or several, and numbers.

Shapes: M training rows, N rows to score, C classes, F features of a row. Labels are class indices (M,), or 0 and 1
by class (M, C) where a row may have several.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from pretune.metrics.base import Measured

__all__ = ["KnownAnswers", "KnownLabels", "KnownNumbers", "fit_solver"]


class KnownAnswers(ABC):
    """The right answers of training rows and of rows to score, as simple methods learn and are scored by them.

    ``train`` is of the training rows, (M,) or (M, C). ``prior_name`` is the method that looks at no row, ``method`` the linear one.
    """

    train: np.ndarray
    prior_name: ClassVar[str]
    method: ClassVar[str]

    @abstractmethod
    def prior(self) -> np.ndarray:
        """What is answered to every row without looking at it, of the shape that :meth:`measured` takes."""

    @abstractmethod
    def has_choice(self, chosen: Any = ...) -> bool:
        """Is there anything to learn from these training rows?"""

    @abstractmethod
    def passes(self, features: Any, chosen: Any, most_work: float) -> int:
        """How often a stochastic solver may go through features (a sparse matrix) of training rows, of ``most_work`` multiplications."""

    @abstractmethod
    def fitted(
        self, features_MF: Any, chosen: Any, *, strength: float, passes: int, sparse: bool
    ) -> Callable[[Any], np.ndarray]:
        """The linear method fitted to features of the training rows ``chosen``; gives features (n, F) answers. ``strength`` is scikit-learn's
        C, the inverse of the regularisation. ``sparse`` features are not standardised.
        """

    @abstractmethod
    def nothing(self) -> np.ndarray:
        """Answers to no row."""

    @abstractmethod
    def measured(self, answers: np.ndarray) -> Measured:
        """Answers to the rows to score, measured."""


@final
@dataclass(frozen=True)
class KnownLabels(KnownAnswers):
    """``train`` and ``truth`` are the labels of the training rows and of those to score; ``score`` measures probabilities (N, C)
    against the truth.
    """

    train: np.ndarray
    truth: np.ndarray
    num_classes: int
    score: Callable[[np.ndarray, np.ndarray], Measured]
    prior_name: ClassVar[str] = "majority"
    method: ClassVar[str] = "logistic"

    def prior(self) -> np.ndarray:
        """For every row the shares of the training labels, (N, C); one is added to each count, so that none is 0."""
        if self.train.ndim == 1:
            counts_C = np.bincount(self.train, minlength=self.num_classes) + 1.0
            shares_C = counts_C / counts_C.sum()
        else:
            shares_C = (self.train.sum(axis=0) + 1.0) / (len(self.train) + 2.0)
        return np.tile(shares_C, (len(self.truth), 1))

    def has_choice(self, chosen: Any = ...) -> bool:
        """More than one class, or a class that some rows have and others have not."""
        return _num_choices(self.train[chosen]) > (1 if self.train.ndim == 1 else 0)

    def passes(self, features: Any, chosen: Any, most_work: float) -> int:
        """More of them only overfit (sst2, validation: 80.2 % after 10, 79.6 % after 100), but few rows need more."""
        most = min(max(15, 50_000 // features.shape[0]), 300)
        return int(np.clip(most_work / (max(features.nnz, 1) * _num_choices(self.train[chosen])), 3, most))

    def fitted(
        self, features_MF: Any, chosen: Any, *, strength: float, passes: int, sparse: bool
    ) -> Callable[[Any], np.ndarray]:
        """Logistic regression: probabilities (n, C)."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if sparse:
            # SAGA (Defazio et al. 2014) stopped early: on short titles faster than L-BFGS by ten times, and more accurate.
            solver: Any = LogisticRegression(C=strength, solver="saga", max_iter=passes, random_state=0)
        else:
            solver = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=passes))
        return fit_solver(solver, features_MF, self.train[chosen], self.num_classes)

    def nothing(self) -> np.ndarray:
        """(0, C)."""
        return np.zeros((0, self.num_classes))

    def measured(self, answers: np.ndarray) -> Measured:
        """Probabilities (N, C)."""
        return self.score(answers, self.truth)


@final
@dataclass(frozen=True)
class KnownNumbers(KnownAnswers):
    """``train`` (M,) and ``truth`` (N,) are numbers; ``score`` measures numbers (N,) against the truth."""

    train: np.ndarray
    truth: np.ndarray
    score: Callable[[np.ndarray, np.ndarray], Measured]
    prior_name: ClassVar[str] = "mean"
    method: ClassVar[str] = "ridge"

    def prior(self) -> np.ndarray:
        """The mean of the training rows, (N,)."""
        return np.full(len(self.truth), self.train.mean())

    def has_choice(self, chosen: Any = ...) -> bool:
        """Two numbers that differ."""
        return len(np.unique(self.train[chosen])) > 1

    def passes(self, features: Any, chosen: Any, most_work: float) -> int:
        """Conjugate gradients of one target."""
        return int(np.clip(most_work / max(features.nnz, 1), 3, 300))

    def fitted(
        self, features_MF: Any, chosen: Any, *, strength: float, passes: int, sparse: bool
    ) -> Callable[[Any], np.ndarray]:
        """Ridge regression: numbers (n,). Its penalty is the inverse of ``strength``, of features in units of their spread; tf-idf rows
        have length 1 and take a penalty of 1 (scikit-learn's default).
        """
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model: Any = (
            Ridge(alpha=1.0, solver="sparse_cg", max_iter=passes)
            if sparse
            else make_pipeline(StandardScaler(), Ridge(alpha=1.0 / strength))
        )
        return model.fit(features_MF, self.train[chosen]).predict

    def nothing(self) -> np.ndarray:
        """(0,)."""
        return np.zeros(0)

    def measured(self, answers: np.ndarray) -> Measured:
        """Numbers (N,)."""
        return self.score(answers, self.truth)


def _num_choices(train: np.ndarray) -> int:
    """Classes that a method can learn: those with a row, or with rows that have them and rows that have not."""
    if train.ndim == 1:
        return len(np.unique(train))
    return int((train.any(axis=0) & ~train.all(axis=0)).sum())


def fit_solver(solver: Any, features_MF: Any, train: np.ndarray, num_classes: int) -> Callable[[Any], np.ndarray]:
    """Fit a scikit-learn classifier, for several labels one a class against the rest; gives features (n, F) probabilities (n, C).

    A class without a training row gets 0; one that all rows have, 1.
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if train.ndim == 1:
            solver.fit(features_MF, train)
            parts: dict[int | None, Any] = {None: solver}
        else:
            chosen = np.flatnonzero(train.any(axis=0) & ~train.all(axis=0))
            parts = {}
            for c in chosen.tolist():
                part: Any = clone(solver)
                parts[c] = part.fit(features_MF, train[:, c])
    always_C = np.zeros(num_classes) if train.ndim == 1 else train.all(axis=0).astype(np.float64)

    def probabilities(features_nF: Any) -> np.ndarray:
        found_nC = np.tile(always_C, (features_nF.shape[0], 1))
        for c, part in parts.items():
            if c is None:
                found_nC[:, part.classes_] = part.predict_proba(features_nF)
            else:
                found_nC[:, c] = part.predict_proba(features_nF)[:, 1]
        return found_nC

    return probabilities
