"""A number for a picture."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.inputs.pictures import OfPictures
from pretune.tasks.values.regression import Regression

__all__ = ["ImageRegression"]


@final
class ImageRegression(OfPictures, Regression):
    """A number for a picture."""

    name: ClassVar[str] = "image-regression"
    columns: ClassVar[tuple[str, ...]] = ("image", "value")
