"""What the names of folders say of the files in them: the split, the class, and, when asked, any folder of the path."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from pretune.data.places.place import SPLIT_BY_WORD, split_of_word
from pretune.errors import DataError

__all__ = [
    "FolderGroup",
    "check_depth",
    "folder_depth",
    "folder_groups",
    "folders_of",
    "forms_note",
    "in_folders",
    "is_archive",
    "named_folder",
    "split_folders",
]

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")
_COLUMN = re.compile(r"folder(?::(-?\d+))?")
_ASKED_SHARE = 0.5


@dataclass(frozen=True)
class FolderGroup:
    """The files of one split (None where no folder names one) by their places in what was given, which folder of each
    one's path is its class (1 the first, 0 none), and which is the next one inside that class.
    """

    split: str | None
    places: tuple[int, ...]
    depths: tuple[int, ...]
    inner: tuple[int, ...]


def folders_of(name: str) -> tuple[str, ...]:
    """The folders of a file's path, archives left out, in composed Unicode (NFC), so that equal names are equal."""
    return _folders(name.rpartition("/")[0])


@lru_cache(maxsize=2**16)
def _folders(parent: str) -> tuple[str, ...]:
    parts = PurePosixPath(parent).parts
    return tuple(unicodedata.normalize("NFC", part) for part in parts if not is_archive(part))


def forms_note(names: Sequence[str]) -> list[str]:
    """A sentence on folders whose names are equal to the eye and not in bytes (composed and decomposed letters)."""
    written: dict[str, set[str]] = {}
    for part in {part for name in names for part in PurePosixPath(name).parts[:-1]}:
        written.setdefault(unicodedata.normalize("NFC", part), set()).add(part)
    same = sorted(name for name, forms in written.items() if len(forms) > 1)
    return [f"Folders whose names differ in their Unicode form alone are one: {', '.join(same[:5])}."] if same else []


def is_archive(part: str) -> bool:
    """Whether a name is that of an archive that is read."""
    return part.lower().endswith(_ARCHIVES)


def folder_depth(column: str) -> int | None:
    """N of ``folder:N``, 0 for ``folder``, None for another name."""
    match = _COLUMN.fullmatch(column.strip())
    return None if match is None else int(match[1] or 0)


def named_folder(name: str, depth: int) -> str | None:
    """The folder of a file's path that ``folder:N`` means: 1 the first, -1 the last; None where the path has no such."""
    parts = folders_of(name)
    place = depth - 1 if depth > 0 else len(parts) + depth
    return parts[place] if 0 <= place < len(parts) else None


def folder_groups(names: Sequence[str], *, use_splits: bool = True) -> list[FolderGroup]:
    """The files of a folder or archive by split, with the classes that the names of folders give them."""
    folders = [folders_of(name) for name in names]
    stands = split_folders(folders) if use_splits else {}
    splits, ends = _splits_of(folders, stands)
    if use_splits:
        splits = [split or _archive_split(name) for split, name in zip(splits, names, strict=True)]
    depths = _class_depths(folders, ends, stands)
    groups: dict[str | None, list[int]] = {}
    for number, split in enumerate(splits):
        groups.setdefault(split, []).append(number)
    return [
        FolderGroup(split, tuple(rows), tuple(depths[i][0] for i in rows), tuple(depths[i][1] for i in rows))
        for split, rows in groups.items()
    ]


def split_folders(paths: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The folders that stand for a split: by their own name, or beside others that differ in the split's word alone.

    ``topics-train`` and ``topics-test`` are splits; ``test_drives`` beside ``city_trips`` is none.
    """
    every = {path[:depth] for path in set(paths) for depth in range(1, len(path) + 1)}
    found = {path: split for path in every if (split := split_of_word(path[-1]))}
    alike: dict[tuple[object, ...], dict[tuple[str, ...], str]] = {}
    for path in every - found.keys():
        words = re.split(r"[\W\d_]+", path[-1].casefold())
        splits = [SPLIT_BY_WORD[word] for word in words if word in SPLIT_BY_WORD]
        if len(splits) == 1:
            rest = tuple(word for word in words if word and word not in SPLIT_BY_WORD)
            alike.setdefault((path[:-1], rest), {})[path] = splits[0]
    for together in alike.values():
        if len(set(together.values())) > 1:
            found |= together
    return found


def _splits_of(
    folders: Sequence[tuple[str, ...]], stands: Mapping[tuple[str, ...], str]
) -> tuple[list[str | None], list[int]]:
    """The split of each file, and how many folders of its path lead to the split's and it; 0 for none.

    It is the first folder that stands for a split, or one of unlabelled rows inside it. A folder that holds nothing but one
    of its own name (``seg_train/seg_train``) counts with it.
    """
    found: list[str | None] = []
    ends: list[int] = []
    for path in folders:
        depths = [depth for depth in range(1, len(path) + 1) if path[:depth] in stands]
        end = next((d for d in depths if stands[path[:d]] == "unlabelled"), depths[0] if depths else 0)
        found.append(stands[path[:end]] if end else None)
        ends.append(end)
    inside: dict[tuple[str, ...], set[str]] = {}
    for path, end in zip(folders, ends, strict=True):
        inside.setdefault(path[:end], set()).add(path[end] if end < len(path) else "")
    twice = {path for path, names in inside.items() if path and names == {path[-1]}}
    return found, [end + (path[:end] in twice) for path, end in zip(folders, ends, strict=True)]


def _archive_split(name: str) -> str | None:
    """The split that an archive's own name says: ``train_2000_per_class.zip``."""
    for part in PurePosixPath(name).parts[:-1]:
        if is_archive(part):
            words = {SPLIT_BY_WORD[w] for w in re.split(r"[\W\d_]+", part.casefold()) if w in SPLIT_BY_WORD}
            if len(words) == 1:
                return words.pop()
    return None


def _class_depths(
    folders: Sequence[tuple[str, ...]], ends: Sequence[int], stands: Mapping[tuple[str, ...], str]
) -> list[tuple[int, int]]:
    """Which folder of each path is the class, and which is inside it; 0 for all where folders give none.

    It is the first folder below the split's (``ends`` is how many folders lead to it, 0 for none), or, where nothing stands
    below it, above it. Folders that all files share say nothing, but one class below a split is a class.
    """
    below = [list(range(end + 1, len(path) + 1)) if end else [] for path, end in zip(folders, ends, strict=True)]
    above = [
        [depth for depth in range(1, (end or len(path)) + 1) if path[:depth] not in stands]
        for path, end in zip(folders, ends, strict=True)
    ]
    _strip_common(folders, below, least=2)
    _strip_common(folders, above, least=1)
    if len({path[depths[0] - 1] for path, depths in zip(folders, above, strict=True) if depths}) < 2:
        above = [[] for _ in above]
    chosen = ([*(low or high), 0, 0] for low, high in zip(below, above, strict=True))
    return [(depths[0], depths[1]) for depths in chosen]


def _strip_common(folders: Sequence[tuple[str, ...]], depths: Sequence[list[int]], least: int) -> None:
    """Cut the folders that all paths begin with, while ``least`` folders stand in each."""
    while depths and all(len(some) >= least for some in depths):
        if len({path[some[0] - 1] for path, some in zip(folders, depths, strict=True)}) > 1:
            return
        for some in depths:
            del some[0]


def check_depth(names: Sequence[str], groups: Sequence[FolderGroup], place: str) -> None:
    """Refuse to guess which folder is the class where the folders below the classes repeat from one to the other.

    ``camera-1/fox`` and ``camera-2/fox``: is the animal the class, or the camera? Raises :class:`DataError` with both answers.
    """
    below = Counter[tuple[int, str, str]]()  # depth of the class, class, folder in it
    for group in groups:
        for number, depth, inner in zip(group.places, group.depths, group.inner, strict=True):
            if inner:
                path = folders_of(names[number])
                below[depth, path[depth - 1], path[inner - 1]] += 1
    tops: dict[str, set[str]] = {}
    for _, top, inner in below:
        tops.setdefault(inner, set()).add(top)
    repeated = {inner for inner, some in tops.items() if len(some) > 1}
    files = sum(count for (_, _, inner), count in below.items() if inner in repeated)
    if len(tops) < 2 or files <= _ASKED_SHARE * len(names):
        return
    depth = Counter(depth for depth, _, _ in below).most_common(1)[0][0]
    outer, inner = _shown({top for _, top, _ in below}), _shown(repeated)
    raise DataError(
        f"{place}: folders of the same names ({inner}) stand in several of the folders {outer}: which of the two are the labels?",
        f"--column label=folder:{depth + 1} takes {inner}; add --group folder:{depth} where {outer} are places, people or days, "
        f"which must not stand on two sides of a split. --column label=folder:{depth} takes {outer}",
    )


def _shown(names: Collection[str]) -> str:
    some = sorted(names)[:3]
    return ", ".join(some) + (" ..." if len(names) > len(some) else "")


def in_folders(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> Callable[[str], Sequence[Any]]:
    """The columns ``values`` of rows that are files, and beside them ``folder:1``, ``folder:-1`` ... of their paths."""

    def column(name: str) -> Sequence[Any]:
        if name in values:
            return values[name]
        depth = folder_depth(name)
        assert depth, f"{name} is no column"
        return [named_folder(path, depth) for path in names]

    return column
