"""The measurement of the checks for copies: copies are what they are called, and what is counted is what was found."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.planted import measure
from pretune.data.planted.clips import clip_ways
from pretune.data.planted.measure import measure_checks
from pretune.data.planted.pictures import picture_ways
from pretune.data.planted.texts import dense_ways, spaced_ways
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.verbs.inspect.story import inspect

WORDS = Random(1).sample(
    [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "or", "ei", "un") for c in "dlmnrstk"], 300
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(12, 18))) for _ in range(count)]


def read(place: Path) -> Splits:
    return load_splits(DataSettings(data=str(place)))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": text, "label": "ab"[number % 2]}) for number, text in enumerate(sentences(240))]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "texts.jsonl"


def test_texts_are_planted_found_and_counted(texts: Path) -> None:
    found = measure_checks(read(texts), 4)
    kinds = {one["kind"]: one for one in found["kinds"]}
    assert len(kinds) == 11
    assert {one["planted"] for one in kinds.values()} == {4}
    assert sum(one["found"] for one in kinds.values()) >= 41
    assert kinds["look-alike letters"]["found"] == kinds["cut to 80 %"]["found"] == 4
    low, high = kinds["look-alike letters"]["interval"]
    assert (round(low, 3), round(high, 3)) == (0.51, 1.0)  # Wilson's, of 4 in 4
    assert (found["flagged"]["found"], found["flagged"]["of"], found["flagged"]["pairs"]) == (0, 240, [])
    json.dumps(found, allow_nan=False)
    assert measure_checks(read(texts), 4) == found, "the same seed plants the same copies"


def test_what_is_not_found_is_not_counted(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = measure.read_contents

    def blind(splits: Any, keys: Any, *, near_duplicates: bool) -> Any:
        contents = real(splits, keys, near_duplicates=near_duplicates)
        none = {name: getattr(contents.near, name)[:0] for name in ("left_P", "right_P", "alike_P", "kind_P")}
        return measure.dataclasses.replace(contents, near=measure.dataclasses.replace(contents.near, **none))

    monkeypatch.setattr(measure, "read_contents", blind)
    found = {one["kind"]: one["found"] for one in measure_checks(read(texts), 4)["kinds"]}
    assert found.pop("case, punctuation and spaces") == 4, "the same content, which needs no comparison"
    assert set(found.values()) == {0}


def test_copies_that_stand_there_already_are_told_apart(texts: Path) -> None:
    row = json.loads(texts.read_text().splitlines()[7])
    with open(texts, "a") as file:
        file.write(json.dumps({**row, "text": row["text"].replace(" ", ", ") + "!"}) + "\n")
    flagged = measure_checks(read(texts), 1)["flagged"]
    assert (flagged["found"], flagged["of"]) == (1, 241)
    assert {flagged["pairs"][0]["a_id"], flagged["pairs"][0]["b_id"]} == {"texts.jsonl:8", "texts.jsonl:241"}


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one row alone\n")
    with pytest.raises(DataError, match="too few to measure"):
        measure_checks(read(tmp_path / "one.txt"), 5)


def test_pictures_and_clips_are_planted_and_found(tmp_path: Path) -> None:
    for number in range(30):
        rng = np.random.default_rng(number)
        small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
        (tmp_path / "pictures" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        small.resize((96, 80), Image.Resampling.BICUBIC).save(
            tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        )
    found = measure_checks(read(tmp_path / "pictures"), 2)
    assert len(found["kinds"]) == 14
    assert sum(one["found"] for one in found["kinds"]) >= 26
    for number in range(30):
        rng = np.random.default_rng(number)
        (tmp_path / "clips" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        time = np.arange(12_000) / 16_000
        tones = [rng.uniform(0.1, 1) * np.sin(2 * np.pi * rng.uniform(150, 3_000) * time) for _ in range(12)]
        wave = sum(tone * np.exp(-(((time - rng.uniform(0, 0.75)) / 0.08) ** 2)) for tone in tones)
        soundfile.write(tmp_path / "clips" / "ab"[number % 2] / f"{number}.wav", 0.2 * wave, 16_000)
    found = measure_checks(read(tmp_path / "clips"), 2)
    kinds = {one["kind"]: one["found"] for one in found["kinds"]}
    assert len(kinds) == 11
    assert kinds["the same samples, another container"] == kinds["the same samples, one header chunk more"] == 2
    assert sum(kinds.values()) >= 20


def test_copies_are_what_they_are_called() -> None:
    rows, rng = sentences(50), Random(0)
    ways = spaced_ways(rows, rng)
    text = rows[3]
    words = text.split()
    changed = ways["one word is another"](text).split()
    assert len(changed) == len(words)
    assert sum(a != b for a, b in zip(words, changed, strict=True)) <= 1
    assert sorted(ways["words shuffled"](text).split()) == sorted(words)
    assert ways["cut to half"](text) in text
    assert text in ways["quoted between parts of two others"](text)
    assert not ways["look-alike letters"]("peace").isascii()
    assert ways["cut to half"]("one") is None
    dense = dense_ways(["欧洲货运飞船与国际空间站成功对接", "中年妇女闹市区裸体逛街"], rng)
    title = "2012年12月"
    assert dense["one character is another"](title)[:4] == "2012"
    assert len(dense["one character left out"]("国际空间站")) == 4
    assert dense["cut to 80 %"]("国") is None
    picture = Image.new("RGB", (100, 60))
    kinds = picture_ways(rng)
    assert kinds["cropped by 10 % of each side"](picture).size == (80, 48)
    assert kinds["black border of 5 %"](picture).size == (106, 66)
    assert kinds["mirrored"](Image.new("RGB", (5, 5))) is None
    held = io.BytesIO()
    soundfile.write(held, np.linspace(-0.5, 0.5, 8_000), 8_000, format="WAV")
    for kind, way in clip_ways(rng).items():
        samples, rate = soundfile.read(io.BytesIO(way(held.getvalue())))
        assert (rate != 8_000) == (kind == "at another rate")
        assert (len(samples) < 7_950) == ("trimmed" in kind and "MP3" not in kind) or "MP3" in kind or rate != 8_000
        if "same samples" in kind:
            assert np.array_equal(samples, soundfile.read(io.BytesIO(held.getvalue()))[0])


def test_inspect_tells_what_the_checks_find(texts: Path, tmp_path: Path) -> None:
    outcome = inspect(str(texts), measure_leak_checks=2, out=str(tmp_path / "passport"))
    assert "what the checks find of copies planted among these rows" in outcome.text
    assert "look-alike letters" in outcome.text
    assert "2 of 2  100.0% [34.2%, 100.0%]" in outcome.text
    assert "with nothing planted 0 of 240 different rows" in outcome.text
    page = (tmp_path / "passport" / "passport.html").read_text()
    assert "Planted copies that were found" in page
    assert "With nothing planted, 0 rows of 240 different ones" in page
    assert "leak_checks" in json.loads((tmp_path / "passport" / "data.json").read_text())
    assert "leak_checks" not in inspect(str(texts)).facts
