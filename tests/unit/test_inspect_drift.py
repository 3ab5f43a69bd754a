"""Splits that look alike and splits that do not, in what ``inspect --drift`` says."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest

import pretune
from pretune.verbs.inspect.drift import drift_findings, drift_lines, splits_apart

WORDS = ["sun", "rain", "wind", "snow", "cloud", "storm", "fog", "frost", "hail", "dew"]


def texts_of(count: int, seed: int, *, more: str = "") -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join([*rng.choice(WORDS, 8), more]).strip() for _ in range(count)]


def rows_of(texts: list[str]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": [str(n) for n in range(len(texts))], "text": texts})


def test_what_comes_from_elsewhere_is_found_and_what_does_not_is_not() -> None:
    train, alike = rows_of(texts_of(150, 0)), rows_of(texts_of(80, 1))
    other = rows_of(texts_of(80, 2, more="quoth the raven"))
    found = splits_apart({"train": train, "validation": alike, "test": other})
    assert [(pair["of"], pair["new"], pair["drift"]) for pair in found] == [
        ("train", "validation", False), ("train", "test", True)
    ]  # fmt: skip
    assert found[0]["alpha"] == 0.025, "two pairs are looked at"
    assert found[1]["features"]["words"]["auc"]["value"] > 0.95
    lines = drift_lines(found)
    assert lines[0].startswith("validation looks like train: words, AUC 0.")
    assert lines[1].startswith("test looks different from train")
    assert any("words typical of test: " in line and "raven" in line for line in lines)
    (warned,) = drift_findings(found)
    assert (warned["severity"], warned["code"], warned["count"]) == ("warning", "drift", 80)


def test_few_rows_and_single_parts_are_passed_over() -> None:
    assert splits_apart({"train": rows_of(texts_of(30, 0)), "test": rows_of(texts_of(9, 1))}) == []
    assert "--drift" in drift_lines([])[0]


def test_the_corpus_is_held_against_the_training_rows(tmp_path: Path) -> None:
    lines = [f"{text},{'wet' if 'rain' in text else 'dry'}" for text in texts_of(200, 3)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"the market rose by {n} points on {n} trades" for n in range(60)))
    said = pretune.inspect(str(tmp_path / "rows.csv"), corpus=str(corpus), drift=True, out=str(tmp_path / "passport"))
    apart = {(pair["of"], pair["new"]): pair["drift"] for pair in said.facts["drift"]}
    assert apart[("corpus", "train")]
    assert "train looks different from corpus" in said.text
    page = (tmp_path / "passport" / "passport.html").read_text(encoding="utf-8")
    assert "train looks different from corpus" in page


@pytest.mark.slow
def test_splits_made_by_content_are_seldom_called_different() -> None:
    alarms = 0
    for draw in range(20):
        rows = texts_of(160, 100 + draw)
        found = splits_apart({"train": rows_of(rows[:80]), "validation": rows_of(rows[80:120]), "test": rows_of(rows[120:])}, seed=draw)  # fmt: skip
        alarms += any(pair["drift"] for pair in found)
    assert alarms <= 4, "a binomial of 20 and 5 % is above it once in 400"
