"""Windows and macOS in a process that lacks what they lack; what that shows, and what not, stands in :mod:`elsewhere`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from elsewhere import LACKS


def told_on(system: str, folder: Path, story: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", "elsewhere", system, str(folder), story],
        cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_from_a_table_to_a_graph_in_8_bits_on_windows(tmp_path: Path) -> None:
    done = told_on("windows", tmp_path, "elsewhere_stories:text_story")
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "small" / "model" / "model_int8.onnx").exists() or list((tmp_path / "small").rglob("*.onnx"))
    assert list((tmp_path / "graph").rglob("predict.py"))
    assert not list(tmp_path.rglob("*.tmp"))
    assert (tmp_path / "cache" / "tables" / ".locks").is_dir()


@pytest.mark.slow
def test_learning_scoring_and_answering_on_macos(tmp_path: Path) -> None:
    done = told_on("macos", tmp_path, "elsewhere_stories:learning_story")
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").count("\n") == 3


@pytest.mark.parametrize("system", LACKS)
def test_help_and_version_need_nothing_that_the_system_lacks(system: str, tmp_path: Path) -> None:
    done = told_on(system, tmp_path, "elsewhere_stories:help_story")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "usage: pretune finetune" in done.stdout


def test_the_stage_refuses_what_the_system_refuses(tmp_path: Path) -> None:
    """A simulation that allowed everything would prove nothing."""
    done = told_on("windows", tmp_path, "elsewhere_stories:refused_story")
    assert done.returncode == 0, done.stderr[-4000:]
