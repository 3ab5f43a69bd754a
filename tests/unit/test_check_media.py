"""The passport of pictures and sound: sizes, copies, pictures that look alike, what was left out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pretune.config import CleanSettings, DataSettings
from pretune.data import check_looks
from pretune.data.check import passport
from pretune.data.check_looks import MAX_BITS, find_near_looks
from pretune.data.clean import clean
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import UsageError
from pretune.verbs.inspect import inspect


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def photo(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def save(picture: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, train and test, with copies, near copies and a broken file of known number."""
    folder = tmp_path / "set"
    for number in range(12):
        save(photo(number), folder / "train" / "ab"[number % 2] / f"{number}.png")
    for number in range(20, 26):
        save(photo(number), folder / "test" / "ab"[number % 2] / f"{number}.png")
    save(photo(0), folder / "train" / "a" / "copy.png")
    save(photo(1), folder / "train" / "a" / "other label.png")
    save(photo(2).resize((60, 45)), folder / "train" / "a" / "small.png")
    save(photo(3), folder / "test" / "b" / "leak.png")
    save(photo(4), folder / "test" / "a" / "near.jpg", quality=60)
    (folder / "train" / "a" / "bad.png").write_bytes(b"junk")
    (folder / "train" / "a" / "tiny.png").parent.mkdir(exist_ok=True)
    save(photo(50, (5, 40)), folder / "train" / "a" / "tiny.png")
    return folder


def splits_of(place: Path, **flags: Any) -> Splits:
    return load_splits(DataSettings(data=str(place), validation_fraction=0.0, **flags))


def by_code(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    codes: dict[str, list[dict[str, Any]]] = {}
    for one in found["findings"]:
        codes.setdefault(one["code"], []).append(one)
    return codes


def test_copies_leaks_and_broken_files_are_found(pictures: Path) -> None:
    found = passport(splits_of(pictures))
    codes = by_code(found)
    assert codes["duplicates"][0]["rows"] == ["train/a/copy.png", "train/b/1.png"]
    assert codes["near-duplicates"][0]["rows"] == ["train/a/small.png"]
    assert codes["leak"][0]["rows"] == ["test/b/leak.png"]
    assert codes["near-leak"][0]["rows"] == ["test/a/near.jpg"]
    assert "look the same" in codes["near-leak"][0]["message"]
    assert codes["left-out-foreign"][0]["count"] == 1
    assert codes["tiny-pictures"][0]["rows"] == ["train/a/tiny.png"]
    assert "1 picture stands with more than one label" in codes["conflicting-labels"][0]["message"]
    assert not any(code.startswith(("empty", "encoding", "html", "personal")) for code in codes)
    train = found["splits"]["train"]
    assert train["width"] == {"min": 5, "median": 120.0, "max": 120}
    assert train["labels"]["counts"] == {"a": 10, "b": 6}
    assert found["facts"]["read"]["media"]["formats"] == {"PNG": 23, "JPEG": 1}
    json.dumps(found, allow_nan=False)


def test_a_corpus_of_pictures_is_compared_with_the_splits(pictures: Path, tmp_path: Path) -> None:
    save(photo(21), tmp_path / "corpus" / "1.png")
    save(photo(22).resize((64, 48)), tmp_path / "corpus" / "2.png")
    corpus = read(DataSettings(data=str(tmp_path / "corpus")))["unlabelled"]
    pairs = {(one["rows_of"], one["also_in"]): one for one in passport(splits_of(pictures), corpus=corpus)["across"]}
    assert pairs["test", "corpus"]["content"]["count"] == 1
    assert pairs["test", "corpus"]["near"]["count"] == 1


def test_deduplicate_and_drop_leaks_go_by_bytes(pictures: Path) -> None:
    splits = clean(splits_of(pictures), CleanSettings(deduplicate=True, drop_leaks=True))
    assert splits.facts["clean"]["deduplicate"]["train"]["dropped"] == 2
    assert splits.facts["clean"]["deduplicate"]["train"]["other_label"] == 1
    assert splits.facts["clean"]["drop_leaks"]["train"]["dropped"] == 1
    assert not by_code(passport(splits)).keys() & {"leak", "duplicates"}


def test_near_leaks_of_pictures_go_by_their_look(pictures: Path) -> None:
    before = by_code(passport(splits_of(pictures)))
    assert "near-leak" in before
    assert "--drop-near-leaks" in before["near-leak"][0]["fix"]
    splits = clean(splits_of(pictures), CleanSettings(drop_near_leaks=True))
    assert splits.facts["clean"]["drop_near_leaks"]["train"]["dropped"] == 1
    assert not by_code(passport(splits)).keys() & {"leak", "near-leak"}


@pytest.mark.parametrize(("flags", "named"), [({"clean": ("html",)}, "--clean html"), ({"redact": True}, "--redact")])
def test_cleaning_of_text_is_refused(pictures: Path, flags: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        clean(splits_of(pictures), CleanSettings(**flags))


def test_transcripts_are_cleaned_and_checked_as_text(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        samples = np.random.default_rng(number).uniform(-0.1, 0.1, 800 * (number + 1)).astype(np.float32)
        soundfile.write(tmp_path / f"{number}.wav", samples, 8_000 if number else 16_000)
        rows.append({"audio": f"{number}.wav", "text": "call ann@example.org" if number == 3 else f"  word {number}"})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    splits = splits_of(tmp_path, test_fraction=0.0)
    found = passport(splits)
    codes = by_code(found)
    assert codes["personal-email"][0]["count"] == 1
    assert codes["several-rates"][0]["count"] == 2
    assert codes["short-clips"][0]["rows"] == ["list.jsonl:1"]
    assert found["splits"]["train"]["length"]["unit"] == "seconds"
    assert found["splits"]["train"]["length"]["seconds"]["max"] == pytest.approx(0.6)
    assert found["splits"]["train"]["rates"] == {"8000": 5, "16000": 1}
    assert found["near_duplicates"] is None, "clips that sound alike are not looked for"
    told = inspect(str(tmp_path / "list.jsonl"), out=str(tmp_path / "passport"))
    assert "Next: pretune finetune scratch:w2v-bert-tiny" in told.text
    page = (tmp_path / "passport" / "passport.html").read_text(encoding="utf-8")
    assert f"<title>{tmp_path.name}/list.jsonl</title>" in page
    cleaned = clean(splits, CleanSettings(clean=("whitespace",), redact=True))["train"][:]["text"]
    assert cleaned[1] == "word 1"
    assert cleaned[3] == "call [EMAIL]"
    with pytest.raises(UsageError, match="clips are compared by content alone"):
        clean(Splits({"train": splits["train"], "test": splits["train"]}), CleanSettings(drop_near_leaks=True))


def test_labels_that_are_lists_are_counted(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        save(photo(number), tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "labels": ["x", "y"][: 1 + (number % 3 == 0)]})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    labels = passport(splits_of(tmp_path, test_fraction=0.0))["splits"]["train"]["labels"]
    assert labels["counts"] == {"x": 12, "y": 4}
    assert labels["labels_per_row"] == pytest.approx(16 / 12)


def test_inspect_writes_the_page_of_pictures(pictures: Path, tmp_path: Path) -> None:
    outcome = inspect(str(pictures), out=str(tmp_path / "passport"))
    assert "image = file, label = folder, id = name" in outcome.text
    assert "1 picture was left out" in outcome.text
    assert "leak.png" in (tmp_path / "passport" / "passport.html").read_text()


def test_the_index_finds_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 2**63, 1500, dtype=np.uint64)
    for place in range(1000, 1300):
        bits = rng.choice(64, rng.integers(0, MAX_BITS + 3), replace=False)
        looks[place] = int(looks[place - 1000]) ^ sum(1 << int(bit) for bit in bits)
    same = np.tile(rng.integers(0, 256, (1, 8, 8), dtype=np.uint8), (len(looks), 1, 1))
    near = find_near_looks(looks, lambda chosen: same[chosen])
    apart = np.bitwise_count(looks[:, None] ^ looks[None])
    expected = {(i, j) for i, j in itertools.combinations(range(1500), 2) if apart[i, j] <= MAX_BITS}
    assert set(zip(near.left_P.tolist(), near.right_P.tolist(), strict=True)) == expected
    assert len(expected) > 150
    assert near.complete


def test_looks_that_are_equal_by_chance_are_told_apart_by_pixels() -> None:
    rng = np.random.default_rng(1)
    looks = np.full(4, 17, dtype=np.uint64)
    grey = rng.integers(0, 256, (4, 32, 32), dtype=np.uint8)
    grey[3] = np.clip(grey[0].astype(int) + 9, 0, 255)
    near = find_near_looks(looks, lambda chosen: grey[chosen])
    assert (near.left_P.tolist(), near.right_P.tolist()) == ([0], [3])
    assert near.jaccard_P[0] > 0.98


def test_many_pictures_of_one_look_are_linked_to_the_first_and_the_limit_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = np.full(100, 5, dtype=np.uint64)
    grey = np.tile(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), (100, 1, 1))
    near = find_near_looks(looks, lambda chosen: grey[chosen])
    assert near.left_P.tolist() == [0] * 99
    monkeypatch.setattr(check_looks, "_MOST_CHECKS", 10)
    near = find_near_looks(looks, lambda chosen: grey[chosen])
    assert len(near.left_P) == 10
    assert not near.complete
