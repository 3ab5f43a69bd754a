"""What is done on other systems, see :mod:`elsewhere`: from a table to a model in 8 bits, and its graph."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["help_story", "learning_story", "refused_story", "text_story"]

_WORDS = {"good": "fine great lovely bright", "bad": "poor dull awful grim"}


def text_story(folder: Path) -> None:
    """Each verb by the command line, some twice, where the second finds what the first left."""
    learning_story(folder)
    _measure_for_a_moment()
    _do("quantize", "run", "--out", "small", "--threads", "1")
    _do("export", "run", "--out", "graph")
    _do("verify", "run")
    _do("report", "run")
    _do("cache", "--clear")


def learning_story(folder: Path) -> None:
    """Learn, go on with what is finished, learn anew; score and answer."""
    _begin(folder)
    small = ["--batch-size", "32", "--max-steps", "12", "--eval-every", "6", "--threads", "1", "--out", "run"]
    learn = ["finetune", "scratch:bert-micro", "--data", "news.csv", *small]
    _do(*learn)
    _do(*learn)
    _do(*learn, "--overwrite")
    _do("evaluate", "run", "--split", "validation", "--threads", "1")
    for _ in range(2):
        _do("predict", "run", "new.csv", "--out", "answers.csv")
    record = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert record["validation"]["scores"]["accuracy"]["n"] == 15


def help_story(_folder: Path) -> None:
    """What computes nothing."""
    from pretune.cli import main

    for words in (["--version"], ["finetune", "--help"], ["cache", "--help"], ["benchmark", "-h"]):
        with contextlib.suppress(SystemExit):
            assert main(words) == 0, words


def refused_story(folder: Path) -> None:
    """What Windows does not let a program do, pretune's or not."""
    import numpy as np

    from pretune import files, locks

    assert locks.fcntl is None
    assert not hasattr(files.os, "statvfs")
    np.save(folder / "a.npy", np.zeros(9))
    mapped = np.load(folder / "a.npy", mmap_mode="r")
    (folder / "full").mkdir()
    (folder / "full" / "b.txt").write_text("b", encoding="utf-8")
    with open(folder / "full" / "b.txt", encoding="utf-8"):
        _refused(lambda: (folder / "full").rename(folder / "moved"))
    _refused(lambda: (folder / "a.npy").unlink())
    _refused(lambda: (folder / "full" / "b.txt").replace(folder / "a.npy"))
    _refused(lambda: files.os.open(folder, files.os.O_RDONLY))
    _refused(lambda: (folder / "scratch:bert").mkdir())
    (folder / "c.txt").touch()
    _refused(lambda: (folder / "c.txt").rename(folder / "full" / "b.txt"))
    with open(folder / "c.txt", "rb") as file:
        _refused(lambda: files.os.fsync(file.fileno()))
    del mapped
    (folder / "full" / "b.txt").replace(folder / "a.npy")
    (folder / "full").rename(folder / "moved")


def _refused(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return
    raise AssertionError("this was not refused")


def _begin(folder: Path) -> None:
    os.chdir(folder)
    os.environ["PRETUNE_CACHE"] = str(folder / "cache")
    rows = [
        (f"a {word} day {number}", label)
        for number in range(20) for label, words in _WORDS.items() for word in words.split()
    ]  # fmt: skip
    with open("news.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    with open("new.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), ("a lovely 早晨",), ("a grim evening",)])


def _do(*words: str) -> None:
    from pretune.cli import main

    assert main([*words, "--quiet"]) == 0, words


def _measure_for_a_moment() -> None:
    """As the fixture ``short_timings`` does: nobody looks at latencies here."""
    from pretune.evaluation import latency
    from pretune.verbs.benchmark import fleet

    measure = latency.measure_latency
    latency.measure_latency = lambda calls, **_: measure(calls, seconds=0.01, warmup=0)
    fleet.ROUNDS, fleet.WARMUP, fleet._TRIED, fleet._FEWEST_CALLS = 2, 1, 1, 1
