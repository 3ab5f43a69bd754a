"""Variations of pictures: what torchvision would give, and a function of the row's key alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretune.engine.randomness import row_keys, uniform
from pretune.modalities.image import views
from pretune.modalities.image.transform import ImageTransform, collate_pixels
from pretune.modalities.image.views import DRAWS, VIEWS, Views

GEOMETRY = ImageTransform((32, 32), 32)


def pictures(count: int = 6, *, low: int = 90, high: int = 150) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(low, high, (32 + number % 3, 32 + 5 * (number % 2), 3), dtype=np.uint8) for number in range(count)
    ]


def draws(count: int = 6, epoch: int = 0) -> np.ndarray:
    return uniform(row_keys(0, "views", epoch, np.arange(count)), DRAWS)


def unvaried(count: int = 1) -> np.ndarray:
    """Draws that keep the whole picture, its side and its colours."""
    found = np.full((count, DRAWS), 0.5)
    found[:, views._AREA] = found[:, views._JITTER] = found[:, views._GREY] = 1 - 1e-9
    return found


@pytest.mark.parametrize("level", VIEWS)
def test_a_variation_depends_on_its_own_draws_and_on_no_neighbour(level: str) -> None:
    whole = VIEWS[level].of(pictures(), draws(), GEOMETRY)
    assert whole.shape == (6, 3, 32, 32)
    assert whole.dtype == torch.float32
    for number in range(6):
        alone = VIEWS[level].of(pictures()[number : number + 1], draws()[number : number + 1], GEOMETRY)
        assert torch.equal(alone[0], whole[number])
    other = VIEWS[level].of(pictures(), draws(epoch=1), GEOMETRY)
    assert all(not torch.equal(one, another) for one, another in zip(whole, other, strict=True))


def test_draws_that_change_nothing_give_the_picture() -> None:
    square = [picture[:32, :32] for picture in pictures()]
    found = VIEWS["strong"].of(square, unvaried(6), GEOMETRY)
    assert torch.allclose(found, collate_pixels(square, GEOMETRY), atol=1e-5)


def test_a_turned_picture_is_its_mirror_image() -> None:
    square, turned = [pictures(1)[0][:32, :32]], unvaried()
    turned[:, views._FLIP] = 0.0
    assert torch.allclose(
        VIEWS["light"].of(square, turned, GEOMETRY), collate_pixels(square, GEOMETRY).flip(-1), atol=1e-5
    )


def test_a_cut_is_that_of_torchvision() -> None:
    from torchvision.transforms.v2 import functional

    picture, drawn = pictures(1)[0], unvaried()
    drawn[:, [views._AREA, views._LEFT, views._TOP]] = 0.0, 0.25, 0.75
    side = 32 * math.sqrt(0.25)
    left, top = round((32 - side) * 0.25), round((32 - side) * 0.75)
    wanted = functional.resized_crop(
        torch.from_numpy(picture[:32, :32].copy()).permute(2, 0, 1).float(),
        top,
        left,
        16,
        16,
        [32, 32],
        antialias=False,
    )
    found = Views(least_area=0.25).of([picture[:32, :32]], drawn, ImageTransform((32, 32), 32, scale=1.0))
    inner = (slice(None), slice(2, -2), slice(2, -2))  # torchvision cuts first: its rim sees no neighbour
    assert torch.allclose(found[0][inner], wanted[inner], atol=1e-2)


def test_colours_are_changed_as_torchvision_changes_them() -> None:
    from torchvision.transforms.v2 import functional

    picture, drawn = pictures(1)[0][:32, :32], unvaried()
    drawn[:, [views._JITTER, views._BRIGHT, views._CONTRAST, views._COLOUR]] = 0.0, 0.7, 0.2, 0.8
    factor = {name: 1 + 0.4 * (2 * draw - 1) for name, draw in (("b", 0.7), ("c", 0.2), ("s", 0.8))}
    wanted = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
    wanted = functional.adjust_brightness(wanted, factor["b"])
    wanted = functional.adjust_contrast(wanted, factor["c"])
    wanted = functional.adjust_saturation(wanted, factor["s"])
    found = VIEWS["strong"].of([picture], drawn, GEOMETRY)
    assert torch.allclose(found[0], wanted, atol=2e-3)


def test_a_hue_turn_keeps_brightness_and_grey_pictures_lose_their_colour() -> None:
    grey = torch.tensor([0.299, 0.587, 0.114])
    square, drawn = [pictures(1)[0][:32, :32]], unvaried()
    before = collate_pixels(square, GEOMETRY)[0]
    drawn[:, views._JITTER], drawn[:, views._HUE] = 0.0, 0.9
    turned = VIEWS["strong"].of(square, drawn, GEOMETRY)[0]
    assert not torch.allclose(turned, before, atol=1e-2)
    assert torch.allclose(torch.einsum("chw,c->hw", turned, grey), torch.einsum("chw,c->hw", before, grey), atol=1e-3)
    drawn[:, views._GREY] = 0.0
    faded = VIEWS["strong"].of(square, drawn, GEOMETRY)[0]
    assert torch.allclose(faded[0], faded[1], atol=1e-3)


def test_strength_and_frequency_are_those_of_the_recipe() -> None:
    drawn = draws(4000)
    flat = [np.full((8, 8, 3), 128, dtype=np.uint8)] * 4000
    found = VIEWS["strong"].of(flat, drawn, ImageTransform((8, 8), 8))[:, 0, 0, 0]
    brightness = found / (128 / 255)
    changed = (brightness - 1).abs() > 1e-5
    assert changed.float().mean() == pytest.approx(0.8, abs=0.02)
    assert 0.6 <= float(brightness.min()) < 0.62
    assert 1.38 < float(brightness.max()) <= 1.4 + 1e-6
