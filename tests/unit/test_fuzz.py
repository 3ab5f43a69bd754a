"""The fuzzers find what is planted: a row that is lost, an error that nobody foresaw, a hang, a request that is a defect."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RELIABILITY = Path(__file__).parents[1] / "reliability"


@pytest.fixture
def fuzzing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The fuzzer's module; what it changes in this process is undone."""
    monkeypatch.syspath_prepend(str(RELIABILITY))
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", os.fsync)
    import fuzz

    before = signal.signal(signal.SIGALRM, fuzz._hangs)
    yield fuzz
    signal.signal(signal.SIGALRM, before)
    for name in ("fuzz", "fuzz_samples", "fuzz_service", "lab", "trials", "sample"):
        sys.modules.pop(name, None)


def examples_of(fuzz: Any, kind: str, folder: Path, count: int = 60) -> dict[str, Any]:
    told: dict[str, Any] = {}
    fuzz._examples(kind, folder, 7, count, told.update)
    return told


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_wrong(fuzzing: Any, tmp_path: Path) -> None:
    for kind in ("jsonl", "pictures", "made-up tables"):
        told = examples_of(fuzzing, kind, tmp_path, count=6)
        assert told["examples"] >= 3
        assert told["read"] + told.get("refused", 0) == told["examples"]


@pytest.mark.parametrize("kind", ["jsonl", "tags", "pictures of a table"])
def test_a_row_that_is_lost_is_found(fuzzing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    from pretune.data.store import SplitWriter

    write = SplitWriter.write

    def losing(self: Any, split: str, rows: Any) -> None:
        write(self, split, rows.pick([place > 0 for place in range(len(rows.ids))]))

    monkeypatch.setattr(SplitWriter, "write", losing)
    with pytest.raises(AssertionError, match="no word about it"):
        examples_of(fuzzing, kind, tmp_path)


def test_a_file_that_is_passed_over_is_found(fuzzing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pretune.data.media.rows import MediaTally

    monkeypatch.setattr(MediaTally, "facts", lambda self: {"kind": self.kind, "left_out": {}})
    with pytest.raises(AssertionError, match="accounted for"):
        examples_of(fuzzing, "pictures", tmp_path, count=60)


def test_a_cell_that_comes_back_as_another_is_found(
    fuzzing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretune.data import store

    real = store.canonical_columns

    def shortened(rows: Any, *, labels: bool) -> dict[str, list[Any]]:
        columns = real(rows, labels=labels)
        return {**columns, "text": [text.rstrip("\n") for text in columns["text"]]}

    monkeypatch.setattr(store, "canonical_columns", shortened)
    with pytest.raises(AssertionError, match="came out"):
        examples_of(fuzzing, "made-up tables", tmp_path, count=200)


@pytest.mark.parametrize(("error", "told"), [(KeyError("label"), "KeyError"), (RecursionError(), "RecursionError")])
def test_an_error_that_nobody_foresaw_is_found(
    fuzzing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    from pretune.data.rows import RowMaker

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(RowMaker, "__call__", failing)
    with pytest.raises(AssertionError, match=told):
        examples_of(fuzzing, "csv", tmp_path)


def test_a_hang_is_found(fuzzing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pretune.data.rows import RowMaker

    def hanging(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr(RowMaker, "__call__", hanging)
    monkeypatch.setattr(fuzzing, "LONGEST_SECONDS", 0.05)
    with pytest.raises(fuzzing.Hangs, match=r"took longer than 0\.05 seconds"):
        examples_of(fuzzing, "csv", tmp_path)


def test_a_process_that_dies_hangs_or_says_what_is_wrong_breaks_the_promise(fuzzing: Any, tmp_path: Path) -> None:
    from lab import Broken

    def dying(_tell: Callable[..., None]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrong(_tell: Callable[..., None]) -> None:
        raise AssertionError("3 rows went in")

    with pytest.raises(Broken, match="its process died"):
        fuzzing.in_a_process(dying, tmp_path, 60.0)
    with pytest.raises(Broken, match="3 rows went in"):
        fuzzing.in_a_process(wrong, tmp_path, 60.0)
    with pytest.raises(Broken, match="hung for"):
        fuzzing.in_a_process(lambda tell: signal.pause(), tmp_path, 0.1)
    assert fuzzing.in_a_process(lambda tell: tell(read=3), tmp_path, 60.0) == {"read": 3}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["against the description", "any body"])
def test_a_service_without_defects_answers_or_refuses(fuzzing: Any, way: str) -> None:
    import fuzz_service

    told: dict[str, Any] = {}
    fuzz_service._asked("text", way, 3, 8, told.update)
    assert told["requests"] >= 8


@pytest.mark.slow
@pytest.mark.parametrize("way", ["as described", "any body"])
def test_a_request_that_is_a_defect_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    import fuzz_service

    from pretune.serve import app

    real = app.rows_of

    def failing(body: bytes, *given: Any, **named: Any) -> Any:
        if b"0" in body:
            raise KeyError("a digit")
        return real(body, *given, **named)

    monkeypatch.setattr(app, "rows_of", failing)
    with pytest.raises(BaseException, match=r"KeyError|Server error"):
        fuzz_service._asked("text", way, 3, 100, lambda **_: None)


@pytest.mark.slow
def test_an_answer_that_is_not_as_described_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import fuzz_service
    from schemathesis.core.failures import FailureGroup

    from pretune.tasks.classes.classification import Classification

    record = Classification.record
    monkeypatch.setattr(Classification, "record", lambda self, found: {**record(self, found), "label": 7})
    with pytest.raises(FailureGroup, match="violates schema"):
        fuzz_service._asked("text", "as described", 3, 60, lambda **_: None)
