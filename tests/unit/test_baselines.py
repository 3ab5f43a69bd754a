"""The baselines learn what simple methods can, at a bounded cost, and tell what they left out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pretune.tasks.baselines import text as module
from pretune.tasks.baselines.parts import KnownLabels
from pretune.tasks.baselines.text import baselines

LABELS = ("news", "sport")


def keep(probabilities_NC: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    return probabilities_NC


def toy(num_rows: int) -> tuple[list[str], list[str]]:
    texts = [f"the {'goal was late' if i % 3 else 'vote was close'} {i}" for i in range(num_rows)]
    return texts, ["sport" if i % 3 else "news" for i in range(num_rows)]


def run(
    texts: list[str], labels: list[str], test: list[str], *, unspaced: bool = False, names: tuple = LABELS
) -> tuple:
    train_M = np.array([names.index(label) for label in labels])
    known = KnownLabels(train_M, np.zeros(len(test), dtype=int), len(names), keep)
    return baselines(texts, test, known, unspaced=unspaced)


def test_majority_has_the_shares_of_the_training_labels() -> None:
    result, notes = run(*toy(30), ["a", "b"])
    assert result["majority"][1] == pytest.approx([11 / 32, 21 / 32])
    assert notes == []


@pytest.mark.parametrize("unspaced", [True, False])
def test_logistic_regression_learns_the_words(unspaced: bool) -> None:
    result, _ = run(*toy(60), ["a late goal", "the close vote"], unspaced=unspaced)
    probabilities_NC = result["tfidf-logistic"]
    assert probabilities_NC.argmax(axis=1).tolist() == [1, 0]
    assert probabilities_NC.sum(axis=1) == pytest.approx(1)


def test_unspaced_text_is_cut_into_characters() -> None:
    texts, labels = ["球队赢了比赛", "市长发表讲话"] * 10, ["sport", "news"] * 10
    result, _ = run(texts, labels, ["这场比赛", "这个讲话"], unspaced=True)
    assert result["tfidf-logistic"].argmax(axis=1).tolist() == [1, 0]


def test_the_same_input_gives_the_same_probabilities() -> None:
    first, second = (run(*toy(60), ["goal", "vote"])[0]["tfidf-logistic"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_class_without_training_rows_gets_nothing_from_the_regression() -> None:
    result, _ = run(*toy(30), ["goal"], names=("empty", *LABELS))
    assert result["tfidf-logistic"][0, 0] == 0
    assert result["majority"][0, 0] > 0


@pytest.mark.parametrize("texts", [["...", "!!"], ["one class", "only"]])
def test_nothing_to_learn_is_told(texts: list[str]) -> None:
    result, notes = run(texts, ["news", "sport"] if "!!" in texts else ["news", "news"], ["a"])
    assert list(result) == ["majority"]
    assert "No TF-IDF baseline" in notes[-1]


def test_large_training_sets_are_sampled_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 100)
    monkeypatch.setattr(module, "MAX_TEXT_CHARACTERS", 18)
    seen: list[int] = []
    fit = module._fit
    monkeypatch.setattr(module, "_fit", lambda texts, *rest: (seen.append(len(texts)), fit(texts, *rest))[1])
    _, notes = run(*toy(1000), ["goal"])
    assert 70 <= seen[0] <= 130
    assert "about 10.0% of the 1000 training rows" in notes[0]
    assert "longer training texts" in notes[1]


def test_several_labels_are_learned_one_by_one() -> None:
    texts = [f"{'goal' if i % 2 else 'cup'} {'vote' if i % 3 else 'tax'} {i}" for i in range(60)]
    train_MC = np.array([[i % 2 == 1, i % 3 != 0, False, True] for i in range(60)])
    known = KnownLabels(train_MC, np.zeros((2, 4), dtype=bool), 4, keep)
    result, notes = baselines(texts, ["goal tax", "cup vote"], known, unspaced=False)
    assert (result["tfidf-logistic"] > 0.5).tolist() == [[True, False, False, True], [False, True, False, True]]
    assert result["tfidf-logistic"][:, 2:].tolist() == [[0, 1], [0, 1]], "no row has it, all rows have it"
    assert result["majority"][0] == pytest.approx([31 / 62, 41 / 62, 1 / 62, 61 / 62])
    assert notes == []


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "unspaced", "least"), [("sst2", False, 0.80), ("thucnews", True, 0.89)])
def test_real_text(shared_data: Path, name: str, unspaced: bool, least: float) -> None:
    parts = {}
    for split in ("train", "test"):
        with open(shared_data / "text" / name / f"{split}.csv", encoding="utf-8-sig", newline="") as file:
            parts[split] = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in parts["train"]})
    truth_N = np.array([labels.index(row["label"]) for row in parts["test"]])
    texts, train_labels, test = (
        [row["text"] for row in parts["train"]],
        [row["label"] for row in parts["train"]],
        [row["text"] for row in parts["test"]],
    )
    train_M = np.array([labels.index(label) for label in train_labels])
    result, _ = baselines(texts, test, KnownLabels(train_M, truth_N, len(labels), keep), unspaced=unspaced)
    assert np.mean(result["tfidf-logistic"].argmax(axis=1) == truth_N) > least
