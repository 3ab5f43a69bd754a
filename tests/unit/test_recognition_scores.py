"""Word and character error rates against jiwer; what the report shows; a model that writes nothing is noticed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pretune.evaluation.intervals import bootstrap
from pretune.metrics.recognition import RecognitionMetric, confusions, recognition_scores, recognition_statistics
from pretune.tasks.blocks.recognition import recognition_blocks
from pretune.tasks.speech.recognition_checks import collapse_warnings

WORDS = ("yes", "no", "three", "tree", "you", "ninety", "nine")


def random_records(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Transcripts with words replaced, lost and made up; the first rows are right, wholly missed and too much."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        truth = [rng.choice(WORDS) for _ in range(rng.randint(1, 7))]
        said = [rng.choice([word, word, word, rng.choice(WORDS), word[:-1]]) for word in truth if rng.random() > 0.15]
        said += [rng.choice(WORDS) for _ in range(rng.choice([0, 0, 1, 3]))]
        records.append({"id": str(number), "truth": " ".join(truth), "text": " ".join(said)})
    records[0]["text"] = records[0]["truth"]
    records[1]["text"] = ""
    return records


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_jiwer(seed: int) -> None:
    import jiwer

    records = random_records(40, seed)
    truths, said = [r["truth"] for r in records], [r["text"] for r in records]
    ours = recognition_scores(recognition_statistics(records).sum(axis=0))
    words = jiwer.process_words(truths, said)
    assert float(ours["wer"]) == pytest.approx(words.wer)
    assert float(ours["cer"]) == pytest.approx(jiwer.cer(truths, said))
    total = words.hits + words.substitutions + words.deletions
    parts = words.substitutions + words.insertions + words.deletions
    found = sum(float(ours[name]) for name in ("substitutions", "insertions", "deletions"))
    assert found == pytest.approx(parts / total)
    assert float(ours["exact"]) == sum(t == s for t, s in zip(truths, said, strict=True)) / 40


def test_statistics_count_by_hand() -> None:
    (row,) = recognition_statistics([{"truth": "one  two three", "text": "one too"}])
    assert row.tolist() == [3, 1, 0, 1, 13, 1, 0, 6, 0, 1]
    (right,) = recognition_statistics([{"truth": "nai\u0308ve", "text": "naïve"}])
    assert right.tolist() == [1, 0, 0, 0, 5, 0, 0, 0, 1, 1]


def test_an_empty_truth_counts_what_was_made_up() -> None:
    stats = recognition_statistics([{"truth": "", "text": "a b"}, {"truth": "", "text": ""}])
    assert stats[0, :4].tolist() == [0, 0, 2, 0]
    scores = recognition_scores(stats.sum(axis=0))
    assert float(scores["wer"]) == 2.0
    assert float(scores["exact"]) == 0.5


def test_no_mistake_in_a_few_rows_is_no_proof_of_none() -> None:
    records = [{"truth": "yes no", "text": "yes no"}] * 15
    score = bootstrap(RecognitionMetric().measure(records), RecognitionMetric.specs, resamples=200)["wer"]
    assert (score.value, score.interval.low) == (0.0, 0.0)
    assert score.interval.high == pytest.approx(3.8415 / (15 + 3.8415), abs=1e-3)


def test_confusions_are_of_aligned_words() -> None:
    records = [
        {"truth": "yes no yes", "text": "yes yes"},
        {"truth": "three", "text": "tree"},
        {"truth": "you", "text": "you nine"},
    ]
    assert dict(confusions(records)) == {("no", ""): 1, ("three", "tree"): 1, ("", "nine"): 1}


def test_blocks_show_the_worst_first_and_read_no_other_row() -> None:
    records = random_records(60)
    asked: list[int] = []

    def shown(index: int) -> dict[str, str]:
        asked.append(index)
        return {"id": records[index]["id"]}

    table, examples = recognition_blocks(records, shown)
    assert table["rows"][0][2] == max(row[2] for row in table["rows"])
    assert len(examples["rows"]) == 20 == len(asked)
    errors = [recognition_statistics([row | {"text": row["predicted"]}])[0, 1:4].sum() for row in examples["rows"]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == recognition_statistics(records)[:, 1:4].sum(axis=1).max()
    assert "0" not in {row["id"] for row in examples["rows"]}
    _, none = recognition_blocks([records[0]], shown)
    assert none["rows"] == []
    assert none["note"] == "Utterances with a mistake: none of 1."


def test_a_model_that_writes_nothing_is_noticed() -> None:
    silent = [{"truth": f"word {n}", "text": "" if n else "word"} for n in range(10)]
    (said,) = collapse_warnings(silent)
    assert "9 of 10" in said
    assert "blank" in said
    (same,) = collapse_warnings([{"truth": f"word {n}", "text": "no"} for n in range(20)])
    assert '"no"' in same
    assert collapse_warnings(random_records(30)) == []
    assert collapse_warnings([{"truth": "", "text": ""}] * 20) == []
    assert collapse_warnings([{"truth": "no", "text": "no"}] * 20) == []


def test_few_clips_with_nearly_every_letter_wrong_are_noticed() -> None:
    (said,) = collapse_warnings([{"truth": "yes no yes no", "text": text} for text in ("e", "o", "e", "o", "")])
    assert "94 % of the characters wrong" in said
    assert collapse_warnings([{"truth": "yes no yes no", "text": "yes no"}] * 5) == []


def test_scores_take_any_leading_shape() -> None:
    stats = recognition_statistics(random_records(12))
    stacked = recognition_scores(np.stack([stats.sum(0), stats[:3].sum(0)]))
    for name, value in recognition_scores(stats[:3].sum(0)).items():
        assert stacked[name].shape == (2,)
        assert stacked[name][1] == pytest.approx(float(value))
