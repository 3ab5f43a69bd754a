"""What does not learn is run once: a run's rows and task, on the kept outputs of the frozen part where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretune.interface.outcome import Say

if TYPE_CHECKING:
    import torch

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows, Learnable

__all__ = ["Frozen"]


class Frozen:
    """``learned`` and ``rows`` (by split) are the task and its rows as they are learned from: as they stand, or after
    :meth:`run_once` on kept outputs. ``forecast_seconds`` is what keeping them would take, where that was asked.
    """

    def __init__(
        self, task: Task, model: torch.nn.Module, rows: Mapping[str, EncodedRows], device: Device, fingerprint: str,
        cluster: Cluster, say: Say,
    ) -> None:  # fmt: skip
        self.learned: Learnable = task
        self.rows: dict[str, EncodedRows] = dict(rows)
        self.forecast_seconds = 0.0
        self._told: tuple[Any, ...] = (task, model, rows, device, fingerprint)
        self._cluster, self._say = cluster, say

    def run_once(self, adaptation: Adaptation, *, forecast: bool = False) -> None:
        """Run the part that rests for all rows, or find it in the cache; with ``forecast`` for a few rows, which stand for all.

        Probe and fine-tuning keep it under the same name. Raises :class:`~pretune.errors.DiskFull`.
        """
        from pretune.tasks.rows.trunk import forecast_trunk, on_trunk

        task, model, rows, device, fingerprint = self._told
        if forecast:
            guessed = forecast_trunk(task, model, adaptation, rows, device, fingerprint=fingerprint)
            if guessed is not None:
                self.learned, self.rows, self.forecast_seconds = guessed
            return
        bar = self._say.progress(sum(len(part) for part in rows.values()), "running what does not learn once")
        with self._cluster.first_before_others():
            found = on_trunk(task, model, adaptation, rows, device, fingerprint=fingerprint, on_batch=bar.update)
        bar.close()
        if found is not None:
            self.learned, self.rows = found
