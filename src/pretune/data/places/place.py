"""What was found at a place: tables, documents, pictures or clips, each with its split; and the words that name splits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pretune.data.archives.streams import Entry
from pretune.data.media.base import Find
from pretune.modalities import Modality

if TYPE_CHECKING:
    import datasets

    from pretune.data.formats.base import Table

__all__ = [
    "ABOUT",
    "CONLL_SUFFIXES",
    "LABEL_FILE",
    "SPLIT_BY_SUFFIX",
    "SPLIT_BY_WORD",
    "TABLE_SUFFIXES",
    "TEXT_SUFFIXES",
    "LeftOut",
    "Place",
    "Source",
    "hidden",
    "named_after_split",
    "seen_bytes",
    "split_of_path",
    "split_of_word",
    "stamp_of",
]

TEXT_SUFFIXES = (".txt", ".text")
CONLL_SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".bioes")
TABLE_SUFFIXES = (
    ".csv",
    ".tsv",
    ".tab",
    ".jsonl",
    ".ndjson",
    ".json",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".xlsx",
    ".xlsm",
    ".yml",
    ".yaml",
    *CONLL_SUFFIXES,
)
_SPLIT_WORDS = {
    "train": ("train", "training", "训练", "训练集"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "publictest", "验证", "验证集"),
    "test": ("test", "testing", "privatetest", "测试", "测试集"),
    "unlabelled": ("unlabelled", "unlabeled", "unsup", "unsupervised"),
}
SPLIT_BY_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
SPLIT_BY_SUFFIX = {"testa": "validation", "testb": "test"}
"""What the shared tasks of CoNLL called their files: ``eng.testa`` is there to develop on."""
_FILLERS = (
    "set", "sets", "data", "dataset", "datasets", "split", "seg", "folder", "dir", "file", "files", "sample", "samples", "example", "examples",
    "image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "jpg", "jpeg", "jpegs", "png", "pngs",
    "audio", "audios", "wav", "wavs", "clip", "clips", "sound", "sounds", "speech", "text", "texts", "txt", "docs", "documents",
    "rows", "all", "of", "数据", "图片", "图像", "音频", "文本",
)  # fmt: skip
"""Words that say of a folder what it holds, and nothing of which rows: ``seg_train``, ``test_set``, ``train_images``."""
_GLUED = re.compile(rf"(?P<split>{'|'.join(SPLIT_BY_WORD)})(?:{'|'.join(_FILLERS)})")
_HIDDEN = ("__MACOSX", "__pycache__", "@eaDir", "Thumbs.db", "desktop.ini", "System Volume Information", "lost+found")
"""What systems put beside the files of people, under names that begin with no dot."""
ABOUT = re.compile(
    r"(readme|license|licence|copying|notice|source|sources|changelog|citation|authors|dataset_infos?|cc-by.*|sample_?submission)",
    re.I,
)
_WORDS = re.compile(r"[^\W\d_]+")
_SHOWN = 5
_MOST_SEEN, _PIECE_BYTES = 100, 4096
LABEL_FILE = re.compile(r"(.*[_\-])?(labels?|class|classes|emotions|label_names)\.txt", re.I)


@dataclass(frozen=True)
class Source:
    """One table to read: a file, a folder of documents (one row each, all of class ``label``), pictures or clips (``media``
    is their kind, ``classes`` names the class of each, ``masks`` has the mask of each where there are such), or a loaded data set.

    ``find`` finds the files that a table's rows name; ``stems`` are the names without suffix of the media files that it can
    find, each with its kind, ``num_beside`` of which lie in the same folder or archive that was given. ``told``: its split was
    told by name, and stands. ``twins``: its entries hold the words and the tags of the same rows, line by line, and perhaps their labels. ``parallel``: its
    entries say the same line by line in several languages. ``table`` makes the table where the reader of a format that is spread over files
    does.
    """

    name: str
    entries: tuple[Entry, ...] = ()
    split: str | None = None
    label: str | None = None
    documents: bool = False
    dataset: datasets.Dataset | None = None
    media: Modality | None = None
    classes: tuple[str | None, ...] = ()
    masks: tuple[Entry | None, ...] = ()
    find: Find | None = None
    stems: Mapping[str, str] = field(default_factory=dict)
    num_beside: int = 0
    told: bool = False
    twins: bool = False
    parallel: bool = False
    table: Callable[[], Table] | None = None


@dataclass(frozen=True)
class LeftOut:
    """Files (or folders) of a place that give no rows, and why.

    With a ``code`` they are worth a warning, ``fix`` says what to do. ``rows``: they may have been meant as rows of this kind,
    and count towards what is lost.
    """

    why: str
    names: Sequence[str]
    code: str = ""
    fix: str = ""
    rows: bool = False

    def sentence(self) -> str:
        """For the notes of a reading."""
        more = len(self.names) - _SHOWN
        return f"Left out: {', '.join(self.names[:_SHOWN])}{f' and {more} more' if more > 0 else ''} ({self.why})."

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the first names and how many there are."""
        return {
            "why": self.why,
            "count": len(self.names),
            "files": list(self.names[:_SHOWN]),
            "code": self.code,
            "fix": self.fix,
            "rows": self.rows,
        }


@dataclass
class Place:
    """What was found at the place that a person gave. ``label_files`` may name class indices, ``mask_tables`` the values of masks."""

    sources: list[Source]
    stamps: list[object]
    label_files: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    mask_tables: list[Entry] = field(default_factory=list)


def split_of_word(word: str) -> str | None:
    """The split that a folder's, key's or cell's name stands for: ``dev`` is validation, ``seg_train`` and ``TrainImages`` train.

    Words beside the split's must say only what is in it; digits say nothing (``val2017``, ``test1``).
    """
    words = _words(word)
    glued = [match["split"] if (match := _GLUED.fullmatch(part)) else part for part in words]
    found = {SPLIT_BY_WORD[part] for part in glued if part in SPLIT_BY_WORD}
    others = [part for part in glued if part not in SPLIT_BY_WORD and part not in _FILLERS]
    return found.pop() if len(found) == 1 and not others else None


def split_of_path(name: str) -> str | None:
    """The split by the nearest folder named after one, else by a word anywhere in the file's name (``sst2_train.csv``,
    ``2015.train.tsv``, ``stsa.fine.test``).
    """
    path = PurePosixPath(name)
    for folder in reversed(path.parts[:-1]):
        if split := split_of_word(folder):
            return split
    if split := SPLIT_BY_SUFFIX.get(PurePosixPath(_without_kind(path.name)).suffix[1:]):
        return split
    words = _words(_without_kind(path.name))
    found = {SPLIT_BY_WORD[word] for word in words if word in SPLIT_BY_WORD}
    return found.pop() if len(found) == 1 else split_of_word(_without_kind(path.name))


def named_after_split(name: str) -> bool:
    """Whether a file or one of its folders is called after a split and nothing else, as ``test.csv`` and ``test/a.csv`` are."""
    path = PurePosixPath(name)
    plain = _without_kind(path.name)
    return PurePosixPath(plain).suffix[1:] in SPLIT_BY_SUFFIX or any(map(split_of_word, (*path.parts[:-1], plain)))


def _words(name: str) -> list[str]:
    return _WORDS.findall(name.casefold())


def _without_kind(name: str) -> str:
    """A file's name without the suffixes that say how it is written."""
    plain = name.casefold().removesuffix(".gz")
    return next((plain.removesuffix(end) for end in (*TABLE_SUFFIXES, *TEXT_SUFFIXES) if plain.endswith(end)), plain)


def hidden(name: str) -> bool:
    """Whether a file or folder is to be passed over for its name: hidden by its person, or put there by a system."""
    return name.startswith(".") or name in _HIDDEN


def stamp_of(entry: Entry) -> tuple[str | int, ...]:
    """What changes when the file does."""
    return (entry.name, *entry.stamp)


def seen_bytes(place: Place) -> list[str]:
    """Hashes of the head, the middle and the tail of the tables of a place (the first of many), as there are disks that keep no time that
    cannot be set.
    """
    tables = [
        entry for source in place.sources if source.media is None and not source.documents for entry in source.entries
    ]
    return [_pieces(entry.path) for entry in tables[:_MOST_SEEN] if entry.path is not None]


def _pieces(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        for start in (0, size // 2, max(0, size - _PIECE_BYTES)):
            file.seek(start)
            digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()
