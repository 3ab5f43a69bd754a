"""Reading pictures: the same rows from folders, archives, manifests and tables; every mode becomes upright RGB."""

from __future__ import annotations

import io
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pretune.config import DataSettings
from pretune.data.load import modality_of
from pretune.data.media import rows as media_rows
from pretune.data.media.image import decode_image
from pretune.data.read import read
from pretune.data.split import complete_splits, content_keys
from pretune.data.splits import COLUMNS, Splits
from pretune.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def picture(seed: int, size: tuple[int, int] = (20, 12)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def save(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **options)
    return path


def encoded(seed: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, form)
    return buffer.getvalue()


def class_folders(root: Path, splits: tuple[str, ...] = ("train", "val"), suffix: str = ".png") -> Path:
    seed = 0
    for split in splits:
        for name in ("ant", "bee"):
            for number in range(3):
                save(root / split / name / f"{number}{suffix}", seed)
                seed += 1
    return root


def labels(splits: Splits, name: str = "train") -> list[str]:
    return splits[name][:]["label"]


def test_class_folders_give_splits_labels_and_facts_of_each_picture(tmp_path: Path) -> None:
    splits = get(class_folders(tmp_path / "set"))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 6, "validation": 6}
    assert labels(splits) == ["ant"] * 3 + ["bee"] * 3
    assert modality_of(splits) == "image"
    row = splits["train"][0]
    assert list(row) == [name for name in COLUMNS if name in row], "columns stand in the agreed order"
    assert row["id"] == "train/ant/0.png"
    assert row["image"] == {"bytes": None, "path": str(tmp_path / "set" / "train" / "ant" / "0.png")}
    assert (row["width"], row["height"]) == (20, 12)
    assert "text" not in row
    media = splits.facts["read"]["media"]
    assert media["formats"] == {"PNG": 12}
    assert media["left_out"] == {}


@pytest.mark.parametrize("word", ["val", "valid", "dev", "validation"])
def test_any_word_for_validation_is_known(tmp_path: Path, word: str) -> None:
    assert set(get(class_folders(tmp_path / "set", ("train", word)))) == {"train", "validation"}


def test_class_folders_without_splits_and_below_a_common_folder(tmp_path: Path) -> None:
    for name in ("ant", "bee", "test"):  # a class may be called as a split is, where all others are classes
        save(tmp_path / "set" / "pictures" / name / "1.png", len(name))
    with pytest.raises(DataError, match="named after splits"):
        get(tmp_path / "set")
    (tmp_path / "set" / "pictures" / "test").rename(tmp_path / "set" / "pictures" / "toad")
    splits = get(tmp_path / "set")
    assert sorted(labels(splits)) == ["ant", "bee", "toad"]


def test_a_class_called_train_inside_a_split_and_deeper_folders(tmp_path: Path) -> None:
    save(tmp_path / "set" / "train" / "train" / "1.png", 1)
    save(tmp_path / "set" / "train" / "bus" / "red" / "1.png", 2)
    splits = get(tmp_path / "set")
    assert sorted(labels(splits)) == ["bus", "train"]


def test_classes_above_the_splits(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        for split in ("train", "test"):
            save(tmp_path / "set" / name / split / "1.png", hash((name, split)) % 1000)
    splits = get(tmp_path / "set")
    assert {name: sorted(labels(splits, name)) for name in splits} == {"train": ["ant", "bee"], "test": ["ant", "bee"]}


def test_a_flat_folder_is_unlabelled_and_no_label_can_be_asked_for(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "flat" / f"test_{number}.png", number)
    assert list(get(tmp_path / "flat")) == ["unlabelled"]
    assert "label" not in get(tmp_path / "flat")["unlabelled"].column_names
    assert list(get(class_folders(tmp_path / "set"), column=("label=",))) == ["unlabelled"]


def test_a_zip_gives_the_same_pictures_with_their_bytes(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/train/._0.png", b"junk")
    ours, theirs = get(packed), get(folder)
    for name in theirs:
        assert ours[name][:]["id"] == theirs[name][:]["id"]
        assert (content_keys(ours[name]) == content_keys(theirs[name])).all()
    first = ours["train"][0]["image"]
    assert first["bytes"] == (folder / "train" / "ant" / "0.png").read_bytes()
    assert np.array_equal(decode_image(first), decode_image(theirs["train"][0]["image"]))


def test_several_zips_in_a_folder_say_their_split_by_folder_or_by_name(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "README.md").write_text("about")
    seed = 0
    for packed, inner in (("train_2000_per_class.zip", ""), ("test.zip", "test/")):
        with zipfile.ZipFile(tmp_path / "set" / packed, "w") as archive:
            for name in ("ant", "bee"):
                seed += 1
                archive.writestr(f"{inner}{name}/1.png", encoded(seed))
    splits = get(tmp_path / "set")
    assert {name: sorted(labels(splits, name)) for name in splits} == {"train": ["ant", "bee"], "test": ["ant", "bee"]}
    assert splits["test"][0]["id"] == "test.zip/test/ant/1.png"


def manifest_rows(tmp_path: Path) -> list[tuple[str, str]]:
    return [
        (save(tmp_path / "set" / "pics" / f"{i}.png", i).relative_to(tmp_path / "set").as_posix(), "ab"[i % 2])
        for i in range(4)
    ]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "parquet", "headless"])
def test_manifests_name_pictures_relative_to_themselves(tmp_path: Path, form: str) -> None:
    rows = manifest_rows(tmp_path)
    path = tmp_path / "set" / f"list.{form}"
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"image_path": [p for p, _ in rows], "label": [c for _, c in rows]}), path)
    elif form in ("jsonl", "json"):
        found = [{"image": p, "label": c} for p, c in rows]
        path.write_text("\n".join(map(json.dumps, found)) if form == "jsonl" else json.dumps(found))
    elif form == "headless":
        path = path.with_suffix(".csv")
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    else:
        mark = "," if form == "csv" else "\t"
        path.write_text("\n".join(mark.join(row) for row in [("file_name", "label"), *rows]) + "\n")
    for place in (path, tmp_path / "set"):
        splits = get(place)
        assert labels(splits) == ["a", "b", "a", "b"]
        assert [Path(cell["path"]).name for cell in splits["train"][:]["image"]] == ["0.png", "1.png", "2.png", "3.png"]
        first = {"csv": ":2", "tsv": ":2", "jsonl": ":1", "headless": ":1"}.get(form, " row 1")
        assert splits["train"][0]["id"] == path.name + first


def test_a_column_can_be_named_and_may_leave_the_suffix_out(tmp_path: Path) -> None:
    rows = [(Path(name).stem, label) for name, label in manifest_rows(tmp_path)]
    (tmp_path / "set" / "pics").rename(tmp_path / "set" / "images")
    path = tmp_path / "set" / "breeds.csv"
    path.write_text("key,breed\n" + "\n".join(",".join(row) for row in rows) + "\n")
    splits = get(path, column=("image=key", "label=breed"), header="yes")
    assert [cell["path"][-5:] for cell in splits["train"][:]["image"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert labels(splits) == ["a", "b", "a", "b"]
    text = get(path, column=("image=", "text=key", "label=breed"), header="yes")
    assert modality_of(text) == "text", "an empty name means that the table is read alone"


def test_metadata_files_beside_pictures_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = class_folders(tmp_path / "set", (split,)) / split
        lines = ["file_name,label,note", "ant/0.png,six,x", "bee/1.png,four,y"]
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    splits = get(tmp_path / "set")
    assert {name: labels(splits, name) for name in splits} == {"train": ["six", "four"], "test": ["six", "four"]}


def test_a_table_beside_pictures_that_names_none_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "set")
    (tmp_path / "set" / "notes.csv").write_text("text,label\nhello there my friend,a\nand so on it goes,b\n")
    with pytest.raises(DataError, match=r"lies beside .* pictures or clips, but none of its columns names them"):
        get(tmp_path / "set")
    assert modality_of(get(tmp_path / "set", column=("image=",))) == "text"


def test_a_zip_holds_a_manifest_and_its_pictures(tmp_path: Path) -> None:
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("set/train.csv", "file,label\npics/0.png,a\npics/1.png,b\n../../etc/passwd.png,b\n")
        for number in range(2):
            archive.writestr(f"set/pics/{number}.png", encoded(number))
    splits = get(packed)
    assert labels(splits) == ["a", "b"]
    assert splits["train"][1]["image"]["bytes"] == encoded(1)
    assert splits.facts["read"]["media"]["left_out"]["outside"]["count"] == 1


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_tables_with_an_image_feature(tmp_path: Path, form: str) -> None:
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    cells = [{"bytes": encoded(seed), "path": f"{seed}.png"} for seed in range(4)]
    dataset = datasets.Dataset.from_dict({"img": cells, "label": [0, 1, 0, 1]}, features=features)
    place = tmp_path / ("set.parquet" if form == "parquet" else "set")
    dataset.to_parquet(str(place)) if form == "parquet" else dataset.save_to_disk(str(place))
    splits = get(place)
    assert labels(splits) == ["ant", "bee", "ant", "bee"]
    assert splits["train"][2]["image"] == cells[2]


def test_lists_of_labels_and_words_cut_into_labels(tmp_path: Path) -> None:
    rows = manifest_rows(tmp_path)
    many = [["x", "y"], ["y"], [], None]
    path = tmp_path / "set" / "many.jsonl"
    path.write_text(
        "\n".join(json.dumps({"image": p, "labels": m}) for (p, _), m in zip(rows, many, strict=True)) + "\n"
    )
    splits = get(path)
    assert splits["train"][:]["labels"] == [["x", "y"], ["y"], []]
    assert len(splits["unlabelled"]) == 1, (
        "a row without the list has no labels, a row with an empty one has none of them"
    )
    assert splits.facts["read"]["labels"] == {"y": 2, "x": 1}
    path.with_suffix(".csv").write_text(
        "image,tags\n" + "\n".join(f"{p},{t}" for (p, _), t in zip(rows, ("x;y", "y", "z|x", "x"), strict=True)) + "\n"
    )
    cut = get(path.with_suffix(".csv"), column=("labels=tags",))
    assert cut["train"][:]["labels"] == [["x", "y"], ["y"], ["z", "x"], ["x"]]


def test_splits_are_made_by_content_and_keep_classes(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        for number in range(20):
            save(tmp_path / "set" / name / f"{number}.png", number + 100 * (name == "ant"))
    for name in ("ant", "bee"):
        save(tmp_path / "set" / name / "copy.png", 5 + 100 * (name == "ant"))
    settings = DataSettings(data=str(tmp_path / "set"))
    splits = complete_splits(read(settings), settings)
    assert set(splits) == {"train", "validation", "test"}
    keys = {name: set(content_keys(rows).tolist()) for name, rows in splits.items()}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    assert all(set(rows[:]["label"]) == {"ant", "bee"} for rows in splits.values())


def test_splits_of_several_labels_keep_the_rarest_in_train(tmp_path: Path) -> None:
    rows = []
    for number in range(40):
        save(tmp_path / "set" / f"{number}.png", number)
        rows.append({"image": f"{number}.png", "labels": ["common"] + (["rare"] if number % 10 == 0 else [])})
    (tmp_path / "set" / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    settings = DataSettings(data=str(tmp_path / "set"))
    splits = complete_splits(read(settings), settings)
    assert all(
        any("rare" in labels for labels in splits[name][:]["labels"]) for name in ("train", "validation", "test")
    )


def test_a_changed_picture_is_read_again(tmp_path: Path) -> None:
    manifest_rows(tmp_path)
    path = tmp_path / "set" / "list.csv"
    path.write_text("file,label\npics/0.png,a\npics/1.png,b\n")
    before = content_keys(get(path)["train"])
    changed = save(tmp_path / "set" / "pics" / "1.png", 77)
    os.utime(changed, ns=(1, 1))
    after = content_keys(get(path)["train"])
    assert before[0] == after[0]
    assert before[1] != after[1]


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def test_modes_become_upright_rgb_and_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "modes"
    folder.mkdir()
    base = picture(3)
    base.convert("P").save(folder / "palette.png")
    base.convert("L").save(folder / "grey.png")
    base.convert("CMYK").save(folder / "cmyk.jpg")
    clear = base.convert("RGBA")
    clear.putalpha(Image.new("L", base.size, 0))
    clear.save(folder / "alpha.png")
    sixteen = np.linspace(0, 65_535, 240).reshape(12, 20).astype(np.uint16)
    Image.fromarray(sixteen).save(folder / "sixteen.png")
    base.save(folder / "turned.jpg", exif=exif(6))
    base.save(folder / "frames.gif", save_all=True, append_images=[picture(4)])
    base.save(folder / "really_png.jpg", "PNG")
    Image.fromarray(np.linspace(0, 1, 240, dtype=np.float32).reshape(12, 20)).save(folder / "float.tif")
    splits = get(folder)
    assert splits.facts["read"]["media"]["changes"] == {
        "palette": 2,
        "grey": 1,
        "cmyk": 1,
        "alpha_on_white": 1,
        "16_bit": 1,
        "turned_upright": 1,
        "first_frame_of_several": 1,
        "wrong_extension": 1,
        "float": 1,
    }
    rows = {row["id"]: row for row in splits["unlabelled"]}
    decoded = {name: decode_image(row["image"]) for name, row in rows.items()}
    assert {image.mode for image in decoded.values()} == {"RGB"}
    assert (rows["turned.jpg"]["width"], rows["turned.jpg"]["height"]) == (12, 20)
    assert decoded["turned.jpg"].size == (12, 20)
    assert np.asarray(decoded["alpha.png"]).min() == 255
    grey = np.asarray(decoded["sixteen.png"])[..., 0]
    assert np.array_equal(grey, np.round(sixteen / 257).astype(np.uint8))
    assert (np.asarray(decoded["float.tif"]).min(), np.asarray(decoded["float.tif"]).max()) == (0, 255)
    assert np.array_equal(np.asarray(decoded["really_png.jpg"]), np.asarray(base))
    assert any("1 picture is turned upright" in note for note in splits.facts["read"]["notes"])


def test_looks_of_copies_are_near_and_of_others_far(tmp_path: Path) -> None:
    folder = tmp_path / "looks"
    big = picture(8, (160, 120))
    folder.mkdir()
    big.save(folder / "a.png")
    big.save(folder / "b.jpg", quality=60)
    big.resize((80, 60)).save(folder / "c.png")
    picture(9, (160, 120)).save(folder / "d.png")
    looks = get(folder)["unlabelled"][:]["look"]
    distance = [(looks[0] ^ other).bit_count() for other in looks]
    assert distance[0] == 0
    assert max(distance[1], distance[2]) <= 3
    assert distance[3] > 15


def test_a_single_picture_is_one_row(tmp_path: Path) -> None:
    path = save(tmp_path / "Photo.JPG", 1)
    splits = get(path)
    assert splits["unlabelled"][:]["id"] == ["Photo.JPG"]


def test_two_kinds_of_media_and_two_columns_of_pictures(tmp_path: Path) -> None:
    rows = manifest_rows(tmp_path)
    path = tmp_path / "set" / "two.csv"
    path.write_text("left,right\n" + "\n".join(f"{name},{name}" for name, _ in rows) + "\n")
    with pytest.raises(DataError, match="several columns of pictures"):
        get(path)
    assert len(get(path, column=("image=right",))["unlabelled"]) == 4
    with pytest.raises(UsageError, match="no role"):
        get(path, column=("picture=right",))


def test_real_pictures_in_class_folders(shared_data: Path) -> None:
    splits = get(shared_data / "vision" / "hymenoptera")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 244, "validation": 153}
    assert splits.facts["read"]["labels"] == {"bees": 204, "ants": 193}
    assert decode_image(splits["train"][0]["image"]).size == (splits["train"][0]["width"], splits["train"][0]["height"])


@pytest.mark.slow
def test_real_zips_of_small_pictures(shared_data: Path, tmp_path: Path) -> None:
    """The test pictures as they came, of the others each twentieth."""
    source, folder = shared_data / "vision" / "cifar10_jpeg", tmp_path / "cifar"
    folder.mkdir()
    shutil.copyfile(source / "test.zip", folder / "test.zip")
    name = "train_2000_per_class.zip"
    with zipfile.ZipFile(source / name) as whole, zipfile.ZipFile(folder / name, "w") as some:
        for entry in whole.infolist()[::20]:
            some.writestr(entry, whole.read(entry))
    splits = get(folder)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1000, "test": 10_000}
    assert len(splits.facts["read"]["labels"]) == 10


def test_links_to_folders_and_empty_folders_are_told(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    (folder / "train" / "more").symlink_to(tmp_path / "elsewhere")
    class_folders(tmp_path / "elsewhere", ("cat",))
    (folder / "train" / "wasp").mkdir()
    notes = get(folder).facts["read"]["notes"]
    assert "Left out: train/more (links to folders, which are not followed)." in notes
    assert "Left out: train/wasp (folders without files)." in notes


def test_a_named_text_column_beside_pictures_is_text(tmp_path: Path) -> None:
    rows = manifest_rows(tmp_path)
    path = tmp_path / "set" / "captions.csv"
    lines = [f"{name},a caption of some words {number},ab" for number, (name, _) in enumerate(rows)]
    path.write_text("image,caption,label\n" + "\n".join(lines) + "\n")
    assert modality_of(get(path)) == "image"
    assert modality_of(get(path, column=("text=caption",))) == "text"
    both = get(path, column=("text=caption", "image=image"))["train"]
    assert both[0]["text"] == "a caption of some words 0"
    assert Path(both[0]["image"]["path"]).name == "0.png"


def test_reading_an_archive_holds_few_pictures_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_rows, "_CHUNK_BYTES", 2**21)
    data = np.random.default_rng(0).bytes(300_000)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(120):  # what follows a picture's end is kept and ignored
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", encoded(number % 7) + data)
    get(class_folders(tmp_path / "warm"))  # what libraries set up once is not counted
    tracemalloc.start()
    try:
        splits = get(tmp_path / "set.zip")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(splits["train"]) == 120
    assert peak_bytes < 12_000_000, "36 MB of pictures pass through in lots of 2 MB"


def test_texts_that_mention_pictures_stay_text(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    (tmp_path / "reviews.csv").write_text("text,label\nsee photo.jpg | it is fine,a\nplain words | more.png,b\n")
    assert modality_of(get(tmp_path / "reviews.csv")) == "text"
