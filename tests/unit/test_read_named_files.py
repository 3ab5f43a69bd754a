"""Tables that name pictures and clips as people write them: bare names, names without a suffix, addresses, whole paths."""

from __future__ import annotations

import json
import shutil
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest

from media_files import numbered, put
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits, modality_of
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.data.stream import stream_rows
from pretune.errors import DataError, UsageError
from pretune.modalities import Modality


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def table(path: Path, head: str, rows: list[tuple[Any, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path


def files_of(splits: Splits, name: str = "train") -> list[str]:
    return [Path(cell["path"]).name for cell in splits[name]["image"]]


KEYS = [f"{number * 7919:032x}" for number in range(12)]


@pytest.fixture
def breeds(tmp_path: Path) -> Path:
    """As competitions give them: labels.csv (id, breed), train/<id>.jpg, test/<id>.jpg."""
    put(tmp_path / "set", [f"train/{key}.jpg" for key in KEYS])
    put(tmp_path / "set", [f"test/{number:032x}.jpg" for number in range(1, 5)], first_seed=100)
    table(tmp_path / "set" / "labels.csv", "id,breed", [(key, ("pug", "collie")[n % 2]) for n, key in enumerate(KEYS)])
    table(tmp_path / "set" / "sample_submission.csv", "id,pug,collie", [(f"{n:032x}", 0.5, 0.5) for n in range(1, 5)])
    return tmp_path / "set"


@pytest.mark.parametrize("place", ["labels.csv", "."])
@pytest.mark.parametrize("column", [(), ("image=id",), ("image=id", "label=breed")])
def test_ids_that_are_the_names_of_pictures(place: str, column: tuple[str, ...], breeds: Path) -> None:
    splits = get(breeds / place, column=column)
    assert files_of(splits) == [f"{key}.jpg" for key in KEYS]
    assert set(splits["train"]["label"]) == {"pug", "collie"}


def test_a_zip_of_a_competition(breeds: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "all"), "zip", breeds)
    assert len(get(tmp_path / "all.zip")["train"]) == 12


def test_a_changed_picture_below_the_table_is_seen(breeds: Path) -> None:
    before = list(get(breeds / "labels.csv")["train"]["content"])
    put(breeds, [f"train/{KEYS[0]}.jpg"], first_seed=900)
    after = list(get(breeds / "labels.csv")["train"]["content"])
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_numbers_that_are_names_and_numbers_that_are_labels(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("pics", count=10, name="{}.png"))
    path = table(tmp_path / "set" / "list.csv", "image_id,quality", [(n, n % 2) for n in range(10)])
    splits = get(path)
    assert files_of(splits) == [f"{n}.png" for n in range(10)]
    assert set(splits["train"]["label"]) == {"0", "1"}
    lines = "\n".join(json.dumps({"id": n, "label": "ab"[n % 2]}) for n in range(10))
    (tmp_path / "set" / "list.csv").unlink()
    (tmp_path / "set" / "list.jsonl").write_text(lines)
    assert files_of(get(tmp_path / "set")) == [f"{n}.png" for n in range(10)]


def test_one_name_for_several_files_is_no_guess(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("train", "test", count=10))
    path = table(tmp_path / "set" / "train.csv", "id,label", [(n, "ab"[n % 2]) for n in range(10)])
    with pytest.raises(DataError, match="10 are the names of several files") as caught:
        get(path)
    assert "--files FOLDER" in caught.value.fix
    splits = get(path, files=str(tmp_path / "set" / "train"))
    assert all("/train/" in cell["path"] for cell in splits["train"]["image"])


def test_bare_names_of_files_in_folders_below(tmp_path: Path) -> None:
    put(tmp_path / "set", [f"images/part{n % 3}/{n}.png" for n in range(9)])
    path = table(tmp_path / "set" / "list.csv", "file,label", [(f"{n}.png", "ab"[n % 2]) for n in range(9)])
    assert len(get(path)["train"]) == 9
    path = table(tmp_path / "set" / "ends.csv", "file,label", [(f"part{n % 3}/{n}.png", "ab"[n % 2]) for n in range(9)])
    assert len(get(path)["train"]) == 9, "the end of a path will do"
    path = table(tmp_path / "set" / "wrong.csv", "file,label", [(f"part9/{n}.png", "ab"[n % 2]) for n in range(9)])
    with pytest.raises(DataError, match="9 are not there"):
        get(path)


def test_files_elsewhere_by_a_folder_or_an_archive(tmp_path: Path) -> None:
    put(tmp_path / "audio", [f"fold{n % 3}/{n}.wav" for n in range(9)])
    path = table(tmp_path / "meta" / "list.csv", "filename,category", [(f"{n}.wav", "ab"[n % 2]) for n in range(9)])
    with pytest.raises(DataError, match="9 are not there") as caught:
        get(path)
    assert "--files FOLDER" in caught.value.fix
    assert len(get(path, files=str(tmp_path / "audio"))["train"]) == 9
    assert len(get(tmp_path / "meta", files=str(tmp_path / "audio"))["train"]) == 9
    with zipfile.ZipFile(tmp_path / "audio.zip", "w") as archive:
        for file in sorted((tmp_path / "audio").rglob("*.wav")):
            archive.write(file, file.relative_to(tmp_path).as_posix())
    assert len(get(path, files=str(tmp_path / "audio.zip"))["train"]) == 9
    put(tmp_path / "audio", ["fold0/0.wav"], first_seed=70)
    changed = get(path, files=str(tmp_path / "audio"))
    assert changed["train"][0]["content"] != get(path, files=str(tmp_path / "audio.zip"))["train"][0]["content"]


def test_files_that_are_no_folder_or_of_no_use(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    with pytest.raises(UsageError, match="holds no table"):
        get(tmp_path / "set", files=str(tmp_path / "set"))
    path = table(tmp_path / "list.csv", "file,label", [("0.png", "a"), ("1.png", "b")])
    with pytest.raises(UsageError, match="no folder and no archive"):
        get(path, files=str(tmp_path / "nowhere"))


def test_a_folder_whose_table_lies_beside_the_folder_of_clips(tmp_path: Path) -> None:
    put(tmp_path / "set", [f"audio/{n}.wav" for n in range(9)])
    table(tmp_path / "set" / "meta" / "list.csv", "filename,category", [(f"{n}.wav", "ab"[n % 2]) for n in range(9)])
    assert len(get(tmp_path / "set")["train"]) == 9


def test_whole_paths_and_links_are_opened_only_when_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "far", numbered("pics", count=6))
    whole = [(tmp_path / "far" / "pics" / f"{n}.png", "ab"[n % 2]) for n in range(6)]
    path = table(tmp_path / "near" / "list.csv", "image,label", whole)
    with pytest.raises(DataError, match="6 lead out of the data folder") as caught:
        get(path)
    assert "--trust-paths" in caught.value.fix
    assert len(get(path, trust_paths=True)["train"]) == 6
    up = table(tmp_path / "near" / "up.csv", "image,label", [(f"../far/pics/{n}.png", "ab"[n % 2]) for n in range(6)])
    with pytest.raises(DataError, match="6 lead out"):
        get(up)
    assert len(get(up, trust_paths=True)["train"]) == 6


def test_web_addresses_stop_the_reading_and_are_counted(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("img", count=30))
    rows = [(f"img/{n}.png", "ab"[n % 2]) for n in range(30)]
    rows += [(f"https://example.org/{n}.png", "ab"[n % 2]) for n in range(4)]
    path = table(tmp_path / "set" / "list.csv", "image,label", rows)
    with pytest.raises(DataError, match="4 of 34 pictures cannot be used: 4 are web addresses") as caught:
        get(path)
    assert "https://example.org/0.png" in caught.value.problem
    assert "download" in caught.value.fix
    few = table(tmp_path / "set" / "few.csv", "image,label", rows[:31])
    with pytest.raises(DataError, match="1 is a web address"):
        get(few)
    asked = []
    list(stream_rows(str(few), modality=Modality.IMAGE, on_left_out=lambda broken: asked.append(broken.reason)))
    assert asked == ["web"], "who predicts is told of the one, and answered for the others"


def test_a_column_that_mostly_names_pictures_is_asked_about(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("img", count=8))
    rows = [(f"img/{n}.png", "ab"[n % 2]) for n in range(8)] + [(f"missing entry {n}", "a") for n in range(4)]
    path = table(tmp_path / "set" / "list.csv", "image,label", rows)
    with pytest.raises(DataError, match=r"8 of 12 sampled cells of the column image name pictures, 4 do not") as caught:
        get(path)
    assert "--column image=image" in caught.value.fix
    splits = get(path, column=("image=image",))
    assert len(splits["train"]) == 8
    assert splits.facts["read"]["media"]["left_out"]["missing"]["count"] == 4
    assert modality_of(get(path, column=("text=image",))) == "text"


def test_ids_of_texts_that_are_names_of_pictures_too_are_asked_about(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("img", count=8))
    rows = [(n, f"a review of some words about thing {n}", "ab"[n % 2]) for n in range(8)]
    path = table(tmp_path / "set" / "list.csv", "id,text,label", rows)
    with pytest.raises(
        DataError, match="the column id holds names of pictures that are there, and text holds texts"
    ) as caught:
        get(path)
    assert "--column image=id for the pictures, --column image= for the texts" in caught.value.fix
    assert modality_of(get(path, column=("image=id",))) == "image"
    assert modality_of(get(path, column=("image=",))) == "text"


def test_a_folder_that_is_a_link_is_looked_into_where_links_are_trusted(tmp_path: Path) -> None:
    put(tmp_path / "far", [f"part{n % 2}/{n}.png" for n in range(8)])
    path = table(tmp_path / "near" / "list.csv", "image,label", [(f"{n}.png", "ab"[n % 2]) for n in range(8)])
    (tmp_path / "near" / "images").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "again").symlink_to(tmp_path / "near")
    with pytest.raises(DataError, match="8 are not there"):
        get(path)
    assert len(get(path, trust_paths=True)["train"]) == 8


def test_names_in_another_unicode_form_or_case(tmp_path: Path) -> None:
    put(tmp_path / "set", [f"img/{unicodedata.normalize('NFD', 'café')}_{n}.PNG" for n in range(6)])
    rows = [(f"img/café_{n}.png", "ab"[n % 2]) for n in range(6)]
    assert len(get(table(tmp_path / "set" / "list.csv", "image,label", rows))["train"]) == 6


def test_of_two_names_that_differ_in_case_the_written_one_is_meant(tmp_path: Path) -> None:
    put(tmp_path / "set", ["x/a/One.png", "x/b/one.png"])
    path = table(tmp_path / "set" / "list.csv", "image,label", [("One.png", "a"), ("one.png", "b")])
    assert files_of(get(path)) == ["One.png", "one.png"]
    path = table(tmp_path / "set" / "list.csv", "image,label", [("ONE.png", "a"), ("One.png", "b"), ("one.png", "b")])
    assert get(path).facts["read"]["media"]["left_out"]["ambiguous"]["files"] == ["ONE.png"]


def test_a_table_of_texts_beside_pictures_stays_one_of_texts(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("img", count=4, name="{}.png"))
    rows = [(f"review {n} of some words", n % 2, n % 5) for n in range(20)]
    path = table(tmp_path / "set" / "reviews.csv", "text,label,stars", rows)
    assert modality_of(get(path)) == "text"


def test_groups_from_names_in_a_table(tmp_path: Path) -> None:
    put(tmp_path / "set", [f"clips/rec{n // 3:03d}_{n % 3}.wav" for n in range(12)])
    rows = [(f"clips/rec{n // 3:03d}_{n % 3}.wav", "ab"[n // 6]) for n in range(12)]
    path = table(tmp_path / "set" / "list.csv", "audio,label", rows)
    splits = get(path, group_from=r"rec\d+")
    assert set(splits["train"]["group"]) == {f"rec{n:03d}" for n in range(4)}
    held = passport(load_splits(DataSettings(data=str(path), group_from=r"rec\d+")))
    assert held["siblings"] is None
    assert held["shared_groups"] == []
