"""Experiments with what nobody wrote by hand: data of every format that is read, changed at random, and made-up tables.

Each trial is a process of its own, in which hypothesis changes one sample many times over and shrinks what fails. It dies where a
library does, is ended where one hangs, and leaves the last files it was given in its folder.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fuzz_samples import SAMPLES, Files, tarred, zipped
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lab import Lab, expect
from trials import Plan, Report, repeat

from pretune.config import DataSettings
from pretune.data.dialogue.turns import unusable_in
from pretune.data.read import read

__all__ = [
    "EXAMPLES",
    "FUZZ_SECONDS",
    "LONGEST_SECONDS",
    "SHORT_EXAMPLES",
    "changed",
    "fuzz_readers",
    "in_a_process",
    "inspected",
    "seconds_to_fuzz",
    "until",
]

FUZZ_SECONDS = "PRETUNE_FUZZ_SECONDS"
"""How long to go on: default 300 of the readers and 300 of the service in full, 4 of each in short."""

_TABLES_NAME = "made-up tables"
EXAMPLES, SHORT_EXAMPLES = 100, 4
LONGEST_SECONDS = 20.0
MOST_BYTES = 4 << 30

_TOKENS = (
    b"", b"\0", b"\n", b"\r", b"\r\n\r\n", b'"', b'""', b"'", b",", b";", b"\t", b"|", b"\\", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80",
    b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 40, b"null", b"true", b"{}", b"[]", b"[" * 300, b'{"a":' * 300, b"-1", b"0", b"\x7f\xff\xff\xff",
    b"\xff" * 8, b"\x00" * 8, b"../../etc/passwd", b"http://127.0.0.1/x", b"=1+1", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"%s%n", b"\xf0\x9f\x92\xa9",
    "\u202e".encode(), "𝕏".encode(), b"text", b"label", b"id", b"train", b"test", b"B-", b"I-X", b"0.5 0.5 2 2",
)  # fmt: skip
_NAMES = (
    "",
    ".csv",
    ".jsonl",
    ".json",
    ".parquet",
    ".png",
    ".jpg",
    ".wav",
    ".txt",
    ".zip",
    ".xml",
    ".npy",
    ".xlsx",
    "train.csv",
    "é.csv",
    "a b.csv",
    "test",
)

_OPTIONS = (
    ("--header", "no"), ("--header", "yes"), ("--delimiter", ";"), ("--delimiter", "\\t"), ("--encoding", "utf-16"), ("--encoding", "gb18030"), ("--encoding", "cp1252"),
    ("--label-type", "class"), ("--clean", "html,whitespace,unicode"), ("--deduplicate",), ("--drop-leaks",), ("--drop-near-leaks",), ("--redact",),
    ("--column", "text=text"), ("--column", "text=0"), ("--column", "label="), ("--column", "id=id"), ("--column", "label=text"), ("--column", "text_pair=label"),
    ("--group", "label"), ("--group", "folder:1"), ("--group-from", r"(\d)"), ("--splits", "none"), ("--unlabelled-is", "empty"), ("--format", "label-first"), ("--format", "label-last"), ("--format", "conll"), ("--poses", "person"),
    ("--fold", "1/2"), ("--test-fraction", "0.5"), ("--drift",), ("--strict",), ("--out", "PLACE"), ("--ignore-class", "0"), ("--no-near-duplicates",), ("--format", "lines"),
)  # fmt: skip
_DROP = ("--deduplicate", "--drop-leaks", "--drop-near-leaks")
_CHANGES = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 9999), st.integers(0, 255)),
    st.tuples(st.just("flip"), st.integers(0, 9999), st.integers(0, 7)),
    st.tuples(st.just("cut"), st.integers(0, 9999), st.integers(1, 200)),
    st.tuples(st.just("end"), st.integers(0, 9999), st.just(0)),
    st.tuples(st.just("repeat"), st.integers(0, 9999), st.integers(1, 200)),
    st.tuples(st.just("token"), st.integers(0, 9999), st.integers(0, len(_TOKENS) - 1)),
    st.tuples(st.just("over"), st.integers(0, 9999), st.integers(0, len(_TOKENS) - 1)),
    st.tuples(st.just("lines"), st.integers(0, 9999), st.integers(0, 9999)),
    st.tuples(st.just("rename"), st.just(0), st.integers(0, len(_NAMES) - 1)),
    st.tuples(st.just("other"), st.integers(0, len(SAMPLES) - 1), st.just(0)),
    st.tuples(st.just("drop"), st.just(0), st.just(0)),
)
_RECIPES = st.lists(st.tuples(st.integers(0, 99), _CHANGES), max_size=4)


class Hangs(BaseException):
    """No program catches that."""


def seconds_to_fuzz(plan: Plan) -> float:
    """Of one experiment."""
    told = os.environ.get(FUZZ_SECONDS)
    return float(told) / 2 if told else 300.0 if plan.full else 4.0


def until(seconds: float, plan: Plan) -> Iterable[int]:
    """Numbers of trials until the time is over, two at least."""
    if plan.only_trial is not None:
        return [plan.only_trial]
    ends = time.monotonic() + seconds
    return itertools.takewhile(lambda number: number < 2 or time.monotonic() < ends, itertools.count())


def fuzz_readers(lab: Lab, plan: Plan) -> Report:
    """Changed data ends in a result that accounts for its rows, or in an error that says what to do."""
    count = EXAMPLES if plan.full else SHORT_EXAMPLES
    kinds = [*SAMPLES, _TABLES_NAME]
    if plan.full:
        _warm(lab.folder / "warm")

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        kind = kinds[int(folder.name) % len(kinds)] if plan.full else rng.choice(kinds)
        number = rng.getrandbits(32)
        told = in_a_process(
            lambda tell: _examples(kind, folder, number, count, tell), folder, LONGEST_SECONDS * 3 + 2 * count
        )
        return {"of": kind, **told}

    promise = "changed data is read with every row accounted for, or refused with what to do, in 20 s and 4 GB"
    return repeat(lab, plan, "fuzz-readers", promise, until(seconds_to_fuzz(plan), plan), trial)


def _warm(folder: Path) -> None:
    """Whatever is imported for any format is imported here, so that a fork starts warm."""
    for sample in SAMPLES.values():
        with contextlib.suppress(AssertionError):  # a trial will say so
            inspected(_laid_out(folder, sample()))


def in_a_process(work: Callable[[Callable[..., None]], None], folder: Path, seconds: float) -> dict[str, Any]:
    """Do the work in a fork: what it tells, or :class:`lab.Broken` with what went wrong."""
    said = folder / "said.json"
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _work(work, said)
    ends = time.monotonic() + seconds
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > ends:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            expect(False, f"hung for {seconds:.0f} s; its last files are in {folder}")
        time.sleep(0.01)
    expect(ended[1] == 0 and said.exists(), f"its process died ({ended[1]}); its last files are in {folder}")
    told = json.loads(said.read_text(encoding="utf-8"))
    expect("problem" not in told, told.get("problem", ""))
    return told


def _work(work: Callable[[Callable[..., None]], None], said: Path) -> None:
    """Never returns."""
    told: dict[str, Any] = {}
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_held_bytes() + MOST_BYTES,) * 2)
        signal.signal(signal.SIGALRM, _hangs)
        try:
            work(lambda **facts: told.update(facts))
        except BaseException as error:
            told["problem"] = _in_words(error)
        said.write_text(json.dumps(told), encoding="utf-8")
        code = 0
    finally:
        os._exit(code)


def _in_words(error: BaseException) -> str:
    import traceback

    parts = [str(error), *getattr(error, "__notes__", ()), *traceback.format_exception(error)[-3:]]
    return "\n".join(parts)[-4000:]


def _hangs(_number: int, _frame: Any) -> None:
    raise Hangs(f"took longer than {LONGEST_SECONDS:g} seconds")


def _held_bytes() -> int:
    import psutil

    return psutil.Process().memory_info().vms


def _examples(kind: str, folder: Path, number: int, count: int, tell: Callable[..., None]) -> None:
    os.environ["PRETUNE_CACHE"] = str(folder / "cache")
    os.fsync = lambda _: None  # type: ignore[assignment]  # no power fails here, and a disk is slow
    tally: dict[str, int] = {}

    def note(outcome: Mapping[str, Any]) -> None:
        word = "refused" if "error" in outcome else "read"
        tally[word] = tally.get(word, 0) + 1

    how = settings(
        max_examples=count, deadline=None, database=None, derandomize=False, print_blob=False, report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    if kind == _TABLES_NAME:

        @seed(number)
        @how
        @given(_TABLES, st.sampled_from(("csv", "tsv", "jsonl", "parquet")))
        def tables(rows: list[tuple[str, str]], form: str) -> None:
            note(_table_is_read(folder, rows, form))

        tables()
    else:

        @seed(number)
        @how
        @given(_RECIPES, st.sampled_from(("", "", "zip", "tar.gz")), st.lists(st.sampled_from(_OPTIONS), max_size=2))
        def attempt(
            recipe: list[tuple[int, tuple[str, int, int]]], packed: str, options: list[tuple[str, ...]]
        ) -> None:
            files = changed_files(SAMPLES[kind](), recipe)
            if files:
                note(_is_read_or_refused(folder, files, packed, [word for option in options for word in option]))

        attempt()
    tell(examples=sum(tally.values()), **tally)


def changed_files(files: Files, recipe: list[tuple[int, tuple[str, int, int]]]) -> Files:
    """Do as the recipe says: each line changes one file."""
    files = dict(files)
    for which, change in recipe:
        if not files:
            break
        name = sorted(files)[which % len(files)]
        kind, a, b = change
        if kind == "drop":
            del files[name]
        elif kind == "rename":
            end = _NAMES[b]
            folder, _, own = name.rpartition("/")
            own = own.partition(".")[0] + end if end.startswith(".") or not end else end
            new = f"{folder}/{own}".lstrip("/")
            if not any(other.startswith(new + "/") for other in files):
                files[new] = files.pop(name)
        elif kind == "other":
            files[name] = next(iter(list(SAMPLES.values())[a]().values()))
        else:
            files[name] = changed(files[name], kind, a, b)
    return files


def changed(data: bytes, kind: str, a: int, b: int) -> bytes:
    """The bytes with one change at ``a`` of 10,000."""
    at = a * len(data) // 10_000
    if kind == "set":
        return data[:at] + bytes([b]) + data[at + 1 :]
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << b]) + data[at + 1 :] if data else data
    if kind == "cut":
        return data[:at] + data[at + b :]
    if kind == "end":
        return data[:at]
    if kind == "repeat":
        return data[: at + b] + data[at:]
    if kind == "token":
        return data[:at] + _TOKENS[b] + data[at:]
    if kind == "over":
        return data[:at] + _TOKENS[b] + data[at + len(_TOKENS[b]) :]
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        one, two = a % len(lines), b % len(lines)
        lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def _laid_out(folder: Path, files: Files) -> Path:
    """The files in a fresh place; what is to be read."""
    place = folder / "data"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, data in files.items():
        path = place / name
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return place / next(iter(files)) if len(files) == 1 else place


def inspected(place: Path, *more: str) -> dict[str, Any]:
    """What ``pretune inspect --json`` answers; AssertionError where that is not an answer."""
    from pretune.cli import main

    out, err = io.StringIO(), io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["inspect", str(place), "--json", *more])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    said = out.getvalue()
    assert "Traceback" not in err.getvalue(), err.getvalue()[-2000:]
    assert said.count("\n") == 1, said[:500]
    answer = json.loads(said)
    assert code == answer["exit_code"]
    if "error" in answer:
        assert "defect" not in answer["problem"], _with_its_traceback(answer)
        assert code == 2, answer
        assert answer["problem"].strip(), answer
        assert answer["fix"].strip(), answer
    return answer


def _with_its_traceback(answer: Mapping[str, Any]) -> str:
    for word in answer["fix"].split():
        if word.endswith(".log") and Path(word).exists():
            return f"{answer['problem']}\n{Path(word).read_text(encoding='utf-8')[-2500:]}"
    return str(answer)


def _is_read_or_refused(folder: Path, files: Files, packed: str, options: list[str]) -> dict[str, Any]:
    """``packed``: the files are given in an archive of that kind."""
    options = [str(folder / "passport") if word == "PLACE" else word for word in options]
    given = {f"packed.{packed}": (zipped if packed == "zip" else tarred)(files)} if packed else files
    place = _laid_out(folder, given)
    answer = inspected(place, *options)
    if "error" in answer:
        return answer
    read = answer["facts"]["read"]
    kept, seen = sum(read["rows"].values()), sum(file["rows"] for file in read["files"])
    assert kept == seen, f"{seen} rows seen, {kept} kept, and no word about it: {read}"
    assert answer["rows"] == sum(split["rows"] for split in answer["splits"].values()), answer["facts"]
    assert answer["rows"] == kept or {*options} & {*_DROP}, answer["facts"]
    no_talks = sum(unusable_in(read["counts"]).values())
    no_files = sum(one["count"] for one in read.get("media", {}).get("left_out", {}).values())
    for file in read["files"]:
        _rows_of_lines(files, file, no_files + (no_talks if "conversations" in file else 0))
    if (
        "media" in read
        and "masks" not in read
        and all(file["format"].endswith("one row a file") for file in read["files"])
    ):
        _every_file_counts(place, kept, read)
    return answer


def _rows_of_lines(files: Files, file: Mapping[str, Any], left_out: int) -> None:
    """A file of JSON lines has a row for each line that is not blank."""
    own = file["name"].rpartition("/")[2]
    data = [data for name, data in files.items() if name.rpartition("/")[2] == own]
    if file["format"] != "JSON lines" or len(data) != 1 or own.endswith((".gz", ".zip", ".tar.gz")):
        return
    text = data[0].decode(file["encoding"], "replace")
    lines = [line for line in text.lstrip("\ufeff").split("\n") if line.strip(" \t\r\n\ufeff")]
    assert file["rows"] <= len(lines) <= file["rows"] + left_out, f"{len(lines)} lines, {file['rows']} rows: {file}"


def _every_file_counts(place: Path, rows: int, read: Mapping[str, Any]) -> None:
    if place.is_file():
        return
    there = sum(1 for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
    told = (
        rows
        + sum(one["count"] for one in read["media"]["left_out"].values())
        + sum(one.get("count", 1) for one in read["left_out"])
    )
    assert told >= there, f"{there} files, {rows} rows, and only {told} are accounted for: {read}"


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=30).filter(
    lambda cell: cell.strip() != ""
)
_TABLES = st.lists(st.tuples(_CELLS, st.sampled_from(("good", "bad", "so so"))), min_size=3, max_size=12)


def _table_is_read(folder: Path, rows: list[tuple[str, str]], form: str) -> dict[str, Any]:
    """A table that is written by the book is read, every row of it."""
    place = _laid_out(folder, {f"rows.{form}": _table(rows, form)})
    answer = inspected(place, "--column", "text=text", "--column", "label=label")
    assert "error" not in answer, answer
    read_rows = read(DataSettings(data=str(place), column=("text=text", "label=label")))
    found = [(row["text"], row.get("label")) for split in read_rows for row in read_rows[split]]
    assert sorted(found) == sorted(rows), f"{rows} went in, {found} came out: {answer['facts']['read']}"
    return answer


def _table(rows: list[tuple[str, str]], form: str) -> bytes:
    named = [{"text": text, "label": label} for text, label in rows]
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in named).encode()
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        held = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(named), held)
        return held.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["text", "label"], delimiter="\t" if form == "tsv" else ",", lineterminator="\n", quoting=csv.QUOTE_ALL
    )
    writer.writeheader()
    writer.writerows(named)
    return text.getvalue().encode()
