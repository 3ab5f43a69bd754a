"""What every objective promises the loop: losses are sums, padding is nothing, accumulation is the big batch."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest
import torch
from cases import LEARN_CASES, LearnCase

from pretune import objectives
from pretune.engine.fit import Objective
from pretune.objectives.consistency import Consistency
from pretune.objectives.contrastive_labels import ContrastiveLabels
from pretune.objectives.mixed import Mixed
from pretune.objectives.multitask import Multitask
from pretune.objectives.text.masked_text_pretraining import MaskedTextPretraining
from pretune.objectives.text.replaced_text import ReplacedText
from tiny import Rig


@pytest.fixture(params=list(LEARN_CASES), scope="module")
def case(request: pytest.FixtureRequest) -> LearnCase:
    return LEARN_CASES[request.param]()


def test_the_table_holds_every_objective() -> None:
    found = {
        made
        for module in pkgutil.walk_packages(objectives.__path__, f"{objectives.__name__}.")
        for made in vars(importlib.import_module(module.name)).values()
        if inspect.isclass(made)
        and issubclass(made, Objective)
        and made.__module__.startswith(objectives.__name__)
        and not inspect.isabstract(made)
    }
    found.discard(MaskedTextPretraining)  # what it learns by is MaskedText
    found.discard(Mixed)  # a term for each of its objectives: tests/unit/test_mixed.py
    found.discard(Multitask)  # a term for each of its tasks: tests/unit/test_multitask.py
    found.discard(ReplacedText)  # two terms, with counts of their own: tests/unit/test_replaced_text.py
    found.discard(ContrastiveLabels)  # a row's partner is drawn among all rows: tests/unit/test_contrastive_labels.py
    found.discard(Consistency)  # what it learns from depends on its own answers: tests/unit/test_consistency.py
    assert {type(make().rig.objective) for make in LEARN_CASES.values()} == found
    assert len(found) >= 2


def total(rig: Rig, batch: Any) -> torch.Tensor:
    rig.objective.prepare(rig.model, 0.0)
    return rig.loss(batch).total


def test_the_loss_of_a_batch_is_the_sum_of_its_singles(case: LearnCase) -> None:
    together = total(case.rig, case.rig.batch(case.rows)).item()
    singles = sum(total(case.rig, case.rig.batch([row])).item() for row in case.rows)
    if case.rig.feeds.is_whole:
        assert together != pytest.approx(singles, rel=1e-2), "rows that do not touch each other need no whole updates"
        return
    assert together == pytest.approx(singles, rel=1e-5)


def test_padding_never_changes_the_loss_or_what_is_counted(case: LearnCase) -> None:
    if case.wide is None:
        batch = case.rig.batch(case.rows)
        assert batch.num_padded == batch.num_tokens
        return
    for rows in (case.rows[:1], case.rows[:4]):
        plain, wide = case.rig.batch(rows), case.wide(rows)
        assert wide.num_padded > plain.num_padded
        assert wide.num_tokens == plain.num_tokens
        assert total(case.rig, wide).item() == pytest.approx(total(case.rig, plain).item(), rel=1e-5)


def test_num_items_is_what_a_hand_counts(case: LearnCase) -> None:
    for rows in (case.rows, case.rows[:1]):
        batch = case.rig.batch(rows)
        assert batch.num_items == pytest.approx(case.items(rows))
        assert set(batch.counts) <= {*case.rig.objective.weights, *case.rig.objective.log_names}
        assert batch.num_tokens <= batch.num_padded


def test_terms_and_log_are_those_the_objective_names(case: LearnCase) -> None:
    loss = case.rig.loss(case.rig.batch(case.rows))
    assert set(loss.log) == set(case.rig.objective.log_names)
    assert set(loss.terms) == set(case.rig.objective.weights)
    assert loss.total.requires_grad


def gradients(case: LearnCase, micro_batch_size: int | None) -> dict[str, torch.Tensor]:
    rig = case.rig
    rig.feeds.updates = 0
    rig.feeds.micro_batch_size = micro_batch_size or 2**31
    rig.objective.prepare(rig.model, 0.0)
    rig.model.zero_grad()
    feeds = rig.feeds.micro_feeds()
    name = rig.feeds.main
    items = sum(feed[name].num_items for _, feed in feeds)
    for _, feed in feeds:
        (rig.loss(feed[name]).total.double() / items).backward()
    return {n: p.grad.clone() for n, p in rig.model.named_parameters() if p.grad is not None}


def test_accumulation_gives_the_gradient_of_the_big_batch(case: LearnCase) -> None:
    if case.rig.feeds.is_whole:
        assert [len(feed[case.rig.feeds.main].ids) for _, feed in case.rig.feeds.micro_feeds()] == [8]
        assert not case.rig.feeds.halve()
        return
    whole = gradients(case, None)
    norm = torch.stack([g.norm() for g in whole.values()]).norm()
    for size in (1, 2):
        parts = gradients(case, size)
        assert parts.keys() == whole.keys()
        apart = torch.stack([(parts[name] - whole[name]).norm() for name in whole]).norm()
        assert (apart / norm).item() < 3e-6  # float32 sums in another order


QUICK = ("supervised text classification", "supervised audio classification", "masked text padded", "masked image")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LEARN_CASES if "roberta" not in n],
)
def test_one_batch_is_learned_by_heart(name: str) -> None:
    case = LEARN_CASES[name]()
    rig = case.rig
    batch = rig.batch(range(min(4, len(rig.streams[rig.feeds.main].lengths_N))))
    optimizer = torch.optim.AdamW(rig.model.parameters(), lr=case.rate)
    first = loss = float("inf")
    for update in range(case.updates):
        rig.objective.prepare(rig.model, 0.0)
        value = total(rig, batch) / batch.num_items
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(rig.model.parameters(), 1.0)  # as the loop does: no spike at the last update
        for group in optimizer.param_groups:
            group["lr"] = case.rate * (1 - update / case.updates)
        optimizer.step()
        loss = value.item()
        first = min(first, loss) if first == float("inf") else first
    assert loss < case.least + 0.1 * first, (first, loss)
