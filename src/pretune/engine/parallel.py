"""Several processes as one: started by ``torchrun``, they share the micro-batches of each update and add up gradients.

Gradients are summed by hand rather than by DistributedDataParallel, because losses here are sums, heads may run outside
the wrapped forward, and which parameters learn changes during a run (docs/decisions.md, D3).
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from pretune.engine.sharding import is_part
from pretune.errors import RunError

__all__ = ["Cluster", "join_cluster", "told_of_peers"]

_BUCKET_ELEMENTS = 8_000_000


@dataclass(frozen=True)
class Cluster:
    """This process among ``world``; with one process every method is the identity."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Does this process write the run folder?"""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """True on all when true on one."""
        return self.sum([float(flag)])[0] > 0

    def agree(self, text: str) -> bool:
        """Do all processes hold the same text? Every one of them is told the same."""
        digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=6).digest()
        mine = float(int.from_bytes(digest, "little"))  # 48 bits are exact in float64, and so is the sum of many
        return not self.any(self.sum([mine])[0] != mine * self.world)

    def barrier(self) -> None:
        """Wait for all."""
        self.sum([0.0])

    def spread(self, tensors: Iterable[torch.Tensor]) -> None:
        """Fill each CPU tensor with what the first process's holds."""
        if self.world > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor.detach(), src=0)

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process runs the body, then the others do (they find what it cached)."""
        if not self.is_first:
            self.barrier()
        yield
        if self.is_first:
            self.barrier()

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up ``.grad`` over the processes, in buckets; a parameter no process used keeps None. Those that processes share
        (:mod:`pretune.engine.sharding`) were added up in the backward pass."""
        if self.world == 1:
            return
        learning = [p for p in parameters if p.requires_grad and not is_part(p)]
        used = self.sum([float(p.grad is not None) for p in learning])
        bucket: list[torch.Tensor] = []
        for parameter, count in zip(learning, used, strict=True):
            if not count:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad.is_sparse:  # the other processes read other rows
                parameter.grad = parameter.grad.to_dense()
            bucket.append(parameter.grad)
            if sum(g.numel() for g in bucket) > _BUCKET_ELEMENTS:
                _reduce(bucket)
                bucket = []
        if bucket:
            _reduce(bucket)


def _reduce(gradients: list[torch.Tensor]) -> None:
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _leave() -> None:
    """Close the connections before the interpreter ends: threads that outlive it can end the process by SIGABRT.

    They stop only with the last reference to the group (see :func:`join_cluster`).
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def told_of_peers() -> Iterator[None]:
    """Turn what torch says where another process is gone, or cannot be reached, into :class:`RunError`."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, getattr(torch.distributed, "DistError", ())) or "gloo" in str(error).lower():
            raise RunError(
                "another process of this run ended, or cannot be reached any more (what it said stands beside this)",
                "what was saved is whole: start all of them with the same command again; torchrun --max-restarts 3 does so by itself",
            ) from error
        raise


def join_cluster() -> Cluster:
    """The cluster that ``torchrun`` (or ``accelerate launch``) started this process in; alone otherwise."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Cluster()
    if not torch.distributed.is_initialized():
        # Its functions keep the group of the moment they are imported as a default argument, for good. An optimizer
        # imports it; after the group began, the group's threads would outlive the interpreter.
        importlib.import_module("torch.distributed.nn")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # Plain numbers are summed on the CPU, which NCCL cannot do.
        with told_of_peers():
            torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_leave)
    return Cluster(torch.distributed.get_rank(), world)
