"""Sound to frames and back, attention in figures, clips as answers, and what they are scored by."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pretune.answers import Wave
from pretune.backbones.audio.gated_convolutions import codes_of, frame_places
from pretune.backbones.audio.sampler import Sampler, sound_of
from pretune.backbones.load import load_backbone
from pretune.backbones.own import tacotron_config, wavenet_config
from pretune.errors import DataError, ModelError, UsageError
from pretune.metrics.base import values_of
from pretune.metrics.synthesis import SynthesisMetric, apart, cepstra
from pretune.modalities.audio.mel import MelSpec, in_quiet_of, trimmed
from pretune.modalities.audio.speech_steps import most_steps
from pretune.objectives.audio.sound_baselines import CodeCounts, linear_prediction_bits
from pretune.runs.answer_files import answers_in_files
from pretune.tasks.blocks.synthesis import clip_warnings
from pretune.tasks.predicting import predict_items
from pretune.tasks.rows.spoken_data import letters_of
from pretune.tasks.shown.alignment import attended, off_diagonal
from pretune.tasks.speech.step_by_step import LIMIT, StepByStep
from pretune.types import Example
from tiny import CPU, spoken_rows, tiny_voice

RATE = 8_000


def tone(seconds: float = 0.4, pitch: float = 440.0) -> np.ndarray:
    time_T = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * pitch * time_T) * np.hanning(len(time_T))).astype(np.float32)


def test_filters_are_those_of_the_library():
    from transformers.audio_utils import mel_filter_bank

    spec = MelSpec.of_rate(16_000, 40)
    library = mel_filter_bank(
        num_frequency_bins=spec.size // 2 + 1, num_mel_filters=40, min_frequency=spec.low_hz, max_frequency=8_000.0,
        sampling_rate=16_000, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(spec.filters, library, atol=1e-9)
    assert (MelSpec.of_rate(8_000, 80).filters.sum(axis=0) > 0).all()


def test_griffin_lim_gives_sound_with_the_same_spectrum_each_time():
    spec = MelSpec.of_rate(RATE, 40)
    frames_FM = spec.of(tone())
    sound_T = spec.sound(frames_FM)
    assert len(sound_T) == (len(frames_FM) - 1) * spec.hop
    assert np.array_equal(sound_T, spec.sound(frames_FM))
    assert np.abs(spec.of(sound_T)[2:-2] - frames_FM[2:-2]).mean() < 0.15
    assert spec.of(np.zeros(800, dtype=np.float32)).max() == pytest.approx(spec.silence)


def test_quiet_at_the_ends_is_cut_off_and_clips_are_equally_loud():
    around = np.concatenate([np.zeros(4000), 0.1 * tone(), np.zeros(6000)]).astype(np.float32)
    found = trimmed(around, RATE)
    assert len(found) < len(tone()) + 0.15 * RATE
    assert np.abs(found).max() == pytest.approx(0.7, abs=0.01)
    assert not trimmed(np.zeros(100, dtype=np.float32), RATE).any()


def test_a_clip_is_heard_in_the_quiet_of_its_recording():
    hiss = np.random.default_rng(0).normal(0, 1e-5, 10_000).astype(np.float32)
    around = np.concatenate([hiss[:4000], 0.1 * tone(), hiss[4000:]]).astype(np.float32)
    learned = trimmed(around, RATE)
    np.testing.assert_allclose(in_quiet_of(learned, around, RATE), around * (0.7 / np.abs(around).max()), rtol=1e-6)
    assert np.array_equal(in_quiet_of(learned, learned, RATE), learned)
    assert np.array_equal(in_quiet_of(learned, np.zeros(100, dtype=np.float32), RATE), learned)


def test_a_clip_is_held_compared_and_written(tmp_path: Path):
    wave = Wave.of(tone(), RATE)
    assert wave.same(Wave.of(tone() * 1.02, RATE), 0.05)
    assert not wave.same(Wave.of(-tone(), RATE), 0.05)
    assert not wave.same(Wave.of(tone(0.3), RATE), 0.05)
    (record,) = answers_in_files([{"id": "a", "audio": wave.to_json()}], "audio", tmp_path, "test")
    assert record["audio"] == "test/00001.wav"
    assert (tmp_path / "test" / "00001.wav").read_bytes() == wave.held()
    assert len(record["sha256"]) == 64
    with pytest.raises(DataError):
        Wave("data:audio/wav;base64,%%%").held()
    assert [*answers_in_files([{"id": "a", "label": "x"}], "label", tmp_path, "test")] == [{"id": "a", "label": "x"}]


def test_attention_in_figures():
    way = np.eye(4)[[0, 0, 1, 2, 3]]
    assert attended(way) == {
        "letters": 4,
        "covered": 4,
        "skipped": 0,
        "steps": 5,
        "monotone": 5,
        "repeated": 0,
        "peaks": 5.0,
    }
    back = np.eye(4)[[0, 2, 3, 0, 1]]
    found = attended(back)
    assert (found["repeated"], found["monotone"]) == (1, 4)
    steps, letters = torch.tensor([5, 3]), torch.tensor([4, 2])
    cost = off_diagonal(steps, letters, torch.zeros(2, 5, 4))
    assert cost[0, 0, 0] == 0
    assert cost[0, 4, 0] > 0.9
    assert not cost[1, 3:].any()
    assert not cost[1, :, 2:].any()


def test_distance_of_clips_forgives_time_and_finds_what_differs():
    spec = MelSpec.of_rate(RATE, 40)
    one, slower, other = (spec.logs(spec.of(clip)) for clip in (tone(0.4), tone(0.5), tone(0.4, 900.0)))
    assert apart(one, one) == (0.0, 0.0)
    near, far = apart(one, slower)[0], apart(one, other)[0]
    assert near < far
    louder, mcd = apart(one[:1], one[:1] + 0.1)
    assert louder == pytest.approx(0.1 * 20 / math.log(10))
    assert mcd == pytest.approx(0.0, abs=1e-9)
    assert cepstra(one).shape == (len(one), 13)


def test_scores_are_of_what_records_have():
    records = [
        {
            "id": "1",
            "stopped": True,
            "letters": 5,
            "covered": 5,
            "steps": 4,
            "monotone": 4,
            "peaks": 3.0,
            "text": "one",
            "heard": "one",
        },
        {
            "id": "2",
            "stopped": False,
            "letters": 5,
            "covered": 3,
            "steps": 4,
            "monotone": 2,
            "peaks": 1.0,
            "text": "two",
            "heard": "too",
        },
    ]
    scores = values_of(SynthesisMetric().measure(records))
    assert scores["stopped"] == 0.5
    assert scores["coverage"] == 0.8
    assert scores["diagonality"] == 0.75
    assert scores["judge_wer"] == 0.5
    assert scores["judge_exact"] == 0.5
    assert math.isnan(scores["mel_distance"])
    assert math.isnan(scores["judge_wer_true"])


def test_words_skipped_and_repeated_are_counted_apart():
    records = [
        {"id": "1", "text": "take the first row", "heard": "take first row", "heard_true": "take the first row"},
        {"id": "2", "text": "take the last", "heard": "take the the last last", "heard_true": "take a last"},
        {"id": "3", "text": "not judged"},
    ]
    scores = values_of(SynthesisMetric().measure(records))
    assert scores["judge_deletions"] == pytest.approx(1 / 7)
    assert scores["judge_insertions"] == pytest.approx(2 / 7)
    assert scores["judge_wer"] == pytest.approx(3 / 7)
    assert (scores["judge_deletions_true"], scores["judge_insertions_true"]) == (0.0, 0.0)
    assert scores["judge_wer_true"] == pytest.approx(1 / 7)
    assert scores["judge_cer_true"] == pytest.approx(3 / 31)


def test_a_text_is_said_alike_in_every_batch_and_otherwise_in_another_take():
    task, backbone = tiny_voice()
    model = task.build(backbone, seed=0)[0].eval()
    assert isinstance(task.manner, StepByStep)
    task.manner.dropout = 0.5
    rows = [Example(str(n), {"text": row["text"], "speaker": row["speaker"]}) for n, row in enumerate(spoken_rows(6))]
    items = [item for row in rows for item in task.encode(row)]
    together = task.said(model, task.collate(items))
    (alone,) = task.said(model, task.collate(items[3:4]))
    np.testing.assert_allclose(together[3].mel_FM, alone.mel_FM, atol=1e-4)
    task.take = 1
    (other,) = task.said(model, task.collate(task.encode(rows[3])))
    assert other.mel_FM.shape != alone.mel_FM.shape or np.abs(other.mel_FM - alone.mel_FM).max() > 1e-3


def test_what_cannot_be_said_is_told():
    task, backbone = tiny_voice()
    model = task.build(backbone, seed=0)[0].eval()
    with pytest.raises(DataError, match="whom the model never heard"):
        task.encode(Example("1", {"text": "x", "speaker": "carl"}))
    (found,) = predict_items(task, model, task.encode(Example("1", {"text": "€¥"})), CPU)
    record = task.record(found)
    assert record["unread"] == 2
    assert record["audio"].startswith("data:audio/wav;base64,")
    assert record["stopped"] in (True, False)
    limit = (
        most_steps(record["letters"], task.frames_per_letter, task.manner.step, LIMIT)
        * task.manner.step
        * task.mel.hop
        / RATE
    )
    assert record["seconds"] <= limit
    with pytest.raises(DataError):
        letters_of(["", " "])


def test_a_text_that_is_scored_again_is_said_in_another_take():
    from pretune.runs.rows import name_groups
    from pretune.tasks.predicting import predict_rows
    from tiny import dataset_of

    task, backbone = tiny_voice()
    assert isinstance(task.manner, StepByStep)
    task.manner.dropout = 0.5
    model = task.build(backbone, seed=0)[0].eval()
    rows = [{**row, "id": str(place), "text": "one"} for place, row in enumerate(spoken_rows(6))]
    dataset = dataset_of(rows)
    plain = task.encode_rows(dataset, fingerprint="takes")
    found = predict_rows(task, model, task.in_takes(plain), CPU)
    assert [one.detail.get("take", 0) for one in found] == [0, 0, 1, 1, 2, 2]
    assert len({one.answer for one in found}) == 6
    assert len({one.answer for one in predict_rows(task, model, plain, CPU)}) == 2
    task.take = 2
    (third,) = predict_items(task, model, [task.encode_rows(dataset, fingerprint="takes")[0]], CPU)
    assert Wave(third.answer).same(Wave(found[4].answer), 0.01)
    assert "take" not in third.detail, "it is the one that was asked for"
    records = [task.record(one) for one in found]
    groups_N = name_groups(records, dataset, task)
    assert groups_N is not None
    assert {record["group"] for record in records} == {"ann: one", "bob: one"}
    assert name_groups(records[:2], dataset.select([0, 1]), task) is None


def test_a_wavenet_said_sample_by_sample_is_the_whole_network():
    from transformers import AutoModel

    torch.manual_seed(1)
    model = AutoModel.from_config(wavenet_config("wavenet-tiny", RATE)).eval()
    codes_BT, frames_BFM, given_B = torch.randint(0, 256, (2, 300)), torch.randn(2, 4, 40), torch.tensor([True, False])
    with torch.no_grad():
        whole = model(codes_BT, frames_BFM, given_B).numpy()
        heard = model.wavenet.heard(frames_BFM, given_B).numpy()
    sampler = Sampler.of(model.wavenet)
    np.testing.assert_allclose(sampler.logits(codes_BT.numpy(), heard), whole, rtol=0, atol=1e-5)
    both = sampler.draw(heard, 50, [np.random.default_rng(seed) for seed in (1, 2)], 0.9)
    alone = sampler.draw(heard[1:], 50, [np.random.default_rng(2)], 0.9)
    assert np.array_equal(both[1], alone[0])


def test_codes_are_the_nearest_of_mu_law():
    samples = torch.linspace(-1, 1, 2001)
    codes = codes_of(samples, 256)
    assert (codes.min(), codes.max()) == (0, 255)
    assert np.abs(sound_of(codes.numpy(), 256) - samples.numpy()).max() < 0.03
    assert frame_places(250, 100, 3).tolist().count(1) == 100


def test_a_piece_of_a_clip_has_the_frames_of_the_whole_clip():
    from pretune.objectives.audio.next_sample import NextSample
    from pretune.types import Encoded
    from tiny import tiny_audio_backbone

    made = NextSample(tiny_audio_backbone("waves"), seed=0)
    whole_T = np.random.default_rng(0).integers(-9000, 9000, 5000).astype(np.int16)
    row = Encoded("a", {"samples": whole_T}, 5000)
    codes_T = codes_of(torch.from_numpy(whole_T / np.float32(32_768)), 256)
    frames_FM = made.mel.of(whole_T / np.float32(32_768))
    starts = set()
    for key in range(8):
        batch = made.collate([row], np.array([key]))
        piece_T = batch.inputs["codes"][0]
        (start,) = (at for at in range(0, 5000, 100) if torch.equal(codes_T[at : at + 800], piece_T))
        torch.testing.assert_close(batch.inputs["frames"][0].numpy(), frames_FM[start // 100 :][:9])
        starts.add(start)
    assert len(starts) > 3
    assert made.collate([row]).num_tokens == 5000


def test_simple_methods_need_fewer_bits_for_what_they_can_foresee():
    noise = np.random.default_rng(0)
    smooth = (0.3 * np.sin(np.arange(3000) / 9) + 0.001 * noise.standard_normal(3000)).astype(np.float32)
    codes = codes_of(torch.from_numpy(smooth), 256).numpy()
    alone, after = CodeCounts.of([codes], 256).bits(codes)
    linear = linear_prediction_bits(smooth, codes, 256)
    assert linear < after < alone < 8 * len(codes)
    wild = noise.integers(0, 256, 3000)
    assert linear_prediction_bits(sound_of(wild, 256), wild, 256) > 7 * len(wild)


def test_models_that_do_not_speak_are_refused():
    from pretune.tasks.rows.spoken_data import refuse_other_backbone

    with pytest.raises(UsageError, match="does not speak"):
        refuse_other_backbone(load_backbone("scratch:w2v-bert-tiny"), "full")
    with pytest.raises(UsageError, match="--adapt"):
        refuse_other_backbone(load_backbone("scratch:tacotron-tiny"), "head")
    assert tacotron_config("tacotron-base", 16_000).frames_per_step == 1


def test_a_vocoder_of_other_frames_is_refused():
    from transformers import AutoModel

    from pretune.backbones.audio.vocoder import WaveNetVocoder

    model = AutoModel.from_config(wavenet_config("wavenet-tiny", RATE))
    with pytest.raises(ModelError, match="spectra"):
        WaveNetVocoder(model, MelSpec.of_rate(16_000, 40), "runs/sound")
    mels = [MelSpec.of_rate(RATE, 40).of(tone(0.05)), MelSpec.of_rate(RATE, 40).of(tone(0.1))]
    vocoder = WaveNetVocoder(model, MelSpec.of_rate(RATE, 40), "runs/sound")
    sounds = vocoder.sounds(mels, [1, 2])
    assert [len(one) for one in sounds] == [(len(mel) - 1) * 100 for mel in mels]
    np.testing.assert_array_equal(vocoder.sounds(mels[1:], [2])[0], sounds[1])


def test_a_clip_that_passes_over_more_letters_than_others_is_likely_wrong() -> None:
    usual = [{"id": str(n), "letters": 6, "skipped": 2, "stopped": True, "repeated": 0} for n in range(9)]
    assert clip_warnings(usual) == []
    (told,) = clip_warnings([*usual, {**usual[0], "id": "bad", "skipped": 5}])
    assert told.startswith("1 of 10 clips have far more letters")
    assert "(the first is bad)" in told
    assert clip_warnings([{"id": "fast"}]) == [], "a voice without attention"
