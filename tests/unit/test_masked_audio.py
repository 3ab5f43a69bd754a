"""Clusters of hidden frames: found alike each time, told by the frames around them, and an encoder that others take up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.fft import dct

from pretune.backbones.load import load_backbone, save_model
from pretune.engine.randomness import row_keys
from pretune.errors import DataError, ModelError
from pretune.objectives.audio.masked_audio import CEPSTRA, CLUSTERS, MaskedAudio
from pretune.objectives.listing import find_pretraining
from tiny import CPU, Rig, dataset_of, largest_difference, tiny_audio_backbone, tiny_clips, tiny_sound_task


def objective(rows: int = 12) -> tuple[MaskedAudio, object]:
    made = MaskedAudio(tiny_audio_backbone("features"), seed=0)
    stored = made.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"masked-audio-{rows}")
    made.begin(stored, fingerprint="")
    return made, stored


def test_cepstra_are_cosine_transforms_of_each_frames_bands() -> None:
    made, _ = objective()
    bands = made.hearing.bands
    features = torch.randn(3, 5, 2 * bands)
    found = made._telling.cepstra(features).reshape(3, 5, 2, CEPSTRA)
    wanted = dct(features.reshape(3, 5, 2, bands).numpy(), type=2)[..., 1 : CEPSTRA + 1] / (2 * bands)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_clusters_are_found_alike_and_fewer_where_frames_are_few() -> None:
    (made, rows), (again, _) = objective(), objective()
    assert torch.equal(made._telling.centres_VC, again._telling.centres_VC)
    used = int((made._telling.centres_VC[:, 0] < 1e3).sum())
    assert 2 <= used < CLUSTERS
    batch = made.collate([rows[0]], row_keys(0, "x", 0, np.array([0])))  # type: ignore[index]
    clusters_BF = made._telling.clusters(batch.inputs[made.hearing.reads])
    assert int(clusters_BF.max()) < used
    nearest = torch.cdist(made._telling.cepstra(batch.inputs[made.hearing.reads][0]), made._telling.centres_VC).argmin(
        1
    )
    assert torch.equal(clusters_BF[0], nearest)


def test_too_little_sound_has_no_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = objective(2)
    frames_NC = made._some_frames(rows)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_some_frames", lambda _: frames_NC[:10])
    with pytest.raises(DataError, match="too few to find clusters"):
        made.begin(rows, fingerprint="")  # type: ignore[arg-type]


def test_held_out_statistics_are_alike_and_sums_over_rows() -> None:
    made, rows = objective()
    stats, again = (made.statistics(rows, CPU) for _ in range(2))  # type: ignore[arg-type]
    np.testing.assert_allclose(stats, again, rtol=1e-5)
    np.testing.assert_allclose(stats[:, 3 : 3 + CLUSTERS].sum(axis=1), stats[:, 0])
    scores = made.scores(stats.sum(axis=0))
    assert set(scores) == set(made.specs)
    assert 0 < float(scores["frequency_loss"]) <= np.log(CLUSTERS)
    one = made.collate([rows[4]], row_keys(0, "held-out", 0, np.array([4])))  # type: ignore[index]
    loss = made.loss(made.model.eval(), {"clips": one}, torch.Generator())
    assert float(loss.total.detach()) == pytest.approx(stats[4, 2], rel=1e-3)


@pytest.mark.slow
def test_learning_raises_the_held_out_accuracy() -> None:
    rig = Rig("masked-audio", rows=24, steps=60, learning_rate=1e-3)
    rows = rig.objective.encode_rows(dataset_of(tiny_clips(24)), fingerprint="masked-audio-24")
    first = rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))
    assert any("hardly told better" in said for said in rig.objective.warnings())
    rig.train()
    last = rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))
    assert float(last["masked_accuracy"]) > float(first["masked_accuracy"]) + 0.05
    assert float(last["masked_loss"]) < float(first["masked_loss"])


@pytest.mark.parametrize("kind", ["speech", "sound"])
def test_fine_tuning_takes_up_every_weight_of_the_encoder(tmp_path: Path, kind: str) -> None:
    made, _ = objective()
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.01)
    save_model(made.saved(), tiny_audio_backbone("features").processor, tmp_path)
    task, _ = tiny_sound_task(kind, hears="features")
    model, report = task.build(load_backbone(str(tmp_path)), seed=0)
    base = model.base_model_prefix + "."
    assert not [name for name in report.initialised if name.startswith(base)]
    assert not report.unexpected
    loaded = {name.removeprefix(base): one for name, one in model.state_dict().items() if name.startswith(base)}
    assert largest_difference(dict(made.saved().state_dict()), loaded) == 0.0


def test_models_of_features_are_found_and_others_refused() -> None:
    assert find_pretraining(tiny_audio_backbone("features")) is MaskedAudio
    with pytest.raises(ModelError, match="reads no log-mel features"):
        MaskedAudio(tiny_audio_backbone(), seed=0)


def test_little_sound_is_told_of_before_it_is_learned_from() -> None:
    made, rows = objective()
    assert "0 minutes of sound" in made.advice(rows)  # type: ignore[arg-type]
    hours = SimpleNamespace(lengths_N=np.array([3 * 3600 * 50]))
    assert made.advice(hours) == ""  # type: ignore[arg-type]
