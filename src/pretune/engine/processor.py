"""What the processor is called and which 8-bit instructions it has."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["processor_facts", "saturates"]

_CPUINFO = Path("/proc/cpuinfo")
_EIGHT_BIT = ("amx_int8", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "asimddp", "i8mm")
_INTEL_LIKE = ("x86_64", "amd64", "i386", "i686")


@cache
def processor_facts() -> dict[str, Any]:
    """``name`` of the processor, its ``kind`` (x86_64, aarch64) and the ``int8`` instructions it has, as far as Linux tells, or torch elsewhere."""
    kind = platform.machine().lower()
    name, flags = platform.processor() or kind, set[str]()
    if _CPUINFO.is_file():
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line]
        told = {key.strip(): value.strip() for key, value in pairs}
        name = told.get("model name", name)
        flags = set((told.get("flags") or told.get("Features") or "").split())
    else:
        told = _by_torch()
        name, flags = str(told.get("cpu_name") or name), {flag for flag, has in told.items() if has is True}
    return {"name": name, "kind": kind, "int8": [flag for flag in _EIGHT_BIT if flag in flags]}


def _by_torch() -> dict[str, Any]:
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)  # not in the oldest that is allowed
    return ask() if ask else {}


def saturates(facts: dict[str, Any]) -> bool:
    """Do 8-bit products overflow here? On x86 without VNNI or AMX pairs of them are added in 16 bits (``pmaddubsw``)."""
    return facts["kind"] in _INTEL_LIKE and not facts["int8"]
