"""Copies of pictures: resized, mirrored, cropped, bordered, turned; what only looks alike is none; the work is bounded."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from pretune.data.media.look import SKETCH_SIDE, sketches_of
from pretune.data.near import pictures
from pretune.data.near.align import agreement, aligned
from pretune.data.near.pairs import KINDS, NearPairs
from pretune.data.near.pictures import find_near_pictures, unpacked
from pretune.data.near.vectors import cells_of, close_pairs, nearest_cells, unit


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Colours that change smoothly, with some finer detail."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((size[1], size[0], 3))
    for cells, weight in ((4, 1.0), (9, 0.6), (20, 0.25)):
        small = Image.fromarray(rng.integers(0, 256, (cells, cells + 1, 3), dtype=np.uint8))
        whole += weight * np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray(np.clip(whole / 1.85, 0, 255).astype(np.uint8))


def saved(picture: Image.Image, quality: int) -> Image.Image:
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality)
    return Image.open(held)


def near(shown: list[Image.Image]) -> NearPairs:
    return find_near_pictures(*unpacked([sketches_of(picture.convert("L")) for picture in shown]))


COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], set[str]]] = {
    "re-coded": (lambda picture: saved(picture, 40), {"look"}),
    "half the size": (lambda picture: picture.resize((80, 60)), {"look"}),
    "stretched": (lambda picture: picture.resize((200, 120)), {"look"}),
    "grey": (lambda picture: picture.convert("L"), {"look"}),
    "blurred": (lambda picture: picture.filter(ImageFilter.GaussianBlur(2)), {"look"}),
    "brighter": (lambda picture: picture.point(lambda value: min(255, int(value * 1.15))), {"look"}),
    "mirrored": (ImageOps.mirror, {"mirrored"}),
    "mirrored and cropped": (lambda picture: ImageOps.mirror(picture).crop((4, 2, 152, 112)), {"mirrored"}),
    "cropped by 5 %": (lambda picture: picture.crop((8, 6, 152, 114)), {"framed"}),
    "cropped by 10 %, to one side": (lambda picture: picture.crop((0, 0, 130, 98)), {"framed"}),
    "black border": (lambda picture: ImageOps.expand(picture, 8, "black"), {"look", "framed"}),
    "white border, re-coded": (lambda picture: saved(ImageOps.expand(picture, 14, "white"), 60), {"look", "framed"}),
    "turned by 3 degrees": (lambda picture: picture.rotate(3, Image.Resampling.BICUBIC), {"framed"}),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_found_and_named(way: str) -> None:
    change, kinds = COPIES[way]
    shown = [photo(seed) for seed in range(24)]
    found = near(shown + [change(picture) for picture in shown[:8]])
    assert found.left_P.tolist() == list(range(8))
    assert found.right_P.tolist() == list(range(24, 32))
    assert {KINDS[kind] for kind in found.kind_P} <= kinds
    assert found.alike_P.min() > 0.88


def test_pictures_that_only_look_alike_are_no_copies() -> None:
    """The same light from above and the same horizon, other things in it."""
    sky = np.linspace(230, 90, 120)[:, None, None] * np.ones((1, 160, 3))
    shown = []
    for seed in range(40):
        picture = sky.copy()
        picture[60:110, 20:140] = np.asarray(photo(seed, (120, 50)), dtype=float)
        shown.append(Image.fromarray(picture.astype(np.uint8)))
    assert len(near(shown).left_P) == 0


def test_even_pictures_are_not_compared() -> None:
    assert len(near([Image.new("RGB", (40, 40), colour) for colour in ("black", "white", "grey")]).left_P) == 0
    assert len(near([photo(1)]).left_P) == 0
    assert len(find_near_pictures(*unpacked([])).left_P) == 0


def test_many_copies_of_one_picture_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [photo(0).rotate(number / 100) for number in range(60)]
    found = near(shown)
    assert len(set(found.left_P) | set(found.right_P)) == 60
    assert len(found.left_P) < 60 * 2 * pictures._MOST_EACH * len(pictures._windows()) / 4
    monkeypatch.setattr(pictures, "_MOST_CANDIDATES", 0)
    monkeypatch.setattr(pictures, "_FEWEST_PAIRS", 10)
    few = near(shown)
    assert not few.complete
    assert 0 < len(few.left_P) <= 10


def test_among_very_many_pictures_crops_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_CROPPED", 10)
    shown = [photo(seed) for seed in range(24)]
    found = near([*shown, ImageOps.mirror(shown[0]), shown[1].crop((0, 0, 130, 98))])
    assert (found.left_P.tolist(), found.right_P.tolist()) == ([0], [24])


def test_a_border_is_found_and_nothing_else_is_taken_for_one() -> None:
    picture = photo(3).convert("L")
    size = SKETCH_SIDE**2
    assert len(sketches_of(picture)) == size
    both = sketches_of(ImageOps.expand(picture, (20, 0), 0))  # bars at two sides
    assert len(both) == 2 * size
    inside = np.frombuffer(both[size:], np.uint8).astype(int)
    assert np.abs(inside - np.frombuffer(sketches_of(picture), np.uint8)).mean() < 4
    one = Image.new("L", (160, 150), 255)
    one.paste(picture, (0, 30))
    assert len(sketches_of(one)) == size  # a bright sky is no border
    assert len(sketches_of(Image.new("L", (90, 90), 7))) in (size, 2 * size)
    assert len(sketches_of(Image.new("L", (3, 2), 7))) == size


def test_a_map_is_found_again() -> None:
    ours = np.asarray(photo(5).convert("L").resize((32, 32)), dtype=np.float32)[None]
    turned = photo(5).convert("L").rotate(4, Image.Resampling.BICUBIC, fillcolor=128).resize((32, 32))
    theirs = np.asarray(turned, dtype=np.float32)[None]
    start = np.eye(2, 3, dtype=np.float32)[None]
    found = aligned(ours, theirs, start, 8)
    assert agreement(ours, theirs, found, 0.15)[0] > 0.97 > agreement(ours, theirs, start, 0.15)[0]
    angle = np.deg2rad(4) * np.array([120 / 160, -160 / 120])  # of a picture squeezed into a square
    assert found[0, 0, 1] == pytest.approx(angle[0], abs=0.02)
    assert found[0, 1, 0] == pytest.approx(angle[1], abs=0.02)


def test_cells_find_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(3_000, 20)).astype(np.float32))
    asking = unit(vectors[:500] + 0.12 * rng.normal(size=(500, 20)).astype(np.float32))
    middles = cells_of(vectors)
    assert len(middles) > 20
    found = close_pairs(
        asking, nearest_cells(asking, middles, 8), vectors, nearest_cells(vectors, middles, 1)[:, 0], least=0.8, most=8
    )
    pairs = {
        (int(query), int(other)) for queries, others, _ in found for query, other in zip(queries, others, strict=True)
    }
    wanted = set(zip(*(side.tolist() for side in np.nonzero(asking @ vectors.T >= 0.8)), strict=True))
    assert pairs <= wanted
    assert len(wanted) >= 450
    assert len(pairs) >= 0.97 * len(wanted)


def test_of_each_query_the_closest_are_kept_in_a_cell() -> None:
    vectors = unit(np.array([[1, 0.01 * number] for number in range(20)], dtype=np.float32))
    probed, home = np.zeros((1, 1), dtype=np.int32), np.zeros(20, dtype=np.int32)
    [(query, found, _)] = list(close_pairs(vectors[:1], probed, vectors, home, least=0.5, most=3))
    assert query.tolist() == [0, 0, 0]
    assert sorted(found.tolist()) == [0, 1, 2]
