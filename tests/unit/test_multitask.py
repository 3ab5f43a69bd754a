"""Several tasks on one trunk: what is typed, what is shared, what an update is, and the share of rows that are right in all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_rows
from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.states.shared_trunk import SharedTrunk
from pretune.engine.batching import Feeds
from pretune.errors import DataError, ModelError, UsageError
from pretune.metrics.base import ScoreSpec
from pretune.metrics.classification import ClassificationMetric
from pretune.metrics.rows_right import RowsRight
from pretune.objectives.multitask import Multitask, TaskRows, rows_an_update
from pretune.study.joint.learning import normalised
from pretune.study.joint.tasks import parse_tasks, shares_of
from pretune.tasks import TokenClassification
from tiny import LABELS, TAGS, dataset_of, tagged, text_task, tiny_backbone, tiny_encoder


class Both:
    """A classifier and a tagger of the same 24 rows, on one trunk without dropout."""

    def __init__(self, *, weighs: bool = False, pooling: tuple[str, ...] = ()) -> None:
        backbone = tiny_backbone()
        rows = make_rows(24)
        intent = text_task("label", tiny_encoder(backbone), pooling=pooling)
        slots = TokenClassification(TAGS, tiny_encoder(backbone, long_text="windows"))
        self.tasks: dict[str, Any] = {"intent": intent, "slots": slots}
        self.rows = {
            "intent": intent.encode_rows(dataset_of(rows), fingerprint="joint intent"),
            "slots": slots.encode_rows(dataset_of(tagged(rows)), fingerprint="joint slots"),
        }
        self.apart = {name: task.build(backbone, seed=0)[0] for name, task in self.tasks.items()}
        self.before = {name: set(model.state_dict()) for name, model in self.apart.items()}
        self.trunk = SharedTrunk(self.apart, weighs=weighs)
        adaptation = plan_adaptation(self.trunk, "full", weight_decay=0.0)
        self.adaptation = adaptation
        of_tasks = {name: TaskRows(task, self.rows[name], 8) for name, task in self.tasks.items()}
        self.objective = Multitask(
            of_tasks, adaptation, shares={"intent": 1.0, "slots": 2.0}, groups=[["intent", "slots"]], learns_weights=weighs,
        )  # fmt: skip
        self.feeds = Feeds(self.objective.streams(group_by_length=True), seed=0, max_tokens=10_000)

    def feed(self) -> Any:
        return self.feeds.micro_feeds()[0][1]

    def loss(self, feed: Any) -> Any:
        return self.objective.loss(self.trunk, feed, torch.Generator())


def test_tasks_as_they_are_typed() -> None:
    found = parse_tasks(["intent=atis/,column=label=label", "slots=atis/"])
    assert found == {"intent": ("atis/", {"column": "label=label"}), "slots": ("atis/", {})}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a=x"], "there is 1"),
        ([], "there are none"),
        (["a=x", "a=y"], "two tasks are called a"),
        (["a=x", "b"], "no task"),
        (["a=x", "b="], "no task"),
        (["a=x", "b=y,adapt"], "no option"),
        (["a=x", "alone=y"], "no task can be called alone"),
    ],
)
def test_words_that_are_no_tasks(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_tasks(words)


def test_weights_are_one_on_average() -> None:
    rows = {"a": 300, "b": 100}
    assert shares_of("equal", rows) == shares_of("uncertainty", rows) == {"a": 1.0, "b": 1.0}
    assert shares_of("size", rows) == {"a": 1.5, "b": 0.5}
    assert shares_of("b=3,a=1", rows) == {"a": 0.5, "b": 1.5}
    for wrong in ("a=1", "a=1,b=2,c=3", "a=1,b=x", "a=1,b=0", "a=1,a=2", "a=1,b=nan", "sizes"):
        with pytest.raises(UsageError, match="--weights"):
            shares_of(wrong, rows)


def test_rows_of_an_update_go_with_the_root_of_how_many_there_are() -> None:
    sizes = {"a": 10_000, "b": 100}
    assert rows_an_update(sizes, 32, 1.0) == {"a": 32, "b": 1}
    assert rows_an_update(sizes, 32, 2.0) == {"a": 32, "b": 3}
    assert rows_an_update(sizes, 32, 1000.0) == {"a": 32, "b": 32}


@pytest.mark.parametrize(
    ("value", "spec", "share"),
    [
        (0.9, ScoreSpec(rising=True), 0.9),
        (25.0, ScoreSpec(rising=True, unit="points"), 0.25),
        (0.3, ScoreSpec(rising=False, unit="rate"), 0.7),
        (0.0, ScoreSpec(rising=False, unit="nats"), 1.0),
        (1.0, ScoreSpec(rising=False, unit="bits"), 0.5),
        (3.0, ScoreSpec(rising=False, unit="px"), 0.25),
    ],
)
def test_scores_of_all_kinds_become_shares(value: float, spec: ScoreSpec, share: float) -> None:
    assert normalised(value, spec) == pytest.approx(share)


@pytest.mark.parametrize("pooling", [(), ("mean",)])
def test_the_trunk_is_there_once_and_each_task_has_its_own_form_again(pooling: tuple[str, ...]) -> None:
    both = Both(pooling=pooling)
    names = [name for name, _ in both.trunk.named_parameters()]
    apart = sum(p.numel() for p in {id(p): p for m in both.apart.values() for p in m.parameters()}.values())
    assert sum(p.numel() for p in both.trunk.parameters()) == apart
    assert sum("embeddings.word_embeddings" in name for name in names) == 1
    in_groups = [p for group in both.adaptation.groups for p in group.parameters]
    assert len({id(p) for p in in_groups}) == len(in_groups) == len(names)
    models = both.trunk.apart()
    assert {name: set(model.state_dict()) for name, model in models.items()} == both.before, (
        "as it would be saved alone"
    )
    layer = [model.base_model.encoder.layer[0] for model in models.values()]
    assert layer[0] is layer[1]


def test_models_without_a_common_trunk_are_refused() -> None:
    backbone, other = tiny_backbone(), tiny_backbone("roberta")
    tasks = [TokenClassification(TAGS, tiny_encoder(one, long_text="windows")) for one in (backbone, other)]
    models = [task.build(one, seed=0)[0] for task, one in zip(tasks, (backbone, other), strict=True)]
    with pytest.raises(ModelError, match="no trunk in common"):
        SharedTrunk({"a": models[0], "b": models[1]})
    with pytest.raises(ModelError, match="no trunk that heads"):
        SharedTrunk({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})


def test_the_gradient_of_an_update_is_the_sum_of_the_tasks_own() -> None:
    both = Both()
    feed = both.feed()
    assert feed["intent"].ids == feed["slots"].ids, "rows that tasks share are drawn once"
    loss = both.loss(feed)
    counts = {name: feed[name].counts[name] for name in both.tasks}
    (loss.terms["intent"] / counts["intent"] + 2.0 * loss.terms["slots"] / counts["slots"]).backward()
    joint = {name: p.grad.clone() for name, p in both.trunk.named_parameters() if p.grad is not None}
    both.trunk.zero_grad()
    for name, share in (("intent", 1.0), ("slots", 2.0)):
        task = both.tasks[name]
        batch = task.collate([both.rows[name][i] for i in range(24) if both.rows[name][i].id in feed[name].ids])
        own = task.loss(both.trunk.of(name), batch).total
        (share * own / batch.num_items).backward()
    for name, parameter in both.trunk.named_parameters():
        if name in joint:
            assert torch.allclose(joint[name], parameter.grad, atol=1e-5), name


def test_the_trunk_runs_once_for_rows_that_tasks_share() -> None:
    both = Both()
    calls = []
    both.trunk.base_model.encoder.register_forward_hook(lambda *_: calls.append(1))
    feed = both.feed()
    both.loss(feed)
    assert len(calls) == 1
    both.tasks["slots"].loss(both.trunk.of("slots"), feed["slots"])
    both.tasks["slots"].loss(both.trunk.of("slots"), feed["slots"])
    assert len(calls) == 3, "outside nothing is remembered"


def test_uncertainty_weighs_each_task_by_its_loss() -> None:
    both = Both(weighs=True)
    rates = torch.optim.SGD([both.trunk.log_variances_T], lr=2e-5)
    feed = both.feed()
    for _ in range(300):
        loss = both.loss(feed)
        whole = sum(
            term / sum(batch.counts.get(name, 0.0) for batch in feed.values()) for name, term in loss.terms.items()
        )
        rates.zero_grad()
        both.trunk.log_variances_T.grad = torch.autograd.grad(whole, both.trunk.log_variances_T)[0]
        rates.step()
        if float(both.trunk.log_variances_T.grad.abs().max()) < 1e-3:
            break
    for name in both.tasks:
        own = loss.log[f"{name}.loss"] / feed[name].counts[name]
        assert float(torch.exp(-both.trunk.log_variance(name)).detach()) == pytest.approx(1 / (2 * own), rel=0.02), (
            "equation 7's optimum"
        )


def test_rows_right_in_all_ways() -> None:
    side = RowsRight().measure([{"id": str(at), "right": at < 3} for at in range(4)])
    assert float(side.scores()["rows_right"]) == 0.75
    assert side.right_N is not None
    assert side.right_N.sum() == 3


def test_a_label_that_was_never_learned_is_a_row_that_no_answer_is_right_to() -> None:
    probabilities = {label: float(label == LABELS[0]) for label in LABELS}
    records = [
        {"id": "a", "label": LABELS[0], "probabilities": probabilities, "truth": LABELS[0]},
        {"id": "b", "label": LABELS[0], "probabilities": probabilities, "truth": "weather"},
    ]
    scores = ClassificationMetric(LABELS, takes_unseen=True).measure(records).scores()
    assert float(scores["accuracy"]) == 0.5
    assert np.isfinite(float(scores["mcc"]))
    assert float(scores["precision_micro"]) == 0.5
    with pytest.raises(DataError, match="weather"):
        ClassificationMetric(LABELS).measure(records)
    task = text_task("label", tiny_encoder(tiny_backbone()), takes_unseen=True)
    assert task.numbered("weather") is None
    assert task.to_dict()["unseen_labels"] is True
    assert task.warnings(records)[0].startswith("1 row has a label that no training row has (weather)")
    assert [block["type"] for block in task.blocks(records, [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}])]
    task.calibrate(records)
