"""Locks by the system and by files: many readers or one writer, and what a process that died held is free."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clocks import HANG_SECONDS
from pretune import files, locks
from pretune.cache import clean, entries, get_or_create
from pretune.errors import RunError
from pretune.locks import FolderLock, LockFile
from pretune.sums import Sums

HOLD = """
import sys
from pathlib import Path
from pretune import locks
if sys.argv[1] == "files":
    locks.fcntl = None
lock = locks.FolderLock(Path(sys.argv[2]), beside=Path(sys.argv[3])) if sys.argv[4] != "file" else locks.LockFile(Path(sys.argv[2]) / ".lock")
lock.take(**({"shared": True} if sys.argv[4] == "shared" else {}))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["system", "files"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How this process locks: Windows has the second kind only."""
    if request.param == "files":
        monkeypatch.setattr(locks, "fcntl", None)
    return request.param


class Other:
    """Another process that holds a lock until the block ends, or until it is killed."""

    def __init__(self, kind: str, folder: Path, how: str) -> None:
        words = [sys.executable, "-c", HOLD, kind, str(folder), str(folder.parent / "beside"), how]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Other:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(HANG_SECONDS)
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(HANG_SECONDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to lock."""
    (tmp_path / "entry").mkdir()
    return tmp_path / "entry"


def lock_on(folder: Path) -> FolderLock:
    return FolderLock(folder, beside=folder.parent / "beside")


def test_readers_share_and_a_writer_is_alone(kind: str, folder: Path) -> None:
    with Other(kind, folder, "shared"):
        reader, writer = lock_on(folder), lock_on(folder)
        reader.take(shared=True)
        with pytest.raises(BlockingIOError):
            writer.take(wait=False)
        reader.close()
        with pytest.raises(BlockingIOError):
            writer.take(wait=False)
    writer.take(wait=False)
    with pytest.raises(BlockingIOError):
        lock_on(folder).take(wait=False)
    writer.close()
    writer.close()
    lock_on(folder).take(wait=False)


def test_who_waits_gets_the_lock_when_the_writer_is_gone(kind: str, folder: Path) -> None:
    waiting = lock_on(folder)
    with Other(kind, folder, "exclusive") as other:
        assert other.process.stdin is not None
        other.process.stdin.close()
        waiting.take()
    with pytest.raises(BlockingIOError):
        lock_on(folder).take(wait=False)
    waiting.close()


@pytest.mark.parametrize("how", ["shared", "exclusive"])
def test_what_a_killed_process_held_is_free(kind: str, folder: Path, how: str) -> None:
    with Other(kind, folder, how) as other:
        other.kill()
        lock = lock_on(folder)
        lock.take(wait=False)
        lock.close()
        assert not list(folder.parent.rglob("*.reader"))


def test_a_folder_that_is_not_there_cannot_be_locked(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_on(tmp_path / "gone")


def test_a_run_folder_is_one_writers(kind: str, folder: Path) -> None:
    with Other(kind, folder, "file"), pytest.raises(RunError, match="is being written by"), files.lock_folder(folder):
        pass
    with files.lock_folder(folder):
        other = LockFile(folder / ".lock")
        with pytest.raises(BlockingIOError):
            other.take()
        other.close()
    with files.lock_folder(folder):
        pass


def test_an_entry_that_is_read_stays_and_one_that_is_not_goes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))

    class Kept:
        def __init__(self, folder: Path) -> None:
            self.text = (folder / "a.txt").read_text(encoding="utf-8")

    def write(folder: Path) -> None:
        (folder / "a.txt").write_text("whole", encoding="utf-8")

    kept = get_or_create("tables", "a", Kept, write)
    assert kept.text == "whole"
    assert [entry.in_use for entry in entries()] == [True]
    assert clean(keep_bytes=0) == []
    del kept
    assert [entry.in_use for entry in entries()] == [False]
    assert len(clean(keep_bytes=0)) == 1
    assert entries() == []


def test_sums_are_written_and_checked_under_either_lock(kind: str, folder: Path) -> None:
    sums = Sums(folder)
    sums.write("a.txt", b"one")
    sums.write("b.txt", b"two")
    assert sums.read("a.txt") + sums.read("b.txt") == b"onetwo"
    assert sums.accept() == []
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt", "sums.json"]
