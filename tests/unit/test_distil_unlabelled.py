"""Students that learn without labels: masked words as the teacher expects them, features of pictures and sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from pretune.backbones.load import load_backbone
from pretune.data.splits import Splits
from pretune.errors import ModelError
from pretune.objectives.distilling.distil import MatchedStudent
from pretune.objectives.distilling.features import DistilFeatures
from pretune.objectives.distilling.inner_matching import hidden_distance
from pretune.objectives.distilling.masked_text import DistilMaskedText
from pretune.objectives.distilling.teaching import TaughtSettings
from tiny import (
    CPU,
    Rig,
    dataset_of,
    saved_teacher,
    tiny_audio_backbone,
    tiny_backbone,
    tiny_clips,
    tiny_pictures,
    uneven_rows,
    weights_of,
)

pytestmark = pytest.mark.slow


def test_masked_words_are_cross_entropy_and_divergence_at_masked_places() -> None:
    rig = Rig("distil-masked", hidden=False, attention=False, temperature=3.0, hard_weight=0.25)
    batch = rig.batch(range(6))
    teacher, _ = load_backbone(saved_teacher("text")).build("AutoModelForMaskedLM", seed=0)
    places = batch.extras["positions"]
    logits = {}
    for name, model in (("student", rig.model.eval()), ("teacher", teacher.eval())):
        with torch.no_grad():
            logits[name] = model(**batch.inputs).logits.flatten(0, 1)[places]
    hard = functional.cross_entropy(logits["student"], batch.targets, reduction="sum")
    soft = 9.0 * functional.kl_div(
        torch.log_softmax(logits["student"] / 3, -1), torch.log_softmax(logits["teacher"] / 3, -1), log_target=True, reduction="sum"
    )  # fmt: skip
    loss = rig.loss(batch)
    assert float(loss.total.detach()) == pytest.approx(float(0.25 * hard + 0.75 * soft), rel=1e-4)
    assert loss.log["soft"] == pytest.approx(float(soft), rel=1e-4)
    assert batch.num_items == len(places)


def test_inner_states_of_a_row_count_once_for_each_masked_place() -> None:
    rig = Rig("distil-masked", attention=False)
    assert isinstance(rig.model, MatchedStudent)
    batch = rig.batch([0, 3, 5])
    rig.model.eval()
    loss = rig.loss(batch)
    mask, matching = batch.inputs["attention_mask"], rig.model.matching
    teacher, _ = load_backbone(saved_teacher("text")).build("AutoModelForMaskedLM", seed=0)
    with torch.no_grad():
        own = rig.model.student(**batch.inputs, output_hidden_states=True).hidden_states
        others = teacher.eval()(**batch.inputs, output_hidden_states=True).hidden_states
    width, count = mask.shape[1], torch.zeros(3)
    for place in batch.extras["positions"].tolist():
        count[place // width] += 1
    apart = [
        hidden_distance(matching.projections[i](own[mine]), others[theirs], mask)
        for i, (mine, theirs) in enumerate(((0, 0), (1, 2), (2, 4)))
    ]
    wanted = (torch.stack(apart).mean(0) * count).sum()
    assert loss.log["hidden"] == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_a_teacher_without_a_head_for_words_teaches_by_its_inner_states() -> None:
    data = Splits({"train": dataset_of(uneven_rows(12))})
    bare = saved_teacher("text", "AutoModel")
    made = DistilMaskedText.start(data, tiny_backbone(), TaughtSettings(teacher=bare, pack="no"), seed=0)
    assert not made.has_head
    with pytest.raises(ModelError, match="no head for masked words"):
        DistilMaskedText.start(
            data, tiny_backbone(), TaughtSettings(teacher=bare, hidden=False, attention=False), seed=0
        )


def test_other_tokens_are_refused() -> None:
    data = Splits({"train": dataset_of(uneven_rows(12))})
    with pytest.raises(ModelError, match="other tokens"):
        DistilMaskedText.start(data, tiny_backbone("roberta"), TaughtSettings(teacher=saved_teacher("text")), seed=0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("distil-masked", {}),
        ("distil-pictures", {"family": "vit-micro", "augment": "none"}),
        ("distil-pictures", {"family": "resnet-10", "augment": "none"}),
        ("distil-clips", {}),
    ],
)
def test_held_out_scores_rise_while_the_teacher_stays(kind: str, options: dict[str, str]) -> None:
    rig = Rig(kind, steps=40, learning_rate=3e-3, **options)
    made = rig.objective
    make = {"distil-pictures": tiny_pictures, "distil-clips": tiny_clips}.get(kind, uneven_rows)
    rows = made.encode_rows(dataset_of(make(24)), fingerprint="rise")
    before, teacher = made.statistics(rows, CPU), weights_of(made.teacher)
    rig.train()
    after = made.statistics(rows, CPU)
    assert np.array_equal(made.statistics(rows, CPU), after)
    assert all(torch.equal(value, teacher[name]) for name, value in weights_of(made.teacher).items())
    first, last = (float(made.scores(one.sum(axis=0))[made.primary]) for one in (before, after))
    assert last > first + 0.05
    assert set(weights_of(made.saved())) == set(
        weights_of(rig.model.student if hasattr(rig.model, "student") else rig.model)
    )


def test_explained_is_one_less_the_error_over_the_teachers_variance() -> None:
    rig = Rig("distil-pictures", family="vit-micro", augment="none")
    made, rows = rig.objective, rig.objective.encode_rows(dataset_of(tiny_pictures(24)), fingerprint="e")
    batch = made.reader.collate([rows[i] for i in range(24)], None)
    with torch.no_grad():
        said = made.teacher(**batch.inputs).last_hidden_state.flatten(0, 1)
        found = rig.model.projection(made.student.eval()(**batch.inputs).last_hidden_state).flatten(0, 1)
    mean = said.mean(0)
    scale = (said - mean).square().sum(-1).mean().sqrt()
    error = ((said - mean) / scale - found).square().sum(-1).mean()
    scores = made.scores(made.statistics(rows, CPU).sum(axis=0))
    assert float(scores["explained"]) == pytest.approx(1 - float(error), abs=1e-3)
    with torch.no_grad():
        for weight in rig.model.projection.parameters():
            weight.zero_()
    assert float(made.scores(made.statistics(rows, CPU).sum(axis=0))["explained"]) == pytest.approx(0.0, abs=1e-3)


def test_models_that_hear_otherwise_are_refused() -> None:
    other = tiny_audio_backbone("features")
    with pytest.raises(ModelError, match="do not hear alike"):
        DistilFeatures(other, TaughtSettings(teacher=saved_teacher("audio")), seed=0)
