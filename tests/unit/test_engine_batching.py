"""Which rows make which update: every row once, a function of seed and epoch, budgets kept, resumed in one step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import steps_of
from pretune.engine.batching import Feeds, Stream, cut_by_budget, plan_epoch
from pretune.types import TERM, Batch, Feed


def stream(count: int = 103, *, batch_size: int = 8, group: bool = True, seed: int = 0, name: str = "text") -> Stream:
    lengths = np.random.default_rng(seed).integers(1, 60, count)

    def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
        keys = torch.from_numpy(keys_R.view(np.int64).copy())
        rows, ids = torch.from_numpy(rows_R), tuple(map(str, rows_R))
        return {name: Batch({"rows": rows}, None, {TERM: len(rows_R)}, ids, extras={"keys": keys})}

    return Stream(lengths, collate, batch_size, group)


def feeds(one: Stream, **options: int) -> Feeds:
    return Feeds({"text": one}, **{"seed": 0, "max_tokens": 200, **options})  # type: ignore[arg-type]


def updates(made: Feeds, count: int) -> list[list[tuple[str, ...]]]:
    return [[feed["text"].ids for _, feed in update] for update, _ in itertools.islice(made, count)]


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 950])
def test_an_epoch_takes_every_row_once(count: int, group: bool) -> None:
    one = stream(count, group=group)
    plan = plan_epoch(one, seed=1, epoch=0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(count))
    assert len(plan) == one.updates_per_epoch
    assert sorted(map(len, plan), reverse=True)[: count // 8] == [8] * (count // 8)


def test_a_plan_is_a_function_of_seed_and_epoch() -> None:
    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [rows.tolist() for rows in plan_epoch(stream(), seed=seed, epoch=epoch)]

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1) != plan(1, 1)
    assert plan(0, 1) != plan(1, 0)


def test_batches_of_like_length_pad_little_and_come_in_no_order_of_length() -> None:
    def padding(group: bool) -> float:
        one = stream(800, group=group)
        plan = plan_epoch(one, seed=0, epoch=0)
        padded = sum(len(rows) * one.lengths_N[rows].max() for rows in plan)
        return 1 - one.lengths_N.sum() / padded

    assert padding(True) < 0.05 < 0.3 < padding(False)
    one = stream(800)
    means = [one.lengths_N[rows].mean() for rows in plan_epoch(one, seed=0, epoch=0)]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    max_cost=st.integers(1, 4000),
    max_rows=st.integers(1, 70),
    least=st.integers(1, 5),
)
def test_a_cut_keeps_its_budget_and_loses_no_row(lengths: list[int], max_cost: int, max_rows: int, least: int) -> None:
    lengths_R = np.array(lengths)
    groups = cut_by_budget(lengths_R, max_cost=max_cost, max_rows=max_rows, least=least)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    share = -(-len(lengths) // least)
    for group in groups:
        assert 1 <= len(group) <= min(max_rows, share)
        assert len(group) == 1 or len(group) * lengths_R[group].max() <= max_cost
    longest = [lengths_R[group].max() for group in groups]
    assert longest == sorted(longest)
    for first, second in itertools.pairwise(groups):
        one_more = len(first) + 1
        assert one_more > min(max_rows, share) or one_more * lengths_R[second[0]] > max_cost, (
            "a group was closed too early"
        )


def test_two_processes_both_have_rows_and_together_all_of_them() -> None:
    alone = updates(feeds(stream()), 20)
    first, second = (updates(feeds(stream(), rank=rank, world=2), 20) for rank in (0, 1))
    for whole, one, other in zip(alone, first, second, strict=True):
        assert sorted(row for ids in whole for row in ids) == sorted(row for ids in one + other for row in ids)
        assert one
        assert other or len([row for ids in whole for row in ids]) == 1


def test_micro_batches_keep_their_numbers_over_the_processes() -> None:
    numbers = []
    for rank in (0, 1):
        made = feeds(stream(), rank=rank, world=2, micro_batch_size=2)
        numbers.append([number for number, _ in made.micro_feeds()])
    assert numbers == [[0, 2], [1, 3]]


@pytest.mark.parametrize("start", [0, 1, 12, 13, 14, 40])
def test_starting_at_an_update_gives_what_iterating_there_gives(start: int) -> None:
    assert updates(feeds(stream(), start=start), 15) == updates(feeds(stream()), start + 15)[start:]


def test_starting_far_on_is_as_quick_as_at_the_beginning() -> None:
    states = []

    def begin(start: int) -> None:
        states.append(next(iter(feeds(stream(2000), start=start)))[1])

    assert steps_of(lambda: begin(10**9)) < 2 * steps_of(lambda: begin(0))
    assert states == [{"updates": 10**9 + 1}, {"updates": 1}]


def test_the_state_counts_updates_and_epochs_follow_each_other() -> None:
    made = feeds(stream(20))
    assert made.updates_per_epoch == 3
    states = [state["updates"] for _, state in itertools.islice(made, 7)]
    assert states == [1, 2, 3, 4, 5, 6, 7]
    rows = [row for update in updates(feeds(stream(20)), 6) for ids in update for row in ids]
    assert sorted(map(int, rows)) == sorted([*range(20), *range(20)])


def test_the_same_row_has_another_key_in_another_epoch() -> None:
    made = feeds(stream(8))
    keys = []
    for _ in range(2):
        batches = [feed["text"] for _, feed in next(iter(made))[0]]
        keys.append(
            {row: key for batch in batches for row, key in zip(batch.ids, batch.extras["keys"].tolist(), strict=True)}
        )
    assert keys[0].keys() == keys[1].keys()
    assert not set(keys[0].values()) & set(keys[1].values())


def test_the_last_update_comes_again_in_halves() -> None:
    made = feeds(stream(), max_tokens=10**6)
    (first, _) = next(iter(made))
    assert len(first) == 1
    sizes = []
    while made.halve():
        sizes.append([len(feed["text"].ids) for _, feed in made.again()])
    assert sizes == [[4, 4], [2] * 4, [1] * 8]
    assert not made.halve()
    assert made.updates == 1


def test_several_streams_each_go_round_at_their_own_pace() -> None:
    made = Feeds(
        {"labelled": stream(16, name="labelled"), "unlabelled": stream(40, seed=1, name="unlabelled")},
        seed=0,
        max_tokens=10**6,
    )
    seen: dict[str, list[str]] = {"labelled": [], "unlabelled": []}
    for update, _ in itertools.islice(made, 5):
        for _, feed in update:
            for name, batch in feed.items():
                seen[name] += batch.ids
    assert made.updates_per_epoch == 2
    assert sorted(map(int, seen["unlabelled"])) == list(range(40))
    assert len(seen["labelled"]) == 40
