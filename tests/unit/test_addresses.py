"""Data at addresses: copied whole or not at all, checked at each use, named by its address, and no secret kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from conftest import make_rows
from pretune import cli
from pretune.cache import entries
from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.remote import copies, stores
from pretune.data.remote.addresses import is_address
from pretune.errors import DataError, PretuneError, UsageError
from pretune.files import read_json
from pretune.forwarded import shown_place, without_secrets
from pretune.notices import telling
from pretune.study.recipe import read_recipe

SIGNED = "https://bucket.s3.amazonaws.com/news.csv?X-Amz-Credential=AKIA1&X-Amz-Signature=abc123"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store() -> Iterator[Any]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    memory.store.clear()


def put(store: Any, path: str, rows: int = 60) -> str:
    store.pipe(path, "".join(json.dumps(row) + "\n" for row in make_rows(rows)).encode())
    return f"memory:/{path}"


def rows_of(place: str, **options: Any) -> int:
    return sum(len(rows) for rows in load_splits(DataSettings(data=place, **options)).values())


def copies_kept() -> list[Path]:
    return [entry.path for entry in entries() if entry.kind == "remote"]


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        ("s3://b/a.csv", True),
        ("https://x/a", True),
        ("hub:a/b", False),
        ("C:\\a", False),
        ("a/b", False),
        ("C://a", False),
    ],
)
def test_what_an_address_is(place: str, is_one: bool) -> None:
    assert is_address(place) is is_one


def test_a_file_is_copied_once_and_again_when_it_changed(store: Any) -> None:
    place = put(store, "/bucket/news.jsonl")
    said: list[str] = []
    with telling(said.append, said.append):
        assert rows_of(place) == 60
        assert rows_of(place) == 60
    assert len([line for line in said if "copied to the cache" in line]) == 1
    assert "1 file, " in said[0]
    (kept,) = copies_kept()
    put(store, "/bucket/news.jsonl", 80)
    assert rows_of(place) == 80
    facts = load_splits(DataSettings(data=place)).facts["read"]
    assert facts["place"] == place
    assert facts["remote"][0]["address"] == place
    assert len(facts["remote"][0]["content"]) == 64
    assert len(copies_kept()) == 2
    assert kept in copies_kept()


def test_folders_splits_and_patterns(store: Any) -> None:
    put(store, "/b/news/train/a.jsonl")
    put(store, "/b/news/test/b.jsonl", 20)
    put(store, "/b/news/.hidden/c.jsonl")
    data = load_splits(DataSettings(data="memory://b/news", validation_fraction=0.0))
    assert {name: len(rows) for name, rows in data.items()} == {"train": 60, "test": 20}
    assert rows_of("memory://b/news/*/*.jsonl") == 80
    assert rows_of("memory://b/news/train/a.jsonl", test=("memory://b/news/test/b.jsonl",)) == 80


def test_pictures_of_classes_and_files_that_a_table_names(store: Any, tmp_path: Path) -> None:
    lines = ["image,label"]
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (20 * number, number % 2 * 200, 9)).save(path)
        store.pipe(f"/b/photos/{'ab'[number % 2]}/{number}.png", path.read_bytes())
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    assert rows_of("memory://b/photos/") == 12
    store.pipe("/b/table.csv", "\n".join(lines).encode())
    assert rows_of("memory://b/table.csv", files="memory://b/photos") == 12


def test_what_comes_short_or_changes_meanwhile_is_never_taken_for_whole(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real, info = put(store, "/bucket/news.jsonl"), stores.listing_of, type(store).info

    def more_than_there_is(filesystem: Any, path: str, **rest: Any) -> dict[str, Any]:
        told = info(filesystem, path, **rest)
        return {**told, "size": 10**6} if told["type"] == "file" else told

    monkeypatch.setattr(type(store), "info", more_than_there_is)
    with pytest.raises(DataError, match="of 1,000,000 bytes"):
        rows_of(place)
    monkeypatch.undo()
    assert not copies_kept()

    def changes(address: str) -> Any:
        monkeypatch.setattr(copies, "listing_of", real)
        found = real(address)
        put(store, "/bucket/news.jsonl", 70)
        return found

    monkeypatch.setattr(copies, "listing_of", changes)
    with pytest.raises(DataError, match=r"was changed while|bytes"):
        rows_of(place)
    assert rows_of(place) == 70


def test_a_damaged_copy_is_made_again(store: Any) -> None:
    place = put(store, "/bucket/news.jsonl")
    (path,) = map(Path, copies.copied(place))
    path.write_bytes(path.read_bytes()[:100])
    assert Path(*copies.copied(place)).stat().st_size > 100


def test_more_than_the_cache_holds_is_said_before_it_is_copied(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = put(store, "/bucket/news.jsonl")
    monkeypatch.setenv("PRETUNE_CACHE_GB", "0.000001")
    with pytest.raises(DataError, match="export PRETUNE_CACHE_GB="):
        rows_of(place)
    assert not copies_kept()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("memory://bucket/none.csv", "is not there"),
        ("memory://bucket/*.tsv", "no file lies at"),
        ("ftp://host/a.csv", "allowed: s3://"),
        ("file:///tmp/a.csv", "give its path: /tmp/a.csv"),
        ("zip::s3://b/a.zip", "does not exist"),
        ("memory://b::s3://c", "cannot be read"),
    ],
)
def test_addresses_that_cannot_be_read(store: Any, place: str, says: str) -> None:
    put(store, "/bucket/news.jsonl")
    with pytest.raises(DataError, match=says):
        rows_of(place)


def test_errors_name_the_address_and_not_the_copy(store: Any) -> None:
    store.pipe("/bucket/news.csv", b"text,label\n" + b'"a,\n' * 30)
    with pytest.raises(DataError) as caught:
        rows_of("memory://bucket/news.csv")
    assert "cache" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_store_whose_library_is_missing(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("it is not installed")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UsageError, match=r"pip install (s3fs|gcsfs|adlfs)"):
        rows_of(f"{scheme}://bucket/news.csv")


def test_a_store_that_gives_nothing_without_credentials(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def refuse(*_: Any, **__: Any) -> Any:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(DataError, match="AWS_ACCESS_KEY_ID"):
        rows_of("s3://bucket/news.csv")


@pytest.mark.parametrize("name", ["../../out.csv", "a\\b.csv", "x/./y.csv", "n" * 300 + ".csv"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be a file's name here"):
        stores._refuse_names([name, "good.csv"], "s3://bucket")


@pytest.mark.parametrize(
    "place", [SIGNED, "https://me:secret9@host/news.csv", "https://token9@host/a.csv", "az://c/a.csv?sv=1&sig=zzz"]
)
def test_passwords_and_signatures_are_refused_and_never_shown(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = ("abc123", "AKIA1", "secret9", "token9", "zzz")
    assert cli.main(["finetune", "scratch:bert-tiny", "--data", place, "--out", "never"]) == 2
    said = capsys.readouterr()
    assert "curl -o FILE" in said.err
    for text in (said.out, said.err, without_secrets(f"at {place}, then"), shown_place(place)):
        assert not any(word in text for word in secrets), text
    assert not Path("never").exists()


@pytest.mark.parametrize(
    "place", ["s3://b/a.csv", "abfss://container@account.dfs.core.windows.net/a.csv", "https://x/a?id=3&format=csv"]
)
def test_other_addresses_stay_as_they_are(place: str) -> None:
    assert without_secrets(place) == place
    DataSettings(data=place)


def test_a_step_of_a_recipe_is_another_when_what_lies_there_changes(store: Any, tmp_path: Path) -> None:
    place = put(store, "/bucket/news.jsonl")
    path = tmp_path / "recipe.yaml"
    path.write_text(f"steps:\n  a: {{verb: finetune, backbone: x, data: '{place}'}}\n")
    before = read_recipe(path).keys()
    assert read_recipe(path).keys() == before
    assert not copies_kept(), "a plan copies nothing"
    put(store, "/bucket/news.jsonl", 61)
    assert read_recipe(path).keys() != before


@pytest.mark.slow
def test_a_run_records_where_its_rows_came_from(store: Any, tmp_path: Path) -> None:
    place, out = put(store, "/bucket/news.jsonl"), str(tmp_path / "run")
    words = [
        "finetune",
        "scratch:bert-tiny",
        "--vocab-size",
        "300",
        "--max-steps",
        "2",
        "--threads",
        "1",
        "--precision",
        "fp32",
    ]
    assert cli.main([*words, "--data", place, "--out", out]) == 0
    record = read_json(Path(out) / "run.json")
    assert record["settings"]["data"] == place
    assert record["data_copied"][0]["address"] == place
    assert len(record["data_copied"][0]["content"]) == 64
    assert cli.main(["evaluate", out]) == 0
    assert cli.main(["predict", out, place, "--out", str(tmp_path / "answers.jsonl")]) == 0
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 60
    assert "cache" not in (tmp_path / "answers.jsonl").read_text()
    put(store, "/bucket/news.jsonl", 90)
    assert cli.main(["quantize", out, "--out", str(tmp_path / "int8")]) == 2, (
        "these are other rows than the run learned from"
    )
    with pytest.raises(PretuneError):
        rows_of("memory://bucket/none")
