"""Recognition and classification of sound: what is learned, what is refused, what is varied, what is shown."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from pretune.answers import Text
from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.objectives.supervised import Supervised
from pretune.tasks import AudioClassification, SpeechRecognition, find_task
from pretune.tasks.inputs.log_mel import log_mel
from pretune.tasks.predicting import predict_items, predict_rows
from pretune.tasks.rows.audio import VARIATIONS, FrameMask, spans
from pretune.tasks.rows.trunk import on_trunk
from pretune.training.pace import default_epochs
from pretune.types import Encoded, Example
from tiny import CPU, WORDS, dataset_of, tiny_audio_backbone, tiny_clips, tiny_sound_task


def splits_of(rows: list[dict[str, Any]], *without: str) -> Splits:
    kept = [{key: value for key, value in row.items() if key not in without} for row in rows]
    return Splits({"train": dataset_of(kept)}, {})


def start(task: Any, rows: list[dict[str, Any]], **settings: Any) -> Any:
    return task.start(splits_of(rows), tiny_audio_backbone(), TaskSettings(**settings))


# --- which task -------------------------------------------------------------------------------------------------------


def test_labels_ask_for_classification_and_transcripts_for_recognition() -> None:
    rows = tiny_clips(6)
    assert find_task(splits_of(rows)) is AudioClassification
    assert find_task(splits_of(rows, "text")) is AudioClassification
    assert find_task(splits_of(rows, "label")) is SpeechRecognition
    assert find_task(splits_of(rows), "speech-recognition") is SpeechRecognition
    with pytest.raises(DataError, match="no labels"):
        find_task(splits_of(rows, "label", "text"))


def test_one_class_is_refused() -> None:
    rows = [{**row, "label": "hum"} for row in tiny_clips(6)]
    with pytest.raises(DataError, match="one label"):
        start(AudioClassification, rows)


def test_augment_auto_is_light_and_none_where_most_is_frozen() -> None:
    rows = tiny_clips(6)
    assert start(AudioClassification, rows).variation.name == "light"
    assert start(SpeechRecognition, rows, adapt="head").variation.name == "none"
    assert start(SpeechRecognition, rows, adapt="top:1", augment="strong").variation.name == "strong"


# --- transcripts ------------------------------------------------------------------------------------------------------


def with_text(row: dict[str, Any], text: str | None) -> dict[str, Any]:
    return {**row, "text": text}


def test_a_transcript_longer_than_its_frames_is_told_of_and_not_learned_from() -> None:
    rows = tiny_clips(8)
    rows[3] = with_text(rows[3], "see " * 40)
    task = start(SpeechRecognition, rows)
    stored = task.encode_rows(dataset_of(rows), fingerprint="too-long")
    assert stored.ledger["too_long_transcripts"] == 1
    assert "rows 3" in stored.ledger["notes"][0]
    assert [stored[i].weight for i in range(8)] == [1.0] * 3 + [0.0] + [1.0] * 4
    model, _ = task.build(tiny_audio_backbone(), seed=0)
    whole = task.collate([stored[i] for i in range(8)])
    without = task.collate([stored[i] for i in range(8) if i != 3])
    assert whole.num_items == without.num_items
    loss = task.loss(model.eval(), whole)
    assert loss.total.item() == pytest.approx(task.loss(model, without).total.item(), rel=1e-5)
    loss.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_too_many_long_transcripts_are_refused_before_learning() -> None:
    rows = [
        with_text(row, "much longer than half a second can hold " * 2) if i < 2 else row
        for i, row in enumerate(tiny_clips(8))
    ]
    with pytest.raises(
        DataError, match=r"2 of 8 transcripts are longer than CTC can write: that of row 0 needs \d+ frames"
    ):
        start(SpeechRecognition, rows)


def test_repeats_need_a_frame_more() -> None:
    task, _ = tiny_sound_task("speech")
    frames = task.hearing.frames(2400)
    fits, over = "ohoh" * 30, "oo" * 30
    assert task._fits(task.spelling.encode(fits[:frames]), 2400)
    assert not task._fits(task.spelling.encode(over[:frames]), 2400)


def test_an_empty_transcript_is_learned_as_silence() -> None:
    rows = tiny_clips(4)
    rows[1] = with_text(rows[1], "  ")
    task = start(SpeechRecognition, rows)
    stored = task.encode_rows(dataset_of(rows), fingerprint="empty")
    assert stored.ledger["empty_transcripts"] == 1
    assert any("empty" in note for note in stored.ledger["notes"])
    batch = task.collate([stored[1]])
    assert batch.num_items == 1.0
    model, _ = task.build(tiny_audio_backbone(), seed=0)
    with torch.inference_mode():
        logits = model.eval()(**batch.inputs).logits.float().log_softmax(-1)
        loss = float(task.loss(model, batch).total)
    frames = int(batch.extras["frames"][0])
    assert loss == pytest.approx(-float(logits[0, :frames, task.spelling.blank_id].sum()), rel=1e-5)


def test_characters_of_validation_that_training_lacks_are_told_of() -> None:
    task = start(SpeechRecognition, tiny_clips(6))
    rows = [with_text(row, "see ж") if row["id"] == "2" else row for row in tiny_clips(6)]
    stored = task.encode_rows(dataset_of(rows), fingerprint="unseen")
    assert stored.ledger["unknown_characters"] == 1
    assert "no training transcript has" in stored.ledger["notes"][0]
    assert task.truths(dataset_of(rows))[2] == "see ж"


def test_rows_without_a_transcript_cannot_be_scored() -> None:
    task = start(SpeechRecognition, tiny_clips(6))
    with pytest.raises(DataError, match="row 1 has no transcript"):
        task.truths(dataset_of([with_text(row, None) if row["id"] == "1" else row for row in tiny_clips(3)]))
    with pytest.raises(DataError, match="no transcripts"):
        task.truths(dataset_of(tiny_clips(3)).remove_columns("text"))


def test_the_loss_is_that_of_transformers() -> None:
    task, backbone = tiny_sound_task("speech")
    model, _ = task.build(backbone, seed=0)
    items = [task.encode(Example(row["id"], {"audio": row["audio"]}, Text(row["text"])))[0] for row in tiny_clips(6)]
    batch = task.collate(items)
    lengths = batch.extras["characters"].tolist()
    labels = torch.full((6, max(lengths)), -100)
    for row, target in enumerate(torch.split(batch.targets, lengths)):
        labels[row, : len(target)] = target
    with torch.inference_mode():
        theirs = model.eval()(**batch.inputs, labels=labels).loss
        ours = task.loss(model, batch)
    assert model.config.ctc_loss_reduction == "sum"
    assert float(ours.total) == pytest.approx(float(theirs), rel=1e-5)
    assert batch.num_items == sum(lengths)


def test_the_usual_transcript_is_the_baseline() -> None:
    task, _ = tiny_sound_task("speech")
    train = dataset_of([with_text(row, "oh no") if int(row["id"]) > 3 else row for row in tiny_clips(9)])
    found, notes = task.baselines(train, dataset_of(tiny_clips(6)))
    scores = found["most-frequent-transcript"].scores()
    assert float(scores["exact"]) == pytest.approx(2 / 6)
    assert notes == []


def test_beam_size_comes_from_the_settings_and_is_kept() -> None:
    task = start(SpeechRecognition, tiny_clips(4), beam_size=7)
    again = SpeechRecognition.restore(task.to_dict(), tiny_audio_backbone())
    assert again.beam_size == task.beam_size == 7
    assert again.answering() == {"beam_size": 7}


# --- variation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speech", "sound"])
@pytest.mark.parametrize("level", ["light", "strong"])
def test_variation_is_a_function_of_the_draw_alone(kind: str, level: str) -> None:
    task, _ = tiny_sound_task(kind, augment=level)
    row = task.encode_rows(dataset_of(tiny_clips(3)), fingerprint="vary")[1]
    before = row.arrays["samples"].copy()
    one, same, other = (task.augment(row, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.arrays["samples"], same.arrays["samples"])
    np.testing.assert_array_equal(one.arrays["mask"], same.arrays["mask"])
    assert one.arrays["samples"].tolist() != other.arrays["samples"].tolist()
    np.testing.assert_array_equal(row.arrays["samples"], before)
    assert one.target == row.target
    assert len(one.arrays["mask"]) == task.hearing.frames(len(one.arrays["samples"]))
    assert one.cost == task.hearing.cost(len(one.arrays["samples"]))


def test_numpys_global_state_changes_nothing() -> None:
    """transformers draws SpecAugment's masks from it; here they are the row's own."""
    task, backbone = tiny_sound_task("speech", augment="light")
    backbone.config.mask_feature_prob = 0.5
    model, _ = task.build(backbone, seed=0)
    rows = task.encode_rows(dataset_of(tiny_clips(4)), fingerprint="global-state")
    batch = task.collate([task.augment(rows[i], np.random.default_rng(i)) for i in range(4)])
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        found.append(float(task.loss(model.train(), batch).total.detach()))
    assert found[0] == found[1]
    assert batch.inputs["mask_time_indices"].any()


def test_a_clip_is_never_varied_to_be_too_short_for_its_transcript() -> None:
    task, _ = tiny_sound_task("speech", augment="strong")
    samples = tiny_clip_samples()
    frames = task.hearing.frames(len(samples))
    target = task.spelling.encode(("ohay" * 20)[:frames])
    row = Encoded("a", {"samples": samples}, 1, target)
    for seed in range(30):
        varied = task.augment(row, np.random.default_rng(seed))
        assert task._fits(target, len(varied.arrays["samples"]))


def tiny_clip_samples() -> np.ndarray:
    task, _ = tiny_sound_task("speech")
    return task.encode(Example("a", {"audio": tiny_clips(1)[0]["audio"]}))[0].arrays["samples"]


def test_noise_is_as_loud_as_it_says_and_silence_stays_silent() -> None:
    level = dataclasses.replace(VARIATIONS["light"], shift=0.0, gain_db=0.0, noise_db=(20.0, 20.0))
    tone = (8000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    noise = level.clip(tone, np.random.default_rng(0)).astype(float) - tone
    assert 20 * np.log10(tone.astype(float).std() / noise.std()) == pytest.approx(20, abs=0.3)
    assert not level.clip(np.zeros(1000, np.int16), np.random.default_rng(0)).any()


def test_strong_variation_changes_the_length_within_limits() -> None:
    lengths = [
        len(VARIATIONS["strong"].clip(np.ones(8000, np.int16), np.random.default_rng(seed))) for seed in range(60)
    ]
    assert min(lengths) >= 8000 / 1.15 - 1
    assert max(lengths) <= 8000 / 0.85 * 1.4 + 1
    assert len(set(lengths)) > 40


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 30, 500])
def test_hidden_spans(frames: int) -> None:
    mask = FrameMask(0.2, 5)
    shares = [mask.draw(frames, np.random.default_rng(seed)).mean() for seed in range(300)]
    assert len(mask.draw(frames, np.random.default_rng(0))) == frames
    if frames >= 30:
        assert np.mean(shares) == pytest.approx(0.18, abs=0.03)
    if frames > 3:
        assert max(shares) < 1
    assert spans(frames, 0.0, 5, 0.0, np.random.default_rng(0).permutation, least=1).any()


# --- what is learned on, kept and shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speech", "sound"])
def test_a_frozen_encoder_is_run_once_and_gives_the_same(kind: str) -> None:
    task, backbone = tiny_sound_task(kind)
    model, _ = task.build(backbone, seed=0)
    plan = plan_adaptation(model, "head", weight_decay=0.0)
    rows = {"train": task.encode_rows(dataset_of(tiny_clips(8)), fingerprint="trunk")}
    found = on_trunk(task, model, plan, rows, CPU, fingerprint=f"trunk-{kind}")
    assert found is not None
    learned, kept = found
    plain, replayed = (
        Supervised(one, plan).streams(part["train"], batch_size=8, group_by_length=False)["labelled"]
        for one, part in ((task, rows), (learned, kept))
    )
    places, keys = np.arange(8), np.arange(8, dtype=np.uint64)
    one, other = (
        task.loss(model.eval(), plain.collate(places, keys)["labelled"]),
        learned.loss(model, replayed.collate(places, keys)["labelled"]),
    )
    assert one.total.item() == pytest.approx(other.total.item(), rel=1e-4)
    assert [p.answer for p in predict_rows(task, model, rows["train"], CPU)] == [
        p.answer for p in predict_rows(learned, model, kept["train"], CPU)
    ]


def test_a_model_that_is_not_told_of_padding_keeps_no_trunk() -> None:
    task, backbone = tiny_sound_task("sound", hears="untold")
    assert task.runs_in_parts
    assert not task.varies_rows
    model, _ = task.build(backbone, seed=0)
    rows = {"train": task.encode_rows(dataset_of(tiny_clips(6)), fingerprint="in-parts")}
    assert on_trunk(task, model, plan_adaptation(model, "head", weight_decay=0.0), rows, CPU, fingerprint="p") is None


def test_the_mel_baseline_tells_tones_apart() -> None:
    task, _ = tiny_sound_task("sound")
    found, notes = task.baselines(dataset_of(tiny_clips(24)), dataset_of(tiny_clips(12, seed=9)))
    assert values_of(found["mel-logistic"])["accuracy"] == 1.0
    assert values_of(found["majority"])["accuracy"] == pytest.approx(1 / 3)
    assert notes == []


def test_mel_bands_lie_where_the_tone_is() -> None:
    bands = [
        int(log_mel(np.sin(2 * np.pi * hz * np.arange(4000) / 8000), 8000).mean(axis=1).argmax())
        for hz in (200, 800, 3000)
    ]
    assert bands == sorted(bands)
    assert len(set(bands)) == 3
    assert np.isfinite(log_mel(np.zeros(3), 8000)).all()


def test_a_clip_is_shown_with_its_spectrum_and_sound() -> None:
    import soundfile
    from PIL import Image

    task, _ = tiny_sound_task("sound")
    row = tiny_clips(1)[0]
    shown = task.shown(row)
    kind, _, image = shown["image"].partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(image))).height == 128
    assert shown["axes"] == {"x": ["0 s", "0.15 s", "0.3 s"], "y": ["4 kHz", "1.2 kHz", "20 Hz"]}
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(shown["audio"].partition(",")[2])))
    assert len(samples) / rate == pytest.approx(row["seconds"], abs=0.001)


def test_clips_shorter_than_a_frame_are_heard() -> None:
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, np.full(9, 0.1), 8_000, format="WAV", subtype="PCM_16")
    audio = {"bytes": held.getvalue(), "path": "short.wav"}
    for kind in ("speech", "sound"):
        task, backbone = tiny_sound_task(kind)
        model, _ = task.build(backbone, seed=0)
        (found,) = predict_items(task, model, task.encode(Example("a", {"audio": audio})), CPU)
        assert found.id == "a"


@pytest.mark.parametrize(
    ("rows", "seconds", "epochs"),
    [
        (2430, 0.43, 26),  # spoken digits: 8,000 updates, 6.5 hours
        (45, 6.1, 104),  # yesno: 8 hours, where 8,000 updates would be 108
        (45, 0.4, 1333),  # 50 passes for each 300 updates at most
        (100_000, 12.0, 3),  # never less than three passes
    ],
)
def test_default_epochs_of_sound_are_bounded_by_rows_and_by_what_is_heard(
    rows: int, seconds: float, epochs: int
) -> None:
    for kind in ("speech", "sound"):
        task, _ = tiny_sound_task(kind)
        costs_N = np.full(rows, math.ceil(seconds * 50))
        assert default_epochs(task, costs_N, task.default_batch_size) == epochs


def test_words_of_the_fixture_need_blanks_and_spaces() -> None:
    assert any(a == b for word in WORDS.values() for a, b in itertools.pairwise(word))
    assert any(" " in word for word in WORDS.values())
