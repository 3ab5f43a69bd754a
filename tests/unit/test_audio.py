"""Clips to batches: the feature extractor's own arithmetic, frames counted as the model counts them, samples on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.load import Backbone, load_backbone, save_model
from pretune.backbones.presets.audio import AUDIO_PRESETS, only_rate_of
from pretune.errors import ModelError, UsageError
from pretune.modalities import Modality
from pretune.modalities.audio import samples
from pretune.modalities.audio.clips import AudioSpec, collate_clips, stored_clip
from pretune.modalities.audio.samples import store_samples
from tiny import tiny_audio_backbone, tiny_image_backbone


@pytest.fixture(scope="module")
def hearing() -> AudioSpec:
    return audio_spec_of(tiny_audio_backbone())


def clip(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-9000, 9000, round(seconds * 8000)).astype(np.int16)


OF_THEIR_OWN = ("tacotron", "fastspeech")
"""What makes sound in place of hearing it."""


@pytest.mark.parametrize(
    ("preset", "rate"),
    [
        (name, hz)
        for name in AUDIO_PRESETS
        for hz in (8_000, 16_000)
        if only_rate_of(name) in (None, hz) and not name.startswith(OF_THEIR_OWN)
    ],
)
def test_a_preset_hears_frames_of_20_ms_or_10(preset: str, rate: int) -> None:
    found = load_backbone(f"scratch:{preset}", sampling_rate=rate)
    hearing = audio_spec_of(found)
    assert found.modality == "audio"
    assert hearing.rate == found.facts["sampling_rate"] == rate
    a_second = 100 if preset.startswith("mel-resnet") else 50
    assert np.prod(hearing.strides) == rate // a_second
    assert 9.8 * a_second <= hearing.frames(10 * rate) <= 10 * a_second
    assert hearing.frames(hearing.least_samples) == 1
    assert hearing.frames(hearing.least_samples - 1) == 0


def test_frames_are_those_that_the_model_makes(hearing: AudioSpec) -> None:
    model, _ = tiny_audio_backbone().build("AutoModel", seed=0)
    model.eval()
    for length in (hearing.least_samples, 1000, 2345, 8000):
        with torch.inference_mode():
            made = model(input_values=torch.zeros(1, length)).last_hidden_state.shape[1]
        assert made == hearing.frames(length)


def test_collated_clips_are_what_the_feature_extractor_makes(hearing: AudioSpec) -> None:
    processor = tiny_audio_backbone().processor
    clips = [clip(0.31), clip(0.5, 1), clip(0.1, 2)]
    inputs, lengths_B = collate_clips(clips, hearing)
    floats = [one / np.float32(32_768) for one in clips]
    theirs = processor(floats, sampling_rate=8_000, padding=True, return_tensors="pt")
    width = theirs["input_values"].shape[1]
    assert lengths_B.tolist() == [len(one) for one in clips]
    torch.testing.assert_close(inputs["input_values"][:, :width], theirs["input_values"], atol=1e-5, rtol=1e-5)
    assert torch.equal(inputs["attention_mask"][:, :width], theirs["attention_mask"].long())
    assert not inputs["input_values"][:, width:].any()
    assert inputs["input_values"].shape[1] % 800 == 0


def test_a_16_bit_file_is_stored_as_it_is(hearing: AudioSpec) -> None:
    wanted = np.arange(-32_768, 32_768, dtype=np.int16)
    np.testing.assert_array_equal(stored_clip((wanted / 32_768).astype(np.float32), hearing), wanted)


def test_loud_clips_are_scaled_not_clipped_and_short_ones_lengthened(hearing: AudioSpec) -> None:
    loud = stored_clip(np.linspace(-4, 4, 1000, dtype=np.float32), hearing)
    assert loud.max() == 32_767
    assert len(set(loud.tolist())) > 990
    short = stored_clip(np.full(10, 0.5, dtype=np.float32), hearing)
    assert len(short) == hearing.least_samples
    assert (short[:10] == 16_384).all()
    assert not short[10:].any()
    assert len(stored_clip(np.empty(0, dtype=np.float32), hearing)) == hearing.least_samples


def test_stored_clips_are_decoded_once(hearing: AudioSpec) -> None:
    wanted = [clip(0.1 * (1 + number % 3), number) for number in range(130)]
    asked: list[int] = []

    def read(index: int) -> np.ndarray:
        asked.append(index)
        return wanted[index]

    for _ in range(2):
        store = store_samples(np.full(130, 0.2), read, hearing, fingerprint="decoded-once")
        assert store.num_samples_N.tolist() == [len(one) for one in wanted]
        for index in (0, 63, 64, 129):
            np.testing.assert_array_equal(store.clip(index), wanted[index])
    assert sorted(asked) == [*range(130)]


def test_sets_too_large_for_the_disk_are_decoded_each_time(hearing: AudioSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_STORE_BYTES", 1000)
    store = store_samples(np.array([0.5, 0.25]), lambda index: clip(0.5 / (index + 1)), hearing, fingerprint="large")
    assert store.num_samples_N.tolist() == [4000, 2000]
    assert len(store.clip(1)) == 2000


def test_a_sound_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    backbone = tiny_audio_backbone()
    model, _ = backbone.build("AutoModel", seed=0)
    save_model(model, backbone.processor, tmp_path)
    again = load_backbone(str(tmp_path))
    assert again.modality == "audio"
    assert audio_spec_of(again) == audio_spec_of(backbone)
    _, report = again.build("AutoModel", seed=0)
    assert not report.initialised


def test_what_reads_no_samples_is_said() -> None:
    with pytest.raises(ModelError, match="reads neither samples nor log-mel features"):
        audio_spec_of(_as_audio(tiny_image_backbone()))
    with pytest.raises(UsageError, match="--tokenizer does not fit"):
        load_backbone("scratch:wav2vec2-tiny", tokenizer="bpe")
    with pytest.raises(UsageError, match="--sampling-rate does not fit scratch:bert-tiny: it reads no sound"):
        load_backbone("scratch:bert-tiny", sampling_rate=8_000)
    with pytest.raises(ModelError, match="wav2vec2-tiny"):
        load_backbone("scratch:wav2vec2-tini")


def _as_audio(backbone: Backbone) -> Backbone:
    return Backbone("pictures", "scratch", backbone.config, backbone.processor, modality=Modality.AUDIO)


def test_positions_of_frames_are_the_same_in_bf16() -> None:
    """The processor library's grouped convolution in bf16 gives other numbers, not rounded ones."""
    model, _ = tiny_audio_backbone().build("AutoModel", seed=0)
    positions = make_fast(model.eval()).get_submodule("encoder.pos_conv_embed")
    hidden = torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = positions(hidden)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = positions(hidden)
    torch.testing.assert_close(rounded.float(), plain, atol=0.02, rtol=0.02)
