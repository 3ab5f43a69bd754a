"""The cache folder: bounded by use, never cleaned under a reader, whole after a kill at any moment, and nobody else's files touched."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import pretune
from pretune import cache as verb
from pretune import cli
from pretune.cache import LIMIT_GB, clean, discard, entries, get_or_create, limit_bytes
from pretune.errors import UsageError
from pretune.interface import Silent
from pretune.notices import telling

MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def keep(name: str, megabytes: float = 1.0) -> np.ndarray:
    """An entry of that size; in use as long as what is returned lives."""

    def write(place: Path) -> None:
        (place / "values.bin").write_bytes(name.encode().ljust(round(megabytes * MEGABYTE), b"."))

    return get_or_create("features", name, lambda place: np.fromfile(place / "values.bin", np.uint8), write)


def names() -> list[str]:
    """What is kept, least recently used first, by the names given to :func:`keep`."""
    return [(entry.path / "values.bin").read_bytes().rstrip(b".").decode() for entry in entries()]


def aged(days: dict[str, float]) -> None:
    """Entries by name, as if last used so many days ago."""
    for entry in entries():
        name = (entry.path / "values.bin").read_bytes().rstrip(b".").decode()
        then = time.time() - days[name] * 86400
        os.utime(entry.path, (then, then))


def four() -> None:
    """Entries a (oldest) to d, of a megabyte each, none in use."""
    for name in "abcd":
        keep(name)
    gc.collect()
    aged({"a": 40, "b": 30.5, "c": 3, "d": 0.1})


def test_an_entry_is_made_once_and_opening_it_is_a_use() -> None:
    four()
    made: list[str] = []
    get_or_create(
        "features", "a", lambda place: np.fromfile(place / "values.bin", np.uint8), lambda _: made.append("again")
    )
    assert made == []
    assert names() == ["b", "c", "d", "a"]
    assert [round(entry.bytes / MEGABYTE, 2) for entry in entries()] == [1.0] * 4


def test_what_lives_is_in_use_and_what_died_is_not() -> None:
    held = keep("held")
    assert [entry.in_use for entry in entries()] == [True]
    assert clean(before=float("inf")) == []
    assert bytes(held[:4]) == b"held"
    del held
    assert [entry.in_use for entry in entries()] == [False]
    assert [entry.kind for entry in clean(before=float("inf"))] == ["features"]
    assert entries() == []


def test_a_new_entry_pushes_out_those_unused_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE_GB", "0.0041")
    four()
    held = keep("a")
    aged({"a": 40, "b": 30, "c": 3, "d": 0.1})
    told: list[str] = []
    with telling(told.append, told.append):
        keep("new")
    assert names() == ["a", "c", "d", "new"], "the oldest is read, so the next one goes"
    assert len(told) == 1
    assert "1 of 5 entries" in told[0]
    assert "PRETUNE_CACHE_GB" in told[0]
    del held


def test_the_newest_stays_though_it_alone_is_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE_GB", "0.002")
    large = keep("large", 5)
    assert len(large) == 5 * MEGABYTE
    assert names() == ["large"]
    del large
    keep("small")
    assert names() == ["small"]


@pytest.mark.parametrize("given", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("PRETUNE_CACHE_GB", given)
    with pytest.raises(UsageError, match="PRETUNE_CACHE_GB"):
        get_or_create("features", "x", lambda place: np.fromfile(place / "x"), lambda _: pytest.fail("it was made"))
    monkeypatch.setenv("PRETUNE_CACHE_GB", "")
    assert limit_bytes() == LIMIT_GB * 1e9


def test_a_verb_tells_what_went(news_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    four()
    monkeypatch.setenv("PRETUNE_CACHE_GB", "0.0035")
    say = Silent()
    pretune.inspect(news_csv, out=str(news_csv.parent / "passport"), say=say)
    assert [entry.kind for entry in entries()] == ["features"] * 3 + ["tables"]
    assert [note for note in say.notes if note.startswith("cache: 1 of 5 entries")], say.notes


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"older_than": 30}, ["c", "d"]),
        ({"older_than": 31}, ["b", "c", "d"]),
        ({"keep": 0.0021}, ["c", "d"]),
        ({"keep": 0.0}, []),
        ({"older_than": 1, "keep": 0.0031}, ["d"]),
        ({"older_than": 35, "keep": 0.0021}, ["c", "d"]),
        ({"clear": True}, []),
        ({}, ["a", "b", "c", "d"]),
    ],
    ids=str,
)
def test_the_verb_removes_what_was_asked(options: dict[str, float], left: list[str]) -> None:
    four()
    facts = verb(**options).facts
    assert names() == left
    assert facts["entries"] == len(left)
    if options:
        assert facts["removed"]["entries"] == 4 - len(left)
        assert facts["removed"]["bytes"] == pytest.approx((4 - len(left)) * MEGABYTE, abs=2000), "and their sums"
    else:
        assert facts["removed"] is None


def test_the_verb_shows_place_size_kinds_and_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four()
    held = keep("d")
    assert cli.main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert f"{folder}: 4 entries, 4.0 MB (at most 20.0 GB: PRETUNE_CACHE_GB changes that)" in shown
    assert re.search(r"features      4     4\.0 MB  last used \d+\.\d s ago", shown)
    assert "1 entry in use" in shown
    assert cli.main(["cache", "--clear", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["entries"], facts["in_use"], facts["removed"]["entries"]) == (1, 1, 3)
    assert facts["kinds"]["features"]["bytes"] == pytest.approx(MEGABYTE, abs=2000)
    assert cli.main(["cache", "--clear", "--keep", "3"]) == 2
    assert "one or the other" in capsys.readouterr().err
    del held


def test_what_is_not_ours_is_not_touched(folder: Path, tmp_path: Path) -> None:
    four()
    (folder / "features" / "notes").mkdir()
    (folder / "features" / "letter.txt").write_text("mine")
    (folder / "photos" / ("0" * 24)).mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    (folder / "features" / ("1" * 24)).symlink_to(precious)
    (folder / "pixels").symlink_to(precious)
    verb(clear=True)
    assert (precious / "thesis.txt").read_text() == "mine"
    assert sorted(path.name for path in (folder / "features").iterdir()) == ["1" * 24, "letter.txt", "notes"]
    assert (folder / "photos" / ("0" * 24)).is_dir()


def test_a_table_stays_while_its_reader_lives(news_csv: Path) -> None:
    """A process of its own, as this one holds its tables to its end."""
    code = f"""
        from pretune.config import DataSettings
        from pretune.data.read import read
        rows = read(DataSettings(data={str(news_csv)!r}))["train"].select([0, 5])
        print(len(rows), flush=True)
        input()
        print(rows[1]["text"])
    """
    with running(code) as process:
        assert process.stdout.readline().strip() == "2"  # type: ignore[union-attr]
        assert [(entry.kind, entry.in_use) for entry in entries()] == [("tables", True)]
        assert verb(clear=True).facts["removed"]["entries"] == 0
        process.kill()
        process.wait()
    assert [entry.in_use for entry in entries()] == [False]
    assert verb(clear=True).facts["removed"]["entries"] == 1


def running(code: str) -> subprocess.Popen[str]:
    """Another process of Python that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_kill_in_the_middle_of_cleaning_leaves_nothing_that_is_read_as_whole(folder: Path) -> None:
    for name in "ab":
        keep(name)
    code = """
        import os, pathlib, shutil, signal
        def cut(place, **_):
            first = sorted(pathlib.Path(place).iterdir())[0]
            first.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        shutil.rmtree = cut
        from pretune.cache import clean
        clean(before=float("inf"))
    """
    with running(code) as process:
        assert process.wait() == -signal.SIGKILL
    assert len(entries()) == 1, "one is gone as a whole, the other is whole"
    assert len([*(folder / "features").iterdir()]) == 2
    assert [bytes(keep(name)[:1]) for name in "ab"] == [b"a", b"b"], "what went is made again"
    clean()
    assert sorted((folder / "features").iterdir()) == sorted(entry.path for entry in entries())


def test_a_killed_writer_leaves_no_entry_and_its_rest_is_swept(folder: Path) -> None:
    code = """
        import pathlib, time
        from pretune.cache import get_or_create
        def write(place):
            (place / "half.bin").write_bytes(b"x")
            print(place, flush=True)
            time.sleep(60)
        get_or_create("features", "x", lambda place: None, write)
    """
    with running(code) as process:
        aside = Path(process.stdout.readline().strip())  # type: ignore[union-attr]
        long_ago = time.time() - 3600
        os.utime(aside, (long_ago, long_ago))
        clean(before=float("inf"))
        assert aside.is_dir(), "its writer lives"
        process.kill()
        process.wait()
    assert entries() == []
    clean()
    assert not [*(folder / "features").iterdir()]


def test_a_young_folder_that_nobody_locked_yet_is_left_to_its_writer(folder: Path) -> None:
    aside = folder / "features" / f".{'a' * 24}.1.00.tmp"
    aside.mkdir(parents=True)
    clean(before=float("inf"))
    assert aside.is_dir()


def test_an_entry_that_goes_while_it_is_opened_is_made_again() -> None:
    """The reader found the folder, and before it had the lock the folder was cleaned away."""
    keep("a")
    reads: list[Path] = []

    def read(place: Path) -> np.ndarray:
        reads.append(place)
        if len(reads) == 1:
            discard(place)
        return np.fromfile(place / "values.bin", np.uint8)

    def write(place: Path) -> None:
        (place / "values.bin").write_bytes(b"anew")

    found = get_or_create("features", "a", read, write)
    assert bytes(found) == b"anew"
    assert len(reads) == 2


def test_two_writers_of_the_same_entry_both_read_the_first(folder: Path) -> None:
    def write(place: Path) -> None:
        keep("same", 1)  # the other process, faster
        (place / "values.bin").write_bytes(b"slow")

    found = get_or_create("features", "same", lambda place: np.fromfile(place / "values.bin", np.uint8), write)
    assert bytes(found[:4]) == b"same"
    assert len([*(folder / "features").iterdir()]) == 1


@pytest.mark.parametrize("name", ["values.bin", "sums.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut short", "empty", "gone"])
def test_a_damaged_entry_is_made_again_and_that_is_told(name: str, damage: str) -> None:
    keep("a", 0.01)
    victim = entries()[0].path / name
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        flipped = bytes([content[0] ^ 4]) + content[1:]
        victim.write_bytes({"flipped": flipped, "cut short": content[: len(content) // 2], "empty": b""}[damage])
    told: list[str] = []
    with telling(told.append, told.append):
        found = keep("a", 0.01)
    assert bytes(found) == b"a".ljust(10_000, b".")
    if (name, damage) != ("sums.json", "gone"):  # such an entry is of an older pretune
        assert len(told) == 1
        assert "features of rows" in told[0]
        assert "is made again" in told[0]
    told.clear()
    with telling(told.append, told.append):
        keep("a", 0.01)
    assert told == []
