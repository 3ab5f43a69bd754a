"""Processes of torchrun, for tests that hold them equal to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file

from clocks import HANG_SECONDS
from conftest import ROOT
from tiny import largest_difference
from typed import python_in


def torchrun(*words: str, processes: int = 2, **env: str) -> subprocess.CompletedProcess[str]:
    """What a program of several processes said, each started from the beginning."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return _said([*agent, *words], env, lambda agent: agent.pid)


def forked_torchrun(*words: str, processes: int = 2, **env: str) -> subprocess.CompletedProcess[str]:
    """The same, and agent and processes have the libraries loaded already (:mod:`forked_torchrun`)."""
    with tempfile.TemporaryDirectory() as aside, python_in(Path(aside)) as python:
        place = Path(aside) / "agent"
        command = [str(python), "-m", "forked_torchrun", str(place), str(processes), *words]
        return _said(command, env, lambda _: int(place.read_text()))


def _said(
    command: list[str], env: Mapping[str, str], group: Callable[[subprocess.Popen[str]], int]
) -> subprocess.CompletedProcess[str]:
    """Raises :class:`subprocess.TimeoutExpired`, and then none of them is left."""
    paths = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env={**os.environ, **paths, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, error = process.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(group(process), signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def weights_apart(one: Path, other: Path) -> float:
    """How far the weights of two runs are apart, in shares of the largest of each tensor where that is more than 1 (a pooled classifier is
    kept scaled up by 2^12). A key's bias is left out: it has no gradient but rounding, which Adam divides by itself.
    """
    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert mine.keys() == theirs.keys()
    names = [name for name in mine if not name.endswith("key.bias")]
    sizes = {name: max(1.0, float(mine[name].abs().max())) for name in names}
    scaled = ({name: weights[name] / sizes[name] for name in names} for weights in (mine, theirs))
    return largest_difference(*scaled)
