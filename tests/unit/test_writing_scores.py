"""Scores of written texts equal those of sacrebleu and rouge-score on random texts, of every script and with several references."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pretune.metrics.base import values_of
from pretune.metrics.texts.ngrams import tokenizer_for
from pretune.metrics.texts.writing import WritingMetric

LATIN = [
    "a",
    "an",
    "the",
    "dog",
    "runs,",
    "fast.",
    "3.5",
    "1,000",
    "4-5",
    '"Haus"',
    "für",
    "(groß)",
    "&",
    "&amp;",
    "Straße",
    "u.s.w.",
    "x-y",
    "it's",
    "%",
]
CHINESE = [*"我是一个学生。你好,世界!3.5元", "A", "b c", " "]
METRIC = WritingMetric()


def _text(rng: random.Random, units: list[str], joint: str, most: int = 14) -> str:
    return joint.join(rng.choice(units) for _ in range(rng.randrange(most)))


def _records(seed: int, rows: int, units: list[str], joint: str, references: int = 1) -> list[dict]:
    rng = random.Random(seed)
    found = []
    for number in range(rows):
        truths = [_text(rng, units, joint) or units[0] for _ in range(references)]
        said = truths[0] if rng.random() < 0.2 else _text(rng, units, joint)
        if rng.random() < 0.5:
            said = joint.join([truths[0][: len(truths[0]) // 2], said])
        found.append({"id": str(number), "target": said, "truth": truths if references > 1 else truths[0]})
    return found


def _theirs(records: list[dict], tokenizer: str) -> tuple[float, float]:
    from sacrebleu.metrics import BLEU, CHRF

    truths = [record["truth"] if isinstance(record["truth"], list) else [record["truth"]] for record in records]
    said, columns = [record["target"] for record in records], [list(column) for column in zip(*truths, strict=True)]
    bleu, chrf = BLEU(tokenize=tokenizer, force=True), CHRF()
    return bleu.corpus_score(said, columns).score, chrf.corpus_score(said, columns).score


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_bleu_and_chrf_are_those_of_sacrebleu(seed, references, rows):
    records = _records(seed, rows, LATIN, " ", references)
    mine = values_of(METRIC.measure(records))
    assert (mine["bleu"], mine["chrf"]) == pytest.approx(_theirs(records, "13a"), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_chinese_is_cut_into_characters(seed):
    records = _records(seed, 30, CHINESE, "")
    assert tokenizer_for([record["truth"] for record in records]) == "zh"
    mine = values_of(METRIC.measure(records))
    assert (mine["bleu"], mine["chrf"]) == pytest.approx(_theirs(records, "zh"), abs=1e-9)
    assert "tok:zh" in METRIC.signature(records)


def test_equal_texts_are_perfect_in_every_script():
    for text in (
        "Ein Hund läuft über die Straße.",
        "我是一个来自北京的学生。",
        "これは私の本です、ありがとう。",
        "นี่คือหนังสือของฉัน",
    ):
        mine = values_of(METRIC.measure([{"id": "1", "target": text, "truth": text}]))
        assert [round(mine[name], 9) for name in ("bleu", "chrf", "rouge_l", "rouge_2", "exact")] == [100, 100, 1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_rouge_is_that_of_rouge_score_on_english(seed):
    from rouge_score.rouge_scorer import RougeScorer

    words = ["a", "the", "dog,", "runs", "(fast)", "3.5", "it's", "x-y", "House", "and", "so", "on", "."]
    records = _records(seed, 50, words, " ")
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    theirs = [scorer.score(record["truth"], record["target"]) for record in records]
    mine = values_of(METRIC.measure(records))
    for name, other in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        assert mine[name] == pytest.approx(np.mean([one[other].fmeasure for one in theirs]), abs=1e-12)


def test_a_corpus_is_the_sum_of_its_rows():
    records = _records(1, 30, LATIN, " ")
    whole = METRIC.measure(records)
    twice = np.array([[2.0] * 10 + [0.0] * 20])
    part = METRIC.measure(records[:10] * 2)
    assert float(whole.scores(twice)["bleu"][0]) == pytest.approx(float(part.scores()["bleu"]))
