"""Masks among the pictures of a place: which files they are, and the picture that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.media.base import BrokenMedia, pictures_in
from pretune.data.media.image import has_few_colours
from pretune.data.places.place import SPLIT_BY_WORD, LeftOut
from pretune.errors import DataError

__all__ = ["MaskPairs", "mask_pairs"]

_MASK_FOLDER = re.compile(
    r"masks?|annots?|annotations?|seg(mentation)?s?(class|object)?|segmaps?|labels?|gt|ground_?truths?"
)
_MASK_ENDS = re.compile(r"[_\-. ](masks?|segmentation|seg|gt|labels?|annot|l|label_?ids|gtfine_label_?ids)$", re.I)
_PICTURE_ENDS = re.compile(r"[_\-. ](image|img|leftimg8bit|sat|picture|photo)$", re.I)
_OBJECTS = re.compile(r"object|instance", re.I)
_TWINS_SHARE, _LOOKED_AT = 0.8, 3


@dataclass(frozen=True)
class MaskPairs:
    """``masks`` are the files of masks by name; ``of`` maps a picture's name to its mask. ``left_out`` are masks of no picture, or of several
    pictures.
    """

    masks: frozenset[str] = frozenset()
    of: Mapping[str, Entry] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()


def mask_pairs(entries: Sequence[Entry]) -> MaskPairs:
    """The masks of a place and their pictures: files in a folder that is called so (``masks``, ``trainannot``, ``SegmentationClass``),
    or beside the picture under its name with such a word behind it (``a.jpg``, ``a_mask.png``); they have names of pictures and few
    colours. Raises :class:`DataError` for masks in JPEG.
    """
    pictures = pictures_in(entries)
    every = [*_in_folders(pictures), *_beside(pictures)]
    if not every:
        return MaskPairs()
    names = frozenset(entry.name for entry in every)
    masks = [entry for entry in every if not _OBJECTS.search(str(PurePosixPath(entry.name).parent))]
    by_key: dict[str, list[Entry]] = {}
    for entry in pictures:
        if entry.name not in names:
            by_key.setdefault(_key(entry, _PICTURE_ENDS), []).append(entry)
    found: dict[str, Entry] = {}
    nowhere: list[str] = []
    several: list[str] = []
    for mask in masks:
        nearest = _nearest(mask, by_key.get(_key(mask, _MASK_ENDS), ()))
        if nearest is None:
            nowhere.append(mask.name)
        elif len(nearest) > 1 or nearest[0].name in found:
            several.append(mask.name)
        else:
            found[nearest[0].name] = mask
    fix = "give masks the names of their pictures"
    told = (
        LeftOut("masks of no picture that is there", nowhere, "left-out-masks", fix),
        LeftOut("several masks of one picture, or one of several", several, "left-out-masks", fix),
        LeftOut("masks of single objects, where classes are read", sorted(names - {entry.name for entry in masks})),
    )
    return MaskPairs(names, found, tuple(one for one in told if one.names))


def _key(entry: Entry, ends: re.Pattern[str]) -> str:
    stem = PurePosixPath(entry.name).stem
    return ends.sub("", stem) or stem


def _in_folders(pictures: Sequence[Entry]) -> list[Entry]:
    """Those in folders called so whose files have the names of others, and few colours."""
    by_folder: dict[PurePosixPath, list[Entry]] = {}
    for entry in pictures:
        by_folder.setdefault(PurePosixPath(entry.name).parent, []).append(entry)
    named = {folder for folder in by_folder if any(map(_says_masks, folder.parts))}
    others = {_key(entry, _PICTURE_ENDS) for folder in by_folder.keys() - named for entry in by_folder[folder]}
    found: list[Entry] = []
    for folder in sorted(named):
        some = by_folder[folder]
        twins = [entry for entry in some if _key(entry, _MASK_ENDS) in others]
        if len(twins) >= _TWINS_SHARE * len(some) and all(_is_mask(entry) for entry in some[:_LOOKED_AT]):
            found += some
    return found


def _beside(pictures: Sequence[Entry]) -> list[Entry]:
    """Those in the folder of their picture, with a word behind its name."""
    stems = {(PurePosixPath(entry.name).parent, PurePosixPath(entry.name).stem) for entry in pictures}
    found = []
    for entry in pictures:
        path = PurePosixPath(entry.name)
        short = _MASK_ENDS.sub("", path.stem)
        if short != path.stem and not any(map(_says_masks, path.parent.parts)) and (path.parent, short) in stems:
            found.append(entry)
    return found if found and all(_is_mask(entry) for entry in found[:_LOOKED_AT]) else []


def _says_masks(folder: str) -> bool:
    """Whether a word of a folder's name, or its end, says masks: ``train_masks``, ``trainannot``, ``SegmentationClass``."""
    words = re.split(r"[\W\d_]+", folder.casefold())
    return any(_MASK_FOLDER.fullmatch(word) for word in words if word) or folder.casefold().endswith(
        ("annot", "mask", "masks", "segmentationclass")
    )


def _is_mask(entry: Entry) -> bool:
    """Whether a file has as few colours as a mask. Raises :class:`DataError` for one whose few colours JPEG has blurred."""
    try:
        with entry.open() as stream:
            looks = has_few_colours(stream, entry.name)
    except (BrokenMedia, DataError, OSError):
        return False
    if looks == "blurred":
        raise DataError(
            f"{entry.name} is a mask saved as JPEG, which changes its values: classes that nobody drew would be read along every edge",
            "export the masks again as PNG; from JPEG they cannot be brought back",
        )
    return looks == "few"


def _nearest(mask: Entry, pictures: Sequence[Entry]) -> list[Entry] | None:
    """Of the pictures of a mask's name those whose folders are most like its own; None where there is none."""
    if not pictures:
        return None
    own = _words_of(mask)
    likeness = [(_splits_of(own) == _splits_of(_words_of(one)), len(own & _words_of(one))) for one in pictures]
    best = max(likeness)
    return [one for one, like in zip(pictures, likeness, strict=True) if like == best]


def _words_of(entry: Entry) -> set[str]:
    """The words of a path's folders, those of masks cut off: ``trainannot`` is ``train``."""
    found: set[str] = set()
    for part in PurePosixPath(entry.name).parts[:-1]:
        for word in re.split(r"[\W_]+", part.casefold()):
            bare = re.sub(r"(annots?|masks?|labels?)$", "", word)
            found |= {one for one in (bare,) if one}
    return found


def _splits_of(words: set[str]) -> set[str]:
    return {SPLIT_BY_WORD[word] for word in words if word in SPLIT_BY_WORD}
