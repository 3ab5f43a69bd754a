"""Drift: false alarms as rare as is said, planted shifts found, estimates without labels that hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from PIL import Image
from scipy.stats import chi2_contingency
from sklearn.metrics import roc_auc_score

from pretune.evaluation.drift.answers import expected_accuracy, label_shift, share_test
from pretune.evaluation.drift.find import Drift, find_drift
from pretune.evaluation.drift.plain import look_at
from pretune.evaluation.drift.two_sample import (
    _FOLDS,
    _auc,
    adjusted_by_holm,
    domain_classifier,
    mmd_test,
    number_tests,
)
from pretune.evaluation.drift.words import terms_of, typical_words

ALPHA = 0.05
FEW = {"permutations": 99, "resamples": 100}


def halves(rows: int, rng: np.random.Generator) -> np.ndarray:
    is_new_N = np.zeros(rows, dtype=bool)
    is_new_N[rng.permutation(rows)[: rows // 2]] = True
    return is_new_N


def drift_of(seed: int, *, shift: float = 0.0, share: float = 1.0, rows: int = 160) -> Drift:
    """One made-up set, cut in two at random; ``shift`` moves a ``share`` of the new half."""
    rng = np.random.default_rng(seed)
    features_NF = (rng.standard_normal((rows, 10)) * np.linspace(0.3, 3, 10)).astype(np.float32)
    is_new_N = halves(rows, rng)
    moved_N = is_new_N & (rng.random(rows) < share)
    features_NF[moved_N, :3] += shift * np.linspace(0.3, 3, 10)[:3].astype(np.float32)
    numbers = {"length": rng.poisson(20, rows) + 30.0 * shift * moved_N, "light": features_NF[:, 0].astype(np.float64)}
    answers = [str(number) for number in rng.integers(0, 3, rows)]
    return find_drift({"own": features_NF}, numbers, is_new_N, answers, alpha=ALPHA, **FEW)


@pytest.fixture(scope="module")
def splits() -> list[Drift]:
    """200 splits of one made-up set: nothing moved in any."""
    return [drift_of(seed, rows=100) for seed in range(200)]


@pytest.mark.slow
def test_false_alarms_over_200_splits_of_one_set(splits: list[Drift]) -> None:
    assert np.mean([one.is_found for one in splits]) <= ALPHA


@pytest.mark.slow
def test_each_test_alone_is_of_its_size(splits: list[Drift]) -> None:
    """No test is right by the adjustment alone: each p lies below 0.2 in about a fifth of the splits (that of numbers, which have ties, in
    fewer).
    """
    shares = {
        test.name: np.mean([one.tests[place].p <= 0.2 for one in splits]) for place, test in enumerate(splits[0].tests)
    }
    assert all(share < 0.29 for share in shares.values()), shares
    assert all(share > 0.11 for name, share in shares.items() if name != "single numbers"), shares


@pytest.mark.parametrize(("shift", "share"), [(1.0, 1.0), (6.0, 0.15)])
def test_planted_shifts_are_found(shift: float, share: float) -> None:
    found = [drift_of(seed, shift=shift, share=share, rows=240) for seed in range(5)]
    assert all(one.is_found for one in found)
    assert share < 1 or all(one.domains["own"].auc.interval.low > 0.5 for one in found)


def test_typical_rows_are_those_that_moved() -> None:
    rng = np.random.default_rng(0)
    is_new_N = np.arange(200) >= 100
    features_NF = rng.standard_normal((200, 5)).astype(np.float32)
    features_NF[150:, 0] += 6
    typical_N = domain_classifier(features_NF, is_new_N, permutations=19, resamples=50).typical_N
    assert typical_N[150:].mean() > typical_N[100:150].mean() + 0.2


def test_auc_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    rng = np.random.default_rng(1)
    scores_N, is_new_N = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.5
    folds = np.zeros(60, dtype=np.int64)
    weights_RN = rng.integers(0, 3, (4, 60)).astype(np.float64)
    found_R = _auc(scores_N, folds, is_new_N, weights_RN)
    assert found_R == pytest.approx([roc_auc_score(is_new_N, scores_N, sample_weight=one) for one in weights_RN])
    assert folds.max() < _FOLDS


@pytest.mark.slow
def test_the_interval_of_the_auc_covers() -> None:
    """Of what it is on the average of such sets, near 0.5 and far from it; resampling the scored rows alone covers 83 to 90 %."""
    for shift in (0.0, 0.5, 1.2):
        scores = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            features_NF, is_new_N = rng.standard_normal((160, 30)).astype(np.float32), halves(160, rng)
            features_NF[is_new_N, 0] += shift
            scores.append(domain_classifier(features_NF, is_new_N, permutations=1, resamples=200, seed=seed).auc)
        mean = np.mean([score.value for score in scores])
        assert np.mean([score.interval.low <= mean <= score.interval.high for score in scores]) >= 0.9


def test_mmd_is_the_unbiased_one() -> None:
    rng = np.random.default_rng(2)
    features_NF, is_new_N = rng.standard_normal((30, 4)).astype(np.float32), np.arange(30) % 3 == 0
    scaled = (features_NF - features_NF.mean(axis=0)) / features_NF.std(axis=0)
    apart = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    kernel = np.exp(-apart / np.median(apart[np.triu_indices(30, 1)]))
    inside = [kernel[np.ix_(side, side)] for side in (np.flatnonzero(is_new_N), np.flatnonzero(~is_new_N))]
    means = [(one.sum() - len(one)) / (len(one) * (len(one) - 1)) for one in inside]
    expected = sum(means) - 2 * kernel[is_new_N][:, ~is_new_N].mean()
    value, p = mmd_test(features_NF, is_new_N, permutations=49)
    assert value == pytest.approx(expected, abs=1e-5)
    assert 1 / 50 <= p <= 1


def test_holm_and_the_false_discovery_rate() -> None:
    assert adjusted_by_holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    rng = np.random.default_rng(0)
    is_new_N = np.arange(100) >= 50
    numbers = {"same": rng.standard_normal(100), "moved": is_new_N * 3 + rng.standard_normal(100), "constant": np.ones(100), "gaps": np.where(is_new_N, np.nan, 1.0)}  # fmt: skip
    tests = number_tests(numbers, is_new_N)
    assert [test.name for test in tests] == ["moved", "same"]
    assert tests[0].adjusted_p == pytest.approx(min(1.0, 2 * tests[0].p))


def test_shares_of_answers_as_scipy_tests_them() -> None:
    old, new = ["a"] * 300 + ["b"] * 200, ["a"] * 260 + ["b"] * 240
    expected = chi2_contingency([[300, 200], [260, 240]], correction=False).pvalue
    assert share_test(old, new) == pytest.approx(expected, abs=0.01)
    assert share_test(old, old) > 0.9
    assert share_test(["a"] * 50, ["b"] * 50) < 0.001


def answered(truths_N: np.ndarray, rng: np.random.Generator, right: float = 0.8) -> np.ndarray:
    others_N = (truths_N + rng.integers(1, 3, len(truths_N))) % 3
    return np.where(rng.random(len(truths_N)) < right, truths_N, others_N)


def test_label_shift_is_estimated_from_answers_alone() -> None:
    names, covered = ("a", "b", "c"), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truths_N, new_M = rng.choice(3, 500, p=[0.4, 0.4, 0.2]), rng.choice(3, 500, p=[0.1, 0.3, 0.6])
        shift = label_shift(answered(truths_N, rng), truths_N, answered(new_M, rng), names, resamples=200)
        covered += sum(
            shift.estimated[name].interval.low <= share <= shift.estimated[name].interval.high
            for name, share in zip(names, (0.1, 0.3, 0.6), strict=True)
        )
        assert shift.is_known
        assert sum(score.value for score in shift.estimated.values()) == pytest.approx(1.0)
    assert covered >= 0.85 * 60


def test_classes_that_are_answered_alike_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    truths_N = rng.integers(0, 3, 600)
    assert not label_shift(
        rng.integers(0, 3, 600), truths_N, rng.integers(0, 3, 600), ("a", "b", "c"), resamples=20
    ).is_known


@pytest.mark.parametrize("harder", [0.0, 1.0])
def test_expected_accuracy_covers_in_90_to_97_of_100_cases(harder: float) -> None:
    """Rows of one source, and harder ones on which being sure still means what it meant."""

    def rows(count: int, hard: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        margins = np.abs(rng.normal(2.0 - hard, 1.5, count))
        sure = 1 / (1 + np.exp(-margins))
        return sure, rng.random(count) < sure

    truth = rows(400_000, harder, np.random.default_rng(99))[1].mean()
    covered, values = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        score = expected_accuracy(*rows(400, 0.0, rng), rows(400, harder, rng)[0], resamples=300)
        covered += score.interval.low <= truth <= score.interval.high
        values.append(score.value)
    if not harder:
        assert 90 <= covered <= 97
        assert abs(np.mean(values) - truth) < 0.01
    else:  # a threshold knows that it is harder, not quite how much
        assert truth - 0.1 < np.mean(values) < truth + 0.03


def test_expected_accuracy_of_a_model_that_is_never_wrong() -> None:
    sure = np.linspace(0.5, 1, 50)
    assert expected_accuracy(sure, np.ones(50, dtype=bool), sure, resamples=100).value == 1.0
    assert expected_accuracy(sure, np.zeros(50, dtype=bool), sure, resamples=100).value == 0.0


def test_words_typical_of_either_side() -> None:
    old = [[*terms_of(f"the bank raised rate {number}", pairs=False)] for number in range(40)]
    new = [[*terms_of(f"the probe reached moon {number}", pairs=False)] for number in range(40)]
    ours, theirs = typical_words(old, new)
    assert {one.word for one in ours} == {"probe", "reached", "moon"}
    assert {one.word for one in theirs} == {"bank", "raised", "rate"}
    assert typical_words(old, old) == ([], [])
    assert [*terms_of("我们今天", pairs=True)] == ["我们", "们今", "今天"]


def texts(words: str, count: int, seed: int) -> Dataset:
    rng, choice = np.random.default_rng(seed), words.split()
    return Dataset.from_dict({"text": [" ".join(rng.choice(choice, 12)) for _ in range(count)]})


OLD = "rain fell on hills while trains ran late and children played"


@pytest.mark.parametrize(("new", "name"), [("дождь шёл на холмы", "share of Cyrillic letters"), (OLD.upper(), "share of capitals"), ("markets fell as banks ran", "share of words not in train")])  # fmt: skip
def test_texts_that_moved(new: str, name: str) -> None:
    reference, other = texts(OLD, 40, 0), texts(new, 40, 1)
    (look,) = look_at(reference, other, texts(OLD, 100, 2), ("text",))
    found = find_drift({look.title: look.features}, look.numbers, np.arange(80) >= 40, **FEW)
    assert found.is_found
    assert name in [test.name for test in found.numbers if test.adjusted_p < 0.01]
    same = look_at(reference, texts(OLD, 40, 3), texts(OLD, 100, 2), ("text",))[0]
    assert not find_drift({same.title: same.features}, same.numbers, np.arange(80) >= 40, **FEW).is_found


def pictures(folder: Path, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], seed: int) -> Dataset:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(30):
        shades_HW3 = rng.normal(rng.normal(120, 20, 3), 12, (32, 32, 3))
        Image.fromarray(change(shades_HW3, rng).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    cells = [{"path": str(folder / f"{number}.png"), "bytes": None} for number in range(30)]
    return Dataset.from_dict({"image": cells})


@pytest.mark.parametrize(("name", "change"), [("brightness", lambda one, _: one * 0.7), ("sharpness and noise (log)", lambda one, rng: one + rng.normal(0, 25, one.shape)), ("red over blue", lambda one, _: one + np.array([25, 0, -25]))])  # fmt: skip
def test_pictures_that_moved(tmp_path: Path, name: str, change: Callable[..., np.ndarray]) -> None:
    reference, new = pictures(tmp_path / "old", lambda one, _: one, 0), pictures(tmp_path / "new", change, 1)
    (look,) = look_at(reference, new, None, ("image",))
    tests = number_tests(look.numbers, np.arange(60) >= 30)
    assert name in [test.name for test in tests if test.adjusted_p < 0.01]
    assert look.features.shape[0] == 60


def clips(folder: Path, rate: int, noise: float, seed: int) -> Dataset:
    folder.mkdir()
    rng, cells = np.random.default_rng(seed), []
    for number in range(25):
        time_T = np.arange(rate // 2) / rate
        tone_T = 0.3 * np.sin(2 * np.pi * rng.uniform(300, 900) * time_T) + noise * rng.standard_normal(len(time_T))
        soundfile.write(folder / f"{number}.wav", tone_T, rate, subtype="PCM_16")
        cells.append({"path": str(folder / f"{number}.wav"), "bytes": None})
    return Dataset.from_dict({"audio": cells, "rate": [rate] * 25})


@pytest.mark.parametrize(("name", "rate", "noise"), [("quietest tenth (dB)", 8_000, 0.1), ("sampling rate of the file (Hz)", 16_000, 0.01)])  # fmt: skip
def test_clips_that_moved(tmp_path: Path, name: str, rate: int, noise: float) -> None:
    reference, new = clips(tmp_path / "old", 8_000, 0.01, 0), clips(tmp_path / "new", rate, noise, 1)
    (look,) = look_at(reference, new, None, ("audio",))
    tests = number_tests(look.numbers, np.arange(50) >= 25)
    assert name in [test.name for test in tests if test.adjusted_p < 0.01]
