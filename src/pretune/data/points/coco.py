"""Keypoints as COCO writes them: JSON files with pictures, annotations with ``keypoints`` [x, y, v, x, ...] and a category that names
them (Lin et al. 2014, arXiv 1405.0312). Read as poses where most pictures show one, or where each pose is asked for; else such a file is
one of boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Options, Table
from pretune.data.formats.marked.boxed import head_of
from pretune.data.formats.marked.coco import coco_json, coco_key, coco_pictures, is_coco
from pretune.data.media.base import Find, pictures_in
from pretune.data.places.place import LeftOut, Place, Source, split_of_path, stamp_of
from pretune.data.points.cut_out import cut_out, upright_from
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["posed_coco_place"]

_CHUNK_ROWS = 500
_WORD = b'"keypoints"'


def posed_coco_place(
    entries: Sequence[Entry], place: str, find_from: Callable[[Entry], Find], options: Options
) -> Place | None:
    """The place of pictures with one pose each, or of each pose (``--poses person``); None where no file is of such. Raises
    :class:`DataError`.
    """
    pictures = pictures_in(entries)
    files = [entry for entry in entries if entry.suffix == ".json" and is_coco(head_of(entry))] if pictures else []
    files = [entry for entry in files if _WORD in head_of(entry) or "keypoints" in PurePosixPath(entry.name).name]
    read = {entry: _poses(whole, entry.name) for entry in files if _names_of(whole := coco_json(entry))}
    each = options.poses == "person"
    many = sum(one.several for one in read.values()) > sum(len(one.points) for one in read.values())
    if not read or (many and options.poses == "auto"):
        return None
    if len({one.names for one in read.values()}) > 1:
        raise DataError(f"the files of {place} name different keypoints", "give files of the same category")
    sources = [
        Source(
            entry.name, (entry,), None if options.splits == "none" else split_of_path(entry.name),
            find=find_from(entry), table=lambda entry=entry, one=one: _each(one, entry.name, find_from(entry)) if each else _table(one),
        )
        for entry, one in read.items()
    ]  # fmt: skip
    rest = [entry.name for entry in entries if entry not in read and entry not in pictures]
    left_out = [LeftOut("beside pictures with keypoints", rest)] if rest else []
    notes = [note for entry, one in read.items() for note in one.notes(entry.name, each=each)]
    return Place(sources, [stamp_of(entry) for entry in entries], [], notes, left_out)


class _Poses:
    """The points of each picture that shows one pose, by its file, and every pose with its picture and that one's stated size; how many pictures show several, or none."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.points: dict[str, Any] = {}
        self.every: list[tuple[Any, str, tuple[int, int] | None]] = []
        self.several = self.without = 0

    def notes(self, name: str, *, each: bool) -> list[str]:
        """Sentences on pictures that are left out, or cut."""
        if each:
            return [
                f"{name}: {counted(len(self.every), 'pose')}, each cut out of its picture with a quarter more than its box; give the model pictures cut alike (pretune predict DETECTOR PICTURES --save-files FOLDER)."
            ]
        told = ((self.several, "several poses"), (self.without, "no pose"))
        return [
            f"{name}: {counted(count, 'picture')} {agree(count, 'show', 'shows')} {what} and {agree(count, 'are', 'is')} left out: a picture is answered by one{' (--poses person takes each)' if what == 'several poses' else ''}."
            for count, what in told
            if count
        ]


def _names_of(whole: Any) -> dict[Any, tuple[str, ...]]:
    """The names of the points of each category that has some, by its id."""
    categories = whole.get("categories") if isinstance(whole, dict) else None
    return {
        coco_key(one.get("id")): tuple(map(str, one["keypoints"]))
        for one in (categories if isinstance(categories, list) else [])
        if isinstance(one, dict) and isinstance(one.get("keypoints"), list) and one["keypoints"]
    }


def _poses(whole: Mapping[str, Any], name: str) -> _Poses:
    of_category = _names_of(whole)
    if len(set(of_category.values())) > 1:
        raise DataError(f"{name} has categories with different keypoints", "give a file of one category")
    found = _Poses(next(iter(of_category.values())))
    marked: dict[Any, list[Any]] = {}
    for one in whole["annotations"]:
        points = one.get("keypoints") if isinstance(one, dict) and not one.get("iscrowd") else None
        if isinstance(points, list) and coco_key(one.get("category_id")) in of_category and any(points[2::3]):
            if len(points) != 3 * len(found.names):
                raise DataError(
                    f"{name}: annotation {one.get('id')} has {len(points)} numbers for {len(found.names)} keypoints",
                    "x, y and v of each are expected",
                )
            marked.setdefault(coco_key(one.get("image_id")), []).append(one)
    for key, (_, file, size) in coco_pictures(whole, name).items():
        poses = marked.get(key, [])
        found.every += [(one, file, size) for one in poses]
        found.several += len(poses) > 1
        found.without += not poses
        if len(poses) == 1:
            found.points[file] = poses[0]["keypoints"]
    return found


def _table(one: _Poses) -> Table:
    """A row a picture."""
    files = list(one.points)
    columns = {"file": files, "name": files, "keypoints": list(one.points.values())}
    return _made_of(columns, "pictures with keypoints, as COCO writes them", one.names, {})


def _each(one: _Poses, name: str, find: Find) -> Table:
    """A row a pose; those of a picture stay on one side of every split. Raises :class:`DataError` for a pose that cannot be cut out."""
    poses = [cut_out(note, file, size, f"{name}: annotation {note.get('id')}") for note, file, size in one.every]
    upright = upright_from(find)
    columns = {
        "file": [pose.entry(upright) for pose in poses],
        "name": [pose.name for pose in poses],
        "keypoints": [pose.points for pose in poses],
        "picture": [pose.file for pose in poses],
    }
    form = "poses cut out of their pictures, keypoints as COCO writes them"
    return _made_of(columns, form, one.names, {"group": "picture"})


def _made_of(
    columns: Mapping[str, Sequence[Any]], form: str, names: tuple[str, ...], roles: Mapping[str, str]
) -> Table:
    count = len(columns["file"])

    def chunks() -> Iterator[Chunk]:
        for start in range(0, count, _CHUNK_ROWS):
            stop = min(count, start + _CHUNK_ROWS)
            values = {name: column[start:stop] for name, column in columns.items()}
            yield Chunk(range(start + 1, stop + 1), values.__getitem__)

    roles = {"image": "file", "id": "name", "keypoints": "keypoints", **roles}
    told = {"format": form, "files": count}
    return Table(tuple(columns), False, chunks(), told, class_names={"keypoints": names}, roles=roles)
