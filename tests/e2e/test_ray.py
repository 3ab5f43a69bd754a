"""A recipe over a Ray cluster of this machine, whose workers are killed: the same weights, nothing lost, nothing done twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cli_calls import done

from clocks import HANG_SECONDS
from conftest import ROOT, write_csv
from pretune.files import read_json
from pretune.runfolder import RunFolder

RECIPE = """
out: {out}
defaults: {{data: {data}, threads: 1, precision: fp32, vocab-size: 300, max-steps: 100, eval-every: 10%, save-every: 5}}
steps:
  first: {{verb: finetune, backbone: scratch:bert-tiny, seed: 1}}
  second: {{verb: finetune, backbone: scratch:bert-tiny, seed: 2}}
"""


def _holder(run: Path) -> psutil.Process | None:
    """The process that writes a run, by the word that it leaves in the folder's lock."""
    found = re.match(r"process (\d+) ", (run / ".lock").read_text()) if (run / ".lock").exists() else None
    return psutil.Process(int(found[1])) if found else None


def _kill(runs: list[Path], process: subprocess.Popen[str]) -> None:
    """Kill the first run's worker and, above the second's, the process of Ray that asked for it, each while it learns."""
    assert process.stderr is not None
    for _ in process.stderr:
        for run in [one for one in runs if (one / "checkpoints").is_dir() and any((one / "checkpoints").iterdir())]:
            holder = _holder(run)
            if holder is not None:
                killed = holder.parent() if run.name == "second" else holder
                assert killed is not None
                assert (run.name == "second") == killed.name().startswith("ray::")
                os.kill(killed.pid, signal.SIGKILL)
                runs.remove(run)
        if not runs:
            return


@pytest.mark.slow
def test_workers_over_ray_are_killed_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, news_rows: list[dict[str, str]]
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'pretune[ray]'")
    recipe, one, over = tmp_path / "recipe.yaml", tmp_path / "one", tmp_path / "over"
    recipe.write_text(RECIPE.format(out=one, data=write_csv(tmp_path / "news.csv", news_rows)))
    done("run", recipe)
    words = [sys.executable, "-m", "pretune", "run", str(recipe), "--engine", "ray", "--jobs", "2", "--out", str(over)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("RAY_ADDRESS", None)
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        _kill([over / "first", over / "second"], process)
        rest = process.stderr.read()
        assert process.wait(HANG_SECONDS) == 0, rest
    assert rest.count("it is begun again") == 2, rest
    steps = read_json(over / "recipe.json")["steps"]
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(steps, "finished")
    for name in ("first", "second"):
        mine, theirs = RunFolder(over / name), RunFolder(one / name)
        assert mine.record["training"]["steps"] == theirs.record["training"]["steps"]
        assert (mine.model_dir / "model.safetensors").read_bytes() == (
            theirs.model_dir / "model.safetensors"
        ).read_bytes()
        assert mine.metrics == theirs.metrics
        logged = [line["step"] for line in mine.read_lines("log.jsonl") if "loss" in line]
        assert logged == [line["step"] for line in theirs.read_lines("log.jsonl") if "loss" in line], "each update once"
    assert sorted(path.name for path in over.iterdir()) == sorted(path.name for path in one.iterdir())
