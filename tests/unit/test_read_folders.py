"""What the names of folders say: splits, classes, sites; and what is told of files that give no rows."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from media_files import numbered, picture, put
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.places.place import split_of_word
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def counts(splits: Splits) -> dict[str, dict[str, int]]:
    """Split to label to rows; unlabelled rows have no label."""
    found: dict[str, dict[str, int]] = {}
    for name, rows in splits.items():
        labels = rows["label"] if "label" in rows.column_names else [""] * len(rows)
        found[name] = {label: list(labels).count(label) for label in sorted(set(labels))}
    return found


def warnings_of(place: Path, **flags: Any) -> dict[str, dict[str, Any]]:
    found = passport(load_splits(DataSettings(data=str(place), **flags)))["findings"]
    return {one["code"]: one for one in found if one["severity"] == "warning"}


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("training_set", "test_set", "test"),
        ("train_set", "val_set", "validation"),
        ("trainset", "testset", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("train_images", "val_images", "validation"),
        ("Train Data", "Test Data", "test"),
        ("train2017", "val2017", "validation"),
        ("TrainingImages", "TestingImages", "test"),
        ("flowers-train-v2", "flowers-test-v2", "test"),
        ("训练集", "测试集", "test"),
        ("archive/dataset/train", "archive/dataset/test1", "test"),
    ],
)
def test_folders_of_splits_as_people_call_them(train: str, other: str, split: str, tmp_path: Path) -> None:
    put(tmp_path / "set", numbered(*(f"{top}/{label}" for top in (train, other) for label in ("cat", "dog"))))
    assert counts(get(tmp_path / "set")) == {"train": {"cat": 4, "dog": 4}, split: {"cat": 4, "dog": 4}}


@pytest.mark.parametrize("word", ["station", "trainer", "test_drive", "images", "data", "seg", "evaluated", "trains"])
def test_words_that_name_no_split(word: str) -> None:
    assert split_of_word(word) is None


def test_a_folder_of_pictures_to_predict_beside_the_splits_is_told(tmp_path: Path) -> None:
    names = numbered("seg_train/seg_train/sea", "seg_train/seg_train/ice", "seg_pred/seg_pred")
    put(tmp_path / "set", names)
    assert counts(get(tmp_path / "set")) == {"train": {"ice": 4, "sea": 4}}
    told = warnings_of(tmp_path / "set")["no-split"]
    assert told["count"] == 4
    assert "seg_pred/seg_pred/0.png" in told["rows"]
    assert "--splits none" in told["fix"]


def test_unlabelled_pictures_inside_a_split(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("train/a", "train/b", "train/unlabeled", "test/a", "test/b"))
    assert counts(get(tmp_path / "set")) == {
        "train": {"a": 4, "b": 4},
        "test": {"a": 4, "b": 4},
        "unlabelled": {"": 4},
    }


@pytest.mark.parametrize(
    "tops",
    [("siteA", "siteB"), ("2019", "2020"), ("part one", "part two"), ("train/siteA", "train/siteB")],
)
def test_folders_that_repeat_are_asked_about(tops: tuple[str, str], tmp_path: Path) -> None:
    put(tmp_path / "set", numbered(*(f"{top}/{label}" for top in tops for label in ("deer", "fox"))))
    depth = tops[0].count("/") + 1
    with pytest.raises(DataError, match="which of the two are the labels") as caught:
        get(tmp_path / "set")
    assert f"--column label=folder:{depth + 1} takes deer, fox" in caught.value.fix
    assert f"--group folder:{depth}" in caught.value.fix
    inner = get(tmp_path / "set", column=(f"label=folder:{depth + 1}",), group=f"folder:{depth}")
    assert counts(inner) == {"train": {"deer": 8, "fox": 8}}
    assert set(inner["train"]["group"]) == {top.split("/")[-1] for top in tops}
    outer = get(tmp_path / "set", column=(f"label=folder:{depth}",))
    assert set(counts(outer)["train"]) == {top.split("/")[-1] for top in tops}


def test_a_site_without_one_of_the_species_is_asked_about_too(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("camA/fox", "camA/deer", "camB/fox"))
    with pytest.raises(DataError, match="several of the folders camA, camB"):
        get(tmp_path / "set")
    assert counts(get(tmp_path / "set", column=("label=folder:-1",))) == {"train": {"deer": 4, "fox": 8}}


def test_folders_that_say_nothing_are_not_asked_about(tmp_path: Path) -> None:
    put(tmp_path / "one", numbered("n01/images", "n02/images"))
    assert counts(get(tmp_path / "one")) == {"train": {"n01": 4, "n02": 4}}
    put(tmp_path / "own", numbered("cat/tabby", "cat/black", "dog/poodle", "dog/collie"))
    assert counts(get(tmp_path / "own")) == {"train": {"cat": 8, "dog": 8}}
    assert list(get(tmp_path / "own", column=("label=",))) == ["unlabelled"]


def test_splits_by_place_keep_each_place_on_one_side(tmp_path: Path) -> None:
    tops = [f"camera-{number}" for number in range(12)]
    put(tmp_path / "set", numbered(*(f"{top}/{label}" for top in tops for label in ("deer", "fox")), count=2))
    settings = DataSettings(data=str(tmp_path / "set"), column=("label=folder:2",), group="folder:1", test_fraction=0.3)
    splits = load_splits(settings)
    groups = {name: set(rows["group"]) for name, rows in splits.items()}
    assert set(groups) == {"train", "validation", "test"}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]


def test_a_folder_of_files_has_no_columns_by_position(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    for word in ("label=0", "label=folder", "label=breed", "group=file"):
        with pytest.raises(DataError, match="files in folders") as caught:
            get(tmp_path / "set", column=(word,)) if word != "label=folder" else get(
                tmp_path / "set", column=("label=folder:0",)
            )
        assert "folder:1" in caught.value.fix
    (tmp_path / "list.csv").write_text("text,label\none text,a\nother text,b\n")
    with pytest.raises(DataError, match="are not files in folders"):
        get(tmp_path / "list.csv", column=("label=folder:1",))


def test_a_folder_that_is_not_there_in_some_paths_gives_no_label(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("a/x", "b/y"), "a/loose.png"])
    assert counts(get(tmp_path / "set", column=("label=folder:2",))) == {
        "train": {"x": 4, "y": 4},
        "unlabelled": {"": 1},
    }
    with pytest.raises(DataError, match=r"every label in .* is missing"):
        get(tmp_path / "set", column=("label=folder:7",))


@pytest.mark.parametrize("classes", [("train", "bus"), ("train", "bus", "tram"), ("test", "train", "bus")])
def test_classes_called_as_splits_are(classes: tuple[str, ...], tmp_path: Path) -> None:
    put(tmp_path / "set", numbered(*classes))
    with pytest.raises(DataError, match="named after splits") as caught:
        get(tmp_path / "set")
    assert "--splits none" in caught.value.fix
    assert counts(get(tmp_path / "set", splits="none")) == {"train": dict.fromkeys(sorted(classes), 4)}


def test_splits_none_reads_texts_and_tables_as_one(tmp_path: Path) -> None:
    for label in ("train", "bus"):
        (tmp_path / "docs" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "docs" / label / f"{number}.txt").write_text(f"a report on the {label} number {number}")
    assert counts(get(tmp_path / "docs", splits="none")) == {"train": {"bus": 3, "train": 3}}
    (tmp_path / "tables").mkdir()
    for name in ("train", "test"):
        (tmp_path / "tables" / f"{name}.csv").write_text(f"text,label\none {name} text,a\nother {name} text,b\n")
    assert set(get(tmp_path / "tables")) == {"train", "test"}
    assert counts(get(tmp_path / "tables", splits="none")) == {"train": {"a": 2, "b": 2}}


def test_documents_have_folders_too(tmp_path: Path) -> None:
    for place in ("siteA", "siteB"):
        for label in ("neg", "pos"):
            (tmp_path / "docs" / place / label).mkdir(parents=True)
            for number in range(2):
                (tmp_path / "docs" / place / label / f"{number}.txt").write_text(f"{place} {label} {number} words")
    assert counts(get(tmp_path / "docs")) == {"train": {"neg": 4, "pos": 4}}
    splits = get(tmp_path / "docs", column=("label=folder:1",), group="folder:2")
    assert counts(splits) == {"train": {"siteA": 4, "siteB": 4}}
    assert set(splits["train"]["group"]) == {"neg", "pos"}


def test_documents_in_folders_of_splits(tmp_path: Path) -> None:
    for split in ("news-bydate-train", "news-bydate-test"):
        for label in ("alt.atheism", "sci.space"):
            (tmp_path / "docs" / split / label).mkdir(parents=True)
            for number in range(3):
                (tmp_path / "docs" / split / label / f"{number}.txt").write_text(f"{split} {label} {number} words")
    assert counts(get(tmp_path / "docs")) == {name: {"alt.atheism": 3, "sci.space": 3} for name in ("train", "test")}


def test_names_with_an_underscore_in_front_are_names(tmp_path: Path) -> None:
    names = [*numbered("cat", name="_MG_{}.JPG"), *numbered("dog", name="_DSC{}.JPG"), *numbered("_other_")]
    put(tmp_path / "set", names)
    assert counts(get(tmp_path / "set")) == {"train": {"_other_": 4, "cat": 4, "dog": 4}}


def test_files_of_systems_and_hidden_ones_are_no_rows(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("a", "b"), "a/._0.png", "__MACOSX/a/1.png", "@eaDir/a/2.png", ".git/3.png"])
    (tmp_path / "set" / "a" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "set" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    splits = get(tmp_path / "set")
    assert counts(splits) == {"train": {"a": 4, "b": 4}}
    assert not splits.facts["read"]["left_out"]


@pytest.mark.parametrize("form", ["NFD", "NFKD"])
def test_folders_equal_to_the_eye_are_one_class(form: Any, tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("train/café", "train/tea"))
    put(tmp_path / "set", numbered(f"test/{unicodedata.normalize(form, 'café')}", "test/tea"), first_seed=50)
    splits = get(tmp_path / "set")
    assert counts(splits) == {name: {"café": 4, "tea": 4} for name in ("train", "test")}
    assert any("Unicode form" in note and "café" in note for note in splits.facts["read"]["notes"])


def test_other_files_are_told_by_what_they_are(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("a", "b", count=10), "a/note.wav"])
    for number in range(3):
        (tmp_path / "set" / "a" / f"{number}.docx").write_bytes(b"PK\3\4word")
    (tmp_path / "set" / "README.md").write_text("about")
    (tmp_path / "set" / "a" / "list.txt").write_text("one line")
    notes = get(tmp_path / "set").facts["read"]["notes"]
    assert "Left out: README.md (about the data)." in notes
    assert "Left out: a/note.wav (clips, where rows are made of pictures)." in notes
    assert any(".docx (3)" in note and "of kinds that are not read" in note for note in notes)
    assert "Left out: a/list.txt (tables and texts beside files that are rows themselves)." in notes
    assert not any("hold no rows" in note for note in notes)
    told = warnings_of(tmp_path / "set")["left-out-files"]
    assert told["count"] == 3, "three of 21 files are worth a warning"


def test_every_file_left_out_is_told_once(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("train/a", "train/b", count=20), *numbered("extra", count=9)])
    left_out = get(tmp_path / "set").facts["read"]["left_out"]
    assert [one["count"] for one in left_out] == [9]


def test_files_that_lie_too_deep_are_told(tmp_path: Path) -> None:
    deep = tmp_path / "set" / "a" / "b" / "c" / "d" / "e" / "f"
    deep.mkdir(parents=True)
    (deep / "more.csv").write_text("text,label\none,a\n")
    (tmp_path / "set" / "list.csv").write_text("text,label\none text,a\nother text,b\n")
    told = warnings_of(tmp_path / "set")["deep-files"]
    assert told["rows"] == ["a/b/c/d/e/f/more.csv"]


def test_links_out_of_a_folder_of_texts_are_refused_as_for_pictures(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("root:x:0:0")
    for label in ("neg", "pos"):
        (tmp_path / "docs" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "docs" / label / f"{number}.txt").write_text(f"a {label} text of number {number}")
        (tmp_path / "docs" / label / "link.txt").symlink_to(tmp_path / "secret.txt")
        (tmp_path / "docs" / label / "inner.txt").symlink_to(tmp_path / "docs" / label / "0.txt")
    splits = get(tmp_path / "docs")
    assert len(splits["train"]) == 8, "a link inside the folder is a file like others"
    assert not any("root" in text for text in splits["train"]["text"])
    told = warnings_of(tmp_path / "docs")["links"]
    assert (told["count"], told["rows"]) == (2, ["neg/link.txt", "pos/link.txt"])
    trusted = get(tmp_path / "docs", trust_paths=True)
    assert sum("root" in text for text in trusted["train"]["text"]) == 2


def test_a_folder_of_links_out_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text("text,label\none text,a\nother text,b\n")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "list.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(DataError, match="lead out of the data folder") as caught:
        get(tmp_path / "set")
    assert "--trust-paths" in caught.value.fix
    assert len(get(tmp_path / "set", trust_paths=True)["train"]) == 2
    assert len(get(tmp_path / "set" / "list.csv")["train"]) == 2, "a link that a person names is theirs"


def test_trusted_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", numbered("cat"))
    put(tmp_path / "set", numbered("dog"))
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "set" / "dog" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "photo.png").symlink_to(tmp_path / "elsewhere" / "cat" / "0.png")
    plain = get(tmp_path / "set")
    assert plain.facts["read"]["media"]["left_out"]["outside"]["count"] == 1
    assert counts(get(tmp_path / "set", trust_paths=True)) == {"train": {"cat": 4, "dog": 5}}


def test_one_row_too_many_of_another_kind_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("a", count=8), *numbered("b", count=8, name="{}.wav")])
    with pytest.raises(DataError, match="8 pictures and 8 clips"):
        get(tmp_path / "set")


def test_a_broken_picture_in_any_layout_is_counted(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("training_set/a", "training_set/b", "test_set/a", "test_set/b"))
    (tmp_path / "set" / "training_set" / "a" / "0.png").write_bytes(picture(0)[:60])
    splits = get(tmp_path / "set")
    assert len(splits["train"]) == 7
    assert splits.facts["read"]["media"]["left_out"]["broken"]["files"] == ["training_set/a/0.png"]
