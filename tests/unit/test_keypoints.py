"""Points of pictures: how they are written, read, named, mirrored, scored and answered."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pretune.answers import Keypoints
from pretune.answers.peaks import peaks_of
from pretune.answers.sides import bones_of, mirrored_places, side_of, torso_of
from pretune.backbones.places.augment_points import mirror, moved, vary_with_points
from pretune.config import DataSettings
from pretune.data.archives.streams import Entry, file_entry
from pretune.data.points.cut_out import cut_out, upright_from
from pretune.data.points.lsp import LSP_JOINTS
from pretune.data.read import read
from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.metrics.places.keypoints import KeypointMetric


@pytest.mark.parametrize(
    "cell",
    [[[1, 2], [3, 4]], [[1, 2, 1], [3, 4, 1]], "[[1, 2], [3, 4]]", [1, 2, 3, 4], [1, 2, 1, 3, 4, 1]],
)
def test_points_are_read_in_every_form(cell: Any) -> None:
    assert Keypoints.read(cell, "row 1") == Keypoints(((1.0, 2.0, 1.0), (3.0, 4.0, 1.0)))


@pytest.mark.parametrize("point", [None, [None, None], [math.nan, 2.0], [5, 6, 0], ["", ""]])
def test_a_point_that_is_not_known(point: Any) -> None:
    read_ = Keypoints.read([[1, 2], point], "row 1")
    assert read_ is not None
    assert read_.points[1] == (0.0, 0.0, 0.0)
    assert read_.known == 1


@pytest.mark.parametrize("cell", ["a b", 3, [[1, 2, 3, 4]], [1, 2, 3, 4, 5], [["a", "b"]]])
def test_what_is_no_points_is_refused_by_row(cell: Any) -> None:
    with pytest.raises(DataError, match=r"row 7 has .* where keypoints are needed"):
        Keypoints.read(cell, "row 7")


def test_names_tell_sides_torso_and_bones() -> None:
    assert [side_of(name) for name in ("left_hip", "RightKnee", "r.wrist", "hip_L", "nose", "lip")] == [
        "left", "right", "right", "left", "", "",
    ]  # fmt: skip
    partners = mirrored_places(LSP_JOINTS)
    assert partners == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
    assert mirrored_places(["left_eye", "nose"]) is None, "no partner"
    assert mirrored_places(["point 1", "point 2"]) is None, "no sides are named"
    assert torso_of(LSP_JOINTS) == [(9, 2), (8, 3)]
    assert (0, 1) in bones_of(LSP_JOINTS)
    assert (13, 12) in [(b, a) for a, b in bones_of(LSP_JOINTS)]


def _dot(place: tuple[float, float], size: tuple[int, int] = (64, 80)) -> np.ndarray:
    """A white bell on black, its middle at ``place`` (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    bell = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 2.0**2))
    return np.repeat((255 * bell).astype(np.uint8)[..., None], 3, axis=2)


def _middle(pixels: np.ndarray) -> tuple[float, float]:
    light = np.maximum(pixels.mean(axis=2) - 20, 0)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return float((x * light).sum() / light.sum()), float((y * light).sum() / light.sum())


def test_a_mirrored_dot_is_where_its_partner_says() -> None:
    points = np.array([[20.0, 30.0, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    pixels, turned = mirror(_dot((20.0, 30.0)), points, [1, 0])
    assert turned[0].tolist() == [0.0, 0.0, 0.0], "the left point is what the right one was"
    assert _middle(pixels) == pytest.approx(turned[1, :2].tolist(), abs=0.5)


@pytest.mark.parametrize("level", ["light", "strong"])
def test_a_varied_dot_is_where_its_point_says(level: str) -> None:
    kept = 0
    for seed in range(40):
        points = np.array([[44.0, 30.0, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
        pixels, varied = vary_with_points(
            level, _dot((44.0, 30.0)), points, (0, 0, 0), [1, 0], np.random.default_rng(seed)
        )
        known = varied[varied[:, 2] > 0]
        assert len(known) == 1
        x, y = known[0, :2].tolist()
        if 10 < x < 70 and 10 < y < 54:
            kept += 1
            assert _middle(pixels) == pytest.approx((x, y), abs=0.5)
    assert kept > 10


def test_a_point_that_leaves_the_picture_is_no_longer_known() -> None:
    shift = np.array([[1.0, 0.0, 60.0], [0.0, 1.0, 0.0]])
    _, points = moved(_dot((44.0, 30.0)), np.array([[44.0, 30.0, 1.0], [5.0, 5.0, 1.0]]), shift, (0, 0, 0))
    assert points.tolist() == [[0.0, 0.0, 0.0], [65.0, 5.0, 1.0]]


def test_variation_is_a_function_of_its_generator() -> None:
    points = np.array([[44.0, 30.0, 1.0]], dtype=np.float32)
    one, other = (
        vary_with_points("strong", _dot((44.0, 30.0)), points, (0, 0, 0), [0], np.random.default_rng(3))
        for _ in range(2)
    )
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_the_peak_lies_between_places_and_is_deaf_to_another() -> None:
    y, x = np.mgrid[:12, :16] + 0.5
    bell = np.exp(-((x - 6.3) ** 2 + (y - 4.8) ** 2) / 2)
    far = 0.6 * np.exp(-((x - 14.0) ** 2 + (y - 10.0) ** 2) / 2)
    shares = (bell + far)[None] / (bell + far).sum()
    found = peaks_of(shares)[0]
    assert found[:2] * [16, 12] == pytest.approx([6.3, 4.8], abs=0.1)
    assert 0.5 < found[2] < 0.7


def _record(truth: list[list[float]], said: list[list[float]]) -> dict[str, Any]:
    return {"id": "a", "truth": truth, "keypoints": said}


def test_pck_is_measured_by_the_torso_and_known_points_alone() -> None:
    names = ("left_shoulder", "right_hip", "left_hand", "nose")
    truth = [[0.0, 0.0, 1.0], [0.0, 100.0, 1.0], [300.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    said = [[0.0, 19.0, 0.9], [0.0, 121.0, 0.9], [309.0, 0.0, 0.9], [500.0, 500.0, 0.9]]
    scores = values_of(KeypointMetric(names).measure([_record(truth, said)]))
    assert scores["pck"] == pytest.approx(2 / 3)
    assert scores["pck_strict"] == pytest.approx(1 / 3)
    assert scores["distance_px"] == pytest.approx((19 + 21 + 9) / 3)
    assert scores["distance"] == pytest.approx((0.19 + 0.21 + 0.09) / 3)
    without = values_of(KeypointMetric(("a", "b", "c", "d")).measure([_record(truth, said)]))
    assert without["pck"] == pytest.approx(1.0), "0.2 of 300, the larger side of the box"


def test_a_row_of_one_known_point_has_no_scale() -> None:
    truth = [[5.0, 5.0, 1.0], [0.0, 0.0, 0.0]]
    scores = values_of(KeypointMetric(("a", "b")).measure([_record(truth, [[5.0, 5.0, 1.0]] * 2)]))
    assert math.isnan(scores["pck"])


def test_answers_of_other_numbers_of_points_are_refused() -> None:
    with pytest.raises(DataError, match="has 2 points and is answered by 1"):
        KeypointMetric(("a", "b")).measure([_record([[1.0, 1.0, 1.0]] * 2, [[1.0, 1.0, 1.0]])])


def _pictures(folder: Path, names: list[str], size: tuple[int, int] = (60, 40)) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)).save(folder / name)


@pytest.mark.parametrize("axes", [(14, 3), (3, 14)])
def test_joints_of_lsp_are_found_by_the_number_of_the_file(axes: tuple[int, int], tmp_path: Path) -> None:
    _pictures(tmp_path / "images", ["im00002.jpg", "im00003.jpg"])
    joints = np.zeros((14, 3, 5))
    joints[:, 0], joints[:, 1], joints[:, 2] = np.arange(14)[:, None], np.arange(5)[None] * 2.0, 1.0
    joints[0, :, 1] = (-48.4, -3.0, 1.0)
    savemat(tmp_path / "joints.mat", {"joints": joints if axes == (14, 3) else joints.transpose(1, 0, 2)})
    found = read(DataSettings(data=str(tmp_path)))
    assert found.facts["read"]["classes"] == list(LSP_JOINTS)
    rows = {row["id"]: row["keypoints"] for row in found["train"]}
    assert rows["images/im00002.jpg"][0] == [0.0, 0.0, 0.0], "outside the picture"
    assert rows["images/im00002.jpg"][3] == [3.0, 2.0, 1.0]
    assert rows["images/im00003.jpg"][3] == [3.0, 4.0, 1.0]
    assert any("1 point lies outside" in note for note in found.facts["read"]["notes"])


def test_a_broken_file_of_joints_is_told(tmp_path: Path) -> None:
    _pictures(tmp_path / "images", ["im0001.jpg"])
    (tmp_path / "joints.mat").write_bytes(b"no mat at all" * 20)
    with pytest.raises(DataError, match=r"joints\.mat cannot be read"):
        read(DataSettings(data=str(tmp_path)))


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("file,x1,y1,x2,y2", ["point 1", "point 2"]),
        ("file,left_eye_x,left_eye_y,nose_x,nose_y", ["left_eye", "nose"]),
        ("file,tip x,tip y,tail x,tail y", ["tip", "tail"]),
    ],
)
def test_a_table_of_coordinates_is_points(header: str, names: list[str], tmp_path: Path) -> None:
    _pictures(tmp_path, [f"{name}.png" for name in "abcd"])
    more = "c.png,7,8,9,1\nd.png,2,3,4.5,6\n"
    (tmp_path / "rows.csv").write_text(f"{header}\na.png,1,2,3.5,4\nb.png,5,6,,\n{more}", encoding="utf-8")
    found = read(DataSettings(data=str(tmp_path / "rows.csv")))
    assert found.facts["read"]["classes"] == names
    assert found["train"]["keypoints"][:2] == [[[1.0, 2.0, 1.0], [3.5, 4.0, 1.0]], [[5.0, 6.0, 1.0], [0.0, 0.0, 0.0]]]


def test_lines_of_points_are_found_and_counted(tmp_path: Path) -> None:
    _pictures(tmp_path, ["a.png", "b.png"])
    lines = '{"file": "a.png", "keypoints": [[1, 2, 1], [99, 4, 1]]}\n{"file": "b.png", "keypoints": [[1, 2, 0], [3, 4, 0]]}\n'
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    found = read(DataSettings(data=str(tmp_path / "rows.jsonl")))
    assert found["train"]["keypoints"] == [[[1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]]
    assert len(found["unlabelled"]) == 1


def test_rows_of_other_numbers_of_points_are_refused(tmp_path: Path) -> None:
    _pictures(tmp_path, ["a.png", "b.png"])
    lines = (
        '{"file": "a.png", "keypoints": [[1, 2], [3, 4]]}\n{"file": "b.png", "keypoints": [[1, 2], [3, 4], [5, 6]]}\n'
    )
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match="has 3 points, rows before it 2"):
        read(DataSettings(data=str(tmp_path / "rows.jsonl")))


def _coco(folder: Path, poses: list[list[list[float]]]) -> None:
    """Pictures with these poses each, of a category with an id of its own."""
    _pictures(folder / "images", [f"{number}.png" for number in range(len(poses))])
    images = [
        {"id": 10 + number, "file_name": f"{number}.png", "width": 60, "height": 40} for number in range(len(poses))
    ]
    category = {"id": 7, "name": "animal", "keypoints": ["left_eye", "right_eye"], "skeleton": []}
    notes = [
        {"id": 1, "image_id": 10 + number, "category_id": 7, "keypoints": pose, "bbox": [0, 0, 9, 9]}
        for number, own in enumerate(poses)
        for pose in own
    ]
    held = {"categories": [category], "images": images, "annotations": notes}
    (folder / "keypoints.json").write_text(json.dumps(held), encoding="utf-8")


def test_one_pose_a_picture_as_coco_writes_it(tmp_path: Path) -> None:
    one = [1.0, 2.0, 2.0, 3.0, 4.0, 1.0]
    _coco(tmp_path, [[one], [[5.0, 6.0, 2.0, 0.0, 0.0, 0.0]], [one], [one, one], []])
    found = read(DataSettings(data=str(tmp_path)))
    assert found.facts["read"]["classes"] == ["left_eye", "right_eye"]
    rows = {row["id"]: row["keypoints"] for row in found["train"]}
    assert rows["1.png"] == [[5.0, 6.0, 2.0], [0.0, 0.0, 0.0]]
    assert len(rows) == 3
    notes = " ".join(found.facts["read"]["notes"])
    assert "1 picture shows several poses" in notes
    assert "1 picture shows no pose" in notes


def test_pictures_of_several_poses_stay_boxes(tmp_path: Path) -> None:
    one = [1.0, 2.0, 2.0, 3.0, 4.0, 1.0]
    _coco(tmp_path, [[one, one], [one, one], [one]])
    assert "boxes" in read(DataSettings(data=str(tmp_path)))["train"].column_names


def test_each_pose_is_cut_out_where_asked_and_those_of_a_picture_stay_together(tmp_path: Path) -> None:
    one, other = [20.0, 12.0, 2.0, 28.0, 16.0, 1.0], [0.0, 0.0, 0.0, 55.0, 35.0, 2.0]
    _coco(tmp_path, [[one, other], [one, one], [one], []] * 6)
    held = json.loads((tmp_path / "keypoints.json").read_text())
    for number, note in enumerate(held["annotations"]):
        note["id"] = number
        note["bbox"] = [16, 10, 16, 8] if note["keypoints"] == one else [0, 0, 0, 0]
    (tmp_path / "keypoints.json").write_text(json.dumps(held), encoding="utf-8")
    found = read(DataSettings(data=str(tmp_path), poses="person"))
    rows = {row["id"]: row for row in found["train"]}
    assert len(rows) == 30
    first = rows["0.png#0"]
    assert (first["width"], first["height"]) == (20, 10), "the box of 16 x 8 with a quarter more"
    assert first["keypoints"] == [[6.0, 3.0, 2.0], [14.0, 7.0, 1.0]]
    assert rows["0.png#1"]["keypoints"][0] == [0.0, 0.0, 0.0]
    assert all(row["group"] == name.split("#")[0] for name, row in rows.items())
    assert "each cut out of its picture" in " ".join(found.facts["read"]["notes"])


def test_a_pose_without_box_and_points_and_one_outside_its_picture_are_refused() -> None:
    with pytest.raises(DataError, match="neither a bbox nor a known point"):
        cut_out({"id": 3, "keypoints": [1, 2, 0]}, "a.png", (60, 40), "annotation 3")
    with pytest.raises(DataError, match="no numbers"):
        cut_out({"id": 3, "keypoints": [1, "x", 2]}, "a.png", (60, 40), "annotation 3")
    with pytest.raises(DataError, match="outside its picture"):
        cut_out({"id": 3, "keypoints": [1, 2, 2], "bbox": [90, 0, 9, 9]}, "a.png", (60, 40), "annotation 3")


def test_a_pose_that_cannot_be_cut_out_is_no_matter_where_none_is_cut(tmp_path: Path) -> None:
    _coco(tmp_path, [[[1.0, 2.0, 2.0, 3.0, 4.0, 1.0]]] * 3)
    held = json.loads((tmp_path / "keypoints.json").read_text())
    held["annotations"][0]["bbox"] = [900, 900, 9, 9]
    (tmp_path / "keypoints.json").write_text(json.dumps(held), encoding="utf-8")
    assert len(read(DataSettings(data=str(tmp_path)))["train"]) == 3
    with pytest.raises(DataError, match="annotation 1 lies outside its picture"):
        read(DataSettings(data=str(tmp_path), poses="person"))


def test_a_picture_is_read_once_for_the_poses_that_follow_each_other(tmp_path: Path) -> None:
    _pictures(tmp_path, ["a.png", "b.png"])
    asked: list[str] = []

    def find(name: str) -> Entry:
        asked.append(name)
        return file_entry(tmp_path / name, name)

    upright = upright_from(find)
    notes = [{"id": number, "keypoints": [20, 12, 2, 28, 16, 1]} for number in range(3)]
    for note, file in zip(notes, ("a.png", "a.png", "b.png"), strict=True):
        entry = cut_out(note, file, None, "annotation").entry(upright)
        with Image.open(entry.open()) as part:
            assert part.size == (10, 8), "the points' span with a margin, 8 pixels at least"
    assert asked == ["a.png", "b.png"]
