"""The verdict of two models on the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from pretune.errors import DataError
from pretune.evaluation.compare import as_sentence, compare_records, mcnemar_p, rows_needed
from pretune.metrics.base import Metric
from pretune.metrics.classification import ClassificationMetric
from pretune.metrics.recognition import RecognitionMetric

METRIC = ClassificationMetric(("no", "yes"))


def compare(a: Iterable[dict], b: Iterable[dict], metric: Metric = METRIC, **options: Any) -> dict[str, Any]:
    return compare_records(a, b, metric, **options)


def records(right: np.ndarray, prefix: str = "r") -> list[dict]:
    return [
        {
            "id": f"{prefix}{i}",
            "label": "yes" if one else "no",
            "truth": "yes",
            "probabilities": {"yes": 0.8 if one else 0.3, "no": 0.2 if one else 0.7},
        }
        for i, one in enumerate(right)
    ]


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[dict], list[dict]]:
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return records(a), records(b)


def test_mcnemar_equals_the_binomial_sum() -> None:
    from math import comb

    assert mcnemar_p(3, 12) == pytest.approx(2 * sum(comb(15, k) for k in range(4)) / 2**15)
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(5, 5) == pytest.approx(1)


def test_the_better_model_is_named_with_its_evidence() -> None:
    result = compare(*outcomes(800, 20, 60, 120), names=("base", "tuned"))
    json.dumps(result, allow_nan=False)
    assert result["better"] == "b"
    assert result["verdict"].startswith("tuned is better: +4.0 points of accuracy [")
    assert "exact McNemar p < 0.0001, n = 1000" in result["verdict"]
    assert result["mcnemar"] == {
        "both_right": 800, "only_a": 20, "only_b": 60, "both_wrong": 120, "p": mcnemar_p(20, 60)
    }  # fmt: skip
    assert result["primary"]["a"]["value"] == pytest.approx(0.82)
    half = 1.96 * np.sqrt((0.08 - 0.04**2) / 1000)
    assert result["primary"]["low"] == pytest.approx(0.04 - half, abs=0.004)
    assert result["n_needed"] is None


def test_when_a_is_better_the_verdict_turns_the_signs() -> None:
    result = compare(*outcomes(800, 60, 20, 120))
    assert result["better"] == "a"
    assert result["verdict"].startswith("A is better: +4.0 points of accuracy [")
    low, high = result["verdict"].split("[")[1].split("]")[0].split(", ")
    assert 0 < float(low) < 4 < float(high)


def test_no_difference_tells_the_rows_needed() -> None:
    result = compare(*outcomes(80, 6, 9, 5))
    assert result["better"] is None
    assert result["n_needed"] == rows_needed(0.06, 0.09)
    assert "no difference was shown: B against A +3.0 points" in result["verdict"]
    assert f"about {result['n_needed']:,} rows would be needed" in result["verdict"]


def test_equal_models_and_equal_counts_are_told_apart() -> None:
    same = compare(*outcomes(90, 0, 0, 10))
    assert same["verdict"] == "no difference was shown: both give the same answer to each of 100 rows"
    assert as_sentence(same["verdict"]) == "No difference was shown: both give the same answer to each of 100 rows."
    assert as_sentence("small is better: +3.0 points") == "small is better: +3.0 points."
    assert same["same_answers"] == 100
    even = compare(*outcomes(80, 5, 5, 10))
    assert even["n_needed"] is None
    assert "as much speaks for one as for the other" in even["verdict"]


def test_rows_needed_gives_the_promised_power() -> None:
    """With that many simulated rows McNemar finds the difference about 8 times in 10 (the exact test a little less)."""
    only_a, only_b = 0.04, 0.08
    n = rows_needed(only_a, only_b)
    random = np.random.default_rng(0)
    draws = random.multinomial(n, [only_a, only_b, 1 - only_a - only_b], size=400)
    found = np.mean([mcnemar_p(a, b) < 0.05 for a, b, _ in draws])
    assert 0.73 <= found <= 0.86


def test_task_scores_are_compared_too() -> None:
    a, b = outcomes(60, 5, 20, 15)
    result = compare(a, b)
    assert result["primary"]["name"] == "accuracy"
    assert result["scores"]["accuracy"]["difference"] == pytest.approx(result["primary"]["difference"])
    assert result["scores"]["log_loss"]["difference"] < 0
    assert result["scores"]["log_loss"]["probability_a_better"] < 0.01


def test_order_of_rows_does_not_matter() -> None:
    a, b = outcomes(60, 5, 20, 15)
    straight, turned = compare(a, b), compare(a, b[::-1])
    assert straight == turned


def test_streams_are_read() -> None:
    a, b = outcomes(1200, 30, 10, 60)

    def stream(rows: list[dict]) -> Iterator[dict]:
        yield from rows

    assert compare(stream(a), stream(b))["n"] == 1300


def test_other_rows_are_refused_or_counted() -> None:
    a, b = outcomes(60, 5, 20, 15)
    with pytest.raises(DataError, match=r"A has 100, B has 90, 90 are in both") as caught:
        compare(a, b[:90])
    assert "--intersect" in caught.value.fix
    result = compare(a, b[:90], intersect=True)
    assert result["n"] == 90
    assert result["left_out"]["only_in_a"] == 10
    with pytest.raises(DataError, match="0 are in both"):
        compare(a, records(np.ones(100), prefix="other"), intersect=True)


def test_other_truths_double_ids_and_unlabelled_rows() -> None:
    a, b = outcomes(60, 5, 20, 15)
    with pytest.raises(DataError, match='1 of 100 rows have another true label in A than in B, the first is "r3"'):
        compare(a, [{**row, "truth": "no"} if row["id"] == "r3" else row for row in b])
    with pytest.raises(DataError, match='"r0" comes twice'):
        compare(a, [*b, b[0]])
    with pytest.raises(DataError, match="no row with a known label"):
        compare([{**row, "truth": None} for row in a], b)
    blank = {"id": "blank", "label": "yes", "truth": None, "probabilities": {}}
    assert compare([*a, blank], b)["left_out"]["unlabelled_in_a"] == 1


def test_rows_of_one_group_are_not_taken_for_independent() -> None:
    """Four patients of fifty rows speak for B, three for A: McNemar alone would call it shown."""
    right_a = np.repeat([1, 1, 0, 0, 0, 1, 0], 50)
    right_b = np.repeat([0, 0, 1, 1, 1, 0, 1], 50)
    alone = compare(records(right_a), records(right_b))
    assert alone["better"] == "b"
    assert alone["num_groups"] is None
    grouped_a, grouped_b = (
        [{**record, "group": f"patient {at // 50}"} for at, record in enumerate(records(right))]
        for right in (right_a, right_b)
    )
    found = compare(grouped_a, list(reversed(grouped_b)))
    json.dumps(found, allow_nan=False)
    assert found["mcnemar"] == alone["mcnemar"]
    assert (found["better"], found["n_needed"], found["num_groups"]) == (None, None, 7)
    assert found["primary"]["low"] < 0 < found["primary"]["high"]
    assert found["verdict"].startswith("no difference was shown")
    assert found["verdict"].endswith("n = 350 in 7 groups, which the interval is drawn by")
    clear_a, clear_b = (
        [{**record, "group": f"patient {at // 5}"} for at, record in enumerate(records(right))]
        for right in (np.repeat([1, 0], [100, 100]), np.ones(200, dtype=int))
    )
    assert compare(clear_a, clear_b)["better"] == "b"
    assert compare([*clear_a[:-1], {**clear_a[-1], "group": None}], clear_b)["num_groups"] is None
    one_a, one_b = ([{**record, "group": "patient 1"} for record in each] for each in (clear_a, clear_b))
    assert compare(one_a, one_b)["verdict"].endswith("n = 200, all of one group: it says nothing of others")


def transcripts(wrong_words: np.ndarray, words: int = 8) -> list[dict]:
    """Rows of eight words, so many of which are wrong: none of them wholly right where there is one or more."""
    truth = [f"w{i}" for i in range(words)]
    return [
        {"id": str(i), "truth": " ".join(truth), "text": " ".join(["x"] * int(k) + truth[int(k) :])}
        for i, k in enumerate(wrong_words)
    ]


def test_recognisers_are_compared_by_their_word_errors() -> None:
    """Both are never wholly right; one has three times the word errors of the other."""
    random = np.random.default_rng(0)
    a = transcripts(np.maximum(1, random.binomial(8, 0.12, 300)))
    b = transcripts(np.maximum(1, random.binomial(8, 0.36, 300)))
    found = compare(a, b, RecognitionMetric(), names=("small", "large"))
    assert found["better"] == "a"
    assert found["mcnemar"]["both_wrong"] == 300
    assert found["primary"]["name"] == "wer"
    assert found["verdict"].startswith("small is better: -")
    assert "points of word error rate [-" in found["verdict"]
    assert "McNemar" not in found["verdict"], "it asks another question"
    json.dumps(found, allow_nan=False)
    close = compare(a[:20], transcripts(np.maximum(1, random.binomial(8, 0.13, 20))), RecognitionMetric())
    assert close["better"] is None
    assert "rows would be needed" in close["verdict"]


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (0, 6), (1, 8), (1, 9), (3, 12), (4, 13), (40, 62), (39, 63)])
@pytest.mark.parametrize("n", [20, 102, 1000])
def test_interval_and_p_never_disagree(only_a: int, only_b: int, n: int) -> None:
    if only_a + only_b > n:
        pytest.skip("more discordant rows than rows")
    found = compare(*outcomes(0, only_a, only_b, n - only_a - only_b))
    shown = not found["primary"]["low"] <= 0 <= found["primary"]["high"]
    assert shown == (found["mcnemar"]["p"] < 0.05) == (found["better"] == "b")
    assert found["primary"]["low"] <= found["primary"]["difference"] <= found["primary"]["high"]


def labelled(right: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> list[dict]:
    """Rows of three classes, right or one class off."""
    found = []
    for i, (is_right, t) in enumerate(zip(right, truth, strict=True)):
        label = int(t) if is_right else int((t + random.integers(1, 3)) % 3)
        found.append({"id": str(i), "truth": str(t), "label": str(label), "probabilities": {str(label): 1.0}})
    return found


class MacroF1(ClassificationMetric):  # type: ignore[misc]
    """A task whose primary score is no share of right rows."""

    primary = "f1_macro"


def simulated(kind: str, gap: float, random: np.random.Generator, n: int = 300) -> tuple[list, list, Metric]:
    """Two models on the same rows that share most of their difficulty; B is better by ``gap`` standard errors."""
    hard = random.random(n)
    if kind == "wer":
        rates = np.clip(0.1 + 0.3 * hard, 0, 1)
        error = np.sqrt(2 * 0.25 * 0.75 / 8 / n)
        return (
            transcripts(random.binomial(8, rates)),
            transcripts(random.binomial(8, np.clip(rates - gap * error, 0, 1))),
            RecognitionMetric(),
        )
    truth = random.integers(0, 3, n)
    error = np.sqrt(2 * 0.16 / n)
    right_a, right_b = (random.random(n) < 0.8 + shift for shift in (0.0, gap * error))
    metric = (MacroF1 if kind == "macro F1" else ClassificationMetric)(("0", "1", "2"))
    return labelled(right_a, truth, random), labelled(right_b, truth, random), metric


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["accuracy", "wer", "macro F1"])
def test_equal_models_are_rarely_told_apart_and_different_ones_mostly_are(kind: str) -> None:
    """200 pairs of equal models: at most 7 % "better"; 200 pairs three standard errors apart: at least 80 %."""
    random = np.random.default_rng(0)
    for gap, low, high in ((0.0, 0.0, 0.07), (3.0, 0.8, 1.0)):
        found = []
        for _ in range(200):
            a, b, metric = simulated(kind, gap, random)
            found.append(compare(a, b, metric, resamples=500)["better"])
        share = np.mean([one is not None for one in found])
        assert low <= share <= high, f"{kind}, {gap} standard errors apart: {share:.1%} called better"
        assert gap == 0 or "a" not in found
