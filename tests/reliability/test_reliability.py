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
    "kills",
    "non-finite",
    "out-of-memory",
    "races",
    "terminations",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the harness wrote, experiments by name."""
    folder = tmp_path_factory.mktemp("reliability")
    words = ["--short", "--work", str(folder), "--json", str(folder / "summary.json")]
    ended = subprocess.run(
        [sys.executable, str(HARNESS), *words], capture_output=True, text=True, timeout=850, env=os.environ, check=False
    )
    assert (folder / "summary.json").exists(), f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert ended.returncode == (0 if found["passed"] else 1)
    return {experiment["name"]: experiment for experiment in found["experiments"]}


def test_no_experiment_is_missing(summary: dict[str, Any]):
    assert sorted(summary) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_promise_is_kept(summary: dict[str, Any], name: str):
    experiment = summary[name]
    assert experiment["trials"] >= 2
    assert experiment["failures"] == []
    assert experiment["kept"] == experiment["trials"]


def test_kills_fell_inside_saves(summary: dict[str, Any]):
    counts = summary["kills"]["counts"]
    assert counts["inside a save"] >= summary["kills"]["trials"] // 2


def test_stopping_takes_one_update_at_most(summary: dict[str, Any]):
    assert summary["terminations"]["largest"]["updates after it"] <= 1
