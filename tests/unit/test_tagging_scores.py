"""Entities against seqeval in both readings; schemes of tags found by looking; intervals and verdicts by simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from tests.unit.metric_promises import coverage, holds_its_promises, shares_better

from pretune.answers.schemes import faults_of, scheme_of, spans_of, strict_spans_of, to_iob2
from pretune.errors import DataError
from pretune.evaluation.intervals import bootstrap
from pretune.metrics.base import values_of
from pretune.metrics.texts.tagging import TaggingMetric, by_type

METRIC = TaggingMetric()
TYPES = ("PER", "LOC", "ORG-X", "MISC")
NOISE = ["O", *[f"{letter}-{kind}" for letter in "BI" for kind in TYPES], "B", "I"]


def spans(rng: np.random.Generator, words: int, share: float = 0.4) -> list[tuple[int, int, str]]:
    found, at = [], 0
    while at < words:
        end = min(words, at + int(rng.integers(1, 4)))
        if rng.random() < share:
            found.append((at, end, str(rng.choice(TYPES))))
        at = end
    return found


def write(found: list[tuple[int, int, str]], words: int, scheme: str) -> list[str]:
    """The tags of spans, written independently of the code under test."""
    tags = ["O"] * words
    for start, end, kind in found:
        for at in range(start, end):
            tags[at] = f"I-{kind}"
        if scheme == "IOB2" or (scheme == "IOB1" and any(e == start and k == kind for _, e, k in found)):
            tags[start] = f"B-{kind}"
        if scheme == "BIOES":
            tags[start], tags[end - 1] = f"B-{kind}", f"E-{kind}"
            if end - start == 1:
                tags[start] = f"S-{kind}"
    return tags


def random_records(rng: np.random.Generator, n: int = 30, noise: float = 0.2) -> list[dict]:
    """Truths in IOB2; answers in which tags are replaced by any, well placed or not."""
    records = []
    for at in range(n):
        words = int(rng.integers(0, 15))
        truth = write(spans(rng, words), words, "IOB2")
        said = [str(rng.choice(NOISE)) if rng.random() < noise else tag for tag in truth]
        records.append({"id": str(at), "truth": truth, "tags": said})
    return records


@pytest.mark.parametrize("seed", range(30))
def test_scores_are_those_of_seqeval(seed: int) -> None:
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    records = random_records(np.random.default_rng(seed), noise=(0.05, 0.3, 0.8)[seed % 3])
    truth, said = [r["truth"] for r in records], [r["tags"] for r in records]
    found = values_of(METRIC.measure(records))
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "entity_f1": f1_score(truth, said, **strict),
            "entity_precision": precision_score(truth, said, **strict),
            "entity_recall": recall_score(truth, said, **strict),
            "entity_f1_macro": f1_score(truth, said, average="macro", **strict),
            "entity_f1_lenient": f1_score(truth, said, zero_division=0),
            "token_accuracy": accuracy_score(truth, said),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert found["exact"] == np.mean([a == b for a, b in zip(truth, said, strict=True)])


@pytest.mark.parametrize("seed", range(10))
def test_each_type_has_seqevals_counts(seed: int) -> None:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    records = random_records(np.random.default_rng(100 + seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = classification_report(
            [r["truth"] for r in records], [r["tags"] for r in records],
            mode="strict", scheme=IOB2, output_dict=True, zero_division=0,
        )  # fmt: skip
    found = by_type(records)
    assert {kind or "_" for kind in found} == set(expected) - {"micro avg", "macro avg", "weighted avg"}
    for kind, sums in found.items():
        row = expected[kind or "_"]
        values = values_of(sums)
        assert values["f1"] == pytest.approx(row["f1-score"])
        assert values["precision"] == pytest.approx(row["precision"])
        assert values["recall"] == pytest.approx(row["recall"])
        assert sums.stats_NK[:, 2].sum() == row["support"]


def test_an_interval_of_a_type_is_drawn_over_rows() -> None:
    records = random_records(np.random.default_rng(1), 200)
    score = bootstrap(by_type(records)["PER"], {}, resamples=300)["f1"]
    assert score.interval.low < score.value < score.interval.high
    assert score.n == 200


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
def test_tags_of_each_scheme_are_read_and_rewritten(scheme: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(spans(rng, 20, 0.7), 20) for _ in range(10)]
    tags = [write(*row, scheme) for row in rows]
    assert scheme_of(tags) == scheme
    assert sum(faults_of(one, scheme) for one in tags) == 0
    for (found, words), one in zip(rows, tags, strict=True):
        assert [tuple(span) for span in spans_of(one, scheme)] == found
        assert to_iob2(one, scheme) == write(found, words, "IOB2")
        assert strict_spans_of(to_iob2(one, scheme)) == spans_of(one, scheme)


def test_other_letters_for_the_same_scheme() -> None:
    assert scheme_of([["B-X", "I-X", "L-X", "O", "U-Y"]]) == "BIOES"
    assert to_iob2(["B-X", "I-X", "L-X", "O", "U-Y"], "BIOES") == ["B-X", "I-X", "I-X", "O", "B-Y"]
    assert to_iob2(["B", "M", "E", "S", "S"], "BIOES") == ["B", "I", "I", "B", "B"]
    assert faults_of(["B", "M", "E", "S", "S"], "BIOES") == 0


def test_scheme_of_doubtful_files() -> None:
    assert scheme_of([]) == "IOB2"
    assert scheme_of([["O", "O"]]) == "IOB2"
    assert scheme_of([["I-PER", "I-PER", "O", "I-LOC"]]) == "IOB1"
    assert scheme_of([["B-PER", "I-PER"], ["O", "I-PER"], ["B-LOC"]]) == "IOB2"
    assert scheme_of([["NN", "VB", "O"]]) == "plain"
    assert scheme_of([["B-PER"], ["person"]]) == "plain"


def test_faults_are_counted() -> None:
    assert faults_of(["I-PER", "O", "B-LOC", "I-PER"], "IOB2") == 2
    assert faults_of(["B-PER", "B-PER", "I-LOC", "B-LOC"], "IOB1") == 1
    assert faults_of(["B-PER", "O", "E-PER", "I-PER", "S-X"], "BIOES") == 3


def test_ill_formed_tags_in_both_readings() -> None:
    broken = ["I-PER", "O", "B-LOC", "I-PER", "B-PER", "I-PER"]
    assert strict_spans_of(broken) == [(2, 3, "LOC"), (4, 6, "PER")]
    assert spans_of(broken) == [(0, 1, "PER"), (2, 3, "LOC"), (3, 4, "PER"), (4, 6, "PER")]


def test_plain_tags_are_judged_by_words() -> None:
    metric = TaggingMetric.of({"labels": ["NN", "VB", "O"]})
    assert (metric.primary, TaggingMetric.primary) == ("token_accuracy", "entity_f1")
    measured = metric.measure([{"id": "a", "truth": ["NN", "VB"], "tags": ["NN", "NN"]}])
    assert values_of(measured)["token_accuracy"] == 0.5
    assert np.isnan(values_of(measured)["entity_f1"])
    assert to_iob2(["NN", "O"], "plain") == ["NN", "O"]
    assert spans_of(["a", "a", "O", "b"], "plain") == [(0, 2, "a"), (3, 4, "b")]


def test_rows_without_entities_leave_f1_undefined_and_wrong_ones_make_it_zero() -> None:
    nothing = {"id": "a", "truth": ["O", "O"], "tags": ["O", "O"]}
    found = values_of(METRIC.measure([nothing, {"id": "b", "truth": [], "tags": []}]))
    assert np.isnan(found["entity_f1"])
    assert (found["token_accuracy"], found["exact"]) == (1.0, 1.0)
    wrong = values_of(METRIC.measure([{**nothing, "tags": ["B-X", "O"]}]))
    assert (wrong["entity_f1"], wrong["entity_recall"], wrong["entity_f1_macro"]) == (0.0, 0.0, 0.0)


def test_promises() -> None:
    holds_its_promises(METRIC, random_records(np.random.default_rng(0), 24))
    holds_its_promises(METRIC, random_records(np.random.default_rng(1), 3))


@pytest.mark.parametrize("said", [["O"], ["O", "O", "O"]])
def test_another_number_of_tags_is_refused(said: list[str]) -> None:
    with pytest.raises(DataError, match="row x has 2 tags and is answered by"):
        METRIC.measure([{"id": "x", "truth": ["O", "O"], "tags": said}])
    with pytest.raises(DataError, match="row x has the truth 'O O'"):
        METRIC.measure([{"id": "x", "truth": "O O", "tags": said}])


def answered(rng: np.random.Generator, truths: list[list[tuple[int, int, str]]], right: float) -> list[dict]:
    """Rows of 12 words whose entities are found with this chance each, else lost or given another type."""
    records = []
    for at, found in enumerate(truths):
        kept = []
        for span in found:
            luck = rng.random()
            if luck < right:
                kept.append(span)
            elif luck < (1 + right) / 2:
                kept.append((*span[:2], "LOC" if span[2] != "LOC" else "PER"))
        records.append({"id": str(at), "truth": write(found, 12, "IOB2"), "tags": write(kept, 12, "IOB2")})
    return records


def truths(rng: np.random.Generator, n: int = 120) -> list[list[tuple[int, int, str]]]:
    return [spans(rng, 12) for _ in range(n)]


@pytest.mark.slow
def test_intervals_of_entity_f1_cover_as_promised() -> None:
    """Found with chance p, lost or mistaken alike: F1 of the population is 2p / (1 + p + (1 - p) / 2)."""
    p = 0.8
    true = 2 * p / (1 + p + (1 - p) / 2)
    assert 0.92 <= coverage(METRIC, lambda rng: answered(rng, truths(rng), p), true, "entity_f1", 400) <= 0.98


@pytest.mark.slow
def test_verdicts_by_entity_f1_keep_their_promise() -> None:
    def pair(rng: np.random.Generator, other: float) -> tuple[list[dict], list[dict]]:
        rows = truths(rng)
        return answered(rng, rows, 0.8), answered(rng, rows, other)

    equal = shares_better(METRIC, lambda rng: pair(rng, 0.8), 500)
    assert equal["a"] + equal["b"] <= 0.07
    # 0.843 against 0.919 is 3.05 standard errors (0.025, of 400 draws) apart
    other = shares_better(METRIC, lambda rng: pair(rng, 0.896), 60)
    assert other["b"] >= 0.8
    assert other["a"] == 0
