"""A recipe over a Ray cluster of this machine, whose workers are killed: the same weights, nothing lost, nothing done twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_calls import done

from clocks import HANG_SECONDS
from conftest import ROOT, write_csv
from pretune.files import read_json
from pretune.runfolder import RunFolder

RECIPE = """
out: {out}
defaults: {{data: {data}, threads: 1, precision: fp32, vocab-size: 300, max-steps: 30, eval-every: 50%, save-every: 5}}
steps:
  first: {{verb: finetune, backbone: scratch:bert-tiny, seed: 1}}
  second: {{verb: finetune, backbone: scratch:bert-tiny, seed: 2}}
"""


KILLS = """
import os, signal
from pathlib import Path

OVER = Path({over!r})


def is_to_be_killed(run):
    lock, checkpoints = OVER / run / ".lock", OVER / run / "checkpoints"
    if not (lock.exists() and lock.read_text().startswith(f"process {{os.getpid()}} ") and checkpoints.exists() and any(checkpoints.iterdir())):
        return False
    try:
        os.close(os.open(OVER.with_name(f"{{run}}.killed"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def then(real):
    def called(*given, **named):
        found = real(*given, **named)
        if is_to_be_killed("first"):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_to_be_killed("second"):
            os.kill(os.getppid(), signal.SIGKILL)
        return found
    return called


for name in ("rename", "replace"):
    setattr(os, name, then(getattr(os, name)))
"""
"""What Python runs at the start of every process: the first run's worker, and Ray's process above the second's, end once, at the
first checkpoint, however slow the machine is.
"""


@pytest.mark.slow
def test_workers_over_ray_are_killed_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, news_rows: list[dict[str, str]]
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'pretune[ray]'")
    recipe, one, over = tmp_path / "recipe.yaml", tmp_path / "one", tmp_path / "over"
    recipe.write_text(RECIPE.format(out=one, data=write_csv(tmp_path / "news.csv", news_rows)))
    done("run", recipe)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(KILLS.format(over=str(over)))
    words = [sys.executable, "-m", "pretune", "run", str(recipe), "--engine", "ray", "--jobs", "2", "--out", str(over)]
    environment = {**os.environ, "PYTHONPATH": f"{hook}{os.pathsep}{ROOT / 'src'}"}
    environment.pop("RAY_ADDRESS", None)
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    rest = said.stderr
    assert said.returncode == 0, rest
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
