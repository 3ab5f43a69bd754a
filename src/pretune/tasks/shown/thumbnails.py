"""Small pictures as text that a page can show without a file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pretune.data.media.image import decode_image

__all__ = ["SIDE", "picture_address", "thumbnail"]

SIDE = 160


def thumbnail(image: Mapping[str, Any]) -> str:
    """The ``data:image/jpeg`` address of an ``image`` cell's picture, its longer side 160 pixels at most."""
    return picture_address(np.asarray(decode_image(image)))


def picture_address(pixels: np.ndarray, side: int = SIDE) -> str:
    """The ``data:image/jpeg;base64,...`` address of a picture uint8 (H, W, 3), its longer side ``side`` pixels at most."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
