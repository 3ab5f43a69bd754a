"""Which rows make which update, as a pure function of (seed, epoch, position).

A resumed run therefore starts at its update in O(1): nothing is read twice or skipped. An update's rows are cut into
micro-batches by a budget of padded tokens, which the processes share among themselves. The cut depends on their number
only where there would be fewer micro-batches than processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretune.engine.randomness import row_keys, seed_of
from pretune.errors import UsageError
from pretune.types import Batch, Feed

__all__ = ["BLANK", "Feeds", "Stream", "cut_by_budget", "padding_of", "plan_epoch"]

BLANK = -1
_MEGA = 50
"""Batches in one pool that is sorted by length: large enough for little padding, small enough to stay shuffled."""


@dataclass(frozen=True)
class Stream:
    """What an objective draws from: N rows, of which each update takes ``batch_size``.

    ``lengths_N`` is the cost of each row (tokens, pixels, samples); ``collate(rows_R, keys_R)`` makes batches of them by name
    (one, or several views of the same rows), with one 64-bit random key a row for masks and augmentations. ``is_whole``: the loss compares the rows of an update with
    each other (or their statistics are shared), so an update is never cut into micro-batches. Rows next to each other in ``order_N``
    (``lengths_N`` where it is None) are put together.
    """

    lengths_N: np.ndarray
    collate: Callable[[np.ndarray, np.ndarray], Feed]
    batch_size: int
    group_by_length: bool = True
    is_whole: bool = False
    order_N: np.ndarray | None = None

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass over the rows."""
        return math.ceil(len(self.lengths_N) / self.batch_size)


def plan_epoch(stream: Stream, *, seed: int, epoch: int) -> list[np.ndarray]:
    """The rows of every update of one epoch; each row once, the last batch may be smaller."""
    rng = np.random.default_rng(seed_of(seed, "order", epoch))
    order_N = rng.permutation(len(stream.lengths_N))
    if not stream.group_by_length:
        return [order_N[at : at + stream.batch_size] for at in range(0, len(order_N), stream.batch_size)]
    pool = stream.batch_size * _MEGA
    rank_N = stream.lengths_N if stream.order_N is None else stream.order_N
    batches: list[np.ndarray] = []
    for at in range(0, len(order_N), pool):
        part = order_N[at : at + pool]
        part = part[np.argsort(rank_N[part], kind="stable")]
        batches += [part[i : i + stream.batch_size] for i in range(0, len(part), stream.batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def cut_by_budget(lengths_R: np.ndarray, *, max_cost: int, max_rows: int, least: int = 1) -> list[np.ndarray]:
    """Positions 0..R-1 cut into groups of like length: rows x longest <= ``max_cost``, rows <= ``max_rows``.

    A single row over the budget is a group of its own. No group has more than its share of the rows, rounded up, when
    they are shared among ``least``.
    """
    order_R = np.argsort(lengths_R, kind="stable")
    max_rows = min(max_rows, max(1, math.ceil(len(order_R) / least)))
    groups: list[np.ndarray] = []
    start = 0
    for at in range(1, len(order_R) + 1):
        if (
            at == len(order_R)
            or (at - start + 1) > max_rows
            or (at - start + 1) * int(lengths_R[order_R[at]]) > max_cost
        ):
            groups.append(order_R[start:at])
            start = at
    return groups


def padding_of(lengths_N: np.ndarray, groups: Iterable[np.ndarray]) -> int:
    """Positions of padding when each group of rows is padded to its longest."""
    return sum(int(len(group) * lengths_N[group].max() - lengths_N[group].sum()) for group in groups if len(group))


class Feeds:
    """Iterates over updates: ``(micro-batches of this process, data state after them)``.

    The data state is ``{"updates": k}``; giving it back as ``start`` continues after update k. With ``in_step`` every process makes as many
    passes as the others: one that has fewer micro-batches gets the first one of the update once more, numbered :data:`BLANK`, of which nothing counts.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        *,
        seed: int,
        max_tokens: int,
        micro_batch_size: int | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        in_step: bool = False,
    ) -> None:
        self.streams = dict(streams)
        self.main = next(iter(self.streams))
        self.seed = seed
        self.max_tokens = max_tokens
        self.micro_batch_size = micro_batch_size or 2**31
        self.updates = start
        self.rank, self.world, self.in_step = rank, world, in_step
        self._plans: dict[str, tuple[int, list[np.ndarray]]] = {}
        self._refuse_cuts()

    @property
    def is_whole(self) -> bool:
        """May no update be cut?"""
        return any(stream.is_whole for stream in self.streams.values())

    def _refuse_cuts(self) -> None:
        largest = max(stream.batch_size for stream in self.streams.values())
        if not self.is_whole:
            return
        if self.micro_batch_size < largest:
            raise UsageError(
                f"--micro-batch-size is {self.micro_batch_size}, and this objective compares all {largest} rows of an update with each other",
                "leave --micro-batch-size out; lower --batch-size where memory is short (the update changes with it)",
            )
        if self.world > 1:
            raise UsageError(
                f"this objective compares the rows of an update with each other, and {self.world} processes would part them",
                "start one process, without torchrun",
            )

    @property
    def updates_per_epoch(self) -> int:
        """Updates in a pass over the main (first) stream."""
        return self.streams[self.main].updates_per_epoch

    def padding(self) -> int:
        """Positions of padding in the first epoch of the main stream, on all processes together."""
        stream = self.streams[self.main]
        groups = (
            rows_R[chosen]
            for rows_R in plan_epoch(stream, seed=seed_of(self.seed, self.main), epoch=0)
            for chosen in self._cut(stream, rows_R)
        )
        return padding_of(stream.lengths_N, groups)

    def _cut(self, stream: Stream, rows_R: np.ndarray) -> list[np.ndarray]:
        if stream.is_whole:
            return [np.arange(len(rows_R))]
        lengths_R = stream.lengths_N[rows_R]
        return cut_by_budget(lengths_R, max_cost=self.max_tokens, max_rows=self.micro_batch_size, least=self.world)

    def state(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint: updates done, and the rows of a micro-batch, which are fewer than asked after memory ran
        out (with dropout the cut decides which masks are drawn).
        """
        return {"updates": self.updates, "micro_batch_size": self.micro_batch_size}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.updates, self.micro_batch_size = state["updates"], state["micro_batch_size"]

    def begun_part(self) -> Mapping[str, Any] | None:
        """What is known of the rows whose first update was the last one; None where no part of the rows began with it."""
        return None

    def parts_ahead(self, updates: int) -> float:
        """How many parts of the rows are still to be read, about, for so many updates."""
        return 0.0

    def read_ahead(self) -> None:
        """Take the next part of the rows at once."""

    def __iter__(self) -> Iterator[tuple[list[tuple[int, Feed]], dict[str, Any]]]:
        while True:
            feeds = self.micro_feeds()
            self.updates += 1
            yield feeds, {"updates": self.updates}

    def again(self) -> list[tuple[int, Feed]]:
        """The last update's micro-batches once more, cut by the present budget."""
        self.updates -= 1
        feeds = self.micro_feeds()
        self.updates += 1
        return feeds

    def halve(self) -> bool:
        """Halve the micro-batches from now on; False when they are single rows already, or may not be cut."""
        if self.is_whole:
            return False
        largest = max(stream.batch_size for stream in self.streams.values())
        size = min(self.micro_batch_size, largest)
        if size == 1:
            return False
        self.micro_batch_size = size // 2
        return True

    def micro_feeds(self) -> list[tuple[int, Feed]]:
        """This process's micro-batches of the coming update, each with its number within the update."""
        rows = {name: self._rows(name) for name in self.streams}
        cuts = {name: self._cut(self.streams[name], rows_R) for name, (rows_R, _) in rows.items()}
        count = max(len(groups) for groups in cuts.values())
        own = [(number, self._feed(rows, cuts, number)) for number in range(self.rank, count, self.world)]
        if self.in_step and len(own) < math.ceil(count / self.world):
            own.append((BLANK, self._feed(rows, cuts, 0)))
        return own

    def _feed(
        self, rows: Mapping[str, tuple[np.ndarray, int]], cuts: Mapping[str, list[np.ndarray]], number: int
    ) -> Feed:
        """Micro-batch ``number`` of every stream that has so many."""
        found: dict[str, Batch] = {}
        for name, groups in cuts.items():
            if number < len(groups):
                drawn = self._batches(name, rows[name], groups[number])
                assert not found.keys() & drawn.keys(), "streams name their batches alike"
                found.update(drawn)
        return found

    def _batches(self, name: str, rows: tuple[np.ndarray, int], chosen_M: np.ndarray) -> Feed:
        rows_R, epoch = rows
        picked = rows_R[chosen_M]
        return self.streams[name].collate(picked, row_keys(self.seed, name, epoch, picked))

    def _rows(self, name: str) -> tuple[np.ndarray, int]:
        stream = self.streams[name]
        epoch, position = divmod(self.updates, stream.updates_per_epoch)
        if name not in self._plans or self._plans[name][0] != epoch:
            self._plans[name] = (epoch, plan_epoch(stream, seed=seed_of(self.seed, name), epoch=epoch))
        return self._plans[name][1][position], epoch
