"""Two machines of two processes each, as namespaces of the network that a pair of virtual cables joins; one process is killed on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, done

from clocks import HANG_SECONDS
from conftest import ROOT, make_rows, write_csv
from pretune.files import read_json
from processes import weights_apart

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NODES = {"pretune-a": "10.213.7.1", "pretune-b": "10.213.7.2"}
CABLE = "pt-cable-"
LEARN = ("--max-steps", "12", "--batch-size", "8", "--micro-batch-size", "1", "--eval-every", "4", "--learning-rate", "0.001", *QUICK)  # fmt: skip
KILLED_ONCE = """
import os, pathlib, signal, sys, threading, time
from pretune.cli import main
run, mark = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
def end_when_saved():
    while not list(run.glob("checkpoints/step-*")):
        time.sleep(0.02)
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ["RANK"] == "3" and not mark.exists():
    threading.Thread(target=end_when_saved, daemon=True).start()
sys.exit(main(sys.argv[3:]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def two_nodes() -> Iterator[None]:
    """Two namespaces that reach each other and nothing else."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("namespaces of the network are made with ip, by root")
    try:
        ip("link", "add", f"{CABLE}0", "type", "veth", "peer", "name", f"{CABLE}1")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no virtual cable can be made here: {error.stderr.strip()}")
    try:
        for number, (name, address) in enumerate(NODES.items()):
            ip("netns", "add", name)
            ip("link", "set", f"{CABLE}{number}", "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{CABLE}{number}")
            ip("-n", name, "link", "set", f"{CABLE}{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in NODES:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{CABLE}0"], check=False, capture_output=True)


def start(number: int, name: str, words: list[str], log: Path) -> subprocess.Popen[str]:
    first = next(iter(NODES.values()))
    command = [
        "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first}:29400", "--rdzv-conf", f"is_host={not number}", "--rdzv-id", "pretune", "--local-addr", NODES[name],
        *words,
    ]  # fmt: skip
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": f"{CABLE}{number}",
    }
    with log.open("w") as said:
        return subprocess.Popen(
            command, env=env, stdout=said, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


def together(asked: list[str], place: Path) -> tuple[list[int], str]:
    """How a program of two processes on either node ended, and what was said."""
    logs = [place / f"{name}.log" for name in NODES]
    nodes = [start(number, name, asked, logs[number]) for number, name in enumerate(NODES)]
    try:
        codes = [node.wait(HANG_SECONDS) for node in nodes]
    finally:
        for node in nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
    return codes, "\n".join(log.read_text() for log in logs)


def test_two_nodes_end_in_the_weights_of_one_process_though_one_of_four_is_killed(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "news.csv", make_rows(80))
    words = ["finetune", *TINY, "--data", str(data), *LEARN, "--quiet", "--out"]
    done(*words, tmp_path / "one")
    program, run, mark = tmp_path / "killed_once.py", tmp_path / "two", tmp_path / "was-killed"
    program.write_text(KILLED_ONCE)
    with two_nodes():
        asked = [str(program), str(run), str(mark), *words, str(run)]
        codes, told = together(asked, tmp_path)
        assert mark.exists(), told
        assert all(codes), "a process was killed, and the others do not wait for it"
        assert "error: another process of this run ended" in told
        assert "defect in pretune" not in told
        assert read_json(run / "run.json")["status"] != "finished"
        codes, told = together(asked, tmp_path)
    assert codes == [0, 0], told
    assert read_json(run / "run.json")["status"] == "finished"
    assert weights_apart(tmp_path / "one", run) < 1e-6
