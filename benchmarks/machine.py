"""Where the figures were taken: processor, libraries, the measured peak of a matrix product, the load."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ("pretune", "torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile", "neon", "sve")


def facts() -> dict[str, Any]:
    """JSON-able facts; torch is asked in a process of its own."""
    asked = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    return {**_processor(), "versions": {name: importlib.metadata.version(name) for name in LIBRARIES}, "python": platform.python_version(), **json.loads(asked.stdout)}  # fmt: skip


def load() -> float:
    """Mean number of runnable processes over the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> dict[str, Any]:
    lines: dict[str, str] = {}
    place = Path("/proc/cpuinfo")
    if place.exists():
        for line in place.read_text().splitlines():
            name, _, value = line.partition(":")
            lines.setdefault(name.strip(), value.strip())
    flags = set(lines.get("flags", lines.get("Features", "")).split())
    return {
        "processor": lines.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
    }


def _torch_facts() -> dict[str, Any]:
    import torch

    from pretune.engine.devices import peak_flops

    build = torch.__config__.show()
    return {
        "threads": torch.get_num_threads(),
        "torch_build": [line.strip(" -") for line in build.splitlines() if "MKL-DNN" in line and "=" not in line],
        "peak_gflops": {
            kind: round(max(peak_flops(kind, "cpu", size) for size in (512, 1024, 2048)) / 1e9)
            for kind in ("fp32", "bf16")
        },
    }


if __name__ == "__main__":
    print(json.dumps(_torch_facts()))
