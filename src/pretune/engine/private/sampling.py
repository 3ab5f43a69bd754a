"""Which rows make an update of private training: each unit is drawn by itself (Poisson sampling), by the system's entropy.

A unit is what one guarantee is for: a row, with all windows of a long one, or all rows of a group such as a person.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pretune.engine.batching import Feeds, Stream
from pretune.engine.private.entropy import drawn

__all__ = ["PoissonFeeds", "Units"]


@dataclass(frozen=True)
class Units:
    """The units of encoded rows. ``items_U`` are the places of each unit's items, ``of_id`` the number of the unit that a row's id belongs to,
    and ``rows_U`` how many rows each has.
    """

    items_U: Sequence[np.ndarray]
    of_id: Mapping[str, int]
    rows_U: np.ndarray

    @classmethod
    def of(cls, item_ids: Sequence[str], unit_of_id: Mapping[str, object]) -> Units:
        """From the id of each item's row, and what names the unit of each row (a group, or the id itself)."""
        names = list(dict.fromkeys(unit_of_id[row] for row in item_ids))
        number = {name: place for place, name in enumerate(names)}
        of_id = {row: number[unit_of_id[row]] for row in dict.fromkeys(item_ids)}
        unit_of_item = np.array([of_id[row] for row in item_ids], dtype=np.int64)
        order = np.argsort(unit_of_item, kind="stable")
        ends = np.cumsum(np.bincount(unit_of_item, minlength=len(names)))
        rows_U = np.bincount(np.fromiter(of_id.values(), np.int64, len(of_id)), minlength=len(names))
        return cls(np.split(order, ends[:-1]), of_id, rows_U)

    def __len__(self) -> int:
        return len(self.items_U)


class PoissonFeeds(Feeds):
    """:class:`Feeds` of one stream whose updates draw ``expected`` of the ``units`` on average; the items of a unit follow each other.

    An update that is cut smaller after memory ran out has the same rows. What a resumed run draws is drawn anew.
    """

    def __init__(
        self, streams: Mapping[str, Stream], units: Units, *, expected: int, max_tokens: int, micro_batch_size: int
    ) -> None:  # fmt: skip
        super().__init__(streams, seed=0, max_tokens=max_tokens, micro_batch_size=micro_batch_size)
        assert len(self.streams) == 1, "private training draws from one stream of labelled rows"
        self.units, self.expected = units, expected
        self._last: tuple[int, np.ndarray] | None = None

    @property
    def rate(self) -> float:
        """The probability with which a unit is drawn."""
        return min(1.0, self.expected / len(self.units))

    @property
    def updates_per_epoch(self) -> int:
        """Updates in which each unit is drawn once on average."""
        return math.ceil(len(self.units) / self.expected)

    def _rows(self, name: str) -> tuple[np.ndarray, int]:
        if self._last is None or self._last[0] != self.updates:
            lengths_N = self.streams[name].lengths_N
            chosen = [self.units.items_U[unit] for unit in np.flatnonzero(drawn(len(self.units), self.rate)).tolist()]
            chosen.sort(key=lambda items: int(lengths_N[items].max()))
            self._last = (self.updates, np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64))
        return self._last[1], self.updates // self.updates_per_epoch

    def _cut(self, stream: Stream, rows_R: np.ndarray) -> list[np.ndarray]:
        """Groups of rows that follow each other, so that a unit is never taken up again once another began."""
        groups: list[np.ndarray] = []
        start, longest = 0, 0
        for place, length in enumerate(stream.lengths_N[rows_R].tolist()):
            size, padded = place - start + 1, max(longest, length)
            if place > start and (size > self.micro_batch_size or size * padded > self.max_tokens):
                groups.append(np.arange(start, place))
                start, padded = place, length
            longest = padded
        return [*groups, np.arange(start, len(rows_R))] if len(rows_R) else []

    def halve(self) -> bool:
        """See :class:`Feeds`: fewer rows at a time, the same rows an update."""
        if self.micro_batch_size <= 1:
            return False
        self.micro_batch_size = max(1, min(self.micro_batch_size, 2 * self.expected) // 2)
        return True
