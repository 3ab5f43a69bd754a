"""From a place to its files: which of them hold rows, of which split and which class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pretune.data.archive import Entry, file_entry, zip_entries
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
_MAX_DEPTH = 4
_MANY_TEXT_FILES = 200


@dataclass(frozen=True)
class Source:
    """One table to read: a file, a folder of documents (one row each, all of class ``label``), or a loaded data set."""

    name: str
    entries: tuple[Entry, ...] = ()
    split: str | None = None
    label: str | None = None
    documents: bool = False
    dataset: datasets.Dataset | None = None


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
    entry = file_entry(path, path.name)
    if path.suffix.lower() == ".zip" or _starts_with(entry, b"PK\x03\x04") or _starts_with(entry, b"PK\x05\x06"):
        return _sorted_out(zip_entries(path), str(path))
    beside = [
        file_entry(other, other.name)
        for other in sorted(path.parent.iterdir())
        if _LABEL_FILE.fullmatch(other.name) and other.is_file()
    ]
    beside = [other for other in beside if other.name != path.name]
    return Place([Source(entry.name, (entry,))], [_stamp(e) for e in (entry, *beside)], beside)


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


def _folder(folder: Path) -> Place:
    from pretune.data.formats_arrow import saved_datasets

    saved = saved_datasets(folder)
    if saved is not None:
        place = _loaded(saved, folder.name)
        stamps: list[object] = [
            _stamp(file_entry(path, str(path))) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        return Place(place.sources, stamps, notes=place.notes)
    entries = [file_entry(path, name) for path, name in _walk(folder)]
    return _sorted_out(entries, str(folder))


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files to a few levels deep, hidden ones left out, in order of name."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions")

    for here, folders, files in os.walk(folder, onerror=refuse):
        depth = len(Path(here).relative_to(folder).parts)
        folders[:] = [] if depth >= _MAX_DEPTH else sorted(name for name in folders if not _hidden(name))
        for name in sorted(files):
            path = Path(here, name)
            if not _hidden(name):
                yield path, path.relative_to(folder).as_posix()


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _sorted_out(entries: Sequence[Entry], place: str) -> Place:
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
    sources = [_source(entry) for entry in tables] if tables else _text_sources(rows)
    if not sources:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise DataError(
            f"{place} holds no table or text file (it holds {seen}{' ...' if len(entries) > 5 else ''})",
            f"allowed: {' '.join((*TABLE_SUFFIXES, *TEXT_SUFFIXES))}, also with .gz",
        )
    notes: list[str] = []
    if any(source.split in ("train", "validation", "test") for source in sources):
        unplaced = [source.name for source in sources if source.split is None]
        sources = [source for source in sources if source.split is not None]
        notes += [_left_out(unplaced, "their names say no split while others do")] if unplaced else []
    used = {entry.name for source in sources for entry in source.entries} | {entry.name for entry in label_files}
    others = [
        entry.name for entry in entries if entry.name not in used and not any(entry.name in note for note in notes)
    ]
    notes += [_left_out(others, "they hold no rows, or are about the data")] if others else []
    return Place(sources, [_stamp(entry) for entry in entries], label_files, notes)


def _left_out(names: Sequence[str], why: str) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"Left out: {shown} ({why})."


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
