"""The passport of pictures and sound: sizes, copies, pictures that look alike, what was left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pretune.config import CleanSettings, DataSettings
from pretune.data.changes.clean import clean
from pretune.data.checks import near as check_near
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import UsageError
from pretune.verbs.inspect.story import inspect


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
    assert "the same picture at another size" in codes["near-leak"][0]["message"]
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
    assert found["near_duplicates"]["pairs"] == 0
    told = inspect(str(tmp_path / "list.jsonl"), out=str(tmp_path / "passport"))
    assert "Next: pretune finetune scratch:w2v-bert-tiny" in told.text
    page = (tmp_path / "passport" / "passport.html").read_text(encoding="utf-8")
    assert "<title>list.jsonl</title>" in page
    cleaned = clean(splits, CleanSettings(clean=("whitespace",), redact=True))["train"][:]["text"]
    assert cleaned[1] == "word 1"
    assert cleaned[3] == "call [EMAIL]"
    bare = splits["train"].remove_columns("sketch")
    assert passport(Splits({"train": bare}))["near_duplicates"] is None
    with pytest.raises(UsageError, match="these were read without"):
        clean(Splits({"train": bare, "test": bare}), CleanSettings(drop_near_leaks=True))


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


def test_near_leaks_of_clips_go_by_their_samples_and_their_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [np.cumsum(rng.normal(0, 0.02, 16_000)).astype(np.float32) for _ in range(6)]
    clips = [np.clip(clip - np.convolve(clip, np.ones(200) / 200, "same"), -1, 1).astype(np.float32) for clip in clips]
    rows = []

    def add(split: str, name: str, samples: np.ndarray, **options: Any) -> None:
        (tmp_path / split).mkdir(exist_ok=True)
        soundfile.write(tmp_path / split / name, samples, 16_000, **options)
        rows.append((split, {"audio": name, "label": "ab"[len(rows) % 2]}))

    for number, clip in enumerate(clips):
        add("train", f"{number}.wav", clip, subtype="PCM_16")
    held = [soundfile.read(tmp_path / "train" / f"{number}.wav", dtype="int16")[0] for number in range(2)]
    add("test", "same.flac", held[0])
    add("test", "again.mp3", held[1][500:])
    add("test", "new.wav", np.roll(clips[2], 3)[::-1])
    for split in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for of, row in rows if of == split)
        (tmp_path / split / f"{split}.jsonl").write_text(text)
    splits = splits_of(tmp_path)
    [leak] = by_code(passport(splits))["near-leak"]
    assert [pair["kind"] for pair in leak["pairs"]] == ["sound", "samples"]
    assert [(pair["a_text"], pair["b_text"]) for pair in leak["pairs"]] == [
        ("again.mp3", "1.wav"),
        ("same.flac", "0.wav"),
    ]
    assert leak["pairs"][1]["a_seconds"] == leak["pairs"][1]["b_seconds"] == 1.0
    cleaned = clean(splits, CleanSettings(drop_near_leaks=True))
    assert cleaned.facts["clean"]["drop_near_leaks"]["train"]["dropped"] == 2


def test_both_pictures_of_a_pair_are_shown(pictures: Path, tmp_path: Path) -> None:
    outcome = inspect(str(pictures), out=str(tmp_path / "passport"))
    lines = outcome.text.splitlines()
    at = next(place for place, line in enumerate(lines) if "nearly stands in train" in line)
    assert "the same picture at another size" in lines[at + 1]
    assert lines[at + 2].split() == ["test/a/near.jpg", "[a]"]
    assert lines[at + 3].split() == ["train/a/4.png", "[a]"]
    page = (tmp_path / "passport" / "passport.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "train/a/4.png" in page
    told = json.loads((tmp_path / "passport" / "data.json").read_text())
    [pair] = next(one["pairs"] for one in told["findings"] if one["code"] == "near-leak")
    assert (pair["a_split"], pair["b_split"], pair["b_id"]) == ("test", "train", "train/a/4.png")


def test_pairs_of_many_pictures_are_kept(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = splits_of(pictures)
    monkeypatch.setattr(check_near, "_KEPT_FROM", 1)
    first = passport(splits)
    monkeypatch.setattr(check_near.pictures, "find_near_pictures", lambda *_: pytest.fail("they were kept"))
    again = passport(splits)
    assert again["findings"] == first["findings"]
    with pytest.raises(pytest.fail.Exception):
        passport(Splits({"train": splits["train"]}))


def test_a_passport_of_photos_speaks_of_pictures(pictures: Path) -> None:
    from pretune.report.passport.page import write_passport_page

    found = passport(load_splits(DataSettings(data=str(pictures))))
    page = write_passport_page(found, pictures.parent / "passport.html", "photos").read_text(encoding="utf-8")
    assert "Examples of pictures with different labels" in page
    assert "The same picture with different labels" in page
    assert not re.search(r"[Tt]exts?\b", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.S))
