"""A small picture as text that a page can show without a file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from pretune.data.media_image import decode_image

__all__ = ["thumbnail"]

SIDE = 160


def thumbnail(image: Mapping[str, Any], side: int = SIDE) -> str:
    """A ``data:image/jpeg;base64,...`` address of the picture, its longer side ``side`` pixels at most."""
    picture = decode_image(image)
    picture.thumbnail((side, side))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
