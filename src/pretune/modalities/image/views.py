"""Variations of whole batches of pictures: one cut and one colour matrix a picture, drawn from the row's key.

The recipe is that of SimCLR (Chen et al. 2020, arXiv 2002.05709, appendix A) without blur, which it leaves out for small
pictures (appendix B.9). It gives what ``torchvision`` gives one picture at a time; done for the batch it was five
times faster at 32 pixels and one and a half times at 96, on one core. Shapes: B pictures, H and W the sides of the crop, C colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pretune.modalities.image.transform import ImageTransform, normalised

__all__ = ["DRAWS", "VIEWS", "Views"]

_GREY_C = torch.tensor([0.299, 0.587, 0.114])
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ.double()).float()
_AREA, _SHAPE, _LEFT, _TOP, _FLIP, _JITTER, _BRIGHT, _CONTRAST, _COLOUR, _HUE, _GREY, DRAWS = range(12)


@dataclass(frozen=True)
class Views:
    """How far pictures are varied: the least share of the area that a cut keeps, the strength of colour changes and how often.

    ``colour`` c changes brightness, contrast and saturation by a factor in [1 - 0.8 c, 1 + 0.8 c] and turns the hue by at
    most 0.2 c of the circle.
    """

    least_area: float
    colour: float = 0.0
    jittered: float = 0.8
    greyed: float = 0.2
    most_aspect: float = 4 / 3

    def of(self, pictures: Sequence[np.ndarray], draws_BK: np.ndarray, geometry: ImageTransform) -> torch.Tensor:
        """``pixel_values`` (B, 3, H, W) of pictures uint8 (H, W, 3), by :data:`DRAWS` numbers in [0, 1) for each."""
        pixels_BHWC = _cut(pictures, *self._boxes(pictures, draws_BK), geometry.crop)
        if self.colour:
            pixels_BHWC = self._coloured(pixels_BHWC, torch.from_numpy(draws_BK).float())
        return normalised(pixels_BHWC, geometry)

    def _boxes(self, pictures: Sequence[np.ndarray], draws_BK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Left and right ends, and top and bottom ends, of the cuts: (B, 2) each in pixels. Right of left: turned over."""
        height_B = np.array([picture.shape[0] for picture in pictures], dtype=np.float64)
        width_B = np.array([picture.shape[1] for picture in pictures], dtype=np.float64)
        area_B = height_B * width_B * (self.least_area + (1 - self.least_area) * draws_BK[:, _AREA])
        aspect_B = np.exp(math.log(self.most_aspect) * (2 * draws_BK[:, _SHAPE] - 1))
        wide_B = np.minimum(np.sqrt(area_B * aspect_B), width_B)
        tall_B = np.minimum(np.sqrt(area_B / aspect_B), height_B)
        left_B, top_B = (width_B - wide_B) * draws_BK[:, _LEFT], (height_B - tall_B) * draws_BK[:, _TOP]
        ends_B2 = np.stack([left_B, left_B + wide_B], axis=1)
        turned = draws_BK[:, _FLIP] < 0.5
        ends_B2[turned] = ends_B2[turned, ::-1]
        return ends_B2, np.stack([top_B, top_B + tall_B], axis=1)

    def _coloured(self, pixels_BHWC: torch.Tensor, draws_BK: torch.Tensor) -> torch.Tensor:
        """Brightness, contrast, saturation and hue are linear in the colours: together one matrix and one shift a picture."""
        jitter_B = draws_BK[:, _JITTER] < self.jittered
        strength_B = 0.8 * self.colour * jitter_B
        bright_B, contrast_B, colour_B = (
            1 + strength_B * (2 * draws_BK[:, number] - 1) for number in (_BRIGHT, _CONTRAST, _COLOUR)
        )
        angle_B = 2 * math.pi * 0.2 * self.colour * jitter_B * (2 * draws_BK[:, _HUE] - 1)
        colour_B = colour_B * (draws_BK[:, _GREY] >= self.greyed)
        grey_B = (pixels_BHWC.mean(dim=(1, 2)) * _GREY_C).sum(-1)
        gain_BCC = (bright_B * contrast_B)[:, None, None] * _colour_matrix(colour_B, angle_B)
        shift_B = (1 - contrast_B) * bright_B * grey_B
        flat = torch.baddbmm(shift_B[:, None, None], pixels_BHWC.flatten(1, 2), gain_BCC.transpose(1, 2))
        return flat.clamp_(0, 255).view_as(pixels_BHWC)


def _colour_matrix(colour_B: torch.Tensor, angle_B: torch.Tensor) -> torch.Tensor:
    """(B, 3, 3): in YIQ, saturation scales the two colour axes and hue turns them; grey stays grey."""
    zero_B, one_B = torch.zeros_like(colour_B), torch.ones_like(colour_B)
    cos_B, sin_B = colour_B * angle_B.cos(), colour_B * angle_B.sin()
    rows = [one_B, zero_B, zero_B, zero_B, cos_B, -sin_B, zero_B, sin_B, cos_B]
    return _FROM_YIQ @ torch.stack(rows, dim=1).view(-1, 3, 3) @ _TO_YIQ


def _cut(
    pictures: Sequence[np.ndarray], ends_x_B2: np.ndarray, ends_y_B2: np.ndarray, crop: tuple[int, int]
) -> torch.Tensor:
    """(B, H, W, 3) float32, 0 to 255: each picture's box scaled to the crop, bilinear between four pixels."""
    sizes_B2 = np.array([picture.shape[:2] for picture in pictures])
    count, tall, wide = len(pictures), int(sizes_B2[:, 0].max()), int(sizes_B2[:, 1].max())
    canvas_BHWC = np.zeros((count, tall, wide, 3), dtype=np.uint8)
    for place, picture in zip(canvas_BHWC, pictures, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    y0, y1, wy = _between(ends_y_B2, sizes_B2[:, 0], crop[0])
    x0, x1, wx = _between(ends_x_B2, sizes_B2[:, 1], crop[1])
    # Whole rows first, then pixels: rows are copied fast, and the number of single pixels to pick is halved.
    rows = torch.from_numpy(canvas_BHWC).view(count * tall, wide * 3)
    first = torch.arange(count)[:, None] * tall
    above, below = (rows.index_select(0, (first + y).view(-1)).float() for y in (y0, y1))
    lines = torch.lerp(above, below, wy.reshape(-1, 1)).view(-1, 3)
    start = (torch.arange(count * crop[0]) * wide).view(count, crop[0], 1)
    left, right = (lines.index_select(0, (start + x[:, None]).view(-1)).view(count, *crop, 3) for x in (x0, x1))
    return torch.lerp(left, right, wx[:, None, :, None])


def _between(ends_B2: np.ndarray, size_B: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For ``count`` places along each box: the pixel before, the pixel after and the share of the latter, (B, count) each."""
    share = (np.arange(count) + 0.5) / count
    places = ends_B2[:, :1] + (ends_B2[:, 1:] - ends_B2[:, :1]) * share - 0.5
    places = np.clip(places, 0, size_B[:, None] - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, size_B[:, None] - 1)
    return torch.from_numpy(before), torch.from_numpy(after), torch.from_numpy((places - before).astype(np.float32))


VIEWS: dict[str, Views] = {
    "light": Views(least_area=0.5),
    "strong": Views(least_area=0.2, colour=0.5),
}
"""By the names of ``--augment``. ``light``: cut and turned over; ``strong``: SimCLR's, at its strength for small pictures."""
