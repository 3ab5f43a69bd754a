"""Pre-training on pictures: masks, losses against plain references, the teacher, what is saved, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.load import Backbone, load_backbone, save_model
from pretune.engine import checkpoint
from pretune.engine.batching import Feeds, Stream
from pretune.engine.checkpoint import load_weights
from pretune.errors import ModelError, PretuneError, UsageError
from pretune.modalities.image.transform import image_transform_of
from pretune.objectives import PRETRAININGS, find_pretraining
from pretune.objectives.image.contrastive_image import ContrastiveImage, nt_xent
from pretune.objectives.image.masked_image import MaskedImage
from pretune.objectives.image.self_distil_image import SelfDistilImage, momentum_at
from pretune.objectives.two_views import twins_found
from pretune.types import TERM, Batch, Feed
from tiny import CPU, PICTURE_KINDS, Rig, dataset_of, largest_difference, tiny_image_backbone, tiny_pictures, weights_of

TWO_VIEWS = ("contrastive-image", "self-distillation-image")


def told(**changes: Any) -> Any:
    return SimpleNamespace(**{"mask_fraction": None, "image_size": None, "augment": "auto", **changes})


def masked(**options: Any) -> MaskedImage:
    backbone = tiny_image_backbone()
    return MaskedImage(backbone, image_transform_of(backbone.processor), **options)


@pytest.mark.parametrize(("kind", "each"), [("masked-image", 1), *((kind, 2) for kind in TWO_VIEWS)])
def test_a_page_shows_what_was_learned_from(kind: str, each: int) -> None:
    rig = Rig(kind, family="vit-micro")
    rows = rig.objective.encode_rows(dataset_of(tiny_pictures(9)), fingerprint="shown")
    (block,) = rig.objective.blocks(rows)
    assert len(block["rows"]) == 6 * each
    assert all(row["image"].startswith("data:image/jpeg;base64,") for row in block["rows"])
    batch = rig.objective.batch_of(rows, np.arange(4), np.arange(4, dtype=np.uint64))
    pixels = rig.objective.learned_pixels(batch)
    assert pixels.shape[:2] == (4, each)
    if each == 1:
        assert float((pixels == 0).all(dim=2).float().mean()) == pytest.approx(0.75, abs=0.01)
        seen = pixels[:, 0] != 0
        assert torch.equal(pixels[:, 0][seen], batch.inputs["pixel_values"][seen])


# --- masked autoencoding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fraction", "left"), [(0.75, 16), (0.5, 32), (0.98, 1)])
def test_the_asked_share_of_patches_is_masked(fraction: float, left: int) -> None:
    rig = Rig("masked-image", family="vit-micro", mask_fraction=fraction)
    batch = rig.batch(range(5))
    seen = rig.model.vit(**batch.inputs)  # type: ignore[operator]
    assert seen.last_hidden_state.shape[1] == 1 + left
    assert (seen.mask.sum(-1) == 64 - left).all()
    assert batch.num_items == 5 * (64 - left)


def test_masks_are_a_function_of_seed_epoch_and_row() -> None:
    rig = Rig("masked-image", family="vit-micro")
    whole, part = rig.batch(range(8)), rig.batch([5, 2])
    for name in ("noise", "pixel_values"):
        assert torch.equal(part.inputs[name], whole.inputs[name][[5, 2]])
    later = rig.batch(range(8), epoch=1)
    assert not torch.equal(later.inputs["noise"], whole.inputs["noise"])
    other = Rig("masked-image", family="vit-micro", seed=1).batch(range(8))
    assert not torch.equal(other.inputs["noise"], whole.inputs["noise"])


def test_every_patch_is_masked_alike_often() -> None:
    made = masked()
    keys = np.arange(4000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    noise = made.collate([np.zeros((32, 32, 3), np.uint8)] * 4000, keys, [""] * 4000).inputs["noise"]
    share = (noise.argsort(-1).argsort(-1) >= 16).double().mean(0)
    assert share.min() > 0.72
    assert share.max() < 0.78


def test_the_loss_is_the_models_own_on_the_same_noise() -> None:
    rig = Rig("masked-image", family="vit-micro")
    batch = rig.batch(range(6))
    own = rig.model(**batch.inputs)
    assert own.mask.sum() == batch.num_items
    assert rig.loss(batch).total.item() == pytest.approx(own.loss.item() * batch.num_items, rel=1e-6)


def test_held_out_error_is_that_of_unvaried_pictures_and_alike_at_every_call() -> None:
    rig = Rig("masked-image", family="vit-micro")
    rows = rig.objective.encode_rows(dataset_of(tiny_pictures(20)), fingerprint="held-out-20")
    first, again = rig.objective.statistics(rows, CPU), rig.objective.statistics(rows, CPU)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (20, 7)
    scores = rig.objective.scores(first.sum(axis=0))
    assert set(scores) == {"masked_error", "spread", "effective_rank", "knn_accuracy"}
    assert 0.8 < scores["masked_error"] < 1.5


def test_fresh_models_know_their_positions_and_keep_them() -> None:
    rig = Rig("masked-image", family="vit-micro", steps=3)
    names = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
    before = {name: rig.model.get_parameter(name).detach().clone() for name in names}
    for table in before.values():
        places = table[0, 1:]
        assert torch.cdist(places, places).add(torch.eye(64)).min() > 0.05, "two patches have one position"
    assert rig.model.get_parameter("vit.embeddings.cls_token").abs().max() > 0
    rig.train()
    for name in names:
        assert torch.equal(rig.model.get_parameter(name), before[name])


def test_features_are_of_whole_pictures() -> None:
    made = masked()
    made.model.eval()
    pixels = torch.rand(3, 3, 32, 32)
    config = made.model.config
    with torch.inference_mode():
        found = made._features(pixels)
        assert config.mask_ratio == 0.75
        config.mask_ratio = 0.0
        wanted = made.model.vit(pixels, noise=torch.rand(3, 64)).last_hidden_state[:, 1:].mean(1)  # type: ignore[operator]
        config.mask_ratio = 0.75
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_saved_autoencoder_is_a_classifiers_whole_encoder(tmp_path: Path) -> None:
    made = masked()
    save_model(made.saved(), tiny_image_backbone().processor, tmp_path)
    backbone = load_backbone(str(tmp_path))
    model, report = backbone.build("AutoModelForImageClassification", seed=0, num_labels=3)
    assert set(report.initialised) == {"classifier.weight", "classifier.bias"}
    assert report.unexpected
    assert all(name.startswith("decoder.") for name in report.unexpected)
    pixels, config = torch.rand(2, 3, 32, 32), made.model.config
    made.model.eval()
    config.mask_ratio = 0.0
    with torch.inference_mode():
        wanted = made.model.vit(pixels, noise=torch.arange(64).expand(2, -1)).last_hidden_state  # type: ignore[operator]
        found = model.eval().vit(pixels).last_hidden_state  # type: ignore[operator]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_masked_autoencoding_goes_on_from_a_run_and_from_a_classifier(tmp_path: Path) -> None:
    made = masked()
    save_model(made.saved(), tiny_image_backbone().processor, tmp_path / "mae")
    again = MaskedImage(load_backbone(str(tmp_path / "mae")), made.geometry)
    assert again.report.initialised == ()
    assert largest_difference(weights_of(again.model), weights_of(made.model)) == 0.0
    backbone = tiny_image_backbone()
    model, _ = backbone.build("AutoModelForImageClassification", seed=3, num_labels=2)
    save_model(model, backbone.processor, tmp_path / "vit")
    continued = MaskedImage(load_backbone(str(tmp_path / "vit")), made.geometry)
    assert all(name.startswith("decoder.") for name in continued.report.initialised)
    assert torch.equal(
        continued.model.get_parameter("vit.embeddings.position_embeddings"),
        model.get_parameter("vit.embeddings.position_embeddings"),
    )
    assert continued.model.get_parameter("decoder.decoder_pos_embed").abs().max() > 0.5


def test_pictures_of_another_size_are_read_with_positions_for_their_patches(tmp_path: Path) -> None:
    backbone = tiny_image_backbone()
    made = MaskedImage(backbone, image_transform_of(backbone.processor).at(48))
    batch = made.collate([np.zeros((48, 48, 3), np.uint8)] * 2, np.arange(2, dtype=np.uint64), ["a", "b"])
    assert batch.num_items == 2 * (144 - 36)
    assert math.isfinite(made.loss(made.model, {"pictures": batch}, torch.Generator()).total.item())
    places = made.model.get_parameter("decoder.decoder_pos_embed").detach()[0, 1:]
    assert torch.cdist(places, places).add(10 * torch.eye(144)).min() > 0.05
    save_model(made.saved(), backbone.processor, tmp_path)
    again = MaskedImage(load_backbone(str(tmp_path)), made.geometry)
    assert again.report.initialised == ("decoder.decoder_pos_embed",)
    assert largest_difference(weights_of(again.model), weights_of(made.model)) == 0.0


@pytest.mark.parametrize(
    ("preset", "size", "fraction", "problem"),
    [
        ("resnet-10", 32, 0.75, "needs a vision transformer"),
        ("vit-micro", 34, 0.75, "cannot be cut into patches"),
        ("vit-micro", 32, 0.995, "leaves 0 of 64"),
    ],
)
def test_what_cannot_be_masked_is_refused(preset: str, size: int, fraction: float, problem: str) -> None:
    backbone = tiny_image_backbone(preset)
    with pytest.raises(PretuneError, match=problem):
        MaskedImage(backbone, image_transform_of(backbone.processor).at(size), mask_fraction=fraction)


# --- two variations ---------------------------------------------------------------------------------------------------


def plain_nt_xent(projected: np.ndarray, temperature: float) -> list[float]:
    """Equation 1 of Chen et al. 2020, term by term."""
    unit = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    half, losses = len(unit) // 2, []
    for i, anchor in enumerate(unit):
        twin = unit[(i + half) % len(unit)]
        others = sum(math.exp(float(anchor @ other) / temperature) for k, other in enumerate(unit) if k != i)
        losses.append(-math.log(math.exp(float(anchor @ twin) / temperature) / others))
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_papers_equation(temperature: float) -> None:
    projected = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    losses, right = nt_xent(projected, temperature)
    assert losses.tolist() == pytest.approx(plain_nt_xent(projected.double().numpy(), temperature), rel=1e-4)
    twins = torch.cat([projected[:6], projected[:6]])
    assert nt_xent(twins, temperature)[1].all()
    assert not right.all()


def test_nt_xent_stays_in_float32_where_the_rest_does_not() -> None:
    projected = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, _ = nt_xent(projected, 0.1)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, nt_xent(projected, 0.1)[0])


def test_twins_are_found_among_all_others() -> None:
    features = torch.eye(8)[[0, 1, 2, 3, 0, 1, 2, 4]]
    assert twins_found(features)[:3].tolist() == [1.0, 1.0, 1.0]
    assert twins_found(features)[3] < 1.0


@pytest.mark.parametrize("kind", TWO_VIEWS)
def test_a_batch_holds_two_different_variations_of_each_row(kind: str) -> None:
    rig = Rig(kind, family="resnet-10")
    batch = rig.batch([3, 1, 2])
    assert batch.inputs["pixels"].shape == (6, 3, 32, 32)
    first, second = batch.inputs["pixels"].chunk(2)
    assert all(not torch.allclose(one, other, atol=0.05) for one, other in zip(first, second, strict=True))
    alone = rig.batch([1]).inputs["pixels"]
    assert torch.equal(alone, torch.stack([first[1], second[1]]))


@pytest.mark.parametrize("kind", TWO_VIEWS)
@pytest.mark.parametrize("preset", ["vit-micro", "resnet-10", "mobilenet-v2"])
def test_what_is_saved_is_an_encoder_that_any_classifier_takes(kind: str, preset: str, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    backbone = (
        tiny_image_backbone(preset)
        if preset != "mobilenet-v2"
        else load_backbone("scratch:mobilenet-v2", image_size=32)
    )
    made = PICTURE_KINDS[kind](backbone, image_transform_of(backbone.processor))
    save_model(made.saved(), backbone.processor, tmp_path)
    model, info = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"classifier"}
    assert not info["unexpected_keys"]
    _, report = load_backbone(str(tmp_path)).build("AutoModelForImageClassification", seed=0, num_labels=3)
    assert all(name.startswith("classifier") for name in report.initialised)
    pixels = torch.rand(2, 3, 32, 32)
    made.encoder.eval()
    model.eval()
    with torch.inference_mode():
        seen = made.encoder(pixels)
        logits = model.classifier(seen)
        assert torch.allclose(model(pixel_values=pixels).logits, logits, atol=1e-5)


def test_the_teacher_is_a_mean_of_students_and_learns_from_no_gradient() -> None:
    rig = Rig("self-distillation-image", family="resnet-10", learning_rate=1e-2)
    pair = rig.objective.pair
    assert not [name for name, _ in rig.model.named_parameters() if name.startswith("teacher.")]
    assert not any("teacher" in name for group in rig.objective.adaptation.groups for name in group.names)
    name = next(name for name, value in pair.student.named_parameters() if value.ndim > 1)
    teacher = dict(pair.teacher.named_buffers())
    assert torch.equal(teacher[name], pair.student.get_parameter(name))
    before = teacher[name].clone()
    list(rig.steps())
    unmoved = teacher[name].clone()
    assert not torch.equal(before, pair.student.get_parameter(name))
    rig.objective.prepare(rig.model, 0.5)
    wanted = momentum_at(0.5) * unmoved + (1 - momentum_at(0.5)) * pair.student.get_parameter(name).detach()
    assert torch.allclose(teacher[name], wanted, atol=1e-7)
    assert (momentum_at(0.0), momentum_at(1.0)) == (0.99, 1.0)


@pytest.mark.parametrize("kind", ["masked-image", *TWO_VIEWS])
def test_a_resumed_run_is_the_unbroken_one_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    family = "vit-micro" if kind == "masked-image" else "resnet-10"
    whole = Rig(kind, family=family, steps=6, batch_size=6)
    whole.train()
    broken, steps = Rig(kind, family=family, steps=6, batch_size=6), 0
    for step in broken.steps():
        steps = step.number
        if steps == 3:
            break
    kept = checkpoint.Checkpoint(3, dict(broken.model.state_dict()), broken.optim.tensors(), {"updates": 3})
    checkpoint.save(tmp_path, kept)
    found = checkpoint.load_last(tmp_path)
    assert found is not None
    resumed = Rig(kind, family=family, steps=6, batch_size=6)
    load_weights(resumed.model, found.model)
    resumed.optim.load_tensors(found.optimizer)
    resumed.feeds.updates = 3
    list(resumed.steps(start_step=3))
    assert largest_difference(weights_of(resumed.model), weights_of(whole.model)) == 0.0
    if kind == "self-distillation-image":
        moved = {name for name in weights_of(whole.model) if name.startswith("teacher.")}
        fresh = weights_of(Rig(kind, family=family).model)
        assert any(not torch.equal(fresh[name], weights_of(whole.model)[name]) for name in moved)


@pytest.mark.parametrize("kind", TWO_VIEWS)
def test_a_constant_encoder_is_noticed(kind: str) -> None:
    rig = Rig(kind, family="resnet-10")
    rows = rig.objective.encode_rows(dataset_of(tiny_pictures(24)), fingerprint="rig-24")
    assert list(rig.objective.warnings()) == []
    rig.objective.statistics(rows, CPU)
    assert list(rig.objective.warnings()) == []
    with torch.no_grad():
        for name, weight in rig.objective.encoder.named_parameters():
            weight.fill_(1.0 if name.endswith("normalization.bias") else 0.0)
    rig.objective.statistics(rows, CPU)
    (said,) = rig.objective.warnings()
    assert "collapsed" in said
    assert "--learning-rate" in said


@pytest.mark.parametrize("kind", TWO_VIEWS)
def test_answers_that_are_all_alike_are_noticed_while_the_encoder_still_tells_pictures_apart(kind: str) -> None:
    rig = Rig(kind, family="resnet-10")
    rows = rig.objective.encode_rows(dataset_of(tiny_pictures(24)), fingerprint="rig-24")
    last = rig.objective.pair.predictor[-1] if kind == "self-distillation-image" else rig.objective.projecting.head[-1]
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(1.0)
    scores = rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))
    assert scores["projected_spread"] < 0.05 < scores["spread"]
    (said,) = rig.objective.warnings()
    assert "same answer for every picture" in said


def test_a_handful_of_rows_says_nothing() -> None:
    rig = Rig("masked-image", family="vit-micro")
    rows = rig.objective.encode_rows(dataset_of(tiny_pictures(2)), fingerprint="rig-2")
    assert rig.objective.scores(rig.objective.statistics(rows, CPU).sum(axis=0))["effective_rank"] < 1.1
    assert list(rig.objective.warnings()) == []


def test_labels_are_measured_with_and_never_learned_from() -> None:
    labelled, bare = tiny_pictures(24), [{k: row[k] for k in ("id", "image")} for row in tiny_pictures(24)]
    rig = Rig("contrastive-image", family="resnet-10")
    with_labels = rig.objective.encode_rows(dataset_of(labelled), fingerprint="rig-24")
    without = rig.objective.encode_rows(dataset_of(bare), fingerprint="rig-24")
    one, other = (rig.objective.statistics(rows, CPU) for rows in (with_labels, without))
    np.testing.assert_array_equal(one[:, :5], other[:, :5])
    assert "knn_accuracy" in rig.objective.scores(one.sum(axis=0))
    assert "knn_accuracy" not in rig.objective.scores(other.sum(axis=0))
    assert rig.batch(range(4)).targets is None


def test_pictures_that_are_not_varied_teach_nothing() -> None:
    backbone = tiny_image_backbone("resnet-10")
    for kind in (ContrastiveImage, SelfDistilImage):
        with pytest.raises(UsageError, match="--augment none"):
            kind.start(None, backbone, told(augment="none"), seed=0)  # type: ignore[arg-type]


# --- updates that are never cut ---------------------------------------------------------------------------------------


def whole_stream(rows: int = 20) -> Stream:
    def collate(rows_R: np.ndarray, _keys: np.ndarray) -> Feed:
        return {"pictures": Batch({}, None, {TERM: float(len(rows_R))}, tuple(map(str, rows_R)))}

    return Stream(np.full(rows, 100), collate, 8, group_by_length=False, is_whole=True)


def test_a_whole_update_is_one_micro_batch_whatever_the_budget() -> None:
    feeds = Feeds({"pictures": whole_stream()}, seed=0, max_tokens=100)
    assert [len(feed["pictures"].ids) for _, feed in feeds.micro_feeds()] == [8]
    assert feeds.padding() == 0
    assert not feeds.halve()


@pytest.mark.parametrize("options", [{"micro_batch_size": 4}, {"world": 2}])
def test_asking_to_cut_a_whole_update_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="compares"):
        Feeds({"pictures": whole_stream()}, seed=0, max_tokens=100, **options)
    Feeds({"pictures": whole_stream()}, seed=0, max_tokens=100, micro_batch_size=8)


# --- which objective --------------------------------------------------------------------------------------------------


def test_auto_takes_masks_for_a_vit_and_contrast_for_the_rest() -> None:
    assert find_pretraining(tiny_image_backbone("vit-micro")) is MaskedImage
    assert find_pretraining(tiny_image_backbone("resnet-10")) is ContrastiveImage
    assert find_pretraining(tiny_image_backbone("vit-micro"), "self-distillation-image") is SelfDistilImage
    assert all(PRETRAININGS[kind.name] is kind for kind in (MaskedImage, ContrastiveImage, SelfDistilImage))


def test_masks_for_a_convolutional_net_are_refused_with_what_fits() -> None:
    with pytest.raises(UsageError, match="does not fit") as error:
        find_pretraining(tiny_image_backbone("resnet-10"), "masked-image")
    assert "contrastive-image" in error.value.fix


def test_settings_reach_the_objective() -> None:
    backbone: Backbone = tiny_image_backbone()
    made = MaskedImage.start(None, backbone, told(mask_fraction=0.5, augment="strong", image_size=64), seed=0)  # type: ignore[arg-type]
    assert made.to_dict() == {"task": "masked-image", "image_size": 64, "augment": "strong", "mask_fraction": 0.5}
    with pytest.raises(ModelError):
        MaskedImage.start(None, backbone, told(image_size=33), seed=0)  # type: ignore[arg-type]
