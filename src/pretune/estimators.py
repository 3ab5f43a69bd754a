"""Runs as estimators of scikit-learn: ``TextClassifier("runs/base", epochs=3).fit(texts, labels).predict(new)``.

An estimator is ``pretune.finetune`` on rows in memory and :class:`pretune.verbs.loaded.LoadedRun` on what came of it, so that
cross-validation, searches and pipelines of scikit-learn can be used. Its parameters are finetune's own options under the same names
(without those that say where rows stand in files); they are checked when it is fitted.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn import __version__ as sklearn_version
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from pretune.config import DataSettings
from pretune.errors import DataError, UsageError
from pretune.interface.declare import load_verb
from pretune.training.settings import FinetuneSettings
from pretune.verbs.loaded import LoadedRun, load

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.utils import Tags

__all__ = ["ESTIMATORS", "AudioClassifier", "AudioRegressor", "ImageClassifier", "ImageRegressor", "TextClassifier", "TextRegressor", "parameters_of"]  # fmt: skip

_OF_ROWS_TOO = {"validation_fraction", "split_seed"}
_NOT_TAKEN = {"backbone", "task", "dry_run", "overwrite", "seeds"}


def parameters_of(backbone: str) -> list[inspect.Parameter]:
    """What an estimator that begins from ``backbone`` takes: finetune's options, without those that are about files."""
    left_out = {spec.name for spec in dataclasses.fields(DataSettings)} - _OF_ROWS_TOO | _NOT_TAKEN
    options = [spec for spec in dataclasses.fields(FinetuneSettings) if spec.name not in left_out]
    first = inspect.Parameter("backbone", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=backbone, annotation="str")
    named = inspect.Parameter.KEYWORD_ONLY
    return [first, *(inspect.Parameter(o.name, named, default=o.default, annotation=o.type) for o in options)]


def _initialiser(backbone: str) -> Any:
    """``__init__`` that keeps each parameter as it was given, as scikit-learn asks for; its signature names them all."""
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([own, *parameters_of(backbone)])

    def __init__(*given: Any, **options: Any) -> None:  # noqa: N807
        bound = signature.bind(*given, **options)
        bound.apply_defaults()
        self, *values = bound.arguments.items()
        for name, value in values:
            setattr(self[1], name, value)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    return __init__


class _Estimator(BaseEstimator):
    """What classifiers and regressors share.

    ``run_`` is the fitted run (:func:`pretune.load`): ``run_.scores``, ``run_.report()``, ``run_.export()``. It lies in ``out``, where
    a new fit replaces it, or without ``out`` in a folder of its own that goes when the estimator does.
    Weights are never pickled. An estimator with ``out`` is pickled as its parameters and the place of its run, which is opened when it
    is needed; one that was fitted without refuses to be.
    """

    _input: ClassVar[str]
    _in_files: ClassVar[bool] = True
    _answer: ClassVar[str]
    out: str | None

    def __init_subclass__(cls, begin: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if begin:
            cls.__init__ = _initialiser(begin)  # type: ignore[method-assign]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, not self._in_files
        tags.non_deterministic = False
        return tags

    def _fit(self, X: Any, answers: Sequence[Any]) -> Self:
        table = _as_table(X, self._input, in_files=self._in_files)
        if table.num_rows != len(answers):
            raise UsageError(f"X has {table.num_rows} rows and y {len(answers)}", "give an answer for each row")
        if self._answer in table.column_names:
            raise UsageError(f"X has a column {self._answer!r}, which is what y is for", "leave it out of X")
        self._folder = None if self.out else tempfile.TemporaryDirectory(prefix="pretune-")
        place = Path(self.out or "") if self._folder is None else Path(self._folder.name, "run")
        load_verb("finetune")(
            **{**self.get_params(deep=False), "out": str(place)},
            data=table.append_column(self._answer, [list(answers)]), column=(*_columns(table, self._input), f"{self._answer}={self._answer}"),
            task=f"{self._input}-{_KINDS[self._answer]}", label_type="class", test_fraction=0.0,
            trust_paths=self._in_files, overwrite=True,
        )  # fmt: skip
        self.run_: LoadedRun = load(place)
        return self

    def _answered(self, X: Any) -> list[Mapping[str, Any]]:
        """A record for each row. Raises :class:`DataError` naming rows without one."""
        check_is_fitted(self)
        table = _as_table(X, self._input, in_files=self._in_files)
        options = {"threads": self.get_params(deep=False)["threads"], "trust_paths": self._in_files}
        records = self.run_.predict(table, **options)
        missing = [place for place, record in enumerate(records) if record[self._answer] is None]
        if missing:
            rows = ", ".join(str(place) for place in missing[:5])
            raise DataError(
                f"{len(missing)} of {len(records)} rows of X were not answered, the first at {rows}",
                "they are empty or cannot be read: leave them out, or take run_.predict, which leaves their place empty",
            )
        return records

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**vars(self), "_folder": None, "_sklearn_version": sklearn_version}
        if "run_" not in state:
            return state
        if self._folder is not None:
            raise TypeError(
                f"this {type(self).__name__} was fitted without out, and a pickle would not hold its weights: "
                "give out=FOLDER, and the pickle names that folder"
            )
        return {**state, "run_": str(Path(state["run_"].path).resolve())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state.get("run_")
        super().__setstate__(state if place is None else {**state, "run_": load(place)})


class _Classifier(ClassifierMixin, _Estimator):
    """Fit, predict, predict_proba, score (accuracy). ``classes_`` (C) are the values of y in order."""

    _answer = "label"

    def fit(self, X: Any, y: Any) -> Self:
        """Learn ``y``, a class of each row of ``X``; a share of the rows (``validation_fraction``) says which epoch is kept."""
        y_N = column_or_1d(y, warn=True)
        check_classification_targets(y_N)
        classes_C, numbers_N = np.unique(y_N, return_inverse=True)
        names = [str(one).strip() for one in classes_C]
        if len(set(names)) < len(names) or "" in names:
            raise UsageError(
                f"the classes in y are not told apart by their names: {names}", "name each class by a text of its own"
            )
        self._fit(X, [names[number] for number in numbers_N])
        self.classes_ = classes_C
        place_of = {name.casefold(): place for place, name in enumerate(names)}
        self._places = [place_of[label.casefold()] for label in self.run_.labels]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row. Raises :class:`pretune.errors.DataError` for rows that cannot be read."""
        place_of = dict(zip(self.run_.labels, self._places, strict=True)) if hasattr(self, "run_") else {}
        records = self._answered(X)
        return self.classes_[[place_of[record["label"]] for record in records]]

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) probabilities in the order of ``classes_``; 0 for a class that no row was learned from."""
        records = self._answered(X)
        shares_NC = np.zeros((len(records), len(self.classes_)))
        shares_NC[:, self._places] = [
            [record["probabilities"][label] for label in self.run_.labels] for record in records
        ]
        return shares_NC


class _Regressor(RegressorMixin, _Estimator):
    """Fit, predict, score (R²)."""

    _answer = "value"

    def fit(self, X: Any, y: Any) -> Self:
        """Learn ``y``, a number for each row of ``X``."""
        return self._fit(X, [float(one) for one in column_or_1d(y, warn=True)])

    def predict(self, X: Any) -> np.ndarray:
        """(N,) numbers. Raises :class:`pretune.errors.DataError` for rows that cannot be read."""
        return np.array([record["value"] for record in self._answered(X)], dtype=float)


class TextClassifier(_Classifier, begin="linear:tfidf"):
    """A class for each text. ``X`` is a list, array or Series of texts, or a frame with a column of them (``text_pair``: pairs)."""

    _input, _in_files = "text", False


class ImageClassifier(_Classifier, begin="linear:pixels"):
    """A class for each picture. ``X`` holds paths, pictures of PIL, or arrays (H, W, 3) of bytes."""

    _input = "image"


class AudioClassifier(_Classifier, begin="linear:log-mel"):
    """A class for each clip. ``X`` holds paths, or mappings of ``array`` (T samples) and ``sampling_rate`` (Hz)."""

    _input = "audio"


class TextRegressor(_Regressor, begin="scratch:bert-mini"):
    """A number for each text."""

    _input, _in_files = "text", False


class ImageRegressor(_Regressor, begin="scratch:vit-mini"):
    """A number for each picture."""

    _input = "image"


class AudioRegressor(_Regressor, begin="scratch:w2v-bert-tiny"):
    """A number for each clip."""

    _input = "audio"


ESTIMATORS = (TextClassifier, ImageClassifier, AudioClassifier, TextRegressor, ImageRegressor, AudioRegressor)
_KINDS = {"label": "classification", "value": "regression"}


def _as_table(X: Any, column: str, *, in_files: bool) -> pa.Table:
    """The rows as a table. Paths of pictures and clips are given whole, so that they are found from anywhere."""
    import pyarrow as pa

    from pretune.data.cells.given import table_of

    is_listed = isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0
    if in_files and is_listed and all(isinstance(one, (str, os.PathLike)) for one in X):
        return pa.table({column: [str(Path(one).absolute()) for one in X]})
    return table_of(list(X) if is_listed else X)


def _columns(table: pa.Table, modality: str) -> tuple[str, ...]:
    """The role of the only column there is; several are found by their names."""
    return (f"{modality}={table.column_names[0]}",) if table.num_columns == 1 else ()
