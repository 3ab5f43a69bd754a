"""Runs as estimators of scikit-learn: its own checks as far as they apply, cross-validation, searches, and what is never pickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks as checks

import pretune
from pretune.errors import DataError, UsageError
from pretune.estimators import ESTIMATORS

pytestmark = pytest.mark.filterwarnings("ignore::pretune.errors.PretuneWarning")
QUICK: dict[str, Any] = {"threads": 1, "precision": "fp32"}
WORDS = {"money": "the bank raised its rate", "sport": "the team won its match"}


def rows(count: int = 60) -> tuple[list[str], np.ndarray]:
    names = sorted(WORDS)
    return [f"{WORDS[names[at % 2]]} ({at})" for at in range(count)], np.array([names[at % 2] for at in range(count)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pretune.TextClassifier(out=str(tmp_path_factory.mktemp("fitted") / "run"), **QUICK).fit(*rows())


WITHOUT_ROWS = (
    checks.check_estimator_cloneable, checks.check_estimator_tags_renamed, checks.check_valid_tag_types,
    checks.check_estimator_repr, checks.check_no_attributes_set_in_init,
    checks.check_parameters_default_constructible, checks.check_get_params_invariance, checks.check_set_params,
    checks.check_mixin_order, checks.check_do_not_raise_errors_in_init_or_set_params,
)  # fmt: skip
"""The checks that need no rows: those with rows give tables of numbers, which none of these estimators takes."""


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("check", WITHOUT_ROWS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn(kind: type[BaseEstimator], check: Any) -> None:
    check(kind.__name__, kind())


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_what_an_estimator_is(kind: type[BaseEstimator]) -> None:
    one = kind()
    assert is_classifier(one) is kind.__name__.endswith("Classifier")
    assert is_regressor(one) is kind.__name__.endswith("Regressor")
    assert {"backbone", "epochs", "learning_rate", "adapt", "seed", "out"} <= one.get_params().keys()
    assert not {"data", "column", "test_fraction", "seeds", "dry_run"} & one.get_params().keys()
    with pytest.raises(NotFittedError):
        one.predict(["a"])  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="dataa"):
        kind(dataa=3)
    with pytest.raises(UsageError, match="--epochs is 'many'"):
        kind(epochs="many").fit(["a", "b"], [0, 1])  # type: ignore[attr-defined]


def test_fit_predict_and_probabilities(fitted: Any) -> None:
    asked = ["a bank and its rate", "a team and its match"]
    assert fitted.classes_.tolist() == ["money", "sport"]
    assert fitted.predict(asked).tolist() == ["money", "sport"]
    shares = fitted.predict_proba(pandas.Series(asked))
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert shares.argmax(axis=1).tolist() == [0, 1]
    assert fitted.score(*rows()) == 1.0
    assert fitted.run_.task == "text-classification"


@pytest.mark.parametrize("classes", [[3, 7], [False, True], ["no", "Yes"]], ids=str)
def test_classes_come_back_as_they_were_given(classes: list[Any]) -> None:
    texts, names = rows()
    y = np.array(classes)[(names == "sport").astype(int)]
    found = pretune.TextClassifier(**QUICK).fit(pandas.DataFrame({"headline": texts}), y)
    assert found.classes_.dtype == y.dtype
    assert (found.predict(pandas.DataFrame({"headline": texts})) == y).all()


def test_a_run_of_its_own_goes_with_the_estimator() -> None:
    one = pretune.TextClassifier(**QUICK).fit(*rows())
    place = one.run_.path
    assert place.exists()
    del one
    assert not place.exists()


def test_pickled_are_parameters_and_the_place_of_the_run(fitted: Any) -> None:
    held = pickle.dumps(fitted)
    assert len(held) < 5_000
    again = pickle.loads(held)
    assert again.get_params() == fitted.get_params()
    assert again.predict(rows()[0][:2]).tolist() == ["money", "sport"]
    assert clone(pickle.loads(pickle.dumps(pretune.TextClassifier(epochs=2)))).epochs == 2
    alone = pretune.TextClassifier(**QUICK).fit(*rows())
    with pytest.raises(TypeError, match="give out=FOLDER"):
        pickle.dumps(alone)


def test_what_cannot_be_learned_or_answered_is_said(fitted: Any) -> None:
    texts, y = rows(6)
    with pytest.raises(DataError, match="1 of 3 rows of X were not answered, the first at 1"):
        fitted.predict([texts[0], "", texts[1]])
    with pytest.raises(UsageError, match="6 rows and y 5"):
        pretune.TextClassifier(**QUICK).fit(texts, y[:5])
    with pytest.raises(UsageError, match="not told apart by their names"):
        pretune.TextClassifier(**QUICK).fit(texts, np.array(["a ", "a", "b", "a ", "a", "b"]))
    with pytest.raises(UsageError, match="X has a column 'label'"):
        pretune.TextClassifier(**QUICK).fit(pandas.DataFrame({"text": texts, "label": y}), y)
    with pytest.raises(ValueError, match="Unknown label type"):
        pretune.TextClassifier(**QUICK).fit(texts, np.linspace(0, 1, 6))


def test_cross_validation_and_a_search_on_real_rows(shared_data: Path) -> None:
    found = pandas.read_csv(shared_data / "text" / "sst2" / "train.csv").head(600)
    X, y = found.text, found.label == "positive"
    scores = cross_val_score(pretune.TextClassifier(**QUICK), X, y, cv=3)
    assert scores.mean() > 0.55, "TF-IDF tells films praised from films blamed, somewhat, by 400 texts"
    search = GridSearchCV(pretune.TextClassifier(**QUICK), {"seed": [0, 1]}, cv=2, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.55


def test_pictures_by_path_and_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = {"red": (200, 30, 30), "blue": (30, 30, 200)}
    names = [("red", "blue")[at % 2] for at in range(30)]
    pictures = [Image.new("RGB", (8, 8), tuple(part + at for part in colours[name])) for at, name in enumerate(names)]
    for at, picture in enumerate(pictures):
        picture.save(tmp_path / f"{at}.png")
    monkeypatch.chdir(tmp_path)
    one = pretune.ImageClassifier(**QUICK).fit([f"{at}.png" for at in range(30)], names)
    assert one.predict(pictures[:2]).tolist() == ["red", "blue"]
    assert one.predict([Path("1.png"), Path("0.png")]).tolist() == ["blue", "red"]
    assert one.predict(np.stack([np.asarray(picture) for picture in pictures[:2]])).tolist() == ["red", "blue"]
    Path("2.png").unlink()
    with pytest.raises(DataError, match="the first at 1"):
        one.predict(["1.png", "2.png", "0.png"])


def test_clips_and_numbers() -> None:
    times = np.arange(1600) / 8000
    pitches = [(220, 1760)[at % 2] for at in range(30)]
    clips = [
        {"array": np.sin(2 * np.pi * (pitch + at) * times), "sampling_rate": 8000} for at, pitch in enumerate(pitches)
    ]
    heard = pretune.AudioClassifier(**QUICK).fit(clips, pitches)
    assert heard.predict(clips[:2]).tolist() == [220, 1760]
    texts, y = rows()
    guessed = pretune.TextRegressor("scratch:bert-tiny", max_steps=2, **QUICK).fit(texts, (y == "sport") * 1.5)
    assert guessed.predict(texts[:3]).shape == (3,)
    assert np.isfinite(guessed.score(texts, (y == "sport") * 1.5))
