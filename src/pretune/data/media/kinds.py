"""Which files are pictures and which are clips, by their names and by their first bytes; and what some of them need to be read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePosixPath

from pretune.modalities import Modality

__all__ = [
    "HEAD_BYTES",
    "MEDIA_SUFFIXES",
    "extras",
    "has_extra",
    "is_film",
    "kind_of_bytes",
    "kind_of_name",
    "need_of",
    "sound_format",
]

HEAD_BYTES = 64
"""First bytes of a file that tell what it is."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".jp2", ".j2k", ".avif", ".mpo",
)  # fmt: skip
HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".heics")
RAW_SUFFIXES = (
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".raf", ".rw2", ".pef", ".srw", ".x3f", ".3fr",
    ".iiq", ".erf", ".kdc", ".mrw", ".rwl",
)  # fmt: skip
DRAWN_SUFFIXES = (".svg", ".psd", ".eps")
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph",
    ".voc",
)  # fmt: skip
CODED_SUFFIXES = (
    ".m4a", ".m4b", ".aac", ".wma", ".amr", ".awb", ".ac3", ".mka", ".mp2", ".ape", ".wv", ".tta", ".spx", ".weba",
)  # fmt: skip
FILM_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".3gp", ".3g2", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".ogv",
)  # fmt: skip
_KINDS = {
    **dict.fromkeys((*IMAGE_SUFFIXES, *HEIF_SUFFIXES, *RAW_SUFFIXES, *DRAWN_SUFFIXES), Modality.IMAGE),
    **dict.fromkeys((*AUDIO_SUFFIXES, *CODED_SUFFIXES, *FILM_SUFFIXES), Modality.AUDIO),
}
MEDIA_SUFFIXES = tuple(_KINDS)
_IMAGE_MARKS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_AUDIO_MARKS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b".snd", b"RF64", b"caff", b"NIST_1A")
_RAW_MARKS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_CODED_MARKS = {
    b"\x30\x26\xb2\x75": "asf", b"#!AMR": "amr", b"\x1aE\xdf\xa3": "matroska", b"\xff\xf1": "aac", b"\xff\xf9": "aac",
    b"FLV\x01": "flv", b"wvpk": "wv", b"\x0bw": "ac3",
}  # fmt: skip
EXTRAS = {"heif": "pillow_heif", "coded": "av"}
"""The optional package that reads files of a kind."""


def kind_of_name(name: str) -> Modality | None:
    """Picture, clip or None by the name's suffix. Films count as clips, for their sound."""
    return _KINDS.get(PurePosixPath(name).suffix.lower())


def is_film(name: str) -> bool:
    """Whether this is a film by its name: of no use where rows are pictures."""
    return PurePosixPath(name).suffix.lower() in FILM_SUFFIXES


def kind_of_bytes(head: bytes) -> Modality | None:
    """Picture, clip or None by the first bytes of a file (``HEAD_BYTES`` are enough)."""
    if head[:4] == b"RIFF":
        return Modality.AUDIO if head[8:12] in (b"WAVE", b"AVI ") else Modality.IMAGE if head[8:12] == b"WEBP" else None
    if head[:4] == b"FORM":
        return Modality.AUDIO if head[8:12] in (b"AIFF", b"AIFC") else None
    if head[:2] == b"BM":
        return Modality.IMAGE if len(head) > 18 and head[6:10] == b"\0\0\0\0" and head[15:18] == b"\0\0\0" else None
    if head.startswith(_AUDIO_MARKS):
        return Modality.AUDIO
    if head.startswith(_IMAGE_MARKS) or head[4:12] == b"ftypavif":
        return Modality.IMAGE
    need = need_of("", head)
    return None if need is None else Modality.AUDIO if need == "coded" else Modality.IMAGE


def need_of(name: str, head: bytes) -> str | None:
    """What a file is by its first bytes (or name) that is not read without more: ``heif``, ``raw``, ``drawn``, ``coded`` (sound).

    None for what is read as it is, and for what is none of them. Raw files of cameras are TIFF at first sight, and their
    names tell them from others.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if sound_format(head) is not None:
        return "coded"
    if head[4:8] == b"ftyp" and head[8:12] in (*_HEIF_BRANDS, b"crx "):
        return "raw" if head[8:12] == b"crx " else "heif"
    if head.startswith(_RAW_MARKS) or (suffix in RAW_SUFFIXES and head.startswith((b"II*\0", b"MM\0*"))):
        return "raw"
    return "drawn" if suffix in DRAWN_SUFFIXES else None


def sound_format(head: bytes) -> str | None:
    """What FFmpeg calls the container of sound that only it reads, by a file's first bytes; None for all other files."""
    if head[4:8] == b"ftyp":
        return None if head[8:12] in (*_HEIF_BRANDS, b"avif", b"crx ") else "mov"
    if head[:4] + head[8:12] == b"RIFFAVI ":
        return "avi"
    if head.startswith(b"OggS"):
        return "ogg" if b"OpusHead" in head or b"Speex" in head else None
    return next((form for mark, form in _CODED_MARKS.items() if head.startswith(mark)), None)


def has_extra(need: str) -> bool:
    """Whether the optional package is there that reads such files."""
    return need in EXTRAS and find_spec(EXTRAS[need]) is not None


def extras() -> list[str]:
    """The optional packages that are there: with others, other files can be read."""
    return sorted(package for need, package in EXTRAS.items() if has_extra(need))
