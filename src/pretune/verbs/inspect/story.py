"""``pretune inspect``: look at the data before any time is spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import CleanSettings, DataSettings
from pretune.errors import PretuneError, UsageError
from pretune.forwarded import shown_place
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line, proposed_start
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.verbs.inspect.pairs import check_lines, pair_lines
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.data.splits import Splits
    from pretune.modalities import Modality

__all__ = ["InspectSettings", "inspect"]


@dataclass(frozen=True, kw_only=True)
class InspectSettings(CleanSettings, DataSettings):
    """Settings of ``pretune inspect``."""

    verb: ClassVar[str] = "inspect"
    reads_input: ClassVar[bool] = True

    data: str | None = option(
        None,
        "file, folder, archive, hub id or pattern in quotes ('news/*.csv') with the data; - is standard input",
        positional=True,
        metavar="DATA",
    )
    more: tuple[str, ...] = option(
        (), "further files, read with the first as a folder is", positional=True, metavar="DATA"
    )
    corpus: str | None = option(
        None, "text meant for pre-training: does it hold rows of the test split?", metavar="DATA"
    )
    drift: bool = option(
        False, "test whether validation and test look like train, and train like the corpus: words, colours, mel bands"
    )
    near_duplicates: bool = option(True, "look for copies that are cut, edited, cropped, re-coded too")
    out: str | None = option(None, "folder for the passport: data.json and passport.html", metavar="FOLDER")
    strict: bool = option(False, "exit with 1 when a warning or an error was found")
    measure_leak_checks: int | None = option(
        None,
        "plant so many copies of each kind among the rows (in memory), and tell which kinds the checks find here",
        low=1,
        high=10_000,
        metavar="COPIES",
    )

    @property
    def places(self) -> tuple[str, ...]:
        """The data and further files."""
        return (*super().places, *self.more)


@verb(InspectSettings)
def inspect(settings: InspectSettings, *, say: Say) -> Outcome:
    """Look at the data: format, columns, balance, lengths, duplicates, leaks, conflicting labels, personal data.

    Nothing is changed unless it is asked for (--clean, --deduplicate, --drop-leaks, --drop-near-leaks, --redact), and then it
    is counted.

    Examples::

        pretune inspect news.csv
        pretune inspect data/ --column text=title --column label=category --out passport/
        pretune inspect reviews.tsv --strict --json
        pretune inspect data/ --drift --corpus corpus.txt
        pretune inspect --train fold1.csv --train fold2.csv --test fold3.csv
        cat news.csv | pretune inspect -
    """
    from pretune.data.checks.passport import passport
    from pretune.data.load import load_splits, modality_of
    from pretune.data.planted.measure import measure_checks
    from pretune.runs.tagger import tagger_of
    from pretune.verbs.inspect.drift import drift_findings, splits_apart

    splits = load_splits(settings, names=tagger_of(settings))
    corpus = None if settings.corpus is None else _corpus(settings.corpus)
    found = passport(splits, near_duplicates=settings.near_duplicates, corpus=corpus)
    if settings.drift:
        say.note("holding the splits against each other")
        found["drift"] = splits_apart(dict(splits) if corpus is None else {**splits, "corpus": corpus})
        found["findings"] = [*found["findings"], *drift_findings(found["drift"])]
    if settings.measure_leak_checks is not None:
        say.note("planting copies of the rows and looking for them")
        found["leak_checks"] = measure_checks(splits, settings.measure_leak_checks)
    pages = _write(Path(settings.out), found, settings.place, splits) if settings.out else []
    serious = [f for f in found["findings"] if f["severity"] in ("warning", "error")]
    text = _text(settings, found, pages, modality_of(splits), _fresh_start(splits))
    return Outcome(text=text, facts={**found, "pages": pages}, exit_code=1 if settings.strict and serious else 0)


def _corpus(place: str) -> Any:
    """All texts, pictures or clips of a place, whatever their split."""
    from datasets import concatenate_datasets

    from pretune.data.read import read

    found = read(DataSettings(data=place, validation_fraction=0.0, test_fraction=0.0))
    wanted = ("id", "text", "image", "audio", "content", "look", "sketch", "width", "height", "seconds", "rate")
    common = [column for column in wanted if all(column in rows.column_names for rows in found.values())]
    return concatenate_datasets([found[name].select_columns(common) for name in found])


def _write(folder: Path, found: dict[str, Any], title: str, splits: Splits) -> list[str]:
    from pretune.files import write_json
    from pretune.report.passport.page import write_passport_page
    from pretune.report.passport.sheet import sheet_of

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file", "give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "data.json", found)
    page = write_passport_page(found, folder / "passport.html", _title(title), sheet_of(splits, splits.facts))
    return [str(folder / "data.json"), str(page)]


def _title(place: str) -> str:
    """The last part of a path, and of a file below the folder of work its folder before it."""
    path = PurePath(shown_place(place))
    return "/".join(path.parts[-2:]) if path.suffix else path.name or place


def _text(settings: InspectSettings, found: dict[str, Any], pages: list[str], modality: Modality, fresh: str) -> str:
    """The passport in a screenful."""
    from pretune.verbs.inspect.drift import drift_lines

    lines = [
        f"{_called(settings)}: {counted(found['rows'])}",
        *_files(found.get("facts", {}).get("read", {}).get("files", [])),
    ]
    for note in _notes(found.get("facts", {})):
        lines.append(f"  {note}")
    for name, split in found["splits"].items():
        told = [f"; {figures['sentence']}" for figures in split.get("answers", {}).values()]
        lines.append(f"  {name}: {counted(split['rows'])}{_labels(split.get('labels'))}{''.join(told)}")
    marks = {"error": "ERROR  ", "warning": "warning", "note": "note   "}
    for finding in found["findings"]:
        lines.append(
            f"{marks[finding['severity']]} {finding['message']}"
            + (f" -> {finding['fix']}" if finding.get("fix") else "")
        )
        lines += pair_lines(finding.get("pairs", ()), finding["count"]) if finding.get("pairs") else []
    if not found["findings"]:
        lines.append("nothing to complain about")
    lines += drift_lines(found["drift"]) if "drift" in found else []
    lines += check_lines(found["leak_checks"]) if "leak_checks" in found else []
    lines += [f"written: {', '.join(pages)}"] if pages else []
    return "\n".join([*lines, *_next(settings, found["splits"], modality, fresh)])


def _fresh_start(splits: Splits) -> str:
    """What the task of these rows begins with by itself, where it says so."""
    from pretune.tasks import find_task

    try:
        return find_task(splits).fresh
    except PretuneError:
        return ""


def _next(settings: InspectSettings, splits: Mapping[str, Any], modality: Modality, fresh: str) -> list[str]:
    """What to do with these rows; ``fresh`` is :func:`_fresh_start`."""
    labelled = any(
        split.get("labels") or split.get("answers") or {"audio", "text"} <= set(split["columns"])
        for split in splits.values()
    )
    verb = "finetune" if labelled else "pretrain"
    rows = sum(split["rows"] for name, split in splits.items() if name in ("train", "unlabelled"))
    classes = any(split.get("labels") for split in splits.values())
    start = fresh or proposed_start(verb, modality, rows, classes=classes)
    return [next_line(verb, settings, backbone=start, **_same_places(settings))]


def _called(settings: InspectSettings) -> str:
    """What was looked at, in words."""
    from pretune.data.places.inputs import STDIN

    places = [*settings.places, *settings.train, *settings.validation, *settings.test, *settings.unlabelled]
    words = ["standard input" if place == STDIN else place for place in places]
    return words[0] if len(words) == 1 else f"{words[0]} and {len(words) - 1} more"


def _same_places(settings: InspectSettings) -> dict[str, Any]:
    """The options by which another verb finds the same rows."""
    from pretune.data.places.inputs import STDIN
    from pretune.data.places.place import split_of_path

    if STDIN in settings.places:
        return {"data": "FILE"}  # what was piped has to be kept first
    if not settings.more:
        return {"data": settings.data}
    found = {
        "train": settings.train,
        "validation": settings.validation,
        "test": settings.test,
        "unlabelled": settings.unlabelled,
    }
    for place in settings.places:
        found[split_of_path(PurePath(place).name) or "train"] += (place,)
    return {"data": None, **found}


def _files(files: Sequence[Mapping[str, Any]], most: int = 6) -> list[str]:
    """What each file was found to be, and which columns mean what."""
    lines = []
    for file in files[:most]:
        what = [file.get("format"), file.get("delimiter"), file.get("encoding")]
        roles = ", ".join(f"{role} = {column}" for role, column in file.get("columns", {}).items())
        lines.append(
            f"  {file['name']}: {', '.join(str(word) for word in what if word)}{f'; {roles}' if roles else ''}"
        )
    return [*lines, f"  and {counted(len(files) - most, 'more file')}"] if len(files) > most else lines


def _labels(balance: dict[str, Any] | None) -> str:
    if not balance or not balance.get("counts"):
        return ""
    counts = balance["counts"]
    shown = ", ".join(f"{label} {count}" for label, count in [*counts.items()][:12])
    return f"; {counted(len(counts), 'label')}: {shown}{', ...' if len(counts) > 12 else ''}"


def _notes(facts: Any) -> list[str]:
    """The sentences that reading and splitting left in the facts."""
    notes: list[str] = []
    for part in facts.values() if isinstance(facts, dict) else []:
        if isinstance(part, dict):
            notes += [str(note) for note in part.get("notes", [])]
    return notes
