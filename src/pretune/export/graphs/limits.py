"""Graphs that answer, before an engine opens one: a file that is no larger than memory, and that was tried once."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from pretune.backbones.loading.limits import refuse_too_large
from pretune.errors import ModelError
from pretune.files import open_regular
from pretune.trial import TrialFailed, tried, trust

__all__ = ["check_graph", "trust_graph"]

_TRIAL = "pretune.export.graphs.trial"
_TRIAL_SECONDS, _TRIAL_MEGABYTES = 5.0, 700.0
_FAST_BYTES = 50_000_000
"""A graph of so many bytes is read and prepared in a second of the processor; larger ones are given more."""
_LOOPS = re.compile(rb'type="(Loop|TensorIterator)"')
_PIECE, _COPIES = 1 << 20, 4


def check_graph(path: Path) -> None:
    """Raise :class:`ModelError` for a graph that does not end, or that makes of one short row more than a model does."""
    if not path.is_file():
        return  # the engine says what is missing
    size = sum(held.stat().st_size for held in (path, *_beside(path)))
    refuse_too_large(path, 2 * size)
    if path.suffix == ".xml":
        if _LOOPS.search(path.read_bytes()):
            raise ModelError(f"{path} holds a loop, as no graph of pretune does", "export the run again")
        return
    try:
        terms = _terms(path, size)
        tried(_TRIAL, [str(path)], name=terms.name, seconds=terms.seconds, megabytes=terms.megabytes)
    except TrialFailed as error:
        raise ModelError(
            f"{path} cannot be run: {error}", "the file is damaged or foreign: export the run again"
        ) from None


def trust_graph(path: Path) -> None:
    """A graph that pretune has just written need not be tried."""
    if path.is_file():
        terms = _terms(path, sum(held.stat().st_size for held in (path, *_beside(path))))
        trust(_TRIAL, name=terms.name, seconds=terms.seconds, megabytes=terms.megabytes)


def _beside(path: Path) -> list[Path]:
    """The files that hold a graph's weights, where it does not itself."""
    return [held for held in path.parent.iterdir() if held.suffix in (".data", ".bin") and held.is_file()]


class _Terms(NamedTuple):
    """By what a graph is known, and what its trial may take."""

    name: str
    seconds: float
    megabytes: float


def _terms(path: Path, size: int) -> _Terms:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    more = size / _FAST_BYTES
    return _Terms(digest.hexdigest(), _TRIAL_SECONDS + round(more), _TRIAL_MEGABYTES + round(_COPIES * size / 2**20))
