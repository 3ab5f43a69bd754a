"""The short form of the reliability harness (`make reliability` runs the long one), in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).with_name("harness.py")
NAMES = (
    "absurd-folders",
    "all-corrupt",
    "bit-flips",
    "crash-points",
    "damage-at-rest",
    "full-disks",
    "fuzz-readers",
    "fuzz-service",
    "kills",
    "non-finite",
    "out-of-memory",
    "races",
    "terminations",
)

pytestmark = pytest.mark.slow


def summary(folder: Path) -> dict[str, Any]:
    """What the harness wrote, experiments by name."""
    words = ["--short", "--work", str(folder), "--json", str(folder / "summary.json")]
    ended = subprocess.run(
        [sys.executable, str(HARNESS), *words], capture_output=True, text=True, timeout=850, env=os.environ, check=False
    )
    assert (folder / "summary.json").exists(), f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert ended.returncode == (0 if found["passed"] else 1)
    return {experiment["name"]: experiment for experiment in found["experiments"]}


def test_promises_are_kept(tmp_path: Path):
    """One test, so that the harness runs once however the tests are spread."""
    found = summary(tmp_path)
    assert sorted(found) == list(NAMES)
    failures = {name: one["failures"] for name, one in found.items() if one["failures"]}
    assert failures == {}
    for name, one in found.items():
        assert one["trials"] >= 2, name
        assert one["kept"] == one["trials"], name
    assert found["kills"]["counts"]["inside a save"] >= found["kills"]["trials"] // 2, "kills fell inside saves"
    assert found["terminations"]["largest"]["updates after it"] <= 1, "stopping takes one update at most"
