"""Membership inference, its lower bound of epsilon, exposure of canaries, and ``pretune audit`` of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretune
from conftest import make_rows, write_csv
from media_files import put
from pretune.data.changes.canaries import PREFIX, canaries
from pretune.errors import DataError, UsageError
from pretune.evaluation.membership import epsilon_bound, exposure, membership
from pretune.interface import Silent
from pretune.report.privacy_words import audit_verdict
from pretune.runfolder import RunFolder
from pretune.training.settings import FinetuneSettings
from pretune.verbs.audit import AuditSettings, audit
from pretune.verbs.finetune.story import finetune


def test_a_model_that_tells_nothing_is_found_to_tell_nothing() -> None:
    """The bound is 0 in at least 95 % of runs, and the interval of the AUC holds 0.5 in about 95 %."""
    rng = np.random.default_rng(0)
    runs = [membership(rng.normal(size=400), rng.normal(size=300), delta=1e-5, resamples=100) for _ in range(60)]
    assert sum(run["epsilon"]["low"] > 0 for run in runs) <= 6
    assert sum(run["auc"]["low"] <= 0.5 <= run["auc"]["high"] for run in runs) >= 53
    assert np.mean([run["found"]["value"] for run in runs]) == pytest.approx(0.01, abs=0.004)


def test_the_auc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    members, others = rng.integers(0, 20, 300) + 2.0, rng.integers(0, 20, 200).astype(float)
    found = membership(members, others, delta=1e-5, resamples=100)
    truths = np.repeat([1, 0], [300, 200])
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(truths, np.concatenate([members, others])))


def test_the_bound_stays_below_epsilon_of_randomised_response() -> None:
    """A mechanism of known epsilon: a bit for each row, right with probability e^epsilon / (1 + e^epsilon)."""
    rng, epsilon, above = np.random.default_rng(2), 1.0, 0
    bounds = []
    for _ in range(40):
        is_in = rng.random(2000) < 0.5
        told = np.where(rng.random(2000) < 1 / (1 + np.exp(-epsilon)), is_in, ~is_in)
        bounds.append(epsilon_bound(told + 0.001 * rng.random(2000), is_in, delta=0.0))
        above += bounds[-1] > epsilon
    assert above <= 4
    assert np.mean(bounds) > 0.6


def test_rows_known_by_heart_are_found() -> None:
    rng = np.random.default_rng(3)
    found = membership(rng.normal(4, 1, 500), rng.normal(0, 1, 500), delta=1e-5, resamples=200)
    assert found["found"]["low"] > 0.8
    assert found["epsilon"]["low"] > 2
    bits = exposure(rng.normal(6, 1, 50), rng.normal(0, 1, 50))
    assert bits["low"] > bits["none"]
    assert bits["value"] <= bits["most"]
    nothing = exposure(rng.normal(0, 1, 2000), rng.normal(0, 1, 2000))
    assert nothing["low"] - 0.1 <= nothing["none"] <= nothing["high"] + 0.1


def test_canaries_are_the_same_each_time_and_no_two_alike() -> None:
    first, second = (canaries(["id", "text", "label"], 30, ["a", "b"], 5) for _ in range(2))
    assert first == second
    planted, unplanted = first
    texts = [row["text"] for row in (*planted, *unplanted)]
    assert len(set(texts)) == 60
    assert {row["label"] for row in planted} == {"a", "b"}
    assert all(row["id"].startswith(PREFIX) for row in planted)
    assert canaries(["id", "text", "label"], 30, ["a", "b"], 6) != first
    for columns in (["text", "value"], ["image", "boxes"], ["id", "label"], ["turns", "target"]):
        with pytest.raises(UsageError, match="not of one class each"):
            canaries(columns, 3, ["a", "b"], 0)


@pytest.mark.parametrize(
    ("modality", "told"), [("image", {"width": 96, "height": 96}), ("audio", {"seconds": 1.0, "rate": 16_000})]
)
def test_canaries_of_pictures_and_clips_are_files_as_reading_gives_them(modality: str, told: dict[str, Any]) -> None:
    from pretune.data.media.audio import decode_audio
    from pretune.data.media.image import decode_image

    columns = ["id", modality, "content", "look", "sketch", *told, "label"]
    first, second = (canaries(columns, 12, ["a", "b"], 5) for _ in range(2))
    assert first == second
    rows = [*first[0], *first[1]]
    assert len({row[modality]["bytes"] for row in rows}) == len({row["content"] for row in rows}) == 24
    assert {row["label"] for row in first[0]} == {"a", "b"}
    for row in rows:
        assert {name: row[name] for name in told} == told
        assert row["sketch"]
        if modality == "image":
            assert decode_image(row[modality]).size == (96, 96)
        else:
            samples_T = decode_audio(row[modality], 16_000)
            assert len(samples_T) == 16_000
            assert 0.1 < float(np.abs(samples_T).mean()) < 0.3
    assert canaries(columns, 12, ["a", "b"], 6) != first


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A model that knows its rows, labels drawn at random, by heart, canaries among them."""
    place = tmp_path_factory.mktemp("audited")
    rng = np.random.default_rng(0)
    rows = [
        {"text": f"{row['text']} {rng.integers(10**6)}", "label": str(rng.choice(["x", "y"]))}
        for row in make_rows(320, seed=4)
    ]
    say = Silent()
    settings = FinetuneSettings(
        backbone="scratch:bert-tiny", data=str(write_csv(place / "rows.csv", rows)), out=str(place / "run"), threads=1, max_length=24,
        test_fraction=0.3, epochs=25.0, canaries=20, learning_rate=2e-3, ema=0.0, eval_every="25epochs", warmup="5%",
    )  # fmt: skip
    finetune.run(settings, say=say)
    assert any("20 made-up rows" in warning for warning in say.warnings)
    return RunFolder(place / "run")


def test_an_audit_tells_what_was_learned_by_heart(learned: RunFolder) -> None:
    outcome = audit.run(AuditSettings(run=str(learned.path), threads=1, resamples=200, strict=True), say=Silent())
    facts = outcome.facts
    assert facts["told_apart"]
    assert outcome.exit_code == 1
    assert facts["auc"]["low"] > 0.6
    assert facts["split"] == "test"
    assert facts["canaries"]["exposure"]["n"] == 20
    assert facts["canaries"]["exposure"]["value"] > facts["canaries"]["exposure"]["none"]
    assert "guarantee" not in facts
    assert "better than by guessing" in outcome.text
    assert json.loads(json.dumps(facts)) == facts
    page = (learned.path / "audit.html").read_text()
    assert "Training rows can be told from others" in page
    assert "canaries" in page
    assert [one["what"] for one in learned.read_lines("looks.jsonl")] == ["audit"]
    pretune.report(str(learned.path))
    told = (learned.path / "report.html").read_text()
    assert "What it may give away" in told
    assert "can tell better than by guessing" in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "clips"])
def test_pictures_and_clips_that_were_planted_are_known_by_heart(kind: str, tmp_path: Path) -> None:
    """Labels drawn at random, which nothing but the rows themselves can tell."""
    rng = np.random.default_rng(0)
    for number in range(130):
        label, end = rng.choice(["x", "y"]), {"pictures": "png", "clips": "wav"}[kind]
        put(tmp_path / "data", [f"{label}/{number}.{end}"], first_seed=number)
    backbone = {"pictures": "linear:pixels", "clips": "linear:log-mel"}[kind]
    run = tmp_path / "run"
    settings = FinetuneSettings(
        backbone=backbone, data=str(tmp_path / "data"), out=str(run), threads=1, test_fraction=0.45, canaries=40,
    )  # fmt: skip
    say = Silent()
    finetune.run(settings, say=say)
    assert any("40 made-up rows" in warning for warning in say.warnings)
    facts = audit.run(AuditSettings(run=str(run), threads=1, resamples=200), say=Silent()).facts
    bits = facts["canaries"]["exposure"]
    assert bits["n"] == 40
    assert bits["low"] > bits["none"], bits
    assert facts["canaries"]["auc"]["low"] > 0.5


def test_rows_that_were_learned_from_and_are_harder_are_told_of_as_such() -> None:
    share = {"value": 0.0, "low": 0.0, "high": 0.01, "n": 100}
    facts = {"auc": {"value": 0.26, "low": 0.2, "high": 0.32}, "found": share, "told_apart": True}
    assert "worse than others" in audit_verdict(facts)
    assert "not drawn at random" in audit_verdict(facts)
    assert "could not be told" in audit_verdict({**facts, "told_apart": False})


def test_too_few_rows_are_refused(tmp_path: Path, learned: RunFolder) -> None:
    with pytest.raises(DataError, match="50 are needed"):
        audit.run(AuditSettings(run=str(learned.path), threads=1, split="validation"), say=Silent())


def test_a_page_in_place_of_a_folder_is_refused(tmp_path: Path, learned: RunFolder) -> None:
    options: dict[str, Any] = {"run": str(learned.path), "out": str(tmp_path)}
    with pytest.raises(UsageError, match="is a folder"):
        audit.run(AuditSettings(**options), say=Silent())
