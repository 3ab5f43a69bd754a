"""A figure for a paper: a few kinds of shapes on a white sheet, written as SVG or painted as PNG, the same in both.

All lengths are pixels of the drawing at 96 a inch.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from markupsafe import Markup

from pretune.report.drawing.svg import number, tag

__all__ = ["INK", "QUIET", "Sheet"]

INK, QUIET = "#1a2027", "#55606d"
FAMILY = '"Helvetica Neue", Arial, "Noto Sans", "DejaVu Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif'
PIXELS_A_UNIT = 2
"""Of a PNG: 192 a inch at the drawing's own size."""

_FINER = 2
_CURVE_POINTS = 32
_FONTS = (
    "DejaVuSans.ttf", "Arial.ttf", "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc",
    "PingFang.ttc", "STHeiti Light.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf",
)  # fmt: skip
_BOLD = ("DejaVuSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf", "NotoSansCJK-Bold.ttc")
_NO_SIGN = "\U0010fffe"


@dataclass
class Sheet:
    """Shapes in the order in which they are put down. Colours are ``#rrggbb``, opacities from 0 to 1."""

    width: float
    height: float
    title: str
    _shapes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        self._shapes.append(
            ("box", {"x": x, "y": y, "width": width, "height": height, "fill": fill, "opacity": opacity})
        )

    def curve(self, points: Sequence[tuple[float, float]], ink: str, thick: float, opacity: float) -> None:
        """A cubic curve from the first of four points to the last, pulled by those between."""
        self._shapes.append(("curve", {"points": tuple(points), "ink": ink, "thick": thick, "opacity": opacity}))

    def text(
        self, x: float, y: float, content: str, size: float = 12.0, *, anchor: str = "start", ink: str = INK,
        upright: bool = False, bold: bool = False,
    ) -> None:  # fmt: skip
        """A text on the line through ``y``; ``upright``: it runs upwards from (x, y)."""
        shape = {
            "x": x,
            "y": y,
            "content": content,
            "size": size,
            "anchor": anchor,
            "ink": ink,
            "upright": upright,
            "bold": bold,
        }
        self._shapes.append(("text", shape))

    def picture(self, x: float, y: float, width: float, height: float, pixels: np.ndarray, *, smooth: bool) -> None:
        """Pixels uint8 (H, W, 3) stretched over a rectangle."""
        self._shapes.append(
            ("picture", {"x": x, "y": y, "width": width, "height": height, "pixels": pixels, "smooth": smooth})
        )

    def svg(self) -> Markup:
        """The sheet as one svg element that needs nothing else."""
        attributes = {
            "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {number(self.width)} {number(self.height)}",
            "width": number(self.width), "height": number(self.height), "role": "img", "font-family": FAMILY,
        }  # fmt: skip
        back = tag("rect", {"width": self.width, "height": self.height, "fill": "#ffffff"})
        return tag(
            "svg",
            attributes,
            tag("title", {}, self.title),
            back,
            *(_SVG[kind](**shape) for kind, shape in self._shapes),
        )

    def png(self) -> bytes:
        """The sheet as a PNG."""
        from PIL import Image, ImageDraw

        scale = PIXELS_A_UNIT * _FINER
        size = (round(self.width * scale), round(self.height * scale))
        image = Image.new("RGB", size, "#ffffff")
        pen = ImageDraw.Draw(image, "RGBA")
        for kind, shape in self._shapes:
            _PAINT[kind](image, pen, scale, **shape)
        held = io.BytesIO()
        image.resize((size[0] // _FINER, size[1] // _FINER), Image.Resampling.BOX).save(held, "PNG", optimize=True)
        return held.getvalue()

    def unwritable(self) -> str:
        """The signs for which no font was found here: they stand as boxes in the PNG. The SVG leaves fonts to its reader."""
        texts = [shape["content"] for kind, shape in self._shapes if kind == "text"]
        return "".join(sorted({sign for text in texts for sign in _missing(text, _font_of(text, 12, False))}))


# --- SVG ----------------------------------------------------------------------------------------------------------------


def _svg_box(x: float, y: float, width: float, height: float, fill: str, opacity: float) -> Markup:
    shape = {"x": x, "y": y, "width": width, "height": height, "fill": fill}
    return tag("rect", shape if opacity >= 1 else {**shape, "fill-opacity": f"{opacity:.3f}"})


def _svg_curve(points: Sequence[tuple[float, float]], ink: str, thick: float, opacity: float) -> Markup:
    (x, y), *rest = points
    path = f"M{number(x)} {number(y)}C" + " ".join(f"{number(a)} {number(b)}" for a, b in rest)
    attributes = {
        "d": path,
        "fill": "none",
        "stroke": ink,
        "stroke-width": f"{thick:.2f}",
        "stroke-opacity": f"{opacity:.3f}",
    }
    return tag("path", attributes)


def _svg_text(
    x: float, y: float, content: str, size: float, anchor: str, ink: str, upright: bool, bold: bool
) -> Markup:
    attributes: dict[str, object] = {"x": x, "y": y, "font-size": size, "fill": ink}
    if anchor != "start":
        attributes["text-anchor"] = anchor
    if bold:
        attributes["font-weight"] = "600"
    if upright:
        attributes["transform"] = f"rotate(-90 {number(x)} {number(y)})"
    return tag("text", attributes, content)


def _svg_picture(x: float, y: float, width: float, height: float, pixels: np.ndarray, smooth: bool) -> Markup:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG", optimize=True)
    address = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii")
    attributes: dict[str, object] = {
        "x": x, "y": y, "width": width, "height": height, "href": address, "preserveAspectRatio": "none",
    }  # fmt: skip
    return tag("image", attributes if smooth else {**attributes, "style": "image-rendering: pixelated"})


_SVG = {"box": _svg_box, "curve": _svg_curve, "text": _svg_text, "picture": _svg_picture}


# --- PNG ----------------------------------------------------------------------------------------------------------------


def _rgba(ink: str, opacity: float) -> tuple[int, int, int, int]:
    red, green, blue = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, round(255 * opacity)


def _paint_box(_image: Any, pen: Any, scale: int, x: float, y: float, width: float, height: float, fill: str, opacity: float) -> None:  # fmt: skip
    corners = [round(scale * one) for one in (x, y, x + width, y + height)]
    pen.rectangle(
        (corners[0], corners[1], max(corners[0], corners[2] - 1), max(corners[1], corners[3] - 1)),
        fill=_rgba(fill, opacity),
    )


def _paint_curve(_image: Any, pen: Any, scale: int, points: Sequence[tuple[float, float]], ink: str, thick: float, opacity: float) -> None:  # fmt: skip
    way = np.linspace(0, 1, _CURVE_POINTS)[:, None]
    a, b, c, d = (scale * np.array(point) for point in points)
    line = (1 - way) ** 3 * a + 3 * (1 - way) ** 2 * way * b + 3 * (1 - way) * way**2 * c + way**3 * d
    pen.line([tuple(point) for point in line.tolist()], fill=_rgba(ink, opacity), width=max(1, round(scale * thick)))


def _paint_text(
    image: Any, pen: Any, scale: int, x: float, y: float, content: str, size: float, anchor: str, ink: str, upright: bool, bold: bool
) -> None:  # fmt: skip
    from PIL import Image, ImageDraw

    font = _font_of(content, round(size * scale), bold)
    side = {"start": "l", "middle": "m", "end": "r"}[anchor]
    if not upright:
        pen.text((scale * x, scale * y), content, fill=_rgba(ink, 1.0), font=font, anchor=f"{side}s")
        return
    left, top, right, bottom = font.getbbox(content, anchor=f"{side}s")
    held = Image.new("L", (max(1, int(right - left) + 2), max(1, int(bottom - top) + 2)))
    ImageDraw.Draw(held).text((1 - left, 1 - top), content, fill=255, font=font, anchor=f"{side}s")
    turned = held.rotate(90, expand=True)
    place = (round(scale * x + top - 1), round(scale * y - right - 1))
    image.paste(Image.new("RGB", turned.size, ink), place, turned)


def _paint_picture(image: Any, _pen: Any, scale: int, x: float, y: float, width: float, height: float, pixels: np.ndarray, smooth: bool) -> None:  # fmt: skip
    from PIL import Image

    size = (round(scale * width), round(scale * height))
    filter_ = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    image.paste(Image.fromarray(pixels).resize(size, filter_), (round(scale * x), round(scale * y)))


_PAINT = {"box": _paint_box, "curve": _paint_curve, "text": _paint_text, "picture": _paint_picture}


def _fonts(names: Sequence[str], size: int) -> Iterator[Any]:
    from PIL import ImageFont

    for name in names:
        try:
            yield ImageFont.truetype(name, size)
        except OSError:
            continue


@cache
def _font_of(content: str, size: int, bold: bool) -> Any:
    """The first installed font that has every sign of the text; where none has, the one that lacks fewest."""
    from PIL import ImageFont

    found = [*_fonts(_BOLD, size)] if bold else []
    found += [*_fonts(_FONTS, size), ImageFont.load_default(size)]
    return min(found, key=lambda font: len(_missing(content, font)))


def _missing(content: str, font: Any) -> list[str]:
    """The signs of a text that a font draws as it draws one that nobody has."""
    nobody = bytes(font.getmask(_NO_SIGN))
    return [sign for sign in set(content) if not sign.isspace() and bytes(font.getmask(sign)) == nobody]
