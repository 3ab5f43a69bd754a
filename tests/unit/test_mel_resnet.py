"""A residual network on log-mel spectra: padding counts nowhere, and a steady hum is heard."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification

from pretune.backbones.own import mel_resnet_config
from pretune.backbones.parts.units import keep_parts, units_of
from pretune.compress.pruning.plan import Shares, apply_plan, choose_parts, plan_of
from pretune.export.standalone import clips as standalone
from pretune.modalities.audio.filterbank import Filterbank

HEARD = Filterbank(16_000, 80, 1, even="clip")


def hum(hertz: float, *, loudness: float = 0.2) -> np.ndarray:
    """Half a second, int16."""
    noise_T = np.random.default_rng(0).standard_normal(8000)
    wave_T = np.sin(2 * np.pi * hertz * np.arange(8000) / 16_000) + 0.05 * noise_T
    return (loudness * 20_000 * wave_T).astype(np.int16)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_longer_padding_changes_neither_answers_nor_statistics(mode: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(mel_resnet_config("mel-resnet-tiny", 16_000))
    model.config.final_dropout = model.dropout.p = 0.0
    getattr(model, mode)()
    longer = copy.deepcopy(model)
    clips_BFM, real_BF = torch.randn(2, 50, 80), torch.ones(2, 50, dtype=torch.long)
    real_BF[1, 33:] = 0
    wide_BFM = torch.cat([clips_BFM, torch.randn(2, 40, 80)], dim=1)
    wide_BF = torch.cat([real_BF, torch.zeros(2, 40, dtype=torch.long)], dim=1)
    with torch.no_grad():
        found = model(clips_BFM, real_BF).logits
        assert torch.allclose(found, longer(wide_BFM, wide_BF).logits, atol=1e-5)
    for name, buffer in model.named_buffers():
        assert torch.allclose(buffer.float(), longer.get_buffer(name).float(), atol=1e-5), name


def test_a_steady_hum_is_told_from_another_and_loudness_is_not() -> None:
    low, high = HEARD.features(hum(300)), HEARD.features(hum(3000))
    assert low.argmax(axis=1).mean() < 30 < 50 < high.argmax(axis=1).mean(), "the loudest band of a frame"
    assert np.abs(HEARD.features(hum(300, loudness=0.4)) - low).max() < 0.05
    by_band = Filterbank(16_000, 80, 1)
    apart = np.abs(by_band.features(hum(300)).mean(axis=0) - by_band.features(hum(3000)).mean(axis=0))
    assert apart.max() < 1e-3, "with each band even nothing of it is left on average"


def test_channels_that_say_nothing_are_taken_out_unheard() -> None:
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(mel_resnet_config("mel-resnet-tiny", 16_000)).eval()
    gone = [0, 5, 17]
    for block in model.mel_resnet.layers:
        with torch.no_grad():
            block.first.weight[gone] = 0.0
    clips_BFM = torch.randn(2, 50, 80)
    with torch.no_grad():
        before = model(clips_BFM).logits
        plan = plan_of(model, model.config, Shares(1.0, 1.0, 0.75), first_counts={})
        units = {unit.name: unit for unit in units_of(model)}
        assert plan.counts == {"layers.0": 18, "layers.1": 36, "layers.2": 72, "layers.3": 144}
        loud = {name: np.array([part not in gone for part in range(unit.count)], float) for name, unit in units.items()}
        kept = {name: [part for part in range(unit.count) if loud[name][part]] for name, unit in units.items()}
        for name, unit in units.items():
            keep_parts(unit, kept[name])
        assert torch.allclose(model(clips_BFM).logits, before, atol=1e-5)


def test_a_pruned_one_is_read_again_by_its_config() -> None:
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(mel_resnet_config("mel-resnet-tiny", 16_000)).eval()
    plan = plan_of(model, model.config, Shares(1.0, 1.0, 0.5), first_counts={})
    units = units_of(model)
    apply_plan(
        model, plan, choose_parts(units, plan, {unit.name: np.arange(unit.count, dtype=float) for unit in units})
    )
    assert model.config.inner_sizes == [12, 24, 48, 96]
    again = AutoModelForAudioClassification.from_config(model.config).eval()
    again.load_state_dict(model.state_dict())
    clips_BFM = torch.randn(2, 50, 80)
    with torch.no_grad():
        assert torch.allclose(again(clips_BFM).logits, model(clips_BFM).logits, atol=1e-6)


def test_predict_py_hears_the_same() -> None:
    clip = hum(700)
    assert np.abs(standalone.features(clip, 16_000, 80, 1, "clip") - HEARD.features(clip)).max() < 1e-4
