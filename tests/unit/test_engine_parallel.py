"""Two processes make the updates of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conftest import make_rows, write_csv
from pretune import cli
from pretune.engine.parallel import Cluster, join_cluster
from processes import forked_torchrun, torchrun, weights_apart
from tiny import Rig, largest_difference, weights_of

SETTINGS: list[dict[str, Any]] = [
    {"dropout": 0.1, "micro_batch_size": 3, "steps": 10},
    {"dropout": 0.1, "micro_batch_size": 2, "steps": 10, "adapt": "gradual", "layers": 3},
    {"kind": "pretrain", "dropout": 0.1, "micro_batch_size": 2, "steps": 10, "mask_whole_words": True},
    {"dropout": 0.1, "micro_batch_size": 3, "steps": 10, "sparse": True},
    {"dropout": 0.0, "rows": 17, "steps": 10},  # every third update has a single row: the second process has none
]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    done = torchrun(str(Path(__file__).with_name("parallel_worker.py")), str(out), json.dumps(SETTINGS))
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_two_processes_end_in_the_weights_of_one(number: int, two_processes: Path) -> None:
    rig = Rig(**SETTINGS[number])
    steps = rig.train()
    ranks = [load_file(two_processes / f"{number}-{rank}.safetensors") for rank in (0, 1)]
    assert largest_difference(ranks[0], ranks[1]) == 0.0
    alone = {name: value for name, value in weights_of(rig.model).items() if name in ranks[0]}
    assert len(alone) >= len(ranks[0])
    # A key's bias has no gradient but rounding, which Adam divides by itself (see test_engine_fit.py).
    compared = [name for name in ranks[0] if not name.endswith("key.bias")]
    assert largest_difference({n: alone[n] for n in compared}, {n: ranks[0][n] for n in compared}) < 1e-6
    for rank in (0, 1):
        told = json.loads((two_processes / f"{number}-{rank}.json").read_text())
        for step, (loss, norm, items, rows, tokens) in zip(steps, told, strict=True):
            assert loss == pytest.approx(step.loss, rel=1e-5)
            assert norm == pytest.approx(step.grad_norm, rel=1e-4)
            assert (items, rows, tokens) == (step.num_items, step.num_rows, step.num_tokens)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are read from /proc, which Linux has")
def test_no_thread_of_the_group_outlives_it(two_processes: Path) -> None:
    for rank in (0, 1):
        names = json.loads((two_processes / f"threads-{rank}.json").read_text())
        assert names, "the process itself"
        assert not [name for name in names if "gloo" in name]


@pytest.mark.slow
def test_sums_and_flags_reach_every_process(two_processes: Path) -> None:
    for rank in (0, 1):
        told = json.loads((two_processes / f"cluster-{rank}.json").read_text())
        assert told == [True, False, [3.0, 1.0], [0.25] * 6], "the last: what the first process's tensor held"


def test_one_process_is_a_cluster_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    cluster = join_cluster()
    assert cluster == Cluster(0, 1)
    assert cluster.is_first
    assert cluster.sum([2.5]) == [2.5]
    assert cluster.any(True)
    parameter = torch.nn.Parameter(torch.ones(2))
    cluster.sum_gradients([parameter])
    cluster.spread([parameter])
    assert parameter.grad is None
    assert parameter.tolist() == [1.0, 1.0]
    with cluster.first_before_others():
        cluster.barrier()


# --- the whole verb under torchrun ------------------------------------------------------------------------------------

FINETUNE = [
    "finetune",
    "scratch:bert-tiny",
    "--vocab-size",
    "300",
    "--max-steps",
    "12",
    "--batch-size",
    "16",
    "--micro-batch-size",
    "4",
    "--eval-every",
    "6",
    "--precision",
    "fp32",
    "--threads",
    "1",
    "--learning-rate",
    "1e-3",
    "--quiet",
]


@pytest.mark.slow
def test_finetune_under_torchrun_is_one_run_with_the_same_model(tmp_path: Path) -> None:
    data = str(write_csv(tmp_path / "news.csv", make_rows(90)))
    done = torchrun("-m", "pretune", *FINETUNE, "--data", data, "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert cli.main([*FINETUNE, "--data", data, "--out", str(tmp_path / "one")]) == 0
    assert weights_apart(tmp_path / "one", tmp_path / "two") < 1e-5
    logs = []
    for name in ("one", "two"):
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        logs.append([(line["kind"], line["step"]) for line in lines])
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["status"] == "finished"
        assert record["training"]["steps"] == 12
    assert logs[0] == logs[1]
    assert not (tmp_path / "two" / "checkpoints").exists()


@pytest.mark.slow
def test_several_seeds_and_a_default_folder_under_torchrun(tmp_path: Path) -> None:
    data = str(write_csv(tmp_path / "news.csv", make_rows(60)))
    script = "import os, runpy, sys; os.chdir(sys.argv.pop(1)); runpy.run_module('pretune', run_name='__main__')"
    (tmp_path / "start.py").write_text(script)
    words = [word if word != "12" else "4" for word in FINETUNE]
    done = forked_torchrun(str(tmp_path / "start.py"), str(tmp_path), *words, "--data", data, "--seeds", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (tmp_path / "runs").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert len(record["result"]["values"]) == 2
    assert load_file(run / "model" / "model.safetensors")
    assert len([line for line in done.stdout.splitlines() if "is finished" in line]) == 1


@pytest.mark.parametrize("cuda", [False, True])
def test_each_process_takes_its_own_gpu_and_sums_plain_numbers_on_the_cpu(
    cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: calls.append(number))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: calls.append(backend))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    assert join_cluster() == Cluster(3, 4)
    assert calls == ([1, "cpu:gloo,cuda:nccl"] if cuda else ["gloo"])


class _OneSlower(Cluster):
    """Two processes, of which the other measured bf16 to be no faster."""

    def any(self, flag: bool) -> bool:
        return True


def test_processes_agree_on_the_number_format(tmp_path: Path) -> None:
    from pretune.config import TrainSettings
    from pretune.runfolder import RunFolder
    from pretune.training.setup import choose

    settings, run = TrainSettings(precision="bf16", threads=1), RunFolder(tmp_path)
    assert choose(settings, run, Cluster()).precision == "bf16"
    assert choose(settings, run, _OneSlower(0, 2)).precision == "fp32"
