"""Processes of torchrun, for tests that hold them equal to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from clocks import HANG_SECONDS
from conftest import ROOT


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
