"""Two pieces of a clip: drawn alike each time, found among those of other clips, and an encoder that others take up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretune.backbones.load import load_backbone, save_model
from pretune.engine.randomness import row_keys
from pretune.errors import UsageError
from pretune.objectives.audio.contrastive_clips import ContrastiveClips, elsewhere
from pretune.objectives.listing import find_pretraining
from tiny import CPU, Rig, dataset_of, largest_difference, tiny_audio_backbone, tiny_clips, tiny_sound_task


def objective(augment: str = "light") -> tuple[ContrastiveClips, object]:
    made = ContrastiveClips(tiny_audio_backbone("bands"), augment=augment, seed=0)
    return made, made.encode_rows(dataset_of(tiny_clips(24)), fingerprint="contrastive-clips")


def test_pieces_are_functions_of_a_clips_key() -> None:
    made, rows = objective()
    keys = row_keys(0, "x", 0, np.arange(3))
    items = [rows[place] for place in range(3)]  # type: ignore[index]
    batch, again, alone = made.collate(items, keys), made.collate(items, keys), made.collate(items[1:2], keys[1:2])
    for side in ("first", "second"):
        features_BFM = batch.inputs[side]["input_features"]
        assert torch.equal(features_BFM, again.inputs[side]["input_features"])
        one_FM = alone.inputs[side]["input_features"][0]
        assert torch.equal(features_BFM[1, : len(one_FM)], one_FM)
    assert batch.num_items == 3
    plain, rows = objective("none")
    one, other = plain._pieces(rows[0], 5)  # type: ignore[index]
    samples_T = rows[0].arrays["samples"]  # type: ignore[index]
    for piece in (one, other):
        size = len(piece.arrays["samples"])
        assert size == len(samples_T) // 2
        windows_NT = np.lib.stride_tricks.sliding_window_view(samples_T, size)
        assert (windows_NT == piece.arrays["samples"]).all(axis=1).any()


def test_another_place_keeps_the_length_and_changes_the_colour() -> None:
    tone_T = (9000 * np.sin(np.arange(8000) / 3)).astype(np.int16)
    one, other = (elsewhere(tone_T, np.random.default_rng(seed), 16_000) for seed in (1, 2))
    assert one.dtype == np.int16
    assert len(one) == len(tone_T)
    assert not np.array_equal(one, other)
    assert np.abs(one).max() == pytest.approx(16_383, abs=2)
    assert np.abs(elsewhere(np.zeros(800, dtype=np.int16), np.random.default_rng(0), 16_000)).max() <= 16_384


def test_learning_finds_the_other_piece() -> None:
    rig = Rig("contrastive-clips", rows=24, batch_size=24, steps=25, learning_rate=3e-3)
    losses = [step.loss for step in rig.train()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    rows = rig.objective.encode_rows(dataset_of(tiny_clips(24)), fingerprint="contrastive-clips")
    stats, again = (rig.objective.statistics(rows, CPU) for _ in range(2))
    np.testing.assert_allclose(stats, again, rtol=1e-5)
    scores = rig.objective.scores(stats.sum(axis=0))
    assert set(scores) == set(rig.objective.specs)
    assert float(scores["knn_accuracy"]) > 0.3
    assert not rig.objective.warnings()


def test_fine_tuning_takes_up_every_weight_of_the_encoder(tmp_path: Path) -> None:
    made, _ = objective()
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.01)
    save_model(made.saved(), tiny_audio_backbone("bands").processor, tmp_path)
    task, _ = tiny_sound_task("sound", hears="bands")
    model, report = task.build(load_backbone(str(tmp_path)), seed=0)
    base = model.base_model_prefix + "."
    assert not [name for name in report.initialised if name.startswith(base)]
    loaded = {name: one for name, one in model.state_dict().items() if name.startswith(base)}
    assert largest_difference(dict(made.saved().state_dict()), loaded) == 0.0


def test_models_that_tell_sounds_are_found_and_others_refused() -> None:
    assert find_pretraining(tiny_audio_backbone("bands")) is ContrastiveClips
    with pytest.raises(UsageError, match="does not fit"):
        find_pretraining(tiny_audio_backbone("features"), "contrastive-clips")
