"""Files that say the same line by line in several languages: ``train.en`` beside ``train.de``, ``train.source`` beside ``train.target``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Options, Table
from pretune.data.text.encodings import find_encoding, open_text, read_lines
from pretune.errors import DataError

__all__ = ["parallel_in", "parallel_table"]

_CHUNK_ROWS = 5_000
_SIDES = (("source", "target"), ("src", "tgt"), ("src", "trg"))
"""Suffixes that say by themselves what is read and what is written."""
_LANGUAGES = frozenset(
    [
        "aa",
        "ab",
        "af",
        "ak",
        "am",
        "an",
        "ar",
        "as",
        "av",
        "ay",
        "az",
        "ba",
        "be",
        "bg",
        "bh",
        "bi",
        "bm",
        "bn",
        "bo",
        "br",
        "bs",
        "ca",
        "ce",
        "ch",
        "co",
        "cr",
        "cs",
        "cu",
        "cv",
        "cy",
        "da",
        "de",
        "dv",
        "dz",
        "ee",
        "el",
        "en",
        "eo",
        "es",
        "et",
        "eu",
        "fa",
        "ff",
        "fi",
        "fj",
        "fo",
        "fr",
        "fy",
        "ga",
        "gd",
        "gl",
        "gn",
        "gu",
        "gv",
        "ha",
        "he",
        "hi",
        "ho",
        "hr",
        "ht",
        "hu",
        "hy",
        "hz",
        "ia",
        "id",
        "ie",
        "ig",
        "ii",
        "ik",
        "io",
        "is",
        "it",
        "iu",
        "ja",
        "jv",
        "ka",
        "kg",
        "ki",
        "kj",
        "kk",
        "kl",
        "km",
        "kn",
        "ko",
        "kr",
        "ks",
        "ku",
        "kv",
        "kw",
        "ky",
        "la",
        "lb",
        "lg",
        "li",
        "ln",
        "lo",
        "lt",
        "lu",
        "lv",
        "mg",
        "mh",
        "mi",
        "mk",
        "ml",
        "mn",
        "mr",
        "ms",
        "mt",
        "my",
        "na",
        "nb",
        "nd",
        "ne",
        "ng",
        "nl",
        "nn",
        "no",
        "nr",
        "nv",
        "ny",
        "oc",
        "oj",
        "om",
        "or",
        "os",
        "pa",
        "pi",
        "pl",
        "ps",
        "pt",
        "qu",
        "rm",
        "rn",
        "ro",
        "ru",
        "rw",
        "sa",
        "sc",
        "sd",
        "se",
        "sg",
        "si",
        "sk",
        "sl",
        "sm",
        "sn",
        "so",
        "sq",
        "sr",
        "ss",
        "st",
        "su",
        "sv",
        "sw",
        "ta",
        "te",
        "tg",
        "th",
        "ti",
        "tk",
        "tl",
        "tn",
        "to",
        "tr",
        "ts",
        "tt",
        "tw",
        "ty",
        "ug",
        "uk",
        "ur",
        "uz",
        "ve",
        "vi",
        "vo",
        "wa",
        "wo",
        "xh",
        "yi",
        "yo",
        "za",
        "zh",
        "zu",
        "eng",
        "deu",
        "ger",
        "fra",
        "fre",
        "spa",
        "ita",
        "por",
        "nld",
        "rus",
        "zho",
        "cmn",
        "yue",
        "jpn",
        "kor",
        "ara",
        "hin",
        "tur",
        "pol",
        "ces",
        "ukr",
        "vie",
        "tha",
    ]
)
"""Codes of ISO 639-1, and the usual ones of three letters."""


def _language(entry: Entry) -> str:
    """What the suffix says that the lines are written in (``de``, ``zh_CN``, ``source``); "" where it says something else."""
    suffix = PurePosixPath(entry.inner.removesuffix(".gz")).suffix[1:]
    code = suffix.replace("-", "_").split("_")[0].lower()
    return suffix if code in _LANGUAGES or suffix in {side for pair in _SIDES for side in pair} else ""


def parallel_in(entries: Sequence[Entry]) -> list[tuple[Entry, ...]]:
    """The files that belong together, two or more of one name in several languages, in the order of these."""
    found: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        if language := _language(entry):
            found[entry.name.removesuffix(".gz").removesuffix(f".{language}")][language] = entry
    return [tuple(files[language] for language in sorted(files)) for files in found.values() if len(files) > 1]


def parallel_table(entries: Sequence[Entry], options: Options) -> Table:
    """A row a line, a column a language. Lines that are blank in all files are left out.

    Raises :class:`DataError` where nothing says which language is read and which is written, and where one file has more lines.
    """
    files = {_language(entry): entry for entry in entries}
    sides = next((pair for pair in _SIDES if set(pair) <= files.keys()), None)
    if sides is None and len(files.keys() & set(options.names)) < 2:
        first, second = ("en", next(name for name in files if name != "en")) if "en" in files else list(files)[:2]
        raise DataError(
            f"{' and '.join(entry.name for entry in entries)} hold the same lines in {', '.join(files)}: which are read, and which are written?",
            f"say so: --column text={first} --column target={second}",
        )
    facts: dict[str, Any] = {
        "format": f"parallel files ({', '.join(files)})",
        "encoding": find_encoding(entries[0], options.encoding),
    }
    roles: dict[str, str] = {} if sides is None else {"text": sides[0], "target": sides[1]}
    return Table(tuple(files), True, _chunks(files, options, facts), facts, roles=roles, by_line=True)


def _chunks(files: dict[str, Entry], options: Options, facts: dict[str, Any]) -> Iterator[Chunk]:
    batch: list[tuple[int, dict[str, str]]] = []
    blank = 0
    with ExitStack() as stack:
        texts = [
            read_lines(stack.enter_context(open_text(entry.open(), find_encoding(entry, options.encoding))), entry.name)
            for entry in files.values()
        ]
        for number, lines in enumerate(zip_longest(*texts), 1):
            if None in lines:
                names = [entry.name for entry in files.values()]
                shorter = [name for name, line in zip(names, lines, strict=True) if line is None]
                longer = [name for name, line in zip(names, lines, strict=True) if line is not None]
                raise DataError(
                    f"{' and '.join(longer)} {'has' if len(longer) == 1 else 'have'} more lines than {' and '.join(shorter)}, "
                    f"which {'ends' if len(shorter) == 1 else 'end'} at line {number - 1}",
                    "line N of one says what line N of the other says: mend the files (a line may be lost or cut in two), or give others",
                )
            row = {name: line.strip("\r\n") for name, line in zip(files, lines, strict=True)}
            if not any(line.strip() for line in row.values()):
                blank += 1
                continue
            batch.append((number, row))
            if len(batch) == _CHUNK_ROWS:
                yield _chunk(batch)
                batch = []
    if batch:
        yield _chunk(batch)
    facts["blank_lines"] = blank


def _chunk(batch: Sequence[tuple[int, dict[str, str]]]) -> Chunk:
    return Chunk([number for number, _ in batch], lambda name: [row[name] for _, row in batch])
