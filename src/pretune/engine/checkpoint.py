"""Checkpoints that survive a kill at any instant, a full disk and a flipped bit.

::

    checkpoints/
      step-00000500/   model.safetensors  optimizer.safetensors  state.json  manifest.json (SHA-256 and size of each, and its own)
                       average.safetensors, objective.safetensors (where there are average weights, and what an objective keeps)
      LAST             name of the newest

Of a model that processes share (``--shard``) each writes a file of its own in place of the first two (:mod:`pretune.engine.parts`).

Write order: a folder aside, each file fsynced, manifest.json last, the folder fsynced, renamed, the parent fsynced, then
LAST. A checkpoint exists when its manifest verifies; LAST is only a hint for people. No file is a pickle.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import CorruptFile
from pretune.files import fsync_dir, read_json, readable_by_umask, translate_disk_errors, write_json, write_text
from pretune.sums import Sums
from pretune.types import unmapped

if TYPE_CHECKING:
    import torch

__all__ = [
    "Checkpoint",
    "NewCheckpoint",
    "load_last",
    "load_step",
    "prune",
    "save",
    "steps_on_disk",
    "unshared",
    "verify",
]

_PREFIX = "step-"
_MANIFEST = "manifest.json"
_OPTIONAL = ("average", "objective")
PART = "shard-"
"""How the files begin that processes write together (:mod:`pretune.engine.parts`)."""


@dataclass
class Checkpoint:
    """Tensors by name and a small JSON state; ``average`` are average weights and ``objective`` what the objective keeps, where
    there are any. ``notes`` say what was passed over to find it."""

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    objective: dict[str, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class NewCheckpoint:
    """``folder/step-N`` while it is written: a folder aside, which becomes the checkpoint in one rename.

    ``writer`` tells its name from that of another one.
    """

    def __init__(self, folder: Path, step: int, writer: str) -> None:
        self.folder, self.step = folder, step
        self.final = folder / f"{_PREFIX}{step:08d}"
        self.aside = folder / f".tmp-{self.final.name}-{writer}"

    def begin(self) -> None:
        """Make the folder aside, empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.drop()
        self.aside.mkdir()

    def close(self, state: dict[str, Any]) -> None:
        """Write the state and the sums of all that was written, and let it be the checkpoint of its step."""
        write_json(self.aside / "state.json", {"step": self.step, **state})
        readable_by_umask(self.aside)
        Sums(self.aside, name=_MANIFEST).seal()
        fsync_dir(self.aside)
        if self.final.exists():
            shutil.rmtree(self.final)
        self.aside.rename(self.final)
        fsync_dir(self.folder)
        write_text(self.folder / "LAST", self.final.name + "\n")

    def drop(self) -> None:
        """Remove what was written aside."""
        shutil.rmtree(self.aside, ignore_errors=True)


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``folder/step-N`` durably. Raises :class:`pretune.errors.DiskFull` with everything older left intact."""
    new = NewCheckpoint(folder, checkpoint.step, str(os.getpid()))
    try:
        with translate_disk_errors(folder):
            new.begin()
            _write_tensors(new.aside, checkpoint)
            new.close(checkpoint.state)
    except BaseException:
        new.drop()
        raise
    return new.final


def _write_tensors(aside: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    save_file(unshared(checkpoint.model), aside / "model.safetensors")
    save_file(unshared(checkpoint.optimizer), aside / "optimizer.safetensors")
    for name in _OPTIONAL:
        if tensors := getattr(checkpoint, name):
            save_file(unshared(tensors), aside / f"{name}.safetensors")


def unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each storage once: tied weights are one tensor, and loading one name loads all its ties."""
    from pretune.engine.sharding import own_part

    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, tensor in tensors.items():
        own = own_part(tensor)
        key = (own.data_ptr(), tuple(own.shape))
        if own.numel() and key in seen:
            continue
        seen.add(key)
        kept[name] = tensor.detach().contiguous()
    return kept


def steps_on_disk(folder: Path) -> list[int]:
    """Steps that have a folder, whole or not, newest first."""
    if not folder.is_dir():
        return []
    names = [p.name.removeprefix(_PREFIX) for p in folder.iterdir() if p.is_dir() and p.name.startswith(_PREFIX)]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def verify(path: Path) -> None:
    """Raise :class:`CorruptFile` naming the first file that does not match the manifest."""
    manifest = Sums(path, name=_MANIFEST)
    manifest.check(required=True)
    listed = set(manifest.listed() or ())
    in_parts = any(name.startswith(PART) for name in listed)
    missing = {"state.json", *(() if in_parts else ("model.safetensors", "optimizer.safetensors"))} - listed
    if missing:
        raise CorruptFile(f"{path / _MANIFEST} does not list {', '.join(sorted(missing))}")


def load_last(folder: Path, read: Callable[[Path], Checkpoint] | None = None) -> Checkpoint | None:
    """The newest whole checkpoint, or None when there never was one. One that was written in parts is ``read`` by another function.

    A damaged one is passed over with a note that names the file. Raises :class:`CorruptFile` when all are damaged.
    """
    problems: list[str] = []
    for step in steps_on_disk(folder):
        path = folder / f"{_PREFIX}{step:08d}"
        try:
            verify(path)
            checkpoint = (read or _read)(path)
        except CorruptFile as error:
            problems.append(error.problem)
        except OSError as error:
            problems.append(f"{error.filename or path} cannot be read: {error.strerror}")
        else:
            checkpoint.notes = [f"{problem}; falling back to the checkpoint before it" for problem in problems]
            return checkpoint
    if problems:
        raise CorruptFile(
            f"no checkpoint in {folder} is whole: {'; '.join(problems)}",
            "restore one of these files, or start again with --overwrite",
        )
    return None


def load_step(folder: Path, step: int, read: Callable[[Path], Checkpoint] | None = None) -> Checkpoint:
    """The checkpoint of ``step``, read as by :func:`load_last`. Raises :class:`CorruptFile`."""
    path = folder / f"{_PREFIX}{step:08d}"
    verify(path)
    return (read or _read)(path)


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        names = ("model", "optimizer", *(name for name in _OPTIONAL if (path / f"{name}.safetensors").exists()))
        read = {name: load_file(path / f"{name}.safetensors") for name in names}
        tensors: dict[str, Any] = {
            kind: {name: unmapped(one) for name, one in read.get(kind, {}).items()}
            for kind in ("model", "optimizer", *_OPTIONAL)
        }
    except (SafetensorError, OSError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from None
    state = read_json(path / "state.json")
    return Checkpoint(step=state["step"], state=state, **tensors)


def load_weights(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy a checkpoint's weights into ``model``. Raises :class:`CorruptFile` naming the first tensor that does not fit."""
    own = model.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise CorruptFile(
                f"the checkpoint holds {name} {tuple(tensor.shape)}, the model {tuple(own[name].shape) if name in own else 'has no such weight'}",
                "start again with --overwrite",
            )
        own[name].copy_(tensor)


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Remove every checkpoint but ``keep``, and what killed processes left aside."""
    kept = set(keep)
    for step in steps_on_disk(folder):
        if step not in kept:
            doomed = folder / f"{_PREFIX}{step:08d}"
            aside = folder / f".old-{doomed.name}"
            shutil.rmtree(aside, ignore_errors=True)
            doomed.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in folder.glob(".old-*"):
        shutil.rmtree(left, ignore_errors=True)
