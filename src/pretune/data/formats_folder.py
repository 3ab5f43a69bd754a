"""From a place to its files: which of them hold rows, of which split and which class."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pretune.data.archive import Entry, file_entry, zip_entries
from pretune.data.formats_media import media_groups, media_kind, stems_of
from pretune.data.media import Find, disk_finder, kind_of_bytes, kind_of_name, media_entry, zip_finder
from pretune.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import datasets

__all__ = ["Place", "Source", "find_place", "split_of_word"]

TEXT_SUFFIXES = (".txt", ".text")
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".arrow", ".feather")
_KINDS = {".tab": ".tsv", ".ndjson": ".json", ".jsonl": ".json", ".pq": ".parquet", ".feather": ".arrow"}
_SPLIT_WORDS = {
    "train": ("train", "training", "训练", "训练集"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "验证", "验证集"),
    "test": ("test", "testing", "测试", "测试集"),
    "unlabelled": ("unlabelled", "unlabeled", "unsup", "unsupervised"),
}
_BY_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_ABOUT = re.compile(
    r"(readme|license|licence|copying|notice|source|sources|changelog|citation|authors|dataset_infos?|cc-by.*)", re.I
)
_LABEL_FILE = re.compile(r"(.*[_\-])?(labels?|class|classes|emotions|label_names)\.txt", re.I)
_MAX_DEPTH, _MAX_MEDIA_DEPTH = 4, 10
_STAMP_BYTES = 2**16
_MANY_TEXT_FILES = 200


@dataclass(frozen=True)
class Source:
    """One table to read: a file, a folder of documents (one row each, all of class ``label``), pictures or clips (``media``
    is their kind, ``classes`` names the class of each), or a loaded data set.

    ``find`` finds the files that a table's rows name; ``stems`` are the names of the media files of the place, ``num_beside``
    of which lie in the same folder or archive that was given.
    """

    name: str
    entries: tuple[Entry, ...] = ()
    split: str | None = None
    label: str | None = None
    documents: bool = False
    dataset: datasets.Dataset | None = None
    media: str | None = None
    classes: tuple[str | None, ...] = ()
    find: Find | None = None
    stems: frozenset[str] = frozenset()
    num_beside: int = 0


@dataclass
class Place:
    """What was found at the place that a person gave."""

    sources: list[Source]
    stamps: list[object]
    label_files: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split_of_word(word: str) -> str | None:
    """The split that a folder's or key's name stands for: ``dev`` is validation."""
    return _BY_WORD.get(word.casefold())


def _split_of_path(name: str) -> str | None:
    """The split by the nearest folder named after one, else by a word in the file's name (``sst2_train.csv``)."""
    path = PurePosixPath(name)
    for folder in reversed(path.parts[:-1]):
        if split := split_of_word(folder):
            return split
    words = re.split(r"[\W\d_]+", path.name.split(".")[0].casefold())
    found = {_BY_WORD[word] for word in words if word in _BY_WORD}
    return found.pop() if len(found) == 1 else None


def find_place(given: str) -> Place:
    """The tables at a file, folder, archive or hub id. Raises :class:`DataError` when there are none."""
    from pretune.data.formats_arrow import hub_datasets, looks_like_hub_id

    path = Path(given).expanduser()
    if not os.path.lexists(path):
        if looks_like_hub_id(given) and path.suffix.lower() not in (*TABLE_SUFFIXES, *TEXT_SUFFIXES, ".gz", ".zip"):
            return _loaded(hub_datasets(given), given)
        raise _missing(path)
    if path.is_dir():
        return _folder(path)
    if kind := kind_of_name(path.name):
        return _one_media_file(path, kind)
    entry = file_entry(path, path.name)
    if path.suffix.lower() == ".zip" or _starts_with(entry, b"PK\x03\x04") or _starts_with(entry, b"PK\x05\x06"):
        return _archive(path)
    if path.suffix.lower() not in (*TABLE_SUFFIXES, *TEXT_SUFFIXES):
        with entry.open() as stream:
            kind = kind_of_bytes(stream.read(12))
        if kind:
            return _one_media_file(path, kind)
    beside = [
        file_entry(other, other.name)
        for other in sorted(path.parent.iterdir())
        if _LABEL_FILE.fullmatch(other.name) and other.is_file()
    ]
    beside = [other for other in beside if other.name != path.name]
    files = _media_beside(path, entry)
    find = disk_finder(path.parent, path.parent)
    source = Source(entry.name, (entry,), find=find, stems=frozenset(stems_of(files)))
    return Place([source], [_stamp(e) for e in (entry, *beside, *files)], beside)


def _one_media_file(path: Path, kind: str) -> Place:
    """One picture or clip. Raises :class:`DataError` when it is not a readable file; what it holds is looked at later."""
    real = Path(os.path.realpath(path))
    entry = replace(media_entry(real, path.name, real.parent), name=path.name)
    if not path.is_file():
        raise DataError(f"{path} is not a regular file", "give a file or folder")
    return Place([Source(path.name, (entry,), media=kind, classes=(None,))], [_stamp(entry)])


def _media_beside(table: Path, entry: Entry) -> list[Entry]:
    """The media files below the folder of a table that seems to name some: when they change, so do its rows."""
    with entry.open() as stream:
        start = stream.read(_STAMP_BYTES).lower()
    if not re.search(rb"\.(jpe?g|png|gif|bmp|webp|tiff?|wav|flac|ogg|opus|mp3|aiff?)\b", start) and b"|" not in start:
        return []
    root = Path(os.path.realpath(table.parent))
    return [media_entry(path, name, root) for path, name in _walk(table.parent) if kind_of_name(name)]


def _archive(path: Path) -> Place:
    entries = zip_entries(path)
    members = {entry.name: entry for entry in entries}
    return _sorted_out(entries, str(path), lambda entry: zip_finder(members, str(PurePosixPath(entry.name).parent)))


def _starts_with(entry: Entry, mark: bytes) -> bool:
    with entry.open() as stream:
        return stream.read(len(mark)) == mark


def _stamp(entry: Entry) -> tuple[str, int, int]:
    return (entry.name, *entry.stamp)


def _missing(path: Path) -> DataError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    names = sorted(beside.name for beside in parent.iterdir() if not beside.name.startswith("."))[:2000]
    wanted = path.relative_to(parent).parts[0] if parent in path.parents and parent != Path() else path.parts[0]
    fix = did_you_mean(wanted, names) if names else f"{parent} is empty"
    fix = fix if len(fix) <= 300 else fix[:300] + " ..."
    return DataError(f"{path} does not exist", f"in {parent}: {fix}")


def _loaded(found: dict[str, datasets.Dataset], name: str) -> Place:
    known = {part: split_of_word(part) for part in found}
    if len(found) > 1 and not any(known.values()):
        raise DataError(f"{name} has the splits {', '.join(found)}", "name one of them train")
    sources = [
        Source(part or name, split=known[part], dataset=rows)
        for part, rows in found.items()
        if known[part] or len(found) == 1
    ]
    left_out = [part for part in found if not known[part]] if len(found) > 1 else []
    notes = (
        [f"The splits {', '.join(left_out)} were left out: their names are not train, validation, test or unlabelled."]
        if left_out
        else []
    )
    return Place(sources, [[part, rows._fingerprint] for part, rows in found.items()], notes=notes)


def _folder(given: Path) -> Place:
    from pretune.data.formats_arrow import saved_datasets

    folder = Path(os.path.realpath(given))

    saved = saved_datasets(folder)
    if saved is not None:
        place = _loaded(saved, folder.name)
        stamps: list[object] = [
            _stamp(file_entry(path, str(path))) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        return Place(place.sources, stamps, notes=place.notes)
    entries = [
        media_entry(path, name, folder) if kind_of_name(name) else file_entry(path, name)
        for path, name in _walk(folder)
    ]
    place = _sorted_out(_unpacked(entries), str(given), lambda entry: disk_finder((folder / entry.name).parent, folder))
    if any(source.media for source in place.sources):
        empty = [
            str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_dir() and _is_empty(path)
        ]
        place.notes += [_left_out(empty, "folders without files")] if empty else []
    return place


def _is_empty(folder: Path) -> bool:
    try:
        return not _hidden(folder.name) and next(folder.iterdir(), None) is None
    except OSError:
        return False


def _unpacked(entries: Sequence[Entry]) -> list[Entry]:
    """The members of the zip archives of pictures or clips in a folder that holds nothing else with rows."""
    archives = [entry for entry in entries if entry.suffix == ".zip" and entry.path is not None]
    others = [entry for entry in entries if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES)]
    others = [entry for entry in others if not _ABOUT.fullmatch(PurePosixPath(entry.inner).stem)]
    if not archives or others or any(kind_of_name(entry.name) for entry in entries):
        return list(entries)
    found = [entry for entry in entries if entry not in archives]
    for archive in archives:
        assert archive.path is not None, "chosen above"
        found += [
            replace(member, name=f"{archive.name}/{member.name}", inner=f"{archive.name}/{member.inner}")
            for member in zip_entries(archive.path)
        ]
    return found if any(kind_of_name(entry.name) for entry in found) else list(entries)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files to a few levels deep, hidden ones left out, in order of name."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions")

    for here, folders, files in os.walk(folder, onerror=refuse):
        inner = Path(here).relative_to(folder)
        depth = len(inner.parts)
        folders[:] = [] if depth >= _MAX_MEDIA_DEPTH else sorted(name for name in folders if not _hidden(name))
        for name in sorted(files):
            if not _hidden(name) and (depth <= _MAX_DEPTH or kind_of_name(name)):
                yield Path(here, name), (inner / name).as_posix()


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _sorted_out(entries: Sequence[Entry], place: str, find_from: Callable[[Entry], Find]) -> Place:
    """Sources of a folder or archive: what holds rows, what names classes, what is left out and told."""
    entries = [entry for entry in entries if not any(map(_hidden, PurePosixPath(entry.name).parts))]
    label_files = [entry for entry in entries if _LABEL_FILE.fullmatch(PurePosixPath(entry.name).name)]
    known = [
        entry for entry in entries if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES) and entry not in label_files
    ]
    about = [entry for entry in known if _ABOUT.fullmatch(PurePosixPath(entry.inner).stem)]
    rows = [entry for entry in known if entry not in about]
    tables = [entry for entry in rows if entry.suffix in TABLE_SUFFIXES]
    kinds = sorted({_KINDS.get(entry.suffix, entry.suffix) for entry in tables})
    if len(kinds) > 1:
        raise DataError(
            f"{place} holds tables of several kinds ({', '.join(kinds)})",
            "give one of the files, or put one kind in a folder of its own",
        )
    media = [entry for entry in entries if kind_of_name(entry.name)]
    if tables:
        stems = frozenset(stems_of(media))
        sources = [
            replace(_source(entry), find=find_from(entry), stems=stems, num_beside=len(media)) for entry in tables
        ]
    elif len(media) > len(rows):
        sources = _media_sources(media, place)
    else:
        sources = _text_sources(rows)
    if not sources:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise DataError(
            f"{place} holds no table, text, picture or sound (it holds {seen}{' ...' if len(entries) > 5 else ''})",
            f"allowed: {' '.join((*TABLE_SUFFIXES, *TEXT_SUFFIXES))}, also with .gz; pictures; clips of sound",
        )
    notes: list[str] = []
    if any(source.split in ("train", "validation", "test") for source in sources):
        unplaced = [
            name
            for source in sources
            if source.split is None
            for name in ([entry.name for entry in source.entries] if source.media else [source.name])
        ]
        if len(media) < 2 * len(unplaced) and sources[0].media:
            raise DataError(
                f"{place}: some folders are named after splits, most files are in others, such as {unplaced[0]}",
                "put all files into folders such as train, validation and test, or give one of the folders",
            )
        sources = [source for source in sources if source.split is not None]
        notes += [_left_out(unplaced, "their names say no split while others do")] if unplaced else []
    used = {entry.name for source in sources for entry in source.entries} | {entry.name for entry in label_files}
    named = any(source.find for source in sources)  # then the rows say which pictures or clips are used
    others = [
        entry.name
        for entry in entries
        if entry.name not in used
        and not (named and kind_of_name(entry.name))
        and not any(entry.name in note for note in notes)
    ]
    notes += [_left_out(others, "they hold no rows, or are about the data")] if others else []
    return Place(sources, [_stamp(entry) for entry in entries], label_files, notes)


def _left_out(names: Sequence[str], why: str) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"Left out: {shown} ({why})."


def _media_sources(media: Sequence[Entry], place: str) -> list[Source]:
    """One source a split; files of the rarer kind are left to be told as such."""
    kind = media_kind(media, place)
    files = [entry for entry in media if kind_of_name(entry.name) == kind]
    name = PurePosixPath(place).name or "files"
    return [
        Source(group.split or name, group.entries, group.split, media=kind, classes=group.classes)
        for group in media_groups(files, _BY_WORD)
    ]


def _source(entry: Entry) -> Source:
    return Source(entry.name, (entry,), _split_of_path(entry.name))


def _text_sources(entries: Sequence[Entry]) -> list[Source]:
    """Class folders (one row a file, the folder's name its label), or files with one row a line."""
    by_folder: dict[PurePosixPath, list[Entry]] = {}
    for entry in entries:
        by_folder.setdefault(PurePosixPath(entry.name).parent, []).append(entry)
    siblings: dict[PurePosixPath, list[PurePosixPath]] = {}
    for folder in by_folder:
        if folder.name and not split_of_word(folder.name):
            siblings.setdefault(folder.parent, []).append(folder)
    parents = {parent for parent, folders in siblings.items() if len(folders) >= 2}
    if not parents:
        return [source for folder, files in by_folder.items() for source in _plain_text(folder, files)]
    sources = []
    for folder, files in by_folder.items():
        if folder.parent in parents and folder.name:
            label = None if split_of_word(folder.name) else folder.name
            sources.append(Source(str(folder), tuple(files), _split_of_path(str(folder / "x")), label, documents=True))
    return sources


def _plain_text(folder: PurePosixPath, files: Sequence[Entry]) -> list[Source]:
    if len(files) <= _MANY_TEXT_FILES:
        return [_source(entry) for entry in files]
    return [Source(str(folder), tuple(files), _split_of_path(str(folder / "x")), documents=True)]
