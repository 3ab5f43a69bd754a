"""From the files of a folder or archive to what will be read: tables, documents of classes, pictures or clips."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.dialogue.chatterbot import CHAT_SUFFIXES, is_chat
from pretune.data.formats.base import Options
from pretune.data.formats.conll import LABEL, slots_in
from pretune.data.formats.marked.marks import marks_in
from pretune.data.formats.media import media_kind, stems_of
from pretune.data.formats.silent import is_silent_text
from pretune.data.masks.names import is_mask_table
from pretune.data.masks.pairs import MaskPairs, mask_pairs
from pretune.data.media.base import Find, kind_of_entry, pictures_in
from pretune.data.parallel import parallel_in
from pretune.data.places.beside import named_files
from pretune.data.places.boxed import boxed_place
from pretune.data.places.folder_names import (
    check_depth,
    folder_groups,
    folders_of,
    forms_note,
    is_archive,
    split_folders,
)
from pretune.data.places.place import (
    ABOUT,
    CONLL_SUFFIXES,
    LABEL_FILE,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    LeftOut,
    Place,
    Source,
    hidden,
    named_after_split,
    split_of_path,
    stamp_of,
)
from pretune.data.points.coco import posed_coco_place
from pretune.data.points.lsp import joints_in, lsp_table
from pretune.errors import DataError, UsageError
from pretune.modalities import FILES

__all__ = ["placed", "sorted_out"]

_KINDS = {
    ".xlsm": ".xlsx",
    ".tab": ".tsv",
    ".ndjson": ".json",
    ".jsonl": ".json",
    ".pq": ".parquet",
    ".feather": ".arrow",
    ".yaml": ".yml",
    **dict.fromkeys(CONLL_SUFFIXES, ".conll"),
}
_MANY_TEXT_FILES = 200
_FEW_SHARE = 0.05
_ABOUT_SUFFIXES = (
    ".md", ".rst", ".bib", ".toml", ".log", ".names", ".md5", ".sha1", ".sha256", ".py", ".ipynb", ".sh",
)  # fmt: skip
_CLASSES_FIX = "--splits none takes such folders for classes like the others"


def sorted_out(
    entries: Sequence[Entry], place: str, find_from: Callable[[Entry], Find], options: Options, *, ask: bool
) -> Place:
    """Sources of a folder or archive: what holds rows, what names classes, what is left out and told.

    ``find_from`` gives, for a table, what finds the files that its rows name. ``ask``: where names of folders leave open
    which of them are the labels, refuse. Raises :class:`DataError`.
    """
    entries = [entry for entry in entries if not any(map(hidden, PurePosixPath(entry.name).parts))]
    if (posed := posed_coco_place(entries, place, find_from, options)) is not None:
        return posed
    if (boxed := boxed_place(entries, place, find_from, options)) is not None:
        return boxed
    marks = marks_in(entries)
    marked = {name for one in marks for name in one.names}
    pairs = mask_pairs([entry for entry in entries if entry.name not in marked])
    every, entries = entries, [entry for entry in entries if entry.name not in marked | pairs.masks]
    mask_tables = [entry for entry in entries if is_mask_table(entry)] if pairs.of else []
    entries = [entry for entry in entries if entry not in mask_tables]
    label_files = [entry for entry in entries if LABEL_FILE.fullmatch(PurePosixPath(entry.name).name)]
    if twins := slots_in(entries):
        return _twin_place(twins, entries, place, options)
    if parallel := parallel_in([entry for entry in entries if not _about(entry)]):
        return _parallel_place(parallel, entries, place, options)
    if (joints := joints_in(entries)) is not None:
        return _posed_place(joints, entries, place)
    known = [
        entry for entry in entries if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES) and entry not in label_files
    ]
    rows = [entry for entry in known if not _about(entry)]
    media = [entry for entry in entries if kind_of_entry(entry)]
    if not rows and not media:
        rows = [entry for entry in entries if entry not in label_files and not _about(entry) and is_silent_text(entry)]
    named = None if options.files is None else named_files(options)
    finding = (find_from, media) if named is None else (lambda _: named[0], named[1])
    sources = _sources(rows, media, place, finding, options, pairs, ask=ask)
    if not sources:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise DataError(
            f"{place} holds no table, text, picture or sound (it holds {seen}{' ...' if len(entries) > 5 else ''})",
            f"allowed: {' '.join((*TABLE_SUFFIXES, *TEXT_SUFFIXES))}, also with .gz; pictures; clips of sound",
        )
    sources, unplaced, notes = placed(sources, place)
    told = {name for one in unplaced for name in one.names} | {entry.name for entry in label_files}
    told |= {entry.name for source in sources for entry in source.entries}
    if any(source.find for source in sources):  # then the rows say which pictures or clips are used
        told |= {entry.name for entry in media}
    num_used = sum(len(source.entries) for source in sources if source.media or source.documents)
    unused = _unused([entry for entry in entries if entry.name not in told], sources[0], num_used)
    stamps: list[object] = [stamp_of(entry) for entry in (*every, *(named[1] if named else ()))]
    return Place(
        sources,
        stamps,
        label_files,
        notes + forms_note([entry.name for entry in entries]),
        [*marks, *(pairs.left_out if sources[0].masks else ()), *unplaced, *unused],
        mask_tables=mask_tables,
    )


def _twin_place(
    twins: Sequence[tuple[Entry, Entry, Entry | None]], entries: Sequence[Entry], place: str, options: Options
) -> Place:
    """The place of folders with ``seq.in`` and ``seq.out``: a source each."""
    sources = [
        Source(
            words.name,
            (words, tags) if label is None else (words, tags, label),
            _split_of_path(words.name, options),
            twins=True,
        )
        for words, tags, label in twins
    ]
    sources, unplaced, notes = placed(sources, place)
    used = {entry.name for several in twins for entry in several if entry is not None}
    rest = [entry.name for entry in entries if entry.name not in used]
    left_out = [LeftOut("about the data, or no words with tags in a twin file", rest)]
    if any(label is not None for _, _, label in twins):
        notes = [*notes, f"Whole rows have labels beside the tags of their words: --column {LABEL}={LABEL} reads them."]
    return Place(
        sources, [stamp_of(entry) for entry in entries], [], notes, [*unplaced, *(one for one in left_out if one.names)]
    )


def _parallel_place(
    parallel: Sequence[tuple[Entry, ...]], entries: Sequence[Entry], place: str, options: Options
) -> Place:
    """The place of files that say the same in several languages: a source for each name."""
    names = [entries[0].inner.removesuffix(PurePosixPath(entries[0].inner).suffix) for entries in parallel]
    sources = [
        Source(name, files, _split_of_path(name, options), parallel=True)
        for name, files in zip(names, parallel, strict=True)
    ]
    sources, unplaced, notes = placed(sources, place)
    used = {entry.name for files in parallel for entry in files}
    rest = [entry.name for entry in entries if entry.name not in used]
    left_out = [
        *unplaced,
        *([LeftOut("about the data, or no file of the same lines in another language", rest)] if rest else []),
    ]
    return Place(sources, [stamp_of(entry) for entry in entries], [], notes, left_out)


def _posed_place(joints: Entry, entries: Sequence[Entry], place: str) -> Place:
    """The place of pictures with one file of all joints."""
    pictures = pictures_in(entries)
    source = Source(
        PurePosixPath(place).name or "pictures", (joints, *pictures), table=lambda: lsp_table(joints, pictures)
    )
    rest = [entry.name for entry in entries if entry not in (joints, *pictures)]
    left_out = [LeftOut("about the data, or no pictures", rest)] if rest else []
    return Place([source], [stamp_of(entry) for entry in entries], [], [], left_out)


def _about(entry: Entry) -> bool:
    """Whether a file tells of the data and holds no rows, by its name."""
    if entry.suffix in CHAT_SUFFIXES:
        return not is_chat(entry)
    return entry.suffix in _ABOUT_SUFFIXES or ABOUT.fullmatch(PurePosixPath(entry.inner).stem) is not None


def _unused(entries: Sequence[Entry], first: Source, num_used: int) -> Iterator[LeftOut]:
    """The files that no source takes, by the reason why."""
    about = [entry.name for entry in entries if _about(entry)]
    if about:
        yield LeftOut("about the data", about)
    rest = [entry for entry in entries if not _about(entry)]
    used = first.media.many if first.media else "tables" if first.find else "texts"
    for kind in FILES:
        if strays := [entry.name for entry in rest if kind_of_entry(entry) is kind]:
            yield LeftOut(f"{kind.many}, where rows are made of {used}", strays, *_many(strays, num_used, kind.many))
    rest = [entry for entry in rest if not kind_of_entry(entry)]
    if packed := [entry.name for entry in rest if is_archive(entry.name)]:
        fix = "give the archive alone, or unpack it"
        yield LeftOut("archives, which are opened where nothing else holds rows", packed, "left-out-archives", fix)
    rest = [entry for entry in rest if not is_archive(entry.name)]
    if texts := [entry.name for entry in rest if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES)]:
        yield LeftOut("tables and texts beside files that are rows themselves", texts)
    if others := [entry for entry in rest if entry.suffix not in (*TABLE_SUFFIXES, *TEXT_SUFFIXES)]:
        suffixes = Counter(entry.suffix or "no suffix" for entry in others).most_common(5)
        names = [entry.name for entry in others]
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in suffixes)
        code, fix = _many(names, num_used, "files")
        yield LeftOut(f"of kinds that are not read: {kinds}", names, code, fix, rows=bool(code))


def _many(names: Sequence[str], num_used: int, noun: str) -> tuple[str, str]:
    """The code and mend of a warning where these are not few beside ``num_used`` files that are rows (0: rows are no files)."""
    if len(names) <= _FEW_SHARE * num_used or not num_used:
        return "", ""
    return "left-out-files", f"if these {noun} are rows too, save them as files of a kind that is read"


def _sources(
    rows: Sequence[Entry],
    media: Sequence[Entry],
    place: str,
    finding: tuple[Callable[[Entry], Find], Sequence[Entry]],
    options: Options,
    pairs: MaskPairs,
    *,
    ask: bool,
) -> list[Source]:
    """Tables before all; else pictures or clips where they are more than the text files."""
    tables = [entry for entry in rows if entry.suffix in TABLE_SUFFIXES]
    kinds = sorted({_KINDS.get(entry.suffix, entry.suffix) for entry in tables})
    if len(kinds) > 1:
        raise DataError(
            f"{place} holds tables of several kinds ({', '.join(kinds)})",
            "give one of the files, or put one kind in a folder of its own",
        )
    if tables:
        find_from, named = finding
        stems, num_beside = stems_of(named), len(media)
        return [
            replace(_source(entry, options), find=find_from(entry), stems=stems, num_beside=num_beside)
            for entry in tables
        ]
    if options.files is not None:
        raise UsageError(f"--files says where the files of a table lie, and {place} holds no table", "leave it out")
    twins = {PurePosixPath(entry.inner).stem for entry in rows} & stems_of(media).keys()
    if twins and 2 * len(twins) > len(stems_of(media)):
        raise DataError(
            f"{place} holds pictures or clips with a text file of the same name each, such as {min(twins)}",
            "write one table, such as JSON lines with audio_filepath and text, or put the texts elsewhere",
        )
    if len(media) > len(rows):
        return _media_sources(media, place, options, pairs, ask=ask)
    return _text_sources(rows, options)


def placed(sources: list[Source], place: str) -> tuple[list[Source], list[LeftOut], list[str]]:
    """Only the sources of a split where some name one; the others, to be told; and notes.

    Raises :class:`DataError` where it is open what is a split: most files are in folders of none, folders of a split hold no
    classes, or files are called after splits, none of them train, and others are called otherwise.
    """
    named = [source for source in sources if source.split in ("train", "validation", "test")]
    if not named:
        return sources, [], []
    unplaced = [source for source in sources if source.split is None]
    names = [name for source in unplaced for name in _names(source)]
    if not names:
        return sources, [], []
    bare = sources[0].media and not any(label for source in named for label in source.classes)
    if bare or (sources[0].media and 2 * len(names) > sum(len(source.entries) for source in sources)):
        words = sorted({folder for source in named for folder in folders_of(source.entries[0].name)[:1]})
        raise DataError(
            f"{place}: some folders are named after splits ({', '.join(words)}), others are not, such as {names[0]}",
            f"{_CLASSES_FIX}; or put all files into folders such as train, validation and test, or give one of the folders",
        )
    if not sources[0].media and not any(source.split == "train" for source in sources):
        return _without_train(sources, place)
    fix = "rename them after a split (train, validation, test, unlabelled), or --splits none reads all and splits anew"
    left_out = [LeftOut("their names say no split while others do", names, "no-split", fix)]
    return [source for source in sources if source.split is not None], left_out, []


def _without_train(sources: list[Source], place: str) -> tuple[list[Source], list[LeftOut], list[str]]:
    """Where no table is called train: a split's word inside another name (``test_drive_reviews.csv``) is then no split."""
    placed = [source for source in sources if source.split in ("validation", "test")]
    if not any(named_after_split(source.name) for source in placed):
        listed = ", ".join(source.name for source in placed)
        note = f"{place}: no file is called train, so {listed} is read like the others, not as a split of its own; --test and --validation name files of a split."
        return [replace(source, split=None) if source in placed else source for source in sources], [], [note]
    others = [source for source in sources if source.split is None]
    flags = [(source.split or "train", source.name) for source in [*others, *placed]]
    raise DataError(
        f"{place} holds {', '.join(f'{source.name} ({source.split})' for source in placed)} and no train split, but also {', '.join(source.name for source in others)}",
        "say what is what: "
        + " ".join(f"--{split} {shlex.quote(str(PurePosixPath(place) / name))}" for split, name in flags),
    )


def _names(source: Source) -> list[str]:
    return [entry.name for entry in source.entries] if source.media else [source.name]


def _media_sources(
    media: Sequence[Entry], place: str, options: Options, pairs: MaskPairs, *, ask: bool
) -> list[Source]:
    """One source a split; files of the rarer kind are left to be told as such."""
    kind = media_kind(media, place)
    files = [entry for entry in media if kind_of_entry(entry) == kind]
    names = [entry.name for entry in files]
    groups = folder_groups(names, use_splits=options.splits != "none")
    if ask and not pairs.of:
        check_depth(names, groups, place)
    name = PurePosixPath(place).name or "files"
    found = []
    for group in groups:
        classes = (
            folders_of(names[i])[depth - 1] if depth else None
            for i, depth in zip(group.places, group.depths, strict=True)
        )
        entries = tuple(files[i] for i in group.places)
        masks = tuple(pairs.of.get(entry.name) for entry in entries) if pairs.of else ()
        found.append(Source(group.split or name, entries, group.split, media=kind, classes=tuple(classes), masks=masks))
    return found


def _source(entry: Entry, options: Options) -> Source:
    return Source(entry.name, (entry,), _split_of_path(entry.name, options))


def _split_of_path(name: str, options: Options) -> str | None:
    return None if options.splits == "none" else split_of_path(name)


def _text_sources(entries: Sequence[Entry], options: Options) -> list[Source]:
    """Class folders (one row a file, the folder's name its label), or files with one row a line."""
    by_folder: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        by_folder.setdefault(folders_of(entry.name), []).append(entry)
    stands = {} if options.splits == "none" else split_folders(by_folder)
    siblings = Counter(folder[:-1] for folder in by_folder if folder and folder not in stands)
    sources = []
    for folder, files in by_folder.items():
        split = next((stands[folder[:depth]] for depth in range(len(folder), 0, -1) if folder[:depth] in stands), None)
        name = "/".join(folder)
        if folder and siblings[folder[:-1]] >= 2:
            label = None if folder in stands else folder[-1]
            sources.append(Source(name, tuple(files), split, label, documents=True))
        elif max(siblings.values(), default=0) < 2:
            many = Source(name, tuple(files), split, documents=True)
            sources += [many] if len(files) > _MANY_TEXT_FILES else [_source(entry, options) for entry in files]
    return sources
