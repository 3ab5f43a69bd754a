"""Checkpoints that all processes write together, by torch.distributed.checkpoint in safetensors files: no process holds a whole one,
and any number of processes goes on from it.

::

    step-00000500/   shard-00001-model-00001-of-00001.safetensors ... (one a process)  state.json  manifest.json

Names are ``model/<name>``, ``optimizer/<kind>/<name>`` and ``objective/<name>``. The order of writing, the sums and what is passed over are
those of :mod:`pretune.engine.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretune.engine.checkpoint import Checkpoint, NewCheckpoint, unshared
from pretune.engine.parallel import Cluster
from pretune.errors import CorruptFile, PretuneError, RunError
from pretune.files import read_json, translate_disk_errors

__all__ = ["read_parts", "save_parts"]

_KINDS = ("model", "optimizer", "objective")


def save_parts(folder: Path, checkpoint: Checkpoint, cluster: Cluster) -> None:
    """Write ``folder/step-N`` durably, each process its part. Called by all of them.

    Raises :class:`pretune.errors.DiskFull` with everything older left intact.
    """
    new = NewCheckpoint(folder, checkpoint.step, "parts")
    try:
        _together(cluster, folder, new.begin, by_first=True)
        _together(cluster, folder, lambda: _write_part(new.aside, checkpoint))
        _together(cluster, folder, lambda: new.close(checkpoint.state), by_first=True)
    except BaseException:
        if cluster.is_first:
            new.drop()
        raise


def _write_part(aside: Path, checkpoint: Checkpoint) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    tensors = {f"{kind}/{name}": one for kind in _KINDS for name, one in unshared(getattr(checkpoint, kind)).items()}
    try:
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(aside), save_distributed=True))
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError)), causes[0]) from None


def read_parts(path: Path, model: nn.Module, moments: Callable[[str], torch.Tensor | None]) -> Checkpoint:
    """The checkpoint at ``path``; what is shared of it is shared anew among the processes of now. Called by all of them.

    ``moments(name)`` is a tensor like the state of the optimizer called so, None where it is like nothing there. Raises
    :class:`CorruptFile` for what does not fit the model.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(path))
    own = model.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    for key, told in reader.read_metadata().state_dict_metadata.items():
        kind, name = key.split("/", 1)
        like = own.get(name) if kind == "model" else moments(name) if kind == "optimizer" else None
        size: Any = told.size  # type: ignore[union-attr]
        if kind == "model" and (like is None or like.shape != size):
            raise CorruptFile(
                f"the checkpoint holds {name} {tuple(size)}, the model {'has no such weight' if like is None else tuple(like.shape)}",
                "start again with --overwrite",
            )
        dtype = told.properties.dtype  # type: ignore[union-attr]
        is_like = like is not None and like.shape == size
        tensors[key] = torch.zeros_like(like, requires_grad=False) if is_like else torch.zeros(size, dtype=dtype)  # pyright: ignore[reportArgumentType]
    load(tensors, storage_reader=reader)
    state = read_json(path / "state.json")
    parts: dict[str, Any] = {
        kind: {key.removeprefix(f"{kind}/"): one for key, one in tensors.items() if key.startswith(f"{kind}/")}
        for kind in _KINDS
    }
    return Checkpoint(step=state["step"], state=state, **parts)


def _together(cluster: Cluster, folder: Path, work: Callable[[], None], *, by_first: bool = False) -> None:
    """Do ``work`` on every process, or on the first one while the others wait; where it fails on one, all raise."""
    problem: Exception | None = None
    try:
        with translate_disk_errors(folder):
            if cluster.is_first or not by_first:
                work()
    except (PretuneError, OSError) as error:
        problem = error
    if cluster.any(problem is not None):
        raise problem or RunError(
            "another process of this run could not save its part; it says why",
            "mend that, and run the same command again",
        )
