"""Pictures to batches of pixels: the geometry an image processor asks for, and the same arithmetic on whole batches.

Shapes: B pictures of a batch, H and W their sides in pixels; stored pictures are uint8 (H, W, 3).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pretune.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "PATCH",
    "ImageTransform",
    "centre_crop",
    "collate_pixels",
    "image_transform_of",
    "interpolate_positions",
    "normalised",
    "patches_of",
    "pictures_of",
    "resized",
    "scaled_to",
]

PATCH = 16
"""The cost of a picture is counted in squares of this side, whatever the model."""

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_CROP_SHARE = 224 / 256


@dataclass(frozen=True)
class ImageTransform:
    """What is done to a picture: scaled so that the shorter side is ``shortest`` (or to ``exact`` height and width), the
    middle ``crop`` (height, width) cut out, ``scale`` times the pixels less ``mean`` over ``std``.

    ``resample`` is Pillow's number of the filter.
    """

    crop: tuple[int, int]
    shortest: int | None = None
    exact: tuple[int, int] | None = None
    resample: int = 2
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255

    def at(self, image_size: int | None) -> ImageTransform:
        """The same for pictures of another size, the crop's share of the picture kept."""
        if image_size is None or self.crop == (image_size, image_size):
            return self
        share = self.crop[0] / self.shortest if self.shortest else 1.0
        shortest = None if self.exact else math.floor(image_size / share)
        exact = (image_size, image_size) if self.exact else None
        return ImageTransform((image_size, image_size), shortest, exact, self.resample, self.mean, self.std, self.scale)

    def identity(self) -> str:
        """The same text for the same stored pixels (scaling and crop; mean and scale come later)."""
        return f"{self.shortest}:{self.exact}:{self.resample}:{self.crop}"


def image_transform_of(processor: Any) -> ImageTransform:
    """The geometry of an image processor of transformers. Raises :class:`ModelError` for one that cannot be read."""
    told = processor.to_dict()
    if "data_config" in told:
        return _timm_transform(told["data_config"])
    size, crop = dict(told.get("size") or {}), dict(told.get("crop_size") or {})
    if told.get("do_resize", True) and not ({"shortest_edge"} <= set(size) or {"height", "width"} <= set(size)):
        raise ModelError(
            f"the image processor {type(processor).__name__} scales pictures to {size}, which is not understood",
            'preprocessor_config.json should say "size": {"shortest_edge": 256} or {"height": 224, "width": 224}',
        )
    shortest = size.get("shortest_edge") if told.get("do_resize", True) else None
    exact = (int(size["height"]), int(size["width"])) if "height" in size and told.get("do_resize", True) else None
    cut = (int(crop["height"]), int(crop["width"])) if told.get("do_center_crop") and crop else exact
    if cut is None:
        cut = (int(shortest), int(shortest)) if shortest else (224, 224)
    is_normal = told.get("do_normalize", True)
    return ImageTransform(
        crop=cut,
        shortest=None if shortest is None else int(shortest),
        exact=exact,
        resample=int(told.get("resample", 2)),
        mean=tuple(map(float, told["image_mean"])) if is_normal else (0.0, 0.0, 0.0),
        std=tuple(map(float, told["image_std"])) if is_normal else (1.0, 1.0, 1.0),
        scale=float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0,
    )


def _timm_transform(told: dict[str, Any]) -> ImageTransform:
    """timm's own words (``crop_pct``, ``interpolation``): the shorter side is the input's divided by crop_pct."""
    height, width = int(told["input_size"][1]), int(told["input_size"][2])
    return ImageTransform(
        crop=(height, width),
        shortest=math.floor(height / float(told.get("crop_pct") or _CROP_SHARE)),
        resample=_RESAMPLE.get(str(told.get("interpolation", "bilinear")), 2),
        mean=tuple(map(float, told["mean"])),
        std=tuple(map(float, told["std"])),
    )


def resized(picture: Image, geometry: ImageTransform) -> np.ndarray:
    """An RGB picture scaled as the geometry says, not cut yet: uint8 (H, W, 3). Sides are those of the crop at least.

    A picture longer than twice its height (or the reverse) loses its ends, which no crop of the middle sees.
    """
    width, height = picture.size
    if geometry.exact is not None:
        size = (geometry.exact[1], geometry.exact[0])
    else:
        shortest = geometry.shortest or max(geometry.crop)
        ratio = shortest / min(width, height)
        longest = int(ratio * max(width, height))
        size = (longest, shortest) if width >= height else (shortest, longest)
    scaled = picture if size == picture.size else picture.resize(size, geometry.resample)
    pixels = np.asarray(scaled, dtype=np.uint8)
    most = 2 * min(pixels.shape[:2])
    return centre_crop(pixels, (min(pixels.shape[0], most), min(pixels.shape[1], most)))


def scaled_to(pixels: np.ndarray, geometry: ImageTransform) -> np.ndarray:
    """A picture that is cut already, scaled to the geometry's crop: uint8 (H, W, 3)."""
    from PIL import Image

    height, width = geometry.crop
    return np.asarray(Image.fromarray(pixels).resize((width, height), geometry.resample), dtype=np.uint8)


def centre_crop(pixels: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """The middle (height, width) of a picture; where it is smaller, black is added around it."""
    height, width = pixels.shape[:2]
    if height < crop[0] or width < crop[1]:
        rows, columns = max(0, crop[0] - height), max(0, crop[1] - width)
        around = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
        pixels = np.pad(pixels, around)
        height, width = pixels.shape[:2]
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]


def patches_of(geometry: ImageTransform) -> int:
    """The cost of a picture: squares of 16 x 16 pixels that its crop holds, at least 1."""
    return max(1, math.ceil(geometry.crop[0] / PATCH) * math.ceil(geometry.crop[1] / PATCH))


def collate_pixels(pictures: Sequence[np.ndarray], geometry: ImageTransform) -> torch.Tensor:
    """``pixel_values`` (B, 3, H, W) float32 of pictures uint8 (H, W, 3): cut to the crop, scaled and normalised."""
    pixels_BHWC = torch.from_numpy(np.stack([centre_crop(picture, geometry.crop) for picture in pictures]))
    return normalised(pixels_BHWC.float(), geometry)


def normalised(pixels_BHWC: torch.Tensor, geometry: ImageTransform) -> torch.Tensor:
    """``pixel_values`` (B, 3, H, W) of float32 pixels from 0 to 255: scaled and normalised as the geometry says."""
    std_C = torch.tensor(geometry.std)
    gain_C, shift_C = geometry.scale / std_C, -torch.tensor(geometry.mean) / std_C
    # In channels_last memory order: that is how the pictures lie already, and how convolutions are fastest.
    return torch.addcmul(shift_C, pixels_BHWC, gain_C).permute(0, 3, 1, 2)


def pictures_of(pixels_BCHW: torch.Tensor, geometry: ImageTransform) -> np.ndarray:
    """The pictures that :func:`normalised` made these ``pixel_values`` of, uint8 (B, H, W, 3)."""
    scaled_BHWC = pixels_BCHW.float().permute(0, 2, 3, 1) * torch.tensor(geometry.std) + torch.tensor(geometry.mean)
    return (scaled_BHWC / geometry.scale).round().clamp(0, 255).byte().numpy()


def interpolate_positions(model: torch.nn.Module, config: Any, geometry: ImageTransform) -> None:
    """Let a model whose positions were learned for one size of picture (a ViT) take pictures of the geometry's size."""
    size = getattr(config, "image_size", None)
    is_other = isinstance(size, int) and geometry.crop != (size, size)
    if is_other and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        model.register_forward_pre_hook(_interpolating, with_kwargs=True)


def _interpolating(_model: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return arguments, {**named, "interpolate_pos_encoding": True}
