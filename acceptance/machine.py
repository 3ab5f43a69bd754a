"""What figures are measured on: the commit, the machine."""

from __future__ import annotations

import importlib.metadata
import subprocess
from functools import cache
from typing import Any

from acceptance.places import ROOT

__all__ = ["commit_here", "machine_here", "machine_text"]

_MEASURED = ("src", "benchmarks", "tests/reliability")
"""What a figure hangs on: a change of documents or chapters makes it no other commit's."""
_LIBRARIES = ("torch", "transformers", "onnxruntime", "scikit-learn", "numpy")


@cache
def commit_here() -> str:
    """The last commit that changed what is measured; with ``-dirty`` where the working tree differs from it."""
    commit = _git("log", "-1", "--format=%h", "--", *_MEASURED)
    return f"{commit}-dirty" if _git("status", "--porcelain", "--", *_MEASURED) else commit


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


@cache
def machine_here() -> dict[str, Any]:
    """pretune's own facts of the machine, with the processor's name, the accelerators and the versions of libraries."""
    import torch

    from pretune.engine.processor import processor_facts
    from pretune.runfolder import machine_facts

    accelerators = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {**machine_facts(), "processor": processor_facts(), "accelerators": accelerators, "versions": versions}


def machine_text(facts: dict[str, Any]) -> str:
    """The facts in a line."""
    accelerators = ", ".join(facts["accelerators"]) or "no GPU"
    versions = facts["versions"]
    return f"{facts['processor']['name']}, {facts['cores']} cores, {accelerators}; torch {versions['torch']}, transformers {versions['transformers']}"
