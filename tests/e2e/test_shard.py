"""``--shard``: processes that share a model's layers learn the weights of one, are killed, and go on in another number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_calls import QUICK, TINY, call, done, refused

from conftest import make_rows, write_csv
from pretune.engine import checkpoint
from pretune.errors import CorruptFile
from pretune.files import read_json
from processes import forked_torchrun, weights_apart

PATIENT = pytest.mark.timeout(1800)

LEARN = (
    "--max-steps", "8", "--batch-size", "7", "--micro-batch-size", "1", "--eval-every", "2", "--learning-rate", "0.001", *QUICK,
)  # fmt: skip
"""Seven micro-batches an update, which three processes cannot share evenly."""
MADE: dict[str, tuple[str, ...]] = {
    "classes": ("finetune", *TINY, "--adapt", "llrd"),
    "recomputed": ("finetune", *TINY, "--activation-checkpointing"),
    "spans": ("pretrain", "scratch:t5-micro", "--vocab-size", "300"),
}
EACH = """
import json, os, signal, sys
from pretune.cli import main
from pretune.engine import parts
class Killed(parts.NewCheckpoint):
    def close(self, state):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        super().close(state)
plain = parts.NewCheckpoint
for words in json.loads(sys.argv[1]):
    parts.NewCheckpoint = Killed if words[-2] in sys.argv[2:] else plain
    assert main(words) == 0, words
"""


class World:
    """A folder with rows, a corpus, and a program that gives commands in every process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.rows = write_csv(place / "news.csv", make_rows(97))
        (place / "corpus.txt").write_text(
            "\n".join(row["text"] for row in make_rows(90, seed=1)) + "\n", encoding="utf-8"
        )
        (place / "each.py").write_text(EACH, encoding="utf-8")

    def words(self, name: str, out: str) -> list[str]:
        verb, *rest = MADE[name]
        data = self.rows if verb == "finetune" else self.place / "corpus.txt"
        return [verb, *rest, "--data", str(data), *LEARN, "--quiet", "--out", str(self.place / out / name)]

    def shared(self, processes: int, *runs: tuple[str, str], killed: str = "nothing") -> Any:
        """Learn runs of these folders and names one after another; all in the folder ``killed`` end at their second save."""
        asked = json.dumps([[*self.words(name, out), "--shard"] for out, name in runs])
        ended = [str(self.place / out / name) for out, name in runs if out == killed]
        return forked_torchrun(str(self.place / "each.py"), asked, *ended, processes=processes)

    def log(self, out: str, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / out / name / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("shard"))


def assert_alike(world: World, name: str, one: str, other: str) -> None:
    # Gradients are summed in another order, and Adam divides those of T5 that are next to nothing by themselves.
    runs = (world.place / out / name for out in (one, other))
    assert weights_apart(*runs) < (1e-4 if name == "spans" else 2e-6)
    logs = [world.log(out, name) for out in (one, other)]
    assert [(line["kind"], line["step"]) for line in logs[0]] == [(line["kind"], line["step"]) for line in logs[1]]
    losses = [[line["loss"] for line in log if line["kind"] == "step"] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.fixture(scope="module")
def three(world: World) -> Any:
    """What three processes said that learned all of ``MADE``, and were killed by the system in the save of one run more, after all parts
    are written and before they are sealed.
    """
    for name in MADE:
        done(*world.words(name, "one"))
    return world.shared(3, *(("three", name) for name in MADE), ("killed", "classes"), killed="killed")


@pytest.mark.slow
@PATIENT
def test_three_processes_that_share_a_model_learn_the_weights_of_one(world: World, three: Any) -> None:
    assert len([line for line in three.stdout.splitlines() if "is finished" in line]) == len(MADE), three.stderr[-3000:]
    for name in MADE:
        assert_alike(world, name, "one", "three")
        assert not (world.place / "three" / name / "checkpoints").exists()


@pytest.mark.slow
@PATIENT
def test_a_shared_run_that_is_killed_goes_on_in_another_number_of_processes(world: World, three: Any) -> None:
    assert three.returncode != 0
    run = world.place / "killed" / "classes"
    saved = run / "checkpoints"
    assert checkpoint.steps_on_disk(saved) == [2]
    assert len(list((saved / "step-00000002").glob("shard-*.safetensors"))) == 3, "each process wrote its part"
    assert [path.name for path in saved.glob(".tmp-*")] == [".tmp-step-00000004-parts"]
    shutil.copytree(run, world.place / "damaged" / "classes")
    part = next((world.place / "damaged" / "classes" / "checkpoints" / "step-00000002").glob("shard-00002*"))
    content = bytearray(part.read_bytes())
    content[-9] ^= 4
    part.write_bytes(content)
    with pytest.raises(CorruptFile, match="shard-00002"):
        checkpoint.verify(part.parent)
    again = world.shared(2, ("killed", "classes"), ("damaged", "classes"))
    assert read_json(run / "run.json")["status"] == "finished", again.stderr[-3000:]
    assert_alike(world, "classes", "one", "killed")
    assert again.returncode != 0
    assert "shard-00002" in again.stderr
    assert "start again with --overwrite" in again.stderr


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "average": (("--ema", "0.99"), "--ema"),
    "rate": (("--find-learning-rate",), "--find-learning-rate"),
    "head": (("--adapt", "head"), "--adapt head lets few weights learn"),
    "folds": (("--folds", "3"), "--folds"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_needs_a_whole_model_is_refused_before_data_is_read(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretune.engine import parallel

    monkeypatch.setattr(parallel, "join_cluster", lambda: parallel.Cluster(0, 2))
    words, problem = REFUSED[case]
    data = write_csv(tmp_path / "news.csv", make_rows(30))
    refused(call("finetune", *TINY, "--data", data, "--shard", *words, "--out", tmp_path / "never"), problem)
    assert not (tmp_path / "never").exists()


def test_one_process_has_nobody_to_share_with(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "news.csv", make_rows(30))
    said = call("finetune", *TINY, "--data", data, "--shard", "--out", tmp_path / "never")
    refused(said, "--shard shares a model among processes, and this is one alone")
