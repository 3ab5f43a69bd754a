"""``torchrun`` whose agent and processes are forked from one that has the libraries loaded already, as in :mod:`forked`:
``python -m forked_torchrun PLACE PROCESSES [-m] PROGRAM ARGUMENTS``. The agent leads a group of processes and writes its number to PLACE.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

__all__ = ["main"]


def main(place: str, processes: str, *words: str) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.setpgid(0, 0)
    Path(place).write_text(str(os.getpid()))
    asked = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=int(processes), run_id=place, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        max_restarts=0, start_method="fork",
    )  # fmt: skip
    elastic_launch(asked, _be_one)(*words)


def _be_one(*words: str) -> None:
    is_module = words[0] == "-m"
    sys.argv = [*words[is_module:]]
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
