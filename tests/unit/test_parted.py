"""Rows that come in parts: which files they are, which update has which of them, and where a resumed run goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from conftest import make_rows, write_csv
from pretune.config import DataSettings
from pretune.data.parts import files_of
from pretune.engine.batching import Stream
from pretune.engine.parted import Part, PartedFeeds
from pretune.errors import DataError, UsageError
from pretune.types import TERM, Batch, Feed

SIZES = (20, 7, 0, 33, 8)
"""Rows of the parts of a pass; the third has none."""


def part(number: int) -> Part:
    count = SIZES[number % len(SIZES)]

    def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
        ids = tuple(f"{number % len(SIZES)}:{row}" for row in rows_R)
        keys = torch.from_numpy(keys_R.view(np.int64).copy())
        return {"text": Batch({}, None, {TERM: len(rows_R)}, ids, extras={"keys": keys})}

    return Part({"text": Stream(np.ones(count, dtype=np.int64), collate, 8)} if count else {}, {"file": number})


def feeds(**how: Any) -> PartedFeeds:
    return PartedFeeds(part(0), part, updates_per_pass=10, seed=0, max_tokens=100, **how)


def seen(made: PartedFeeds, count: int) -> list[tuple[tuple[str, ...], list[int]]]:
    found = []
    for update, _ in itertools.islice(made, count):
        batches = [feed["text"] for _, feed in update]
        found.append((sum((batch.ids for batch in batches), ()), [int(k) for b in batches for k in b.extras["keys"]]))
    return found


PASS = sum(-(-size // 8) for size in SIZES)


def test_every_pass_has_every_row_once_and_draws_anew() -> None:
    found = seen(feeds(), 2 * PASS)
    everything = sorted(f"{number}:{row}" for number, size in enumerate(SIZES) for row in range(size))
    for updates in (found[:PASS], found[PASS:]):
        assert sorted(row for ids, _ in updates for row in ids) == everything
    first, second = (
        {row: key for ids, keys in half for row, key in zip(ids, keys, strict=True)}
        for half in (found[:PASS], found[PASS:])
    )
    assert all(first[row] != second[row] for row in everything), "each pass masks anew"


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 8, 9, 10, PASS, PASS + 4])
def test_a_resumed_run_goes_on_in_the_part_where_it_stood(cut: int) -> None:
    made, loaded = feeds(), []
    straight = seen(made, 2 * PASS)
    made = feeds()
    seen(made, cut)
    state = json.loads(json.dumps(made.state()))
    again = PartedFeeds(part(0), lambda number: loaded.append(number) or part(number), updates_per_pass=10, seed=0, max_tokens=100)  # fmt: skip
    again.restore(state)
    assert loaded == ([state["part"]] if state["part"] else []), "no part before is read"
    assert seen(again, 2 * PASS - cut) == straight[cut:]


def test_the_first_update_of_a_part_tells_of_it_and_memory_may_run_out_there() -> None:
    made, told = feeds(micro_batch_size=8), []
    for number, (update, state) in enumerate(itertools.islice(made, PASS), start=1):
        if (facts := made.begun_part()) is not None:
            told.append((number, facts["file"]))
            assert made.halve()
            ids = [row for _, feed in made.again() for row in feed["text"].ids]
            assert ids == [row for _, feed in update for row in feed["text"].ids]
            made.restore({**made.state(), "micro_batch_size": 8})
        assert state == {"updates": number}
    assert told == [(1, 0), (4, 1), (5, 3), (10, 4)]
    assert feeds().parts_ahead(3) == 0.0
    assert feeds().parts_ahead(30) == 9.0
    assert made.updates_per_epoch == 10


@pytest.fixture
def store() -> Iterator[Any]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def names(data: str, **how: Any) -> list[str]:
    return [file.name for file in files_of(DataSettings(data=data, **how))[0]]


def test_the_files_of_a_folder_a_pattern_and_an_address(tmp_path: Path, store: Any) -> None:
    rows = make_rows(12)
    for name in ("b.csv", "a.csv", "deep/c.csv", "test.csv", "dev/d.csv", ".hidden.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_csv(tmp_path / name, rows)
        store.pipe(f"/bucket/{name}", (tmp_path / name).read_bytes())
    (tmp_path / "empty.csv").touch()
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "model.bin").write_bytes(b"x")
    assert names(str(tmp_path)) == ["a.csv", "b.csv", "deep/c.csv"]
    assert names(str(tmp_path), splits="none") == ["a.csv", "b.csv", "deep/c.csv", "dev/d.csv", "test.csv"]
    assert names(str(tmp_path / "?.csv")) == ["a.csv", "b.csv"]
    found, notes = files_of(DataSettings(data="memory://bucket"))
    assert [file.place for file in found] == [f"memory://bucket/{name}" for name in ("a.csv", "b.csv", "deep/c.csv")]
    assert found[0].bytes == (tmp_path / "a.csv").stat().st_size
    assert [note for note in notes if "test rows" in note and "test.csv" in note]
    assert [note for note in notes if "validation rows" in note]
    assert names("memory://bucket/*.csv") == ["a.csv", "b.csv"]
    assert [file.place for file in files_of(DataSettings(data="memory://bucket/a.csv"))[0]] == ["memory://bucket/a.csv"]


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A run knows a file again by its name."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_csv(tmp_path / folder / "rows.csv", make_rows(12))
    found = names(str(tmp_path / "*" / "rows.csv"))
    assert found == [str(tmp_path / folder / "rows.csv") for folder in ("one", "two")]


def test_what_is_no_corpus_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(DataError, match="archives"):
        names(str(tmp_path))
    (tmp_path / "photo.png").unlink()
    with pytest.raises(DataError, match="has no file of rows"):
        names(str(tmp_path))
    with pytest.raises(DataError, match="no file, folder"):
        names(str(tmp_path / "gone.csv"))
    with pytest.raises(UsageError, match="standard input"):
        names("-")
