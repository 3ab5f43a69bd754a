"""A run that shares its processors says so: it is then slower than it need be, and its forecast is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.interface.outcome import Say
from pretune.machine import Neighbours

if TYPE_CHECKING:
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster

__all__ = ["Crowding"]

_WATCHED_SECONDS = 20.0
"""How long other processes are watched before something is said of them."""


class Crowding:
    """Watches for other processes that are in the way of a run on the processor, and tells of them once.

    Where two threads shared their processors with another run, one was many times faster (docs/decisions.md, D76). The number is
    not changed by itself: sums of another number of threads round otherwise.
    """

    def __init__(self, device: Device, cluster: Cluster, say: Say) -> None:
        self._threads, self._say = device.threads, say
        # Processes that learn together would be taken for strangers.
        self._neighbours = Neighbours() if device.device.type == "cpu" and cluster.world == 1 else None

    def look(self) -> None:
        """Tell of the others, if they were watched for long enough and are in the way."""
        if self._neighbours is None or self._neighbours.seconds < _WATCHED_SECONDS:
            return
        busy, processors = self._neighbours.in_the_way(self._threads), self._neighbours.processors
        self._neighbours = None
        if not busy:
            return
        told = f"other processes keep {busy:.1f} of this machine's {processors} processors busy"
        if self._threads > 1:
            fewer = max(1, int(processors - busy))
            told += f": {self._threads} threads wait for each other then, and a new run with --threads {fewer} may be several times faster"
        self._say.note(told)
