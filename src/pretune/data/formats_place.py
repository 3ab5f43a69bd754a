"""What was found at a place: tables, documents, pictures or clips, each with its split; and the words that name splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pretune.data.archive import Entry
from pretune.data.media import Find

if TYPE_CHECKING:
    import datasets

__all__ = [
    "ABOUT",
    "LABEL_FILE",
    "SPLIT_BY_WORD",
    "TABLE_SUFFIXES",
    "TEXT_SUFFIXES",
    "Place",
    "Source",
    "hidden",
    "left_out",
    "named_after_split",
    "split_of_path",
    "split_of_word",
    "stamp_of",
]

TEXT_SUFFIXES = (".txt", ".text")
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".arrow", ".feather")
_SPLIT_WORDS = {
    "train": ("train", "training", "训练", "训练集"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "publictest", "验证", "验证集"),
    "test": ("test", "testing", "privatetest", "测试", "测试集"),
    "unlabelled": ("unlabelled", "unlabeled", "unsup", "unsupervised"),
}
_BESIDE_SPLIT = frozenset(
    ("", "data", "images", "imgs", "seg", "split", "file", "files", "texts", "clips", "audio", "rows", "all", "of")
)
SPLIT_BY_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
ABOUT = re.compile(
    r"(readme|license|licence|copying|notice|source|sources|changelog|citation|authors|dataset_infos?|cc-by.*)", re.I
)
LABEL_FILE = re.compile(r"(.*[_\-])?(labels?|class|classes|emotions|label_names)\.txt", re.I)


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
    """The split that a folder's, key's or cell's name stands for: ``dev`` is validation, ``train_set`` and ``training-data`` train."""
    whole = word.casefold()
    if whole in SPLIT_BY_WORD:
        return SPLIT_BY_WORD[whole]
    words = {part.removesuffix("set") for part in _words(whole)} - _BESIDE_SPLIT
    return SPLIT_BY_WORD.get(words.pop()) if len(words) == 1 else None


def split_of_path(name: str) -> str | None:
    """The split by the nearest folder named after one, else by a word anywhere in the file's name (``sst2_train.csv``,
    ``2015.train.tsv``, ``stsa.fine.test``).
    """
    path = PurePosixPath(name)
    for folder in reversed(path.parts[:-1]):
        if split := split_of_word(folder):
            return split
    words = _words(_without_kind(path.name))
    found = {SPLIT_BY_WORD[word] for word in words if word in SPLIT_BY_WORD}
    return found.pop() if len(found) == 1 else split_of_word(_without_kind(path.name))


def named_after_split(name: str) -> bool:
    """Whether a file or one of its folders is called after a split and nothing else, as ``test.csv`` and ``test/a.csv`` are."""
    path = PurePosixPath(name)
    return any(map(split_of_word, (*path.parts[:-1], _without_kind(path.name))))


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W\d_]+", name.casefold()) if word]


def _without_kind(name: str) -> str:
    """A file's name without the suffixes that say how it is written."""
    plain = name.casefold().removesuffix(".gz")
    return next((plain.removesuffix(end) for end in (*TABLE_SUFFIXES, *TEXT_SUFFIXES) if plain.endswith(end)), plain)


def hidden(name: str) -> bool:
    """Whether a file or folder is to be passed over for its name."""
    return name.startswith((".", "_"))


def stamp_of(entry: Entry) -> tuple[str, int, int]:
    """What changes when the file does."""
    return (entry.name, *entry.stamp)


def left_out(names: Sequence[str], why: str) -> str:
    """A sentence on files that were not used."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"Left out: {shown} ({why})."
