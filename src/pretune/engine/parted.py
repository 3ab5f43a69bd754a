"""Updates of rows that are never all at hand: one part of them after another, each read when its turn comes.

Which rows make which update stays a pure function of (seed, part, position): a resumed run reads the part it stood in, and
none of those before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretune.engine.batching import Feeds, Stream, plan_epoch
from pretune.engine.randomness import seed_of
from pretune.types import Feed

__all__ = ["Part", "PartedFeeds"]

_PARTS_MOST = 1 << 32


@dataclass(frozen=True)
class Part:
    """Streams of some of the rows, none where there is nothing to learn from, and what the log says of them."""

    streams: Mapping[str, Stream] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class PartedFeeds(Feeds):
    """:class:`Feeds` whose rows come in parts 0, 1, 2, ... without an end; the streams of the ``first`` are given.

    ``load`` reads a part; for one number it gives the same rows at every call. ``updates_per_pass`` is how many
    updates a pass over all parts is guessed to have: that is not known before it was made.
    """

    def __init__(
        self, first: Part, load: Callable[[int], Part], *, updates_per_pass: int, seed: int, max_tokens: int, **how: Any
    ) -> None:
        super().__init__(first.streams, seed=seed, max_tokens=max_tokens, **how)
        self._load, self._updates_per_pass = load, updates_per_pass
        self._part, self._number, self._begun = first, 0, 0

    @property
    def updates_per_epoch(self) -> int:
        """Updates in a pass over all parts, as guessed."""
        return self._updates_per_pass

    @property
    def updates_of_part(self) -> int:
        """Updates in a pass over the part at hand."""
        return self.streams[self.main].updates_per_epoch

    def state(self) -> dict[str, Any]:
        """See :class:`Feeds`; and which part is learned from, since which update."""
        return {**super().state(), "part": self._number, "begun": self._begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`Feeds`. Reads the part again, where another one is at hand."""
        super().restore(state)
        self._begun = state["begun"]
        if state["part"] != self._number:
            self._take(state["part"])

    def begun_part(self) -> Mapping[str, Any] | None:
        """See :class:`Feeds`."""
        return self._part.facts if self.updates == self._begun + 1 else None

    def micro_feeds(self) -> list[tuple[int, Feed]]:
        """See :class:`Feeds`; where a part is at its end the next one is read before."""
        if self.updates - self._begun >= self.updates_of_part:
            self._begun += self.updates_of_part
            self.read_ahead()
        return super().micro_feeds()

    def parts_ahead(self, updates: int) -> float:
        """See :class:`Feeds`."""
        return max(0.0, (updates - self._begun) / self.updates_of_part - 1)

    def read_ahead(self) -> None:
        """See :class:`Feeds`."""
        number = self._number + 1
        while not self._take(number):
            number += 1

    def _take(self, number: int) -> bool:
        """Is there anything to learn from in this part? Then it is at hand, and the one before is let go."""
        self._plans.clear()
        part = self._load(number)
        if part.streams:
            self._part, self._number, self.streams = part, number, dict(part.streams)
        return bool(part.streams)

    def _rows(self, name: str) -> tuple[np.ndarray, int]:
        stream = self.streams[name]
        again, position = divmod(self.updates - self._begun, stream.updates_per_epoch)
        epoch = self._number + again * _PARTS_MOST  # another stream than the main one may begin again in a part
        if name not in self._plans or self._plans[name][0] != epoch:
            self._plans[name] = (epoch, plan_epoch(stream, seed=seed_of(self.seed, name), epoch=epoch))
        return self._plans[name][1][position], epoch
