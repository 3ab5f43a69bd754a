"""What this machine can do, measured: device, number format, threads, memory manners, peak speed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from pretune.errors import UsageError

__all__ = ["Device", "choose_device", "inference", "keep_freed_memory", "peak_flops"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KERNELS_KEPT = "256"
"""Compiled matrix kernels oneDNN keeps, one a shape; its own 1,024 held gigabytes where every batch has another length."""

THREADS_AT_START = torch.get_num_threads()
"""Before any run asked for others."""

_SMALL, _BY_HAND = 128, 0.25
_WORTH_IT = 1.3
"""bf16 is chosen where its matrix product is this much faster than fp32's."""


@dataclass(frozen=True)
class Device:
    """Where and how the numbers are computed."""

    device: torch.device
    precision: str
    threads: int

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 autocast where it was chosen: weights and sums stay fp32."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def to_dict(self) -> dict[str, Any]:
        """What run.json keeps, and ``choose_device(like=...)`` takes."""
        return {"device": str(self.device), "precision": self.precision, "threads": self.threads}


def choose_device(
    asked: str = "auto", *, precision: str = "auto", threads: int | None = None, like: dict[str, Any] | None = None,
    keeps_memory: bool = True,
) -> Device:  # fmt: skip
    """The device to compute on: ``asked`` is ``cpu``, ``cuda``, ``mps`` or ``auto``, which takes a GPU of CUDA where there is one,
    but not Apple's, on which nothing was measured. ``like`` (from run.json) repeats
    an earlier choice, so that a resumed run stays exact. ``keeps_memory``: freed memory is kept for the next update (:func:`keep_freed_memory`).

    Raises :class:`UsageError` for a GPU where there is none, or when ``like`` was made on another kind of device.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    if keeps_memory:
        keep_freed_memory()
    else:
        give_freed_memory_back()
    device = torch.device(_kind_of(asked))
    if like:
        if str(like["device"]).split(":")[0] != device.type:
            raise UsageError(
                f"the run was begun on {like['device']}, and is to go on on {device.type}",
                "go on on a device of the same kind, or start again with --overwrite",
            )
        precision, threads = like["precision"], like["threads"]
    if threads:
        torch.set_num_threads(threads)
    if precision == "auto":
        precision = "bf16" if device.type != "mps" and _bf16_pays(device.type) else "fp32"
    return Device(device, precision, torch.get_num_threads())


def _kind_of(asked: str) -> str:
    has_gpu = torch.cuda.is_available()
    if asked == "cuda" and not has_gpu:
        raise UsageError(
            "torch finds no GPU here (--device cuda)", "leave --device out, or install a torch built for your GPU"
        )
    if asked == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            "torch finds no GPU of Apple's here (--device mps)",
            "leave --device out; it takes a Mac with Apple silicon and macOS 12.3 or later",
        )
    return asked if asked != "auto" else "cuda" if has_gpu else "cpu"


def _bf16_pays(device_type: str) -> bool:
    """Is bf16 worth it here? A small product is tried first: processors without bf16 units work it out by hand, and take seconds for a large one."""
    small = {precision: peak_flops(precision, device_type, _SMALL) for precision in ("bf16", "fp32")}
    if small["bf16"] < _BY_HAND * small["fp32"]:
        return False
    return peak_flops("bf16", device_type) > _WORTH_IT * peak_flops("fp32", device_type)


@cache
def peak_flops(precision: str, device_type: str = "cpu", size: int = 1024) -> float:
    """Floating-point operations a second of a square matrix product here: the best of six."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if device_type == "cuda":
        size *= 4
    a = torch.randn(size, size, device=device_type).to(dtype)
    b = torch.randn(size, size, device=device_type).to(dtype)
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        torch.matmul(a, b)
        if device_type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory instead of handing it back page by page; False where that cannot be asked.

    A training step frees and takes the same hundreds of megabytes again; returned pages cost a page fault each, which
    made the backward pass of a small encoder 2 to 3 times slower (docs/decisions.md, D7).
    """
    return _mallopt((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))


def give_freed_memory_back() -> bool:
    """Ask glibc to give freed tensors back at once; False where that cannot be asked.

    Layers that are fetched and dropped leave holes behind that nothing else fits: of twelve layers shared by four processes each took more
    memory than with all of them (docs/decisions.md, D240).
    """
    return _mallopt((_M_MMAP_THRESHOLD, 256 << 10))


def _mallopt(*settings: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; Windows opens none without a name
        return False
    taken = [mallopt(name, value) for name, value in settings]  # each is asked, whatever came of the others
    return all(taken)


@contextlib.contextmanager
def inference(device: Device) -> Iterator[None]:
    """No gradients, the chosen arithmetic."""
    with torch.inference_mode(), device.arithmetic():
        yield
