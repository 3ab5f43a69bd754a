"""What a teacher says of the rows that a student learns from: kept on disk and read by number, or said anew of varied rows.

Where rows are varied while they are learned from, what was said of the row as it stands would be wrong for the varied one
(Beyer et al. 2022, arXiv 2106.05237, section 3: teacher and student have to see the same view); the teacher then runs on every
varied item. Shapes: B rows of a batch, C classes, F frames, V characters, T positions, D numbers of a position's inner states.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from pretune.backbones.states.fingerprint import note_weights
from pretune.backbones.states.inner_states import Listener
from pretune.backbones.states.ragged import RaggedArrays, RaggedWriter
from pretune.cache import get_or_create
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.files import check_free_space, write_json
from pretune.tasks.base import Task
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.trunk import BUDGET_COST, MAX_STORE_BYTES, padded_again, positions_of, without_padding
from pretune.types import Batch, Encoded

__all__ = [
    "CachedTeaching",
    "JoinedRows",
    "LiveTeaching",
    "Teacher",
    "TeacherOutput",
    "Teaching",
    "cache_teaching",
    "cached_bytes",
]

_FORMAT = 2


class TeacherOutput(NamedTuple):
    """A teacher's logits (B, C) or (B, F, V), and its inner states (B, T, D) where they are asked for."""

    logits: torch.Tensor
    states: torch.Tensor | None


@dataclass(frozen=True)
class Teacher:
    """A trained model and its task. ``listener`` hears the inner states that a student is held against; None for none."""

    task: Task
    model: torch.nn.Module
    device: Device
    listener: Listener | None = None
    heard: str = ""
    """What the listener hears, in words, for the name of what is kept."""

    def says(self, batch: Batch) -> TeacherOutput:
        """Of a batch of its own task, on its own device."""
        self.model.eval()
        if self.listener is not None:
            self.listener.take()
        with inference(self.device):
            logits = self.task.lesson(self.model, batch.to(self.device.device)).float()
        states = None if self.listener is None else self.listener.take()
        # Tensors of inference mode may not be part of a gradient's graph; their copies may.
        return TeacherOutput(
            logits.clone(), None if states is None else torch.cat([one.float() for one in states], dim=-1)
        )

    def identity(self) -> str:
        """A hash of its weights and of what is heard of it."""
        digest = hashlib.blake2b(digest_size=12)
        about = json.dumps([self.task.to_dict(), self.task.inputs_identity()], sort_keys=True)
        digest.update(f"{type(self.model).__name__}:{about}:{self.heard}:{self.device.precision}".encode())
        note_weights(digest, self.model)
        return digest.hexdigest()


class Teaching(Protocol):
    """What a teacher says of the items of a batch. ``places`` are the rows' numbers, ``items`` what the student is given."""

    def of(self, places: Sequence[int], items: Sequence[Encoded], batch: Batch, /) -> TeacherOutput:
        """In the order and with the padding of ``batch``."""
        ...


@dataclass(frozen=True)
class LiveTeaching:
    """The teacher runs on every item, varied as the student gets it."""

    teacher: Teacher

    def of(self, _places: Sequence[int], items: Sequence[Encoded], _batch: Batch) -> TeacherOutput:
        """See :class:`Teaching`."""
        task = self.teacher.task
        return self.teacher.says(task.collate([task.for_teacher(item) for item in items]))


@dataclass(frozen=True)
class CachedTeaching:
    """What the teacher said of each row as it stands. ``parts`` are stores, one after the other in the numbers of the rows."""

    parts: Sequence[_Kept]

    def of(self, places: Sequence[int], _items: Sequence[Encoded], batch: Batch) -> TeacherOutput:
        """See :class:`Teaching`."""
        found = [self._at(place) for place in places]
        logits = [torch.from_numpy(np.array(one.logits)) for one in found]
        mask_BT = positions_of(batch)
        together = torch.cat(logits) if found[0].is_whole else _lengthened(logits, mask_BT)
        states = [torch.from_numpy(np.array(one.states)) for one in found if one.states is not None]
        return TeacherOutput(together, padded_again(states, mask_BT).float() if states else None)

    def lessons(self) -> Iterator[np.ndarray]:
        """What was said of each row, in turn."""
        return (part.row(place).logits for part in self.parts for place in range(len(part)))

    def _at(self, place: int) -> _KeptRow:
        for part in self.parts:
            if place < len(part):
                return part.row(place)
            place -= len(part)
        raise IndexError(place)


def _lengthened(logits: Sequence[torch.Tensor], mask_BT: torch.Tensor | None) -> torch.Tensor:
    """(B, F, V) of frames (F_i, V), zeros behind the shorter ones."""
    width = max(len(one) for one in logits) if mask_BT is None else mask_BT.shape[1]
    return torch.stack([torch.nn.functional.pad(one, (0, 0, 0, width - len(one))) for one in logits])


class _KeptRow(NamedTuple):
    """``logits`` (1, C) of a row with one answer (``is_whole``), or (F, V); ``states`` (T, D) float16."""

    logits: np.ndarray
    states: np.ndarray | None
    is_whole: bool


class _Kept:
    """A teacher's words about the items of one split, from disk.

    ``numbers`` gives for each of the student's items the places of the teacher's own items of that row, whose mean is taken:
    one and the same where both read alike.
    """

    def __init__(self, folder: Path, count: int, numbers: Sequence[np.ndarray] | None) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._logits = RaggedArrays(folder, "logits", about["logits"])
        self._states = RaggedArrays(folder, "states", about["states"]) if about["states"] else None
        self._is_whole = bool(about["is_whole"])
        self._numbers = numbers
        if len(self._logits) != count:
            raise ValueError(f"{folder} is incomplete")

    def __len__(self) -> int:
        return len(self._logits) if self._numbers is None else len(self._numbers)

    def row(self, place: int) -> _KeptRow:
        """What was said of the student's item ``place``."""
        if self._numbers is None:
            states = None if self._states is None else self._states[place]
            return _KeptRow(self._logits[place], states, self._is_whole)
        logits = [self._logits[int(number)] for number in self._numbers[place]]
        return _KeptRow(np.stack(logits).mean(axis=0), None, self._is_whole)


def cache_teaching(
    teacher: Teacher,
    own_rows: EncodedRows,
    rows: EncodedRows,
    *,
    is_alike: bool,
    fingerprint: str,
    on_batch: Callable[[int], None] | None = None,
) -> _Kept | None:
    """What the teacher says of each of its ``own_rows``, by the student's ``rows`` of the same data; from the cache when it has it.

    ``is_alike``: the items of both are the same. Else a row's items are found by its id, and the mean of the teacher's logits is
    taken where it cuts the row into several. None where items are the same and it would fill too much of a disk: the teacher
    can be run live then. Raises :class:`~pretune.errors.DiskFull`. ``fingerprint`` names the data.
    """
    numbers = None if is_alike else _by_id(own_rows, rows)

    def write(folder: Path) -> None:
        size = cached_bytes(teacher, own_rows)
        if is_alike and size > min(MAX_STORE_BYTES, shutil.disk_usage(folder).free // 2):
            raise _TooLargeError
        _write(folder, teacher, own_rows, size, on_batch)

    try:
        name = f"{_FORMAT}:{fingerprint}:{teacher.identity()}:{len(own_rows)}"
        return get_or_create("teachers", name, lambda folder: _Kept(folder, len(own_rows), numbers), write)
    except _TooLargeError:
        return None


class _TooLargeError(Exception):
    """What would be kept fills too much of the disk."""


def _by_id(own_rows: EncodedRows, rows: EncodedRows) -> list[np.ndarray]:
    places: dict[str, list[int]] = {}
    for number in range(len(own_rows)):
        places.setdefault(own_rows[number].id, []).append(number)
    return [np.array(places[rows[number].id]) for number in range(len(rows))]


def cached_bytes(teacher: Teacher, rows: EncodedRows) -> int:
    """The size of what :func:`cache_teaching` keeps, by the longest row: inner states and frames grow with the rows' lengths."""
    longest = int(np.argmax(rows.lengths_N))
    said = teacher.says(teacher.task.collate([rows[longest]]))
    share = int(rows.lengths_N.sum()) / int(rows.lengths_N[longest])
    grows = 0 if said.states is None else 2 * said.states.numel()
    logits = 4 * said.logits.numel()
    return round(grows * share + logits * (len(rows) if said.logits.ndim == 2 else share))


def _write(
    folder: Path, teacher: Teacher, rows: EncodedRows, size: int, on_batch: Callable[[int], None] | None
) -> None:
    check_free_space(folder, size, "keeping what the teacher says")
    is_whole, listens = True, teacher.listener is not None
    with (
        RaggedWriter(folder, "logits", len(rows), np.float32) as logits,
        RaggedWriter(folder, "states", len(rows), np.float16) as states,
    ):
        for places in cut_by_budget(rows.lengths_N, max_cost=BUDGET_COST, max_rows=2**31):
            batch = teacher.task.collate([rows[int(place)] for place in places])
            said = teacher.says(batch)
            values, mask_BT = said.logits.cpu().numpy(), positions_of(batch)
            is_whole = values.ndim == 2
            logits.put(places, values[:, None] if is_whole else without_padding(values, mask_BT))
            if said.states is not None:
                states.put(places, without_padding(said.states.cpu().numpy(), mask_BT))
            if on_batch:
                on_batch(len(places))
    about = {"logits": logits.facts, "states": states.facts if listens else None, "is_whole": is_whole}
    write_json(folder / "about.json", about)


class JoinedRows:
    """Rows of several splits as one, in their order."""

    def __init__(self, parts: Sequence[EncodedRows]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.lengths_N = np.concatenate([part.lengths_N for part in parts])
        self.order_N = np.concatenate([getattr(part, "order_N", part.lengths_N) for part in parts])
        self.ledger = parts[0].ledger

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[number][index - int(self._starts[number])]
