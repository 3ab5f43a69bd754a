"""The loop against a plain one, its schedule and budgets, what it refuses, and what rests while it learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from clocks import clock_of
from pretune.backbones.adaptation.recompute import recompute_activations
from pretune.engine import fit as fit_module
from pretune.engine.batching import Feeds, Stream
from pretune.engine.fit import Budget, Objective
from pretune.engine.optim import Optim, learning_rate_factor
from pretune.errors import CheckFailed, NonFiniteUpdate
from pretune.types import Batch, Feed, Loss, ParameterGroup
from tiny import CPU, LABELS, Rig, largest_difference, uneven_rows, weights_of


def plain_loop(rig: Rig, steps: int, *, rate: float, warmup: float, clip: float) -> list[float]:
    """What a person would write: mean loss, AdamW, LambdaLR, clip_grad_norm_. Knows the rows of each update only."""
    model = rig.model.train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, foreach=False, fused=False)

    def factor(step: int) -> float:
        progress = (step + 1) / (steps + 1)
        return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    losses = []
    for number, (update, _) in zip(range(steps), rig.feeds, strict=False):
        torch.manual_seed(number)
        ((_, feed),) = update
        (batch,) = feed.values()
        logits = model(**batch.inputs).logits
        if "positions" in batch.extras:
            logits = logits.reshape(-1, logits.shape[-1])[batch.extras["positions"]]
        loss = functional.cross_entropy(logits, batch.targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_twenty_updates_are_those_of_a_plain_loop(kind: str) -> None:
    options = {"steps": 20, "learning_rate": 1e-3, "warmup": 0.2, "clip": 1.0}
    ours, plain = Rig(kind, **options), Rig(kind, **options)
    assert largest_difference(weights_of(ours.model), weights_of(plain.model)) == 0.0
    steps = ours.train()
    losses = plain_loop(plain, 20, rate=1e-3, warmup=0.2, clip=1.0)
    assert [step.loss for step in steps] == pytest.approx(losses, abs=1e-6)
    one, other = weights_of(ours.model), weights_of(plain.model)
    assert largest_difference(one, weights_of(Rig(kind).model)) > 1e-3
    # A key's bias shifts all scores of a row alike, so its gradient is 0 but for rounding, which Adam divides by itself.
    compared = [name for name in one if not name.endswith("key.bias")]
    assert largest_difference({n: one[n] for n in compared}, {n: other[n] for n in compared}) < 1e-6


def test_clipping_takes_part_in_that_equality() -> None:
    options = {"steps": 5, "learning_rate": 1e-3, "warmup": 0.2, "clip": 0.05}
    ours, plain = Rig(**options), Rig(**options)
    steps = ours.train()
    assert min(step.grad_norm for step in steps) > 0.05
    assert [s.loss for s in steps] == pytest.approx(plain_loop(plain, 5, rate=1e-3, warmup=0.2, clip=0.05), abs=1e-6)


@pytest.mark.parametrize("micro_batch_size", [1, 3])
@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_micro_batches_give_the_updates_of_big_batches(kind: str, micro_batch_size: int) -> None:
    whole, parts = Rig(kind, steps=6).train(), Rig(kind, steps=6, micro_batch_size=micro_batch_size).train()
    for one, other in zip(whole, parts, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
        assert (other.num_items, other.num_rows, other.num_tokens) == (one.num_items, one.num_rows, one.num_tokens)
        assert other.parts == pytest.approx(one.parts)


def test_a_step_tells_what_it_did() -> None:
    rig = Rig("pretrain", rows=20, steps=4)
    steps = rig.train()
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert [step.epoch for step in steps] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3])
    assert [step.progress for step in steps] == [0.25, 0.5, 0.75, 1.0]
    assert sum(step.num_rows for step in steps[:3]) == 20
    assert all(0 < step.num_tokens <= step.num_padded and step.seconds > 0 for step in steps)
    assert all(0 <= step.parts["correct"] <= 1 for step in steps)
    assert steps[-1].data_state == {"updates": 4}
    assert steps[0].loss == pytest.approx(math.log(len(rig.objective.encoder.tokenizer)), rel=0.1)


class TwoTerms(Objective):
    """Half of the weights' squared sum over rows, and their sum over tokens; one batch of labelled rows, two views of others."""

    weights = {"labelled": 1.0, "pulled": 0.5}  # noqa: RUF012
    log_names = ("seen", "tokens")

    def __init__(self) -> None:
        self.moved = torch.zeros(1)

    def streams(self, labelled: int, others: int) -> dict[str, Stream]:
        def rows_of(rows_R: np.ndarray, _keys_R: np.ndarray) -> Feed:
            ids = tuple(map(str, rows_R))
            return {"labelled": Batch({}, None, {"labelled": float(len(ids)), "tokens": 10.0 * len(ids)}, ids)}

        def views_of(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            ids, keys = tuple(map(str, rows_R)), torch.from_numpy(keys_R.view(np.int64).copy())
            weak = Batch({}, None, {}, ids, extras={"keys": keys})
            return {"weak": weak, "strong": Batch({}, None, {"pulled": 3.0 * len(ids)}, ids, extras={"keys": keys})}

        return {
            "labelled": Stream(np.ones(labelled), rows_of, 4, False),
            "unlabelled": Stream(np.ones(others), views_of, 12, False),
        }

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        self.moved += 1

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        (weight,) = model.parameters()
        terms: dict[str, torch.Tensor] = {}
        if "labelled" in feed:
            terms["labelled"] = len(feed["labelled"].ids) * (weight**2).sum() / 2
        if "strong" in feed:
            assert feed["weak"].ids == feed["strong"].ids
            assert torch.equal(feed["weak"].extras["keys"], feed["strong"].extras["keys"])
            terms["pulled"] = 3.0 * len(feed["strong"].ids) * weight.sum()
        rows = len(feed["labelled"].ids) if "labelled" in feed else 0
        return Loss(terms, {"seen": float(rows), "tokens": 20.0 * rows})

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"moved": self.moved}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.moved = state["moved"]


@pytest.mark.parametrize("micro_batch_size", [None, 3, 1])
def test_each_term_of_a_loss_is_divided_by_its_own_count(micro_batch_size: int | None) -> None:
    """Four labelled rows and twelve others an update: neither shares the other's denominator, however they are cut."""
    objective = TwoTerms()
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    optim = Optim(
        [ParameterGroup([model.weight], ["weight"])], learning_rate=0.0, schedule="constant", warmup=0.0, clip=1e9
    )
    feeds = Feeds(objective.streams(10, 50), seed=0, max_tokens=1000, micro_batch_size=micro_batch_size)
    steps = fit_module.fit(model, feeds, objective, optim, Budget(2), device=CPU, cluster=Rig().cluster, seed=0)
    for step in steps:
        assert step.parts["labelled"] == pytest.approx(4.0)
        assert step.parts["pulled"] == pytest.approx(4.0)
        assert step.loss == pytest.approx(4.0 + 0.5 * 4.0)
        assert step.grad_norm == pytest.approx(2.5 * 2**0.5), "2 of the first term and half of 1 of the second, each"
        assert step.parts["seen"] == 1.0
        assert step.parts["tokens"] == 2.0, "a figure with a count of its own"
        assert (step.num_items, step.num_rows) == (4.0, 4 + 2 * 12)


# --- schedule and budget ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("linear", {0.0: 0.0, 0.05: 0.5, 0.1: 1.0, 0.55: 0.5, 1.0: 0.0}),
        ("cosine", {0.05: 0.5, 0.1: 1.0, 0.55: 0.5, 0.325: 0.5 + 0.5 * math.cos(math.pi / 4), 1.0: 0.0}),
        ("constant", {0.05: 0.5, 0.1: 1.0, 0.55: 1.0, 1.0: 1.0}),
    ],
)
def test_values_of_the_schedules(schedule: str, values: dict[float, float]) -> None:
    for progress, value in values.items():
        assert learning_rate_factor(progress, schedule=schedule, warmup=0.1) == pytest.approx(value, abs=1e-12)
    assert learning_rate_factor(0.0, schedule=schedule, warmup=0.0) == 1.0


def test_every_update_learns_and_the_peak_is_reached() -> None:
    rates = [step.learning_rate for step in Rig(steps=19, warmup=0.5, learning_rate=0.01).train()]
    assert rates == pytest.approx([0.01 * min(k, 20 - k) / 10 for k in range(1, 20)])


def test_layer_wise_rates_scale_the_same_schedule() -> None:
    rig = Rig(adapt="llrd", steps=2)
    rate = rig.train()[-1].learning_rate
    scales = {group["lr"] / rate for group in rig.optim.adamw.param_groups}
    assert sorted(scales) == pytest.approx([0.9**3, 0.9**2, 0.9, 1.0])


def test_a_budget_is_the_larger_share_used() -> None:
    budget = Budget(100, max_seconds=10.0)
    assert budget.progress(25) == 0.25
    budget.used_seconds = 5.0
    assert budget.progress(25) == 0.5
    assert budget.progress(75) == 0.75
    budget.used_seconds = 11.0
    assert budget.progress(0) == 1.0
    assert budget.is_spent(0)
    assert Budget(3).progress(5) == 1.0


def test_minutes_end_a_run_before_its_updates_do_and_the_schedule_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of(monkeypatch, fit_module, tick=0.01)
    rig = Rig(steps=10**9, seconds=0.395, warmup=0.1)
    steps = rig.train()
    assert len(steps) == 40
    assert steps[-1].progress == 1.0
    assert rig.budget.used_seconds == pytest.approx(0.4)
    rates = [step.learning_rate for step in steps]
    assert rates[-1] < 0.3 * max(rates)
    assert max(rates) > 0.7e-3


def test_a_spent_budget_makes_no_update() -> None:
    rig = Rig(steps=3)
    before = weights_of(rig.model)
    assert list(rig.steps(start_step=3)) == []
    assert largest_difference(before, weights_of(rig.model)) == 0.0


# --- what is refused --------------------------------------------------------------------------------------------------


class Broken(Objective):
    """An objective whose loss or gradient breaks at one update."""

    def __init__(self, inner: Any, at: int, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.inner, self.at, self.spoil = inner, at, spoil
        self.log_names, self.calls = inner.log_names, 0

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        self.inner.prepare(model, progress)
        self.calls += 1

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        loss = self.inner.loss(model, feed, rng)
        return Loss.of(self.spoil(loss.total), loss.log) if self.calls == self.at else loss


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0] * float("nan")


SPOILS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nan loss": lambda total: total * float("nan"),
    "infinite loss": lambda total: total * float("inf"),
    "nan gradient of a sound loss": lambda total: _NanGradient.apply(total),  # type: ignore[return-value]
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_an_update_that_is_not_finite_changes_nothing_and_names_step_and_rows(spoil: str) -> None:
    rig = Rig(steps=5)
    steps = rig.steps(objective=Broken(rig.objective, 3, SPOILS[spoil]))
    next(steps)
    next(steps)
    weights, moments = weights_of(rig.model), {k: v.clone() for k, v in rig.optim.tensors().items()}
    with pytest.raises(NonFiniteUpdate) as error:
        next(steps)
    assert error.value.step == 3
    assert len(error.value.row_ids) == 8
    assert set(error.value.row_ids) <= {row["id"] for row in uneven_rows(24)}
    assert "update 3" in error.value.problem
    assert error.value.row_ids[0] in error.value.problem
    assert error.value.exit_code != 0
    assert largest_difference(weights, weights_of(rig.model)) == 0.0
    assert largest_difference(moments, rig.optim.tensors()) == 0.0
    assert all(p.grad is None for p in rig.model.parameters())


class Hungry(Broken):
    """Runs out of memory with more than ``most`` rows a forward pass."""

    def __init__(self, inner: Any, most: int, error: Exception) -> None:
        super().__init__(inner, -1, lambda total: total)
        self.most, self.error = most, error

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        if sum(len(batch.ids) for batch in feed.values()) > self.most:
            raise self.error
        return super().loss(model, feed, rng)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 GB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_out_of_memory_halves_the_micro_batches_and_repeats_the_update(error: Exception) -> None:
    rig, plain = Rig(steps=4), Rig(steps=4)
    steps = list(rig.steps(objective=Hungry(rig.objective, 3, error)))
    assert rig.feeds.micro_batch_size == 2
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in plain.train()], rel=1e-4)
    assert [s.num_rows for s in steps] == [8] * 4


def test_out_of_memory_with_single_rows_says_what_to_do() -> None:
    rig = Rig(steps=4)
    with pytest.raises(CheckFailed) as error:
        list(rig.steps(objective=Hungry(rig.objective, 0, MemoryError())))
    assert "--max-length" in error.value.fix


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    rig = Rig(steps=4)
    with pytest.raises(RuntimeError, match="shapes"):
        list(rig.steps(objective=Hungry(rig.objective, 0, RuntimeError("shapes do not fit"))))


# --- what rests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapt", ["head", "top:1"])
def test_frozen_weights_stay_and_their_modules_rest(adapt: str) -> None:
    rig = Rig(adapt=adapt, dropout=0.1, steps=4)
    before = weights_of(rig.model)
    rig.train()
    after = weights_of(rig.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    learns = ("classifier", "pooler") if adapt == "head" else ("classifier", "pooler", "encoder.layer.1")
    assert all(any(part in name for part in learns) for name in changed)
    assert any("classifier" in name for name in changed)
    resting = [
        name for name, module in rig.model.named_modules() if not list(module.children()) and not module.training
    ]
    assert any("embeddings" in name for name in resting)
    assert any("encoder.layer.0" in name for name in resting)
    assert not any("classifier" in name for name in resting)
    assert {p for p in rig.model.parameters() if p.requires_grad} == {
        p for name, p in rig.model.named_parameters() if any(part in name for part in learns)
    }


def test_a_frozen_encoder_gives_the_same_features_in_every_epoch() -> None:
    """Dropout below the head rests: two losses of one batch differ only through the head's own dropout, here none."""
    rig = Rig(adapt="head", dropout=0.5)
    rig.model.config.classifier_dropout = 0.0
    rig.model.dropout = torch.nn.Identity()
    rig.objective.prepare(rig.model, 0.0)
    batch = rig.batch(range(6))
    assert rig.loss(batch).total.item() == rig.loss(batch).total.item()


def test_gradual_unfreezing_lets_layer_after_layer_learn() -> None:
    rig = Rig(adapt="gradual", layers=3, steps=12, dropout=0.1)
    first_change: dict[str, int] = {}
    before = weights_of(rig.model)
    for step in rig.steps():
        for name, value in rig.model.state_dict().items():
            if name not in first_change and not torch.equal(before[name], value):
                first_change[name] = step.number
    began = {
        part: min(n for name, n in first_change.items() if part in name)
        for part in ("classifier", "layer.2", "layer.1", "layer.0", "word_embeddings")
    }
    assert list(began.values()) == sorted(began.values())
    assert began["classifier"] == 1
    assert began["word_embeddings"] == 7
    assert len(set(began.values())) == 5


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", ["finetune", "pretrain", "replaced-text", "contrastive-text", "distil-masked"])
def test_recomputed_activations_give_the_same_gradients_with_dropout_too(kind: str) -> None:
    grads = []
    for recompute in (False, True):
        rig = Rig(kind, dropout=0.2)
        if recompute:
            recompute_activations(rig.model)
        rig.objective.prepare(rig.model, 0.0)
        torch.manual_seed(7)
        sum(rig.loss(rig.batch(range(8))).terms.values()).backward()  # type: ignore[union-attr]
        grads.append({n: p.grad.clone() for n, p in rig.model.named_parameters() if p.grad is not None})
        assert any(getattr(m, "gradient_checkpointing", False) for m in rig.model.modules()) is recompute
    assert largest_difference(grads[0], grads[1]) < 1e-6


def test_a_run_learns() -> None:
    rig = Rig(rows=24, steps=120, learning_rate=2e-3)
    losses = [step.loss for step in rig.train()]
    assert losses[0] == pytest.approx(math.log(len(LABELS)), rel=0.2)
    assert sum(losses[-3:]) / 3 < 0.25 * losses[0]
