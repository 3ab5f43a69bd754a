"""``pretrain --stream``: files in turn, exactly resumed, held-out rows left out of all of them, whatever is wrong with one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from cli_calls import TINY, call, done, refused
from told_story import weights

from conftest import make_rows
from pretune.data.remote import copies
from pretune.data.split import content_key
from pretune.runfolder import RunFolder
from pretune.verbs.pretrain.streamed import StreamedCorpus

ROWS = 90
FILES = ("a.jsonl", "b.jsonl", "c.jsonl")
LEARN = ("--stream", "--epochs", "2", "--batch-size", "8", "--save-every", "4")


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def texts() -> list[dict[str, Any]]:
    return [{"text": row["text"]} for row in make_rows(3 * ROWS)]


@pytest.fixture(scope="module")
def corpus(texts: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streamed") / "corpus"
    for number, name in enumerate(FILES):
        write(folder, name, texts[number * ROWS : (number + 1) * ROWS])
    write(folder, "test.jsonl", [{"text": "What nobody may learn from."}])
    return folder


@pytest.fixture(scope="module")
def straight(corpus: Path) -> Path:
    out = corpus.parent / "straight"
    said = done("pretrain", *TINY, "--data", corpus, *LEARN, "--out", out)
    assert "test.jsonl" in said.err
    return out


def assert_same_weights(one: Path, other: Path) -> None:
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def parts_of(run: Path) -> list[dict[str, Any]]:
    return [line for line in RunFolder(run).log_lines() if line["kind"] == "part"]


@pytest.mark.slow
def test_every_pass_learns_from_every_file_and_never_from_what_is_held_out(
    straight: Path, texts: list[dict[str, Any]]
) -> None:
    told = parts_of(straight)
    for number in (1, 2):
        assert sorted(line["file"] for line in told if line["pass"] == number) == list(FILES)
    assert {line["file"]: line["rows"] for line in told if line["pass"] == 1} == {line["file"]: line["rows"] for line in told if line["pass"] == 2}  # fmt: skip
    learned = sum(line["rows"] for line in told if line["pass"] == 1)
    assert 3 * ROWS - 10 < learned < 3 * ROWS
    record = RunFolder(straight).record
    assert record["streamed"] == {
        "files": 3, "bytes": record["streamed"]["bytes"], "first": told[0]["file"], "files_learned": 3, "rows_learned": learned,
        "updates_per_pass": record["training"]["total_steps"] // 2,
    }  # fmt: skip
    keys = np.concatenate([np.load(path) for path in straight.glob("train_keys*.npy")])
    assert len(keys) == len(set(keys)) == learned
    assert set(keys.tolist()) <= {content_key(row["text"]) for row in texts}
    assert "file by file" in " ".join(RunFolder(straight).passport["facts"]["split"]["notes"])
    assert "are what was written" in done("verify", straight).out
    done("report", straight, "--out", straight.parent / "page.html")
    page = (straight.parent / "page.html").read_text(encoding="utf-8")
    assert f"{learned} rows were learned from, of 3 of 3 files" in page
    assert "in 3 files" in page
    assert "rows were learned from" in (straight / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_rows_of_every_file_are_known_for_seen(straight: Path, texts: list[dict[str, Any]], tmp_path: Path) -> None:
    """A fine-tuned child is scored on rows that its parent saw in the second and third file."""
    rows = make_rows(3 * ROWS)
    data = write(tmp_path, "labelled.jsonl", [{"text": row["text"], "label": row["label"]} for row in rows])
    done("finetune", straight, "--data", data, "--max-steps", "2", "--out", tmp_path / "child")
    said = done("evaluate", tmp_path / "child", "--no-baselines")
    told = re.search(r"(\d+) of (\d+) rows stood in the pre-training corpus", said.out + said.err)
    assert told is not None, said.out + said.err
    assert int(told[2]) - 3 <= int(told[1]), "all but those that were held out"


@pytest.mark.slow
def test_a_broken_file_ends_the_run_by_its_name_and_mended_it_goes_on_to_the_same_bits(
    straight: Path, corpus: Path, texts: list[dict[str, Any]], tmp_path: Path
) -> None:
    last = parts_of(straight)[2]["file"]
    folder = tmp_path / "corpus"
    for name in FILES:
        write(folder, name, [json.loads(line) for line in (corpus / name).read_text().splitlines()])
    whole = (folder / last).read_bytes()
    (folder / last).write_bytes(whole[:-400] + b"{broken\n".ljust(400))
    words = ("pretrain", *TINY, "--data", folder, *LEARN, "--out", tmp_path / "run")
    refused(call(*words), last)
    record = RunFolder(tmp_path / "run").record
    assert record["status"] == "failed"
    assert last in record["problem"]
    (folder / last).write_bytes(whole)
    done(*words)
    assert_same_weights(tmp_path / "run", straight)
    assert parts_of(tmp_path / "run") == parts_of(straight)
    for path in straight.glob("train_keys*.npy"):
        assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_file_that_changed_since_it_was_learned_from_is_found_out(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "corpus"
    for name in FILES:
        write(folder, name, [json.loads(line) for line in (corpus / name).read_text().splitlines()])
    rows, changed = StreamedCorpus.rows, []

    def changing(self: StreamedCorpus, number: int) -> Any:
        if number == len(FILES):  # the second pass begins
            path = Path(self.file(number).place)
            changed.append(path.name)
            write(folder, path.name, [{"text": f"Other rows, number {n} of them."} for n in range(ROWS)])
        return rows(self, number)

    monkeypatch.setattr(StreamedCorpus, "rows", changing)
    words = ("pretrain", *TINY, "--data", folder, *LEARN, "--out", tmp_path / "run")
    refused(call(*words), "other rows than when this run learned from it")
    assert changed
    monkeypatch.undo()
    (folder / changed[0]).write_bytes((corpus / changed[0]).read_bytes())
    (folder / "d.jsonl").write_text("".join(f'{{"text": "One more of {n}."}}\n' for n in range(60)))
    refused(call(*words), "was begun with other data")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"title": "a", "body": "b"}, "is read from"),
        ({"sentence": "It rains on the old town."}, "text is read from sentence"),
    ],
)
def test_a_file_of_other_columns_is_refused(corpus: Path, tmp_path: Path, row: dict[str, str], told: str) -> None:
    folder = tmp_path / "corpus"
    write(folder, "a.jsonl", [json.loads(line) for line in (corpus / "a.jsonl").read_text().splitlines()])
    write(folder, "b.jsonl", [{key: f"{value} {number}" for key, value in row.items()} for number in range(40)])
    words = ("pretrain", *TINY, "--data", folder, "--stream", "--batch-size", "8", "--out", tmp_path / "run")
    refused(call(*words), told)


@pytest.mark.slow
def test_a_store_is_copied_file_by_file(
    corpus: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for name in FILES:
        memory.pipe(f"/bucket/{name}", (corpus / name).read_bytes())
    held, rows = list[int](), StreamedCorpus.rows

    def watched(self: StreamedCorpus, number: int) -> Any:
        found = rows(self, number)
        held.append(len(copies._kept))
        return found

    before = len(copies._kept)
    monkeypatch.setattr(StreamedCorpus, "rows", watched)
    done("pretrain", *TINY, "--data", "memory://bucket/*.jsonl", *LEARN, "--out", tmp_path / "run")
    memory.store.clear()
    assert max(held) - before <= 1
    assert len(held) == 5
    assert_same_weights(tmp_path / "run", straight)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--drop-leaks",), "--drop-leaks does not go with --stream"),
        (("--test", "README.md"), "--test does not go with --stream"),
        (("--fold", "1/5"), "--fold does not go with --stream"),
    ],
)
def test_what_needs_all_rows_at_once_is_refused(corpus: Path, tmp_path: Path, more: tuple[str, ...], told: str) -> None:
    refused(call("pretrain", *TINY, "--data", corpus, "--stream", *more, "--out", tmp_path / "run"), told)


def test_a_forecast_counts_the_files_to_read(corpus: Path) -> None:
    said = done("pretrain", *TINY, "--data", corpus, *LEARN, "--dry-run", "--json").facts
    assert said["parts_seconds"] > 0
    assert said["updates"] > 50
