"""Pictures: one careful look at each file, and the upright RGB picture that models get.

A picture's size is read from its header and checked before a pixel is decoded. Truncated files are errors, never grey areas.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pretune.data.media.base import BrokenMedia, Media, whole_file
from pretune.data.media.kinds import HEAD_BYTES, has_extra, need_of
from pretune.data.media.look import sketches_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LOSSY", "MAX_PIXELS", "decode_image", "has_few_colours", "load_image", "look_hash", "probe_image"]

MAX_PIXELS = 64_000_000
"""Largest picture, in pixels: 192 MB once decoded."""

_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif", ".heics"),
}
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_FEW_COLOURS = 64
LOSSY = ("JPEG", "MPO", "JPEG2000")
"""Formats whose pictures are not quite what was saved."""
_FEW_SHARP, _SHARP_SHARE = 16, 0.6
"""Of a mask that was saved as JPEG: some values of flat regions are left, and hold most of its pixels."""
_quiet_lock = threading.Lock()


def decode_image(held: Mapping[str, Any]) -> Image:
    """The picture of an ``image`` cell (``bytes`` or ``path``): RGB, upright, alpha on white, the first of several frames.

    16-bit grey is scaled by its full range (value / 257). Raises :class:`DataError` naming the file.
    """
    name = str(held.get("path") or "a picture")
    data = held.get("bytes")
    if data is None:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise BrokenMedia("unreadable", name, error.strerror or "") from None
    picture, _ = _upright(load_image(io.BytesIO(data), name))
    return _rgb(picture, name)


def probe_image(stream: BinaryIO, name: str, path: Path | None) -> Media:
    """Read, hash and wholly decode one picture. The cell keeps the bytes when there is no ``path``.

    Raises :class:`BrokenMedia`.
    """
    data = whole_file(stream, name)
    picture = load_image(io.BytesIO(data), name)
    form, mode, changes = str(picture.format), picture.mode, _changes(picture, name)
    picture, orientation = _upright(picture)
    grey = _rgb(picture, name).convert("L")
    held = {"bytes": None, "path": str(path)} if path is not None else {"bytes": data, "path": name}
    content = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    changes += ("turned_upright",) if orientation > 1 else ()
    width, height = grey.size
    sketch = sketches_of(grey)
    return Media(
        held, content, form, mode, look_hash(grey), width, height, changes=changes, name=name, sketch=sketch, orientation=orientation
    )  # fmt: skip


def has_few_colours(stream: BinaryIO, name: str) -> str:
    """``few`` where a picture has at most as many colours as a mask has classes (64), ``blurred`` where it would have but for JPEG,
    else ``many``. Raises :class:`BrokenMedia`.
    """
    picture = load_image(io.BytesIO(whole_file(stream, name)), name)
    if picture.mode not in ("1", "L", "P", "RGB", "RGBA", "I;16", "I"):
        return "many"
    _, counts = np.unique(_pixels(picture), axis=0, return_counts=True)
    if picture.format not in LOSSY:
        return "few" if len(counts) <= _FEW_COLOURS else "many"
    return "blurred" if np.sort(counts)[-_FEW_SHARP:].sum() >= _SHARP_SHARE * counts.sum() else "many"


def _pixels(picture: Image) -> np.ndarray:
    """(N, C) the values of a picture, one pixel a row."""
    values = np.asarray(picture)
    return values.reshape(-1, values.shape[2] if values.ndim == 3 else 1)


def look_hash(grey: Image) -> int:
    """64-bit difference hash: is each of 8 x 8 cells brighter than its right neighbour, row by row.

    Krawetz, "Kind of Like That" (2013). Equal for copies at other sizes and qualities, up to a few bits.
    """
    from PIL.Image import Resampling

    cells = np.asarray(grey.resize((9, 8), Resampling.BILINEAR, reducing_gap=2.0), dtype=np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow can read, no others: some plug-ins start programs."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """The library warns of large pictures; our own limit is an error. The lock is needed, as filters belong to the process."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _formats_for(stream: BinaryIO, name: str) -> tuple[str, ...]:
    """The formats to try, by a file's first bytes. Raises :class:`BrokenMedia` for a file that needs what is not there."""
    need = need_of(name, stream.read(HEAD_BYTES))
    stream.seek(0)
    if need is None:
        return _formats()
    if need == "heif" and has_extra(need):
        import pillow_heif

        pillow_heif.register_heif_opener()
        return ("HEIF",)
    raise BrokenMedia("foreign" if need == "coded" else need, name)


def load_image(stream: BinaryIO, name: str) -> Image:
    """The decoded picture, in its own mode. Raises :class:`BrokenMedia`."""
    from PIL import Image, UnidentifiedImageError

    formats = _formats_for(stream, name)
    try:
        with _without_warnings():
            picture = Image.open(stream, formats=formats)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise BrokenMedia("too_large", name, f"{width} x {height} px, the limit is {MAX_PIXELS // 10**6} Mpx")
        picture.load()
    except BrokenMedia:
        raise
    except Image.DecompressionBombError:
        raise BrokenMedia("too_large", name, f"the limit is {MAX_PIXELS // 10**6} Mpx") from None
    except UnidentifiedImageError:
        if formats != _formats():  # its first bytes say what it is
            raise BrokenMedia("broken", name) from None
        raise BrokenMedia("foreign", name, f"not one of {', '.join(formats)}") from None
    except Exception as error:  # decoders raise many kinds for damaged files; all mean the same here
        raise BrokenMedia("broken", name, str(error)[:120]) from None
    return picture


def _changes(picture: Image, name: str) -> tuple[str, ...]:
    mode, found = picture.mode, []
    if mode in _SIXTEEN_BITS:
        found.append("16_bit")
    if mode == "F":
        found.append("float")
    if mode == "P":
        found.append("palette")
    if "A" in mode or "a" in mode or "transparency" in picture.info:
        found.append("alpha_on_white")
    if mode in ("L", "LA", "1"):
        found.append("grey")
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        found.append(mode.lower())
    with contextlib.suppress(Exception):  # looking for a second frame walks through the file, which may end early
        if picture.format != "MPO" and getattr(picture, "is_animated", False):
            found.append("first_frame_of_several")
    suffix = Path(name).suffix.lower()
    if suffix and suffix not in _SUFFIXES.get(str(picture.format), (suffix,)):
        found.append("wrong_extension")
    return tuple(found)


def _upright(picture: Image) -> tuple[Image, int]:
    """The picture turned as its EXIF says, and what it says (1 to 8); EXIF that cannot be read says nothing (1)."""
    from PIL import ImageOps

    try:
        orientation = picture.getexif().get(0x0112, 1)
        if orientation in range(2, 9):
            return ImageOps.exif_transpose(picture), int(orientation)
    except Exception:  # damaged metadata raises many kinds, and does not spoil the pixels
        return picture, 1
    return picture, 1


def _rgb(picture: Image, name: str) -> Image:
    from PIL import Image

    mode = picture.mode
    try:
        if mode == "RGB" and "transparency" not in picture.info:
            return picture
        if mode in _SIXTEEN_BITS or mode == "F":
            return _eight_bits(np.asarray(picture), mode, name).convert("RGB")
        if "A" in mode or "a" in mode or "transparency" in picture.info:
            over = picture.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
        return picture.convert("RGB")
    except BrokenMedia:
        raise
    except Exception as error:  # the library has no way between some rare modes
        raise BrokenMedia("broken", name, f"mode {mode}: {str(error)[:100]}") from None


def _eight_bits(values_HW: np.ndarray, mode: str, name: str) -> Image:
    """Whole numbers by the full range of 16 bits; numbers with a point by 1 when none is larger, else by their maximum."""
    from PIL import Image

    if mode == "F":
        low, high = float(values_HW.min()), float(values_HW.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BrokenMedia("broken", name, "it holds values that are not numbers")
        scaled = np.clip(values_HW, 0, None) * (255.0 / max(1.0, high))
    else:
        scaled = np.clip(values_HW.astype(np.int64), 0, 65_535) / 257.0
    return Image.fromarray(np.round(scaled).astype(np.uint8))
