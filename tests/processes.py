"""Processes of torchrun, for tests that hold them equal to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from clocks import HANG_SECONDS
from conftest import ROOT
from tiny import largest_difference


def torchrun(
    *words: str, processes: int = 2, timeout: int = HANG_SECONDS, **env: str
) -> subprocess.CompletedProcess[str]:
    """What a program of several processes said. Raises :class:`subprocess.TimeoutExpired`, and then none of them is left."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        *words,
    ]
    paths = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env={**os.environ, **paths, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
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
