"""What the machine says: the memory of this process, and whether others are in its way."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pretune import machine
from pretune.engine import processor
from pretune.machine import Neighbours, peak_memory_bytes


def test_peak_memory_is_in_bytes() -> None:
    assert 50 * 2**20 < peak_memory_bytes() < 2**42


def test_the_memory_of_whoever_began_a_process_is_not_its_own():
    held = bytearray(400 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    words = "from pretune.machine import peak_memory_bytes; print(peak_memory_bytes())"
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert int(said.stdout) < 300 << 20 < len(held) < peak_memory_bytes()


def test_where_nothing_but_psutil_tells_the_peak_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: no /proc, no ``resource``."""
    monkeypatch.setattr(machine, "Path", lambda _: Path("/no/such/account"))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr("psutil.Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=4711)))
    assert peak_memory_bytes() == 4711


def test_where_linux_does_not_tell_the_processor_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", Path("/no/such/file"))
    told = {"cpu_name": "Chip", "avx512_vnni": True, "avx_vnni": False, "l2_cache_size": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    facts = processor.processor_facts.__wrapped__()
    assert (facts["name"], facts["int8"]) == ("Chip", ["avx512_vnni"])
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert processor.processor_facts.__wrapped__()["int8"] == []


def test_the_work_of_all_processors_is_counted_in_the_words_of_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    of_windows = SimpleNamespace(user=10.0, system=5.0, idle=99.0, interrupt=0.5, dpc=0.25)
    of_linux = SimpleNamespace(
        user=10.0, nice=1.0, system=5.0, idle=99.0, iowait=7.0, irq=0.5, softirq=0.25, steal=3.0, guest=2.0
    )
    for told, worked in ((of_windows, 15.75), (of_linux, 16.75)):
        monkeypatch.setattr("psutil.cpu_times", lambda told=told: told)
        account = machine._account()
        assert account is not None
        assert account.all == worked


needs_account = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


def neighbours(monkeypatch: pytest.MonkeyPatch, *, worked: float, own: float, processors: int = 2) -> Neighbours:
    """Ten seconds in which all processors worked so long, and for this process so long."""
    accounts = iter([machine._Account(0.0, 100.0, 5.0), machine._Account(10.0, 100.0 + worked, 5.0 + own)])
    monkeypatch.setattr(machine, "_account", lambda: next(accounts))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: processors)
    return Neighbours()


@pytest.mark.parametrize(
    ("worked", "own", "threads", "busy"),
    [
        (20.0, 10.0, 2, 1.0),
        (20.0, 10.0, 1, 0.0),
        (20.0, 20.0, 2, 0.0),
        (19.0, 16.0, 2, 0.0),
        (20.0, 2.0, 1, 1.8),
    ],
)
def test_others_are_in_the_way_where_the_threads_find_no_room(
    monkeypatch: pytest.MonkeyPatch, worked: float, own: float, threads: int, busy: float
) -> None:
    found = neighbours(monkeypatch, worked=worked, own=own)
    assert found.in_the_way(threads) == pytest.approx(busy)


def test_others_never_keep_more_busy_than_there_are_nor_less_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert neighbours(monkeypatch, worked=90.0, own=0.0).busy() == 2.0
    assert neighbours(monkeypatch, worked=5.0, own=9.0).busy() == 0.0


def test_nothing_is_said_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_account", lambda: None)
    unknown = Neighbours()
    assert (unknown.seconds, unknown.busy(), unknown.in_the_way(64)) == (0.0, 0.0, 0.0)


@needs_account
def test_a_process_that_spins_is_seen() -> None:
    """Sooner or later, whatever else this machine does."""
    watched = Neighbours()
    with subprocess.Popen([sys.executable, "-c", SPIN]) as child:
        try:
            while watched.busy() <= 0.2:
                time.sleep(0.05)
        finally:
            child.kill()
