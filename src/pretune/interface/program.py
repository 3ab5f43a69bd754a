"""How a verb behaves where a program calls it: what it says reaches the program, and the process stays as it was."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from pretune.errors import PretuneWarning
from pretune.interface.outcome import Progress, Silent

__all__ = ["PythonSay", "as_it_was"]

LOGGER = logging.getLogger("pretune")
_DEFAULT_SEED = 67280421310721
"""What torch's generator begins from in a new process (c10/core/GeneratorImpl.h)."""


class PythonSay(Silent):
    """Warnings as Python's own (:class:`PretuneWarning`), notes to the logger ``pretune``."""

    def note(self, text: str) -> None:
        """A line of the log."""
        super().note(text)
        LOGGER.info(text)

    def warn(self, text: str) -> None:
        """A warning that points at the first line outside of pretune."""
        super().warn(text)
        warnings.warn(text, PretuneWarning, stacklevel=_depth_outside())

    def event(self, text: str, facts: Mapping[str, Any]) -> None:
        """A line of the log."""
        self.note(text)

    def progress(self, total: int | None, description: str) -> Progress:
        """A bar in a notebook, where tqdm is told so by what runs it; nothing elsewhere."""
        if "ipykernel" not in sys.modules:
            return super().progress(total, description)
        from tqdm.auto import tqdm

        return _NotebookBar(tqdm(total=total, desc=description, leave=False))


class _NotebookBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, n: int = 1, text: str = "") -> None:
        if text:
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(n)

    def close(self) -> None:
        self._bar.close()


def _depth_outside() -> int:
    """How many frames up the first stands that is not pretune's, as :func:`warnings.warn` counts them from its caller."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in (
        "pretune",
        "contextlib",
        "functools",
    ):
        frame, depth = frame.f_back, depth + 1
    return depth


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Afterwards torch's number of threads and generators, and NumPy's and Python's own, are what they were before."""
    import random

    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    threads = None if torch is None else torch.get_num_threads()
    generators = None if torch is None else (torch.get_rng_state(), _cuda_states(torch))
    legacy, python = None if numpy is None else numpy.random.get_state(), random.getstate()
    try:
        yield
    finally:
        random.setstate(python)
        if numpy is not None and legacy is not None:
            numpy.random.set_state(legacy)
        _restore(threads, generators)


def _cuda_states(torch: Any) -> Any:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None


def _restore(threads: int | None, generators: Any) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    if generators is None:
        torch.default_generator.manual_seed(_DEFAULT_SEED)  # it was loaded meanwhile
    else:
        torch.set_rng_state(generators[0])
        if generators[1] is not None:
            torch.cuda.set_rng_state_all(generators[1])
    devices = sys.modules.get("pretune.engine.devices")
    before = threads or (devices.THREADS_AT_START if devices is not None else None)
    if before and torch.get_num_threads() != before:
        torch.set_num_threads(before)
