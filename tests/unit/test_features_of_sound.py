"""Models that read log-mel features: the extractor's own numbers, frames counted, bands hidden, folders from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.cpu import fast
from pretune.backbones.load import load_backbone, save_model
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import ModelError, UsageError
from pretune.modalities.audio.clips import AudioSpec, collate_clips
from pretune.modalities.audio.filterbank import Filterbank
from pretune.objectives import find_pretraining
from pretune.objectives.audio.contrastive_audio import ContrastiveAudio
from pretune.tasks import SpeechRecognition
from pretune.tasks.predicting import predict_rows
from pretune.tasks.rows.audio import VARIATIONS, batch_of_clips
from pretune.tasks.rows.trunk import on_trunk
from pretune.training.backbone import find_backbone
from pretune.training.settings import FinetuneSettings
from pretune.types import Encoded
from tiny import CPU, LABELS, dataset_of, tiny_audio_backbone, tiny_clips, tiny_sound_task

RATE = 16_000


@pytest.fixture(scope="module")
def hearing() -> AudioSpec:
    return audio_spec_of(tiny_audio_backbone("features"))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


def sung(samples: int, seed: int = 0) -> np.ndarray:
    """A gliding tone with overtones under little noise: bands of very different power."""
    time_T = np.arange(samples) / RATE
    phase = 2 * np.pi * (200 + 300 * time_T) * time_T
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    return (6000 * tone + np.random.default_rng(seed).normal(0, 20, samples)).astype(np.int16)


def extracted(clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """What the model's own feature extractor makes of the clips."""
    floats = [clip / np.float32(32_768) for clip in clips]
    return tiny_audio_backbone("features").processor(floats, sampling_rate=RATE, return_tensors="pt")


# --- what is heard ----------------------------------------------------------------------------------------------------


def check_against_the_extractor(clips: list[np.ndarray], hearing: AudioSpec) -> None:
    inputs, lengths_B = collate_clips(clips, hearing)
    theirs = extracted(clips)
    frames_B = theirs["attention_mask"].sum(dim=1)
    assert lengths_B.tolist() == [len(clip) for clip in clips]
    assert inputs["attention_mask"].sum(dim=1).tolist() == frames_B.tolist()
    assert [hearing.frames(len(clip)) for clip in clips] == frames_B.tolist()
    for row, frames in enumerate(frames_B.tolist()):
        ours_FM = inputs["input_features"][row, :frames]
        torch.testing.assert_close(ours_FM, theirs["input_features"][row, :frames], atol=1e-4, rtol=1e-4)
        assert not inputs["input_features"][row, frames:].any()


def test_features_are_those_of_the_extractor(hearing: AudioSpec) -> None:
    check_against_the_extractor([sung(5000), noise(8000, 1), sung(hearing.least_samples, 2), noise(12_345, 3)], hearing)
    check_against_the_extractor([sung(720 + 160 * extra) for extra in range(4)], hearing)


@pytest.mark.shared_data
def test_features_of_real_clips_are_those_of_the_extractor(hearing: AudioSpec, shared_data: Path) -> None:
    from pretune.tasks.rows.audio import clip_of

    places = sorted((shared_data / "speech" / "yesno").rglob("*.wav"))[:3]
    assert places
    clips = [clip_of({"bytes": None, "path": str(place)}, hearing) for place in places]
    check_against_the_extractor(clips, hearing)


def test_a_silent_clip_is_heard_as_nothing(hearing: AudioSpec) -> None:
    inputs, _ = collate_clips([np.zeros(4000, np.int16)], hearing)
    assert inputs["input_features"].abs().max() < 0.01


def test_batches_are_a_tenth_of_a_second_wide(hearing: AudioSpec) -> None:
    inputs, _ = collate_clips([noise(3000)], hearing)
    assert hearing.places_per_second == 50
    assert inputs["input_features"].shape == (1, 10, 160)
    assert hearing.frames_of(inputs) == 10


def test_frames_are_those_that_the_model_makes(hearing: AudioSpec) -> None:
    model, _ = tiny_audio_backbone("features").build("AutoModel", seed=0)
    for samples in (hearing.least_samples, 5000, 16_000):
        inputs, _ = collate_clips([noise(samples)], hearing)
        real = int(inputs["attention_mask"].sum())
        with torch.inference_mode():
            made = model.eval()(input_features=inputs["input_features"][:, :real]).last_hidden_state.shape[1]
        assert made == hearing.frames(samples) == real


# --- which models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["w2v-bert-tiny", "w2v-bert-mini"])
def test_a_preset_hears_16_khz_alone(preset: str) -> None:
    found = load_backbone(f"scratch:{preset}")
    hearing = audio_spec_of(found)
    assert found.modality == "audio"
    assert (hearing.rate, hearing.bands, hearing.filterbank) == (RATE, 80, Filterbank(RATE, 80, 2))
    assert found.facts["sampling_rate"] == RATE
    with pytest.raises(UsageError, match="hears 16000 samples a second"):
        load_backbone(f"scratch:{preset}", sampling_rate=8_000)


def test_clips_of_telephones_are_resampled_for_it() -> None:
    settings = FinetuneSettings(backbone="scratch:w2v-bert-tiny", data="clips")
    found = find_backbone(settings, Splits({"train": dataset_of(tiny_clips(6))}, {}))
    assert found.processor.sampling_rate == RATE


def test_a_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    task, backbone = tiny_sound_task("speech", hears="features")
    model, _ = task.build(backbone, seed=0)
    save_model(model, task.processor_to_save(backbone), tmp_path)
    again = load_backbone(str(tmp_path))
    assert again.modality == "audio"
    assert audio_spec_of(again) == audio_spec_of(backbone)
    _, report = again.build("AutoModelForCTC", seed=0, vocab_size=len(task.spelling.tokens))
    assert not report.initialised


def test_a_folder_in_hub_layout_is_fine_tuned(tmp_path: Path) -> None:
    """As published: the bare encoder, its extractor's settings in preprocessor_config.json, no tokenizer."""
    backbone = tiny_audio_backbone("features")
    model, _ = backbone.build("AutoModel", seed=0)
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    told = {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor", "feature_size": 80, "num_mel_bins": 80, "padding_side": "right",
        "padding_value": 1, "return_attention_mask": True, "sampling_rate": 16_000, "stride": 2,
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told), encoding="utf-8")
    found = load_backbone(str(tmp_path))
    task = SpeechRecognition.start(Splits({"train": dataset_of(tiny_clips(6))}, {}), found, TaskSettings())
    _, report = task.build(found, seed=0)
    assert {name.partition(".")[0] for name in report.initialised} == {"lm_head"}
    assert task.hearing == audio_spec_of(backbone)


def test_what_does_not_fit_together_is_said() -> None:
    backbone = tiny_audio_backbone("features")
    backbone.config.feature_projection_input_dim = 80
    with pytest.raises(ModelError, match="reads 80 features a frame, its feature extractor makes 160"):
        audio_spec_of(backbone)
    backbone.config.feature_projection_input_dim, backbone.config.add_adapter = 160, True
    with pytest.raises(ModelError, match="shortens its frames by an adapter"):
        audio_spec_of(backbone)
    mixed = tiny_audio_backbone()
    mixed.processor = backbone.processor
    with pytest.raises(ModelError, match="does not read features of this kind"):
        audio_spec_of(mixed)


def test_pre_training_names_the_models_that_it_suits() -> None:
    backbone = tiny_audio_backbone("features")
    with pytest.raises(UsageError, match="--objective contrastive-audio does not fit scratch:w2v-bert-tiny"):
        find_pretraining(backbone, "contrastive-audio")
    with pytest.raises(ModelError, match="no codes"):
        ContrastiveAudio(backbone, seed=0)


# --- variation --------------------------------------------------------------------------------------------------------


def test_hidden_bands_are_hidden_in_every_window(hearing: AudioSpec) -> None:
    hidden_M = np.zeros(80, dtype=bool)
    hidden_M[10:25] = True
    clip = sung(8000)
    rows = [Encoded("a", {"samples": clip, "bands": hidden_M}, 1), Encoded("b", {"samples": clip}, 1)]
    inputs, _ = batch_of_clips(rows, hearing)
    frames = hearing.frames(len(clip))
    varied, plain = inputs["input_features"][:, :frames].unflatten(-1, (2, 80))
    assert not varied[..., 10:25].any()
    assert torch.equal(varied[..., ~hidden_M], plain[..., ~hidden_M])
    assert plain[..., 10:25].any()


def test_ranges_of_bands_are_drawn_within_their_width() -> None:
    assert VARIATIONS["light"].band_masks == 0
    variation = VARIATIONS["strong"]
    drawn = [variation.hidden_bands(80, np.random.default_rng(seed)) for seed in range(300)]
    counts = np.array([mask_M.sum() for mask_M in drawn])
    assert counts.max() <= variation.band_masks * round(80 * variation.widest_mask) < 60
    mean = variation.band_masks * 80 * variation.widest_mask / 2
    assert 0.8 * mean < counts.mean() < 1.2 * mean
    assert len({mask_M.tobytes() for mask_M in drawn}) > 200
    assert np.mean(drawn, axis=0).min() > 0


@pytest.mark.parametrize("kind", ["speech", "sound"])
def test_variation_is_a_function_of_the_draw_alone(kind: str) -> None:
    task, _ = tiny_sound_task(kind, hears="features", augment="strong")
    row = task.encode_rows(dataset_of(tiny_clips(3)), fingerprint="vary-features")[1]
    one, same, other = (task.augment(row, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name in ("samples", "mask", "bands"):
        np.testing.assert_array_equal(one.arrays[name], same.arrays[name])
    assert one.arrays["bands"].tolist() != other.arrays["bands"].tolist()
    assert set(row.arrays) == {"samples"}
    assert len(one.arrays["mask"]) == task.hearing.frames(len(one.arrays["samples"]))


def test_numpys_global_state_changes_nothing() -> None:
    task, backbone = tiny_sound_task("speech", hears="features", augment="light")
    backbone.config.mask_feature_prob = 0.5
    model, _ = task.build(backbone, seed=0)
    rows = task.encode_rows(dataset_of(tiny_clips(4)), fingerprint="global-state-features")
    batch = task.collate([task.augment(rows[i], np.random.default_rng(10 + i)) for i in range(4)])
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        found.append(float(task.loss(model.train(), batch).total.detach()))
    assert found[0] == found[1]
    assert batch.inputs["mask_time_indices"].any()


# --- how the model is run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speech", "sound"])
def test_a_frozen_encoder_is_run_once_and_gives_the_same(kind: str) -> None:
    task, backbone = tiny_sound_task(kind, hears="features")
    model, _ = task.build(backbone, seed=0)
    plan = plan_adaptation(model, "head", weight_decay=0.0)
    rows = {"train": task.encode_rows(dataset_of(tiny_clips(8)), fingerprint="trunk-features")}
    found = on_trunk(task, model, plan, rows, CPU, fingerprint=f"trunk-features-{kind}")
    assert found is not None
    learned, kept = found
    places = range(8)
    plain = task.loss(model.eval(), task.collate([rows["train"][i] for i in places]))
    replayed = learned.loss(model, learned.collate([kept["train"][i] for i in places]))
    assert replayed.total.item() == pytest.approx(plain.total.item(), rel=1e-4)
    assert [p.answer for p in predict_rows(task, model, rows["train"], CPU)] == [
        p.answer for p in predict_rows(learned, model, kept["train"], CPU)
    ]


def test_the_layers_are_told_apart() -> None:
    task, backbone = tiny_sound_task("sound", hears="features")
    model, _ = task.build(backbone, seed=0)
    plan = plan_adaptation(model, "top:1", weight_decay=0.01)
    assert plan.num_layers == 2
    names = {name for part in plan.parts for name, _ in part.parameters if part.depth == 0}
    assert names == {"projector.weight", "projector.bias", "classifier.weight", "classifier.bias"}
    assert model.config.id2label == dict(enumerate(LABELS))


def test_half_precision_gives_about_the_same(hearing: AudioSpec) -> None:
    task, backbone = tiny_sound_task("sound", hears="features")
    model: Any = fast.make_fast(task.build(backbone, seed=0)[0].eval())
    rows = task.encode_rows(dataset_of(tiny_clips(4)), fingerprint="bf16-features")
    batch = task.collate([rows[i] for i in range(4)])
    with torch.inference_mode():
        plain = task.logits_of(model, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = task.logits_of(model, batch)
    torch.testing.assert_close(rounded.float(), plain, atol=0.03, rtol=0.05)


def test_a_bias_of_positions_is_added_while_learning_and_afterwards() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, 6, 8) for _ in range(3))
    bias, module = torch.randn(2, 2, 6, 6), torch.nn.Identity()
    module.is_causal = False
    told = torch.softmax(query @ key.transpose(2, 3) / 8**0.5 + bias, dim=-1) @ value
    learned, _ = fast.attention(module, query, key, value, None, position_bias=bias)
    with torch.no_grad():
        after, _ = fast.attention(module, query, key, value, None, position_bias=bias)
    for found in (learned, after):
        torch.testing.assert_close(found, told.transpose(1, 2), atol=1e-5, rtol=1e-5)
