"""Several processes of torchrun: the verbs that make a run from a run share its training, all others refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused

from conftest import make_rows, write_csv
from pretune.evaluation import latency
from pretune.files import read_json
from processes import forked_torchrun, weights_apart

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LEARN = (
    "--max-steps", "10", "--batch-size", "16", "--micro-batch-size", "4", "--eval-every", "5",
    "--learning-rate", "0.0002", *QUICK,
)  # fmt: skip
MADE: dict[str, tuple[str, ...]] = {
    "student": ("distill", "news", "--student", "layers:1"),
    "small-base": ("distill", "base", "--student", "layers:1"),
    "pruned": ("prune", "news", "--rounds", "2"),
    "rounded": ("quantize", "news", "--method", "qat", "--calibration-rows", "16"),
}
BOTH = """
import json, sys
from pretune.cli import main
from pretune.evaluation import latency
measure = latency.measure_latency
latency.measure_latency = lambda calls, **_: measure(calls, seconds=0.02)
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


def words_of(place: Path, name: str, out: str) -> list[str]:
    verb, run, *rest = MADE[name]
    return [verb, str(place / run), *rest, *LEARN, "--quiet", "--out", str(place / out / name)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made from ``news`` (fine-tuned) and ``base`` (pre-trained), by ``one`` process and by ``two``."""
    place = tmp_path_factory.mktemp("processes")
    data = write_csv(place / "news.csv", make_rows(120))
    (place / "corpus.txt").write_text("\n".join(row["text"] for row in make_rows(120, seed=1)) + "\n", encoding="utf-8")
    done("finetune", *TINY, "--data", data, "--out", place / "news", "--max-steps", "30", "--learning-rate", "0.001")
    done("pretrain", *TINY, "--data", place / "corpus.txt", "--out", place / "base", "--max-steps", "10")
    with pytest.MonkeyPatch.context() as patch:
        measure = latency.measure_latency
        patch.setattr(latency, "measure_latency", lambda calls, **_: measure(calls, seconds=0.02))
        for name in MADE:
            done(*words_of(place, name, "one"))
    (place / "both.py").write_text(BOTH, encoding="utf-8")
    said = forked_torchrun(str(place / "both.py"), json.dumps([words_of(place, name, "two") for name in MADE]))
    assert said.returncode == 0, said.stderr[-3000:]
    assert len([line for line in said.stdout.splitlines() if "is finished" in line]) == len(MADE)
    return place


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["student", "small-base", "pruned"])
def test_two_processes_end_in_the_weights_of_one(place: Path, name: str) -> None:
    assert weights_apart(place / "one" / name, place / "two" / name) < 1e-6
    assert_told_alike(place, name)


def assert_told_alike(place: Path, name: str) -> None:
    """The logs say the same of each update, and nothing but the finished run is left."""
    one, two = (log_of(place / out / name) for out in ("one", "two"))
    assert [(line["kind"], line["step"]) for line in one] == [(line["kind"], line["step"]) for line in two]
    losses = [[line["loss"] for line in log if line["kind"] == "step"] for log in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    folders = [{path.name for path in (place / out / name).iterdir()} for out in ("one", "two")]
    assert folders[0] == folders[1]
    assert not folders[1] & {"checkpoints", "rounds", ".quantize.tmp", ".model.tmp"}
    assert read_json(place / "two" / name / "run.json")["status"] == "finished"


def test_two_processes_learn_the_same_rounded_weights(place: Path) -> None:
    import onnx
    from onnx import numpy_helper

    one, two = (
        {
            found.name: numpy_helper.to_array(found)
            for found in onnx.load(place / out / "rounded" / "model" / "model.onnx").graph.initializer
        }
        for out in ("one", "two")
    )
    assert one.keys() == two.keys()
    rounded = [key for key in one if one[key].dtype == np.int8 and one[key].size > 1000]
    assert rounded
    for key in one:
        mine, theirs = one[key].astype(np.float64), two[key].astype(np.float64)
        if key in rounded:  # a weight on the edge between two levels falls to either side
            assert np.abs(mine - theirs).max() <= 1
            assert (mine != theirs).mean() < 1e-3
        elif mine.size:
            assert np.abs(mine - theirs).max() < 1e-5, key
    assert_told_alike(place, "rounded")


@pytest.mark.parametrize("words", [("export",), ("quantize",), ("quantize", "--method", "dynamic"), ("evaluate",)])
def test_what_does_not_train_is_work_for_one_process(
    place: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would write the same files at once."""
    before = {path.name for path in (place / "news").iterdir()}
    monkeypatch.setenv("WORLD_SIZE", "2")
    out = () if words[0] == "evaluate" else ("--out", place / "never")
    refused(call(words[0], place / "news", *words[1:], *out), "is work for one process, and 2 were started")
    assert not (place / "never").exists()
    assert {path.name for path in (place / "news").iterdir()} == before
