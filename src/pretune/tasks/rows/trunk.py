"""The outputs of a frozen trunk for every row of a data set, computed once and kept on disk.

Shapes: N rows, B rows of a batch, T positions, F features of a position.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.states.head_outputs import logits_in
from pretune.backbones.states.ragged import RaggedArrays, RaggedWriter
from pretune.backbones.states.trunk import Trunk, find_trunk
from pretune.cache import get_or_create, holds
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.files import check_free_space, write_json
from pretune.tasks.base import Task
from pretune.tasks.inputs.row_task import RowTask
from pretune.tasks.protocols import EncodedRows, Learnable
from pretune.types import Batch, Encoded, Loss, Prediction

__all__ = [
    "POSITIONS",
    "OnTrunk",
    "TrunkRows",
    "forecast_trunk",
    "keep_trunk",
    "on_trunk",
    "padded_again",
    "positions_of",
    "trunk_of",
    "trunk_outputs",
    "without_padding",
]

TRUNK = "trunk"
"""The array of an item, and the extra tensor of a batch, that hold the kept outputs."""

POSITIONS = "positions"
"""The extra tensor of a batch, bool (B, T), in which a task tells which positions are real, where no ``attention_mask`` does."""

BUDGET_COST = 8192
MAX_STORE_BYTES = 16 * 2**30
_TRIED_ROWS = 4
_CLOSE = 0.01
"""Largest difference of a probability between the model and the model on kept outputs: bf16 rounds that far."""

_FORMAT, _KIND = 3, "trunks"
_FORECAST_ROWS, _FORECAST_COST = 256, 2 * BUDGET_COST


def on_trunk(
    task: Task, model: torch.nn.Module, adaptation: Adaptation, rows: Mapping[str, EncodedRows], device: Device, *,
    fingerprint: str, on_batch: Callable[[int], None] | None = None,
) -> tuple[OnTrunk, dict[str, EncodedRows]] | None:  # fmt: skip
    """The task and its rows (by split) on the kept outputs of what does not learn.

    None where everything learns in the end, rows are varied or run in parts, or the outputs would fill too much of a disk; also where the
    model turns out to answer otherwise from them. Raises :class:`~pretune.errors.DiskFull`.
    """
    if task.varies_rows or task.runs_in_parts:
        return None
    first = next(iter(rows.values()))
    trunk = trunk_of(task, model, adaptation, first, device)
    if trunk is None:
        return None
    kept: dict[str, EncodedRows] = {}
    for name, part in rows.items():
        found = keep_trunk(task, trunk, part, device, fingerprint=f"{fingerprint}:{name}", on_batch=on_batch)
        if found is None:
            return None
        kept[name] = found
    learned, tried = OnTrunk(task, trunk), range(min(_TRIED_ROWS, len(first)))
    plain = _answers(task, model, [first[i] for i in tried], device)
    replayed = _answers(learned, model, [kept[next(iter(rows))][i] for i in tried], device)
    alike = (
        plain.labels == replayed.labels and np.abs(plain.probabilities - replayed.probabilities).max(initial=0) < _CLOSE
    )
    return (learned, kept) if alike else None


def forecast_trunk(
    task: Task, model: torch.nn.Module, adaptation: Adaptation, rows: Mapping[str, EncodedRows], device: Device, *,
    fingerprint: str,
) -> tuple[OnTrunk, dict[str, EncodedRows], float] | None:  # fmt: skip
    """As :func:`on_trunk`, and the seconds that it would take: 0 where the outputs are kept already. Otherwise a few rows are run,
    timed, and stand for all of them; nothing is kept.
    """
    if task.varies_rows or task.runs_in_parts:
        return None
    trunk = trunk_of(task, model, adaptation, next(iter(rows.values())), device)
    if trunk is None:
        return None
    names = {name: _name(task, trunk, device, f"{fingerprint}:{name}") for name in rows}
    if all(holds(_KIND, name) for name in names.values()):
        found = on_trunk(task, model, adaptation, rows, device, fingerprint=fingerprint)
        return None if found is None else (*found, 0.0)
    samples, seconds = {}, 0.0
    trunk_outputs(task, trunk, [next(iter(rows.values()))[0]], device)  # warms up
    for name, part in rows.items():
        began = time.monotonic()
        samples[name] = _Repeated(task, trunk, part, device)
        seconds += (time.monotonic() - began) * samples[name].share
    return OnTrunk(task, trunk), samples, seconds


class _Repeated:
    """Some rows with their outputs, in place of all rows and under their ids: for a forecast. All cost ``share`` times as much."""

    def __init__(self, task: Task, trunk: Trunk, rows: EncodedRows, device: Device) -> None:
        spread = np.unique(np.linspace(0, len(rows) - 1, min(_FORECAST_ROWS, len(rows))).astype(np.int64))
        costs_N = np.cumsum(rows.lengths_N[spread])
        self._rows, self._places = rows, spread[: max(1, int((costs_N <= _FORECAST_COST).sum()))]
        self._outputs: list[np.ndarray] = [np.empty(0)] * len(self._places)
        lengths_N = rows.lengths_N[self._places]
        for part in cut_by_budget(lengths_N, max_cost=BUDGET_COST, max_rows=2**31):
            outputs = trunk_outputs(task, trunk, [rows[int(self._places[number])] for number in part], device)
            for number, output in zip(part, outputs, strict=True):
                self._outputs[int(number)] = output
        self.share = int(rows.lengths_N.sum()) / int(lengths_N.sum())
        self.lengths_N = np.resize(np.ones_like(lengths_N) if trunk.is_short else lengths_N, len(rows))
        self.ledger = rows.ledger

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Encoded:
        number = index % len(self._places)
        row = self._rows[int(self._places[number])]
        arrays = {**row.arrays, TRUNK: self._outputs[number]}
        return Encoded(self._rows[index].id, arrays, int(self.lengths_N[index]), row.target, row.weight)


class _Answers(NamedTuple):
    labels: list[str | tuple[str, ...]]
    probabilities: np.ndarray


def _answers(task: Learnable, model: torch.nn.Module, items: Sequence[Encoded], device: Device) -> _Answers:
    with evaluating(model), inference(device):
        found = task.predict(model, task.collate(items).to(device.device))
    # Where there are probabilities, equal ones may fall to either label.
    labels = [prediction.answer for prediction in found if not prediction.outputs_C]
    return _Answers(labels, np.array([prediction.outputs_C for prediction in found]))


def trunk_of(
    task: Task, model: torch.nn.Module, adaptation: Adaptation, rows: EncodedRows, device: Device
) -> Trunk | None:
    """The trunk of a model that is learning ``task`` this way, tried on a few of the rows; None where there is none."""
    batch = task.collate([rows[i] for i in range(min(_TRIED_ROWS, len(rows)))]).to(device.device)

    def forward() -> torch.Tensor:
        with inference(device):
            return logits_in(model(**batch.inputs)).float()

    with evaluating(model):
        return find_trunk(model, adaptation, forward)


class TrunkRows:
    """Rows whose items carry the kept outputs under :data:`TRUNK`, (T, F) or another shape of one row."""

    def __init__(self, folder: Path, rows: EncodedRows) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._kept = RaggedArrays(folder, "values", about["values"])
        is_short: bool = about["is_short"]
        if len(self._kept) != len(rows):
            raise ValueError(f"{folder} is incomplete")
        self._rows = rows
        self.lengths_N = np.ones(len(rows), np.int64) if is_short else rows.lengths_N
        self.ledger = rows.ledger

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Encoded:
        row = self._rows[index]
        return Encoded(
            row.id, {**row.arrays, TRUNK: self._kept[index]}, int(self.lengths_N[index]), row.target, row.weight
        )


def keep_trunk(
    task: Task,
    trunk: Trunk,
    rows: EncodedRows,
    device: Device,
    *,
    fingerprint: str,
    on_batch: Callable[[int], None] | None = None,
) -> TrunkRows | None:
    """The rows with the trunk's outputs, from the cache when it has them; None where they would fill too much of a disk.

    ``fingerprint`` names the data. Raises :class:`~pretune.errors.DiskFull`.
    """
    if _bytes_of_a_row(task, trunk, rows, device) * len(rows) > MAX_STORE_BYTES:
        return None
    return get_or_create(
        _KIND,
        _name(task, trunk, device, fingerprint),
        lambda folder: TrunkRows(folder, rows),
        lambda folder: _write(folder, task, trunk, rows, device, on_batch),
    )


def _name(task: Task, trunk: Trunk, device: Device, fingerprint: str) -> str:
    about = json.dumps([task.to_dict(), task.inputs_identity()], sort_keys=True)
    return f"{_FORMAT}:{fingerprint}:{trunk.identity()}:{about}:{device.precision}"


def _bytes_of_a_row(task: Task, trunk: Trunk, rows: EncodedRows, device: Device) -> int:
    longest = int(np.argmax(rows.lengths_N))
    outputs = trunk_outputs(task, trunk, [rows[longest]], device)
    return 4 * sum(output.size for output in outputs)


def trunk_outputs(task: Task, trunk: Trunk, items: Sequence[Encoded], device: Device) -> list[np.ndarray]:
    """The trunk's output of each item, its padding cut off: float32 (T, F), or (1, ...) where rows have no positions."""
    kept: list[torch.Tensor] = []
    batch = task.collate(items).to(device.device)
    with evaluating(trunk.model), inference(device), trunk.recording(kept):
        trunk.model(**batch.inputs)
    values = kept[0].float().cpu().numpy()
    if not trunk.has_positions:
        return [value[None] for value in values]
    return without_padding(values, None if trunk.first_only else positions_of(batch))


def positions_of(batch: Batch) -> torch.Tensor | None:
    """Which positions (B, T) are real: those that the task tells of (frames, where inputs are samples), or the inputs' mask."""
    return batch.extras.get(POSITIONS, batch.inputs.get("attention_mask"))


def without_padding(values_BTF: np.ndarray, mask_BT: torch.Tensor | None) -> list[np.ndarray]:
    """Each row's real positions, (T_i, F); all of them where there is no mask."""
    if mask_BT is None:
        return list(values_BTF)
    return [value[real > 0] for value, real in zip(values_BTF, mask_BT.cpu().numpy(), strict=True)]


def padded_again(kept: Sequence[torch.Tensor], mask_BT: torch.Tensor | None) -> torch.Tensor:
    """(B, T, F) of rows (T_i, F), zeros where the batch has padding: the way back from :func:`without_padding`."""
    if mask_BT is None:
        return torch.stack(list(kept))
    stacked = torch.zeros((*mask_BT.shape, kept[0].shape[-1]), dtype=kept[0].dtype)
    stacked[mask_BT.bool()] = torch.cat(list(kept))
    return stacked


def _write(
    folder: Path, task: Task, trunk: Trunk, rows: EncodedRows, device: Device,
    on_batch: Callable[[int], None] | None,
) -> None:  # fmt: skip
    size = _bytes_of_a_row(task, trunk, rows, device) * len(rows)
    check_free_space(folder, size, "keeping the frozen part's outputs")
    with RaggedWriter(folder, "values", len(rows), np.float32) as values:
        # By length, so that little padding is computed; the place of each row's outputs is kept.
        for places in cut_by_budget(rows.lengths_N, max_cost=BUDGET_COST, max_rows=2**31):
            values.put(places, trunk_outputs(task, trunk, [rows[int(place)] for place in places], device))
            if on_batch:
                on_batch(len(places))
    write_json(folder / "about.json", {"values": values.facts, "is_short": trunk.is_short})


class OnTrunk:
    """A task whose model runs on the kept outputs of its trunk; for rows of :func:`keep_trunk` only."""

    mixes = 0.0
    mixed_with: ClassVar[int] = 1
    ties_rows = False
    loss_parts: tuple[str, ...] = ()

    def __init__(self, task: Task, trunk: Trunk) -> None:
        self.task, self.trunk, self.name = task, trunk, task.name

    def augment(self, row: Encoded, _rng: np.random.Generator) -> Encoded:
        """What is kept cannot be varied."""
        return row

    def mixed(self, row: Encoded, _others: Sequence[Encoded], _rng: np.random.Generator) -> Encoded:
        """What is kept cannot be mixed."""
        return row

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """The task's batch without what the trunk has read already; ``extras[TRUNK]`` (B, ...) holds its outputs."""
        batch = self.task.collate([self.task.without_trunk(row, first_only=self.trunk.is_short) for row in rows])
        kept = [torch.from_numpy(np.array(row.arrays[TRUNK])) for row in rows]
        mask = None if self.trunk.first_only else positions_of(batch)
        batch.extras[TRUNK] = padded_again(kept, mask) if self.trunk.has_positions else torch.cat(kept)
        return batch

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """The task's loss, from the kept outputs on."""
        with self.trunk.replay(batch.extras[TRUNK]):
            return self.task.loss(model, batch)

    def plain_loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See :meth:`pretune.tasks.inputs.row_task.RowTask.plain_loss`; for rows of such tasks."""
        assert isinstance(self.task, RowTask), f"{self.task.name} has no plain loss"
        with self.trunk.replay(batch.extras[TRUNK]):
            return self.task.plain_loss(model, batch)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The task's predictions, from the kept outputs on."""
        with self.trunk.replay(batch.extras[TRUNK]):
            return self.task.predict(model, batch)

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """See :meth:`Task.merge`."""
        return self.task.merge(predictions)
