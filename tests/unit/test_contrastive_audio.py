"""wav2vec 2.0 pre-training: transformers' loss from the same draws, draws by keys, what is saved, collapse noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.load import load_backbone
from pretune.backbones.loading.library import save_model
from pretune.engine.randomness import row_keys
from pretune.errors import ModelError
from pretune.objectives import find_pretraining
from pretune.objectives.audio.contrastive_audio import ContrastiveAudio
from pretune.objectives.audio.hidden_frames import code_warnings, gumbel, hidden_frames, other_frames
from tiny import CPU, Rig, dataset_of, largest_difference, tiny_audio_backbone, tiny_clips, tiny_sound_task, weights_of


def objective(**options: Any) -> ContrastiveAudio:
    made = ContrastiveAudio(tiny_audio_backbone(), seed=0, **options)
    made.adaptation = plan_adaptation(made.model, "full", weight_decay=0.0)
    return made


def rows_of(made: ContrastiveAudio, count: int = 10) -> Any:
    return made.encode_rows(dataset_of(tiny_clips(count)), fingerprint=f"contrast-{count}")


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_loss_is_that_of_transformers(weight: float) -> None:
    made = objective()
    made.diversity_weight = weight
    made.model.config.diversity_loss_weight = weight
    rows = rows_of(made, 6)
    batch = made.collate([rows[i] for i in range(6)], row_keys(3, "clips", 0, np.arange(6)))
    mask_BF = batch.inputs["mask_time_indices"]
    # Their negatives are places among all frames, B * F.
    place_of_hidden = torch.nonzero(mask_BF.flatten())[:, 0]
    negatives = torch.zeros(*mask_BF.shape, made.negatives, dtype=torch.long)
    negatives[mask_BF] = place_of_hidden[batch.extras["negatives"]]
    made.model.eval()
    with torch.inference_mode():
        theirs = made.model(**batch.inputs, sampled_negative_indices=negatives)
        ours = made.loss(made.model, {"clips": batch}, torch.Generator())
    assert ours.log["contrastive"] == pytest.approx(float(theirs.contrastive_loss), rel=1e-4)
    if weight == 0.0:
        assert float(ours.total) == pytest.approx(float(theirs.loss), rel=1e-4)
    assert batch.num_items == int(mask_BF.sum())


def test_the_diversity_loss_is_that_of_transformers_while_learning() -> None:
    made = objective()
    probabilities = torch.softmax(
        torch.randn(50, made.groups, made.codes, generator=torch.Generator().manual_seed(0)), -1
    )
    perplexity = made.model.quantizer._compute_perplexity(probabilities)
    total = made.groups * made.codes
    ours = made._diversity(probabilities, torch.ones(50))
    assert float(ours) == pytest.approx(float((total - perplexity) / total), rel=1e-5)
    uniform = torch.full((5, made.groups, made.codes), 1 / made.codes)
    assert float(made._diversity(uniform, torch.ones(5))) == pytest.approx(0.0, abs=1e-6)


def test_straight_through_codes_are_one_hot_and_have_a_gradient() -> None:
    made = objective()
    made.model.train()
    features = torch.randn(12, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    noise = torch.from_numpy(gumbel(12, made.groups * made.codes, np.uint64(5)))
    _, chosen, projected = made._quantised(made.model, features, noise)
    vectors = made.model.quantizer.codevectors.view(made.groups, made.codes, -1)
    by_hand = torch.cat([vectors[group, chosen[:, group]] for group in range(made.groups)], dim=1)
    torch.testing.assert_close(projected, made.model.project_q(by_hand), atol=1e-5, rtol=1e-4)
    projected.sum().backward()
    assert features.grad is not None
    assert float(features.grad.abs().sum()) > 0


@pytest.mark.parametrize("frames", [1, 2, 5, 40, 700])
def test_hidden_frames_are_about_half_and_a_function_of_the_key(frames: int) -> None:
    keys = row_keys(0, "clips", 0, np.arange(200))
    shares = [hidden_frames(frames, 0.65, key).mean() for key in keys]
    np.testing.assert_array_equal(hidden_frames(frames, 0.65, keys[3]), hidden_frames(frames, 0.65, keys[3]))
    assert min(shares) > 0
    if frames == 700:
        assert np.mean(shares) == pytest.approx(0.49, abs=0.02)
        assert hidden_frames(frames, 0.65, keys[0]).tolist() != hidden_frames(frames, 0.65, keys[1]).tolist()


def test_negatives_are_other_hidden_frames_each_as_often() -> None:
    found = np.concatenate([other_frames(7, 10, key) for key in row_keys(0, "n", 0, np.arange(600))]).reshape(
        600, 7, 10
    )
    for own in range(7):
        counts = np.bincount(found[:, own].ravel(), minlength=7)
        assert counts[own] == 0
        np.testing.assert_allclose(np.delete(counts, own) / 6000, 1 / 6, atol=0.02)
    assert other_frames(1, 10, np.uint64(1)).shape == (1, 10)


def test_gumbel_noise_has_its_mean_and_spread() -> None:
    noise = gumbel(200, 100, np.uint64(9))
    assert noise.mean() == pytest.approx(0.5772, abs=0.03)
    assert noise.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.03)


def test_a_clip_of_one_frame_teaches_nothing_and_breaks_nothing() -> None:
    made = objective(diversity_weight=0.0)
    rows = rows_of(made, 2)
    short = type(rows[0])("short", {"samples": rows[0].arrays["samples"][: made.hearing.least_samples]}, 3)
    batch = made.collate([short], np.array([7], dtype=np.uint64))
    assert batch.num_items == 0.0
    loss = made.loss(made.model.train(), {"clips": batch}, torch.Generator())
    loss.total.backward()
    assert float(loss.total.detach()) == 0.0
    assert all(torch.isfinite(p.grad).all() for p in made.model.parameters() if p.grad is not None)


def test_draws_do_not_depend_on_the_batch() -> None:
    rig = Rig("contrastive-audio", rows=12, diversity_weight=0.0)
    together, alone = rig.batch([3, 4]), rig.batch([4])
    frames = alone.inputs["mask_time_indices"].shape[1]
    assert torch.equal(together.inputs["mask_time_indices"][1, :frames], alone.inputs["mask_time_indices"][0])
    assert torch.equal(together.extras["gumbel"][-len(alone.extras["gumbel"]) :], alone.extras["gumbel"])
    assert not torch.equal(rig.batch([4], epoch=1).inputs["mask_time_indices"], alone.inputs["mask_time_indices"])


def test_the_gumbel_softmax_cools() -> None:
    made = objective()
    found = []
    for progress in (0.0, 0.5, 1.0):
        made.prepare(made.model, progress)
        found.append(made.temperature)
    assert found == pytest.approx([2.0, 1.0, 0.5])


def test_an_update_is_whole_where_codes_are_compared_over_its_clips() -> None:
    assert Rig("contrastive-audio", rows=12).feeds.is_whole
    assert not Rig("contrastive-audio", rows=12, diversity_weight=0.0).feeds.is_whole


def test_held_out_statistics_are_alike_at_every_call_and_sums_over_rows() -> None:
    made = objective()
    rows = rows_of(made)
    before = weights_of(made.model)
    stats, again = made.statistics(rows, CPU), made.statistics(rows, CPU)
    np.testing.assert_allclose(stats, again, rtol=1e-5)
    assert largest_difference(before, weights_of(made.model)) == 0.0
    assert (stats[:, 0] > 0).all()
    codes = stats[:, 3 : 3 + made.groups * made.codes].sum(axis=1)
    np.testing.assert_allclose(codes, made.groups * stats[:, 0])
    scores = made.scores(stats.sum(axis=0))
    assert set(scores) == set(made.specs)
    assert 1 <= float(scores["codebook_perplexity"]) <= made.codes
    assert 0 <= float(scores["spread"]) <= 1
    one = made.collate([rows[4]], row_keys(0, "held-out", 0, np.array([4])))
    loss = made.loss(made.model.eval(), {"clips": one}, torch.Generator())
    assert loss.log["contrastive"] == pytest.approx(stats[4, 2], rel=1e-3)


@pytest.mark.slow
def test_learning_raises_the_held_out_accuracy() -> None:
    rig = Rig("contrastive-audio", rows=24, steps=60, learning_rate=1e-3)
    rows = rows_of(rig.objective, 24)
    first = rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))
    rig.train()
    last = rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))
    assert float(last["contrastive_accuracy"]) > float(first["contrastive_accuracy"]) + 0.05
    assert float(last["codebook_perplexity"]) > float(first["codebook_perplexity"])


@pytest.mark.parametrize("kind", ["speech", "sound"])
def test_fine_tuning_takes_up_every_weight_of_the_encoder(tmp_path: Path, kind: str) -> None:
    made = objective()
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.01)
    save_model(made.saved(), tiny_audio_backbone().processor, tmp_path)
    task, _ = tiny_sound_task(kind)
    model, report = task.build(load_backbone(str(tmp_path)), seed=0)
    base = model.base_model_prefix + "."
    assert not [name for name in report.initialised if name.startswith(base)]
    assert not [name for name in report.unexpected if name.startswith(base)]
    saved = {name: value for name, value in made.saved().state_dict().items() if name.startswith(base)}
    loaded = {name: value for name, value in model.state_dict().items() if name.startswith(base)}
    assert largest_difference(saved, loaded) == 0.0


def test_pre_training_goes_on_from_its_own_folder(tmp_path: Path) -> None:
    made = objective()
    save_model(made.saved(), tiny_audio_backbone().processor, tmp_path)
    again = ContrastiveAudio(load_backbone(str(tmp_path)), seed=1)
    assert not again.report.initialised
    assert largest_difference(weights_of(made.model), weights_of(again.model)) == 0.0


def test_collapse_is_told_in_plain_words() -> None:
    well = {"codebook_perplexity": 20.0, "spread": 0.8, "contrastive_accuracy": 0.4}
    assert code_warnings(well, codes=32, negatives=20) == []
    for name, value, word in (
        ("codebook_perplexity", 1.2, "codes have collapsed"),
        ("spread", 0.01, "encoder has collapsed"),
        ("contrastive_accuracy", 0.05, "little was learned"),
    ):
        (said,) = code_warnings({**well, name: value}, codes=32, negatives=20)
        assert word in said


def test_codes_that_are_all_the_same_are_no_success() -> None:
    made = objective()
    with torch.no_grad():
        made.model.quantizer.weight_proj.weight.zero_()
    made.statistics(rows_of(made), CPU)
    assert made._last["contrastive_accuracy"] == 0.0
    assert made._last["codebook_perplexity"] == pytest.approx(1.0)
    assert any("codes have collapsed" in said for said in made.warnings())


def test_models_without_codes_are_refused() -> None:
    backbone = tiny_audio_backbone()
    assert find_pretraining(backbone) is ContrastiveAudio
    backbone.config.model_type = "hubert"
    with pytest.raises(ModelError, match="no codes"):
        ContrastiveAudio(backbone, seed=0)
