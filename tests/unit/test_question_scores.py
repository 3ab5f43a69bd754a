"""Exact match and F1 of answers: equal to the published script where words have spaces, by letter where they have none."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from typing import Any

import numpy as np
import pytest

from pretune.metrics.base import values_of
from pretune.metrics.texts.question_answering import QuestionAnsweringMetric, answer_scores, answer_tokens
from pretune.tasks.spans.question_threshold import best_threshold

WORDS = ["the", "a", "an", "Norman", "norman's", "1066,", "well-known", "U.S.", "$", "ÉCOLE", "der", "x"]


def published_tokens(text: str) -> list[str]:
    """``get_tokens`` of evaluate-v2.0.py, as SQuAD publishes it."""
    lowered = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered, flags=re.UNICODE).split()).split()


def published(truths: list[str], said: str) -> tuple[float, float]:
    """``compute_exact`` and ``compute_f1`` of the same script, best of the answers that normalising leaves."""
    truths = [truth for truth in truths if published_tokens(truth)] or [""]

    def f1(truth: str) -> float:
        gold, own = published_tokens(truth), published_tokens(said)
        if not gold or not own:
            return float(gold == own)
        same = sum((Counter(gold) & Counter(own)).values())
        if same == 0:
            return 0.0
        precision, recall = same / len(own), same / len(gold)
        return 2 * precision * recall / (precision + recall)

    return max(float(published_tokens(t) == published_tokens(said)) for t in truths), max(f1(t) for t in truths)


def test_random_answers_score_as_the_published_script_says() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        said, *truths = (" ".join(rng.choices(WORDS, k=rng.randrange(4))) for _ in range(rng.randrange(1, 4)))
        assert answer_scores(said, truths) == pytest.approx(published(truths, said)), (said, truths)


@pytest.mark.parametrize(
    ("said", "truth", "f1"),
    [
        ("北京大学", "北京大学。", 1.0),
        ("北京", "北京大学", 2 / 3),
        ("在1998年", "1998年", 4 / 5),
        ("广州", "北京", 0.0),
        ("「東京」", "東京", 1.0),
    ],
)
def test_writing_without_spaces_is_compared_by_letter(said: str, truth: str, f1: float) -> None:
    assert answer_scores(said, [truth])[1] == pytest.approx(f1)


def test_words_and_letters_of_one_text() -> None:
    assert answer_tokens("The NFL 的冠军 — 2015") == ["nfl", "的", "冠", "军", "2015"]
    assert answer_tokens("well–known “x”") == ["well–known", "“x”"], "as published: ASCII alone is punctuation there"


def record(said: str, *truths: str) -> dict[str, Any]:
    span = {"text": said, "start": 0 if said else -1, "end": len(said) if said else -1}
    return {"id": "a", "span": span, "truth": [{"text": one, "start": 0} for one in truths]}


def test_scores_of_questions_with_and_without_an_answer() -> None:
    scores = values_of(QuestionAnsweringMetric().measure([record("x y", "x"), record("x", "x", "z"), record(""), record("x")]))  # fmt: skip
    assert scores["answer_f1"] == pytest.approx((2 / 3 + 1 + 1 + 0) / 4)
    assert scores["exact_match"] == pytest.approx(0.5)
    assert scores["has_answer_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["has_answer_exact"] == pytest.approx(0.5)
    assert scores["no_answer_accuracy"] == pytest.approx(0.5)
    only = values_of(QuestionAnsweringMetric().measure([record("x", "x")]))
    assert np.isnan(only["no_answer_accuracy"])


def test_the_threshold_is_the_best_there_is() -> None:
    rng = random.Random(1)
    for _ in range(200):
        rows = []
        for _ in range(rng.randrange(1, 9)):
            line = record("x" if rng.random() < 0.6 else "y", *(["x"] if rng.random() < 0.6 else []))
            rows.append({**line, "best": line["span"], "no_answer_margin": float(rng.randrange(-3, 4))})

        def total(threshold: float, rows: list[dict[str, Any]] = rows) -> float:
            said = ["" if row["no_answer_margin"] > threshold else row["best"]["text"] for row in rows]
            return sum(answer_scores(one, [t["text"] for t in row["truth"]])[1] for one, row in zip(said, rows, strict=True))  # fmt: skip

        tried = [at / 2 for at in range(-9, 10)]
        assert total(best_threshold(rows)) == pytest.approx(max(map(total, tried)))
