"""A frozen trunk that was run once gives what running it every time gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.cpu.fast import make_fast
from pretune.engine.batching import Feeds
from pretune.engine.fit import Budget, fit
from pretune.engine.optim import Optim
from pretune.engine.parallel import Cluster
from pretune.modalities.image.transform import image_transform_of
from pretune.objectives.supervised import Supervised
from pretune.tasks import ImageClassification, Task, TextClassification
from pretune.tasks.predicting import predict_rows
from pretune.tasks.rows.trunk import OnTrunk, keep_trunk, on_trunk, trunk_of
from tiny import CPU, LABELS, dataset_of, tiny_backbone, tiny_encoder, tiny_image_backbone, tiny_pictures, uneven_rows

KINDS = ["bert", "roberta", "vit-micro", "resnet-10"]


def world(kind: str) -> tuple[Task, torch.nn.Module, Any]:
    if kind in ("bert", "roberta"):
        backbone, data = tiny_backbone(kind, dropout=0.1), dataset_of(uneven_rows(24))
        task: Task = TextClassification(LABELS, tiny_encoder(backbone))
    else:
        backbone, data = tiny_image_backbone(kind), dataset_of(tiny_pictures(18))
        task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    model, _ = task.build(backbone, seed=0)
    return task, make_fast(model), data


def learn(task: Task, model: torch.nn.Module, rows: Any, adapt: str, *, cached: bool) -> dict[str, torch.Tensor]:
    adaptation = plan_adaptation(model, adapt, weight_decay=0.01)
    learned: Any = task
    if cached:
        trunk = trunk_of(task, model, adaptation, rows, CPU)
        assert trunk is not None
        rows = keep_trunk(task, trunk, rows, CPU, fingerprint=f"{type(model).__name__}-{adapt}")
        learned = OnTrunk(task, trunk)
    objective = Supervised(learned, adaptation)
    feeds = Feeds(objective.streams(rows, batch_size=6, group_by_length=False), seed=0, max_tokens=16_384)
    optim = Optim(adaptation.groups, learning_rate=1e-3, schedule="linear", warmup=0.1, clip=1.0)
    for _ in fit(model, feeds, objective, optim, Budget(12), device=CPU, cluster=Cluster(), seed=0):
        pass
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("adapt", ["head", "top:1"])
@pytest.mark.parametrize("kind", KINDS)
def test_learning_on_kept_outputs_ends_at_the_same_weights(kind: str, adapt: str) -> None:
    task, model, data = world(kind)
    rows = task.encode_rows(data, fingerprint=f"trunk-{kind}")
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    # Dropout above the trunk draws masks of the batch's shape; with one position kept it would draw others.
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.0
    plain = learn(task, model, rows, adapt, cached=False)
    model.load_state_dict(start)
    kept = learn(task, model, rows, adapt, cached=True)
    moved = [name for name in plain if not torch.equal(plain[name], start[name])]
    assert moved, "something was learned"
    for name in plain:
        if name.endswith("k_proj.bias"):
            continue  # softmax does not feel it: its gradient is rounding noise, which Adam makes large
        torch.testing.assert_close(kept[name], plain[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_rows_predict_the_same_and_come_from_the_disk_the_second_time(kind: str) -> None:
    task, model, data = world(kind)
    model.eval()
    rows = task.encode_rows(data, fingerprint=f"trunk-{kind}")
    trunk = trunk_of(task, model, plan_adaptation(model, "head", weight_decay=0.0), rows, CPU)
    assert trunk is not None
    done: list[int] = []
    for _ in range(2):
        kept = keep_trunk(task, trunk, rows, CPU, fingerprint=f"twice-{kind}", on_batch=done.append)
        assert kept is not None
    assert sum(done) == len(rows)
    plain, replayed = predict_rows(task, model, rows, CPU), predict_rows(OnTrunk(task, trunk), model, kept, CPU)
    assert [p.id for p in plain] == [p.id for p in replayed]
    np.testing.assert_allclose([p.outputs_C for p in plain], [p.outputs_C for p in replayed], rtol=0, atol=1e-5)


def test_other_frozen_weights_are_another_trunk() -> None:
    task, model, data = world("bert")
    rows = task.encode_rows(data, fingerprint="trunk-bert")
    adaptation = plan_adaptation(model, "head", weight_decay=0.0)
    trunk = trunk_of(task, model, adaptation, rows, CPU)
    assert trunk is not None
    before = trunk.identity()
    with torch.no_grad():
        next(p for p in model.parameters() if not p.requires_grad).add_(1e-3)
    assert trunk.identity() != before


@pytest.mark.parametrize("adapt", ["full", "gradual", "llrd"])
def test_there_is_no_trunk_where_everything_learns_in_the_end(adapt: str) -> None:
    task, model, data = world("bert")
    rows = task.encode_rows(data, fingerprint="trunk-bert")
    assert trunk_of(task, model, plan_adaptation(model, adapt, weight_decay=0.0), rows, CPU) is None


def test_a_model_that_answers_otherwise_from_kept_outputs_is_learned_the_plain_way() -> None:
    task, model, data = world("roberta")
    rows = task.encode_rows(data, fingerprint="trunk-roberta")
    plain = model.forward

    def forward(input_ids: torch.Tensor, **named: Any) -> Any:
        found = plain(input_ids=input_ids, **named)
        found.logits[:, 0] += input_ids.shape[1]  # something that the trunk's outputs do not tell
        return found

    adaptation = plan_adaptation(model, "head", weight_decay=0.0)
    assert on_trunk(task, model, adaptation, {"train": rows}, CPU, fingerprint="honest") is not None
    model.forward = forward  # type: ignore[method-assign]
    assert on_trunk(task, model, adaptation, {"train": rows}, CPU, fingerprint="peeking") is None
