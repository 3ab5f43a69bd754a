"""Private training: the accountants, the draws, the gradients of single rows, and what a run keeps of its guarantee."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from pretune.answers import Label
from pretune.backbones.adaptation.by_row import make_mappable
from pretune.engine.batching import Stream
from pretune.engine.private import gradients as private_gradients
from pretune.engine.private.accountant import Mechanism, agreed_epsilon, epsilon_by_fourier, epsilon_of, noise_for
from pretune.engine.private.entropy import drawn, normals
from pretune.engine.private.gradients import PrivateGradients
from pretune.engine.private.sampling import PoissonFeeds, Units
from pretune.tasks import TextClassification
from pretune.types import TERM, Batch, Example
from tiny import LABELS, tiny_backbone, tiny_encoder, uneven_rows

MECHANISMS = [
    (Mechanism(1.0, 0.04, 500), 1e-5),
    (Mechanism(0.6, 0.02, 1000), 1e-5),
    (Mechanism(3.0, 0.1, 2000), 1e-6),
    (Mechanism(1.5, 1.0, 10), 1e-5),
]


@pytest.mark.parametrize(("mechanism", "delta"), MECHANISMS)
def test_two_accountants_agree_within_one_percent(mechanism: Mechanism, delta: float) -> None:
    careful, quick = agreed_epsilon(mechanism, delta)
    assert quick == pytest.approx(careful, rel=0.01)


def test_without_sampling_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    """Balle & Wang 2018 (arXiv 1805.06530, theorem 8): delta of one Gaussian of noise s, in closed form."""
    from scipy.stats import norm

    noise, steps = 4.0, 16
    one = noise / math.sqrt(steps)
    epsilon = epsilon_by_fourier(Mechanism(noise, 1.0, steps), 1e-5)
    delta = norm.cdf(0.5 / one - epsilon * one) - math.exp(epsilon) * norm.cdf(-0.5 / one - epsilon * one)
    assert delta == pytest.approx(1e-5, rel=0.01)


def test_noise_is_enough_and_hardly_more() -> None:
    noise = noise_for(2.0, 1e-5, rate=0.05, steps=100)
    assert epsilon_of(Mechanism(noise, 0.05, 100), 1e-5) <= 2.0
    assert epsilon_of(Mechanism(noise * 0.99, 0.05, 100), 1e-5) > 2.0


def test_fewer_updates_give_less_away() -> None:
    assert epsilon_of(Mechanism(1.0, 0.05, 50), 1e-5) < epsilon_of(Mechanism(1.0, 0.05, 100), 1e-5)
    assert epsilon_of(Mechanism(1.0, 0.05, 0), 1e-5) == 0.0


def test_draws_follow_no_seed() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    first = normals(100_001)
    np.random.seed(0)
    torch.manual_seed(0)
    second = normals(100_001)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(first.mean()) < 0.02
    assert first.std() == pytest.approx(1.0, abs=0.02)
    assert np.mean(np.abs(first) < 1.96) == pytest.approx(0.95, abs=0.005)


def test_rows_are_drawn_one_by_one() -> None:
    counts = np.array([drawn(1000, 0.1).sum() for _ in range(300)])
    assert counts.mean() == pytest.approx(100, abs=3)
    assert counts.std() == pytest.approx(math.sqrt(90), rel=0.25)
    assert drawn(5, 1.0).all()


def _units(ids: list[str], names: dict[str, str] | None = None) -> Units:
    return Units.of(ids, names or {one: one for one in ids})


def test_units_hold_windows_and_groups_together() -> None:
    units = _units(["a", "a", "b", "c"], {"a": "x", "b": "y", "c": "x"})
    assert [items.tolist() for items in units.items_U] == [[0, 1, 3], [2]]
    assert units.rows_U.tolist() == [2, 1]
    assert dict(units.of_id) == {"a": 0, "b": 1, "c": 0}


def _stream(lengths: list[int]) -> Stream:
    def collate(rows_R: np.ndarray, _keys: np.ndarray) -> dict[str, Batch]:
        ids = tuple(str(row) for row in rows_R)
        return {"labelled": Batch({}, None, {TERM: float(len(ids))}, ids)}

    return Stream(np.array(lengths), collate, 4)


def test_an_update_cut_smaller_has_the_same_rows_and_keeps_units_together() -> None:
    names = {str(place): f"unit {place // 3}" for place in range(60)}
    units = _units([str(place) for place in range(60)], names)
    feeds = PoissonFeeds({"labelled": _stream([1 + place % 7 for place in range(60)])}, units, expected=10, max_tokens=64, micro_batch_size=8)  # fmt: skip

    def rows(update: list[tuple[int, dict[str, Batch]]]) -> list[str]:
        return [row for _, feed in update for row in feed["labelled"].ids]

    update, state = next(iter(feeds))
    assert state == {"updates": 1}
    whole = rows(update)
    assert all(len(feed["labelled"].ids) <= 8 for _, feed in update)
    assert feeds.halve()
    assert rows(feeds.again()) == whole
    order = [units.of_id[row] for row in whole]
    assert sum(one != other for one, other in itertools.pairwise(order)) == len(set(order)) - 1
    assert feeds.updates_per_epoch == 2
    assert feeds.rate == 0.5


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.layer(values)


def _loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch.inputs["values"]), batch.targets, reduction="sum")


def _batch(ids: list[str], seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(len(ids), 3, generator=rng)
    return Batch({"values": values}, torch.arange(len(ids)) % 2, {TERM: float(len(ids))}, tuple(ids))


def _clipped_sum(model: nn.Module, batch: Batch, units: dict[str, list[int]], clip: float) -> list[torch.Tensor]:
    total = [torch.zeros_like(p) for p in model.parameters()]
    for places in units.values():
        inputs = {"values": batch.inputs["values"][places]}
        part = Batch(inputs, batch.targets[places], {}, ())
        found = torch.autograd.grad(_loss(model, part) / len(places), [*model.parameters()])
        norm = torch.sqrt(sum((g**2).sum() for g in found))
        for one, gradient in zip(total, found, strict=True):
            one += gradient * min(1.0, clip / float(norm))
    return total


@pytest.mark.parametrize("one_by_one", [False, True])
def test_gradients_are_clipped_by_unit_before_they_are_added(one_by_one: bool) -> None:
    """Units over several micro-batches, and of one row, against the definition."""
    model, ids = _Plain(), ["a", "b", "c", "d", "e"]
    names = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "z"}
    batch = _batch(ids)
    rule = PrivateGradients(_loss, _units(ids, names), clip=0.5, noise=0.0, expected=4)
    rule.one_by_one = one_by_one
    for start, end in ((0, 2), (2, 5)):
        part = Batch({"values": batch.inputs["values"][start:end]}, batch.targets[start:end], {}, tuple(ids[start:end]))
        loss = rule.add(model, {"labelled": part})
        assert float(loss.total) == pytest.approx(_loss(model, part).item(), rel=1e-5)
    rule.close(model)
    expected = _clipped_sum(model, batch, {"x": [0, 1, 2], "y": [3], "z": [4]}, 0.5)
    for parameter, total in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, total / 4)


def test_one_row_more_moves_the_sum_by_the_clip_norm_at_most() -> None:
    model, ids = _Plain(), [str(place) for place in range(9)]
    batch = _batch(ids, seed=3)
    sums = []
    for count in (8, 9):
        rule = PrivateGradients(_loss, _units(ids), clip=0.1, noise=0.0, expected=1)
        rule.add(model, {"labelled": Batch({"values": batch.inputs["values"][:count]}, batch.targets[:count], {}, tuple(ids[:count]))})  # fmt: skip
        rule.close(model)
        sums.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert float((sums[1] - sums[0]).norm()) <= 0.1 * (1 + 1e-5)


def test_noise_has_the_size_that_was_told_and_comes_without_rows_too() -> None:
    model = nn.Linear(300, 100)
    rule = PrivateGradients(_loss, _units(["a"]), clip=0.5, noise=2.0, expected=10)
    rule.begin()
    rule.close(model)
    assert model.weight.grad is not None
    assert float(model.weight.grad.std()) == pytest.approx(0.5 * 2.0 / 10, rel=0.05)


@pytest.mark.parametrize("family", ["bert", "xlnet", "gpt", "llama", "roberta"])
def test_mapped_gradients_are_those_of_single_rows(family: str) -> None:
    """Position embeddings too, of which a gradient that is summed over the batch's positions would be another."""
    backbone = tiny_backbone(family)
    task = TextClassification(LABELS, tiny_encoder(backbone))
    model, _ = task.build(backbone, seed=0)
    make_mappable(model.train())
    examples = [
        Example(str(place), {"text": row["text"]}, Label(LABELS[place % 3])) for place, row in enumerate(uneven_rows(6))
    ]
    batch = task.collate([task.encode(example)[0] for example in examples])
    rule = PrivateGradients(
        task.plain_loss, _units([str(place) for place in range(6)]), clip=1.0, noise=0.0, expected=1
    )
    learning = dict(model.named_parameters())
    mapped, losses_B = rule._by_item(model, learning, batch)
    assert not rule.one_by_one, "this model can be mapped over rows"
    rule.one_by_one = True
    single, other_B = rule._by_item(model, learning, batch)
    torch.testing.assert_close(losses_B, other_B)
    for name, found in single.items():
        torch.testing.assert_close(mapped[name], found, rtol=1e-3, atol=1e-5, msg=name)


def test_memory_bounds_the_rows_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = _Plain(), [str(place) for place in range(7)]
    sums = []
    for most in (2**29, 4 * 8 * 2):  # two rows of 8 numbers
        monkeypatch.setattr(private_gradients, "_MOST_BYTES", most)
        rule = PrivateGradients(_loss, _units(ids), clip=0.3, noise=0.0, expected=7)
        rule.add(model, {"labelled": _batch(ids)})
        rule.close(model)
        sums.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(sums[0], sums[1])
