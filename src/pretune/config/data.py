"""Where rows are, how they are read and cleaned; and the same where a model says it unless it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pretune.errors import UsageError
from pretune.options import Settings, name_of, option

__all__ = [
    "CLEAN_STEPS",
    "REDACTIONS",
    "AsCleanedSettings",
    "AsReadSettings",
    "CleanSettings",
    "DataSettings",
    "StreamSettings",
    "cleaning_settings",
    "cleaning_steps",
]

CLEAN_STEPS = ("html", "whitespace", "unicode", "stopwords")
REDACTIONS = {"no": (), "mask": ("redact",), "pseudonym": ("pseudonym",)}
"""By the word of ``--redact``, the step of cleaning that it is (of :data:`pretune.data.text.scrub.STEPS`)."""


def cleaning_steps(clean: Iterable[str], redact: str) -> tuple[str, ...]:
    """The steps of cleaning that these settings ask for."""
    return (*clean, *REDACTIONS[redact])


def cleaning_settings(steps: Iterable[str]) -> dict[str, Any]:
    """The settings ``clean`` and ``redact`` that ask for these steps: :func:`cleaning_steps` the other way round."""
    asked = tuple(steps)
    redact = next((word for word, own in REDACTIONS.items() if own and {*own} <= {*asked}), "no")
    return {"clean": tuple(step for step in asked if step not in REDACTIONS[redact]), "redact": redact}


def _files() -> Any:
    return option(
        None,
        "folder or archive of the pictures or clips that a table names; default: the table's folder and below",
        metavar="FOLDER",
    )


def _trust_paths() -> Any:
    return option(
        False,
        "open files wherever the paths and links in the data lead, outside its folder too; only for data that you trust",
    )


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Where the rows are and which columns mean what."""

    reads_input: ClassVar[bool] = False
    """Whether rows may come from standard input: not where they are needed again."""

    data: str | None = option(
        None,
        "file, folder, archive, hub id, pattern in quotes ('news/*.csv') or address (s3://, gs://, az://, https://) with the data",
        metavar="DATA",
    )
    train: tuple[str, ...] = option(
        (),
        "file, folder or pattern of the training rows, in place of --data or beside it; may be given several times",
        metavar="DATA",
    )
    validation: tuple[str, ...] = option((), "the same for the validation rows", metavar="DATA")
    test: tuple[str, ...] = option((), "the same for the test rows", metavar="DATA")
    unlabelled: tuple[str, ...] = option(
        (), "the same for rows without labels; those that they have are not looked at", metavar="DATA"
    )
    column: tuple[str, ...] = option(
        (),
        "name a column: text=title, text_pair=reply, label=category, labels=tags (several a row; or columns of 0 and 1: labels=rude,loud), id=key, group=patient, split=set, fold=fold; a number is a position (from 0); of files: label=folder:2 is the second folder of their path",
        metavar="ROLE=NAME",
    )
    label_type: str = option(
        "auto",
        "what labels are: class takes each number as a class; auto: also, but refuses numbers that are scores to estimate",
        choices=("auto", "class"),
    )
    unseen_labels: str = option(
        "refuse",
        "rows of validation and test with a label that no training row has: refuse them, or missed: they stay, and no answer to them is right",
        choices=("refuse", "missed"),
    )
    group: str | None = option(
        None,
        "column whose equal values stay on one side of every split (a patient, a speaker); folder:1 is the first folder of a file's path",
        metavar="COLUMN",
    )
    group_from: str | None = option(
        None,
        "as --group, from the names of the files: what this regular expression finds in each (its first group, if it has one); with a / in it, in the path",
        metavar="REGEX",
    )
    ignore_class: tuple[str, ...] = option(
        (),
        "masks: classes, values or colours whose pixels have no right answer (several with commas), such as 11 or void; none: all have; default: those that a table calls void, and 255",
        metavar="NAMES",
    )
    splits: str = option(
        "auto",
        "do folders and files called train, val, test, ... stand for splits; none: they are classes or tables like others",
        choices=("auto", "none"),
    )
    files: str | None = _files()
    trust_paths: bool = _trust_paths()
    header: str = option("auto", "does the first row of a CSV/TSV name the columns", choices=("auto", "yes", "no"))
    delimiter: str | None = option(
        None, "what separates columns of a text table, where it is not found by looking (\\t for a tab)"
    )
    encoding: str | None = option(
        None, "encoding of text files, where it is not found by looking (utf-8, latin-1, gb18030, ...)"
    )
    format: str = option(
        "auto",
        "what stands on the lines of a text file: a table, one text each (lines), a label before (label-first) or behind (label-last) its text, one word each with its tag last (conll); auto: by name and by looking",
        choices=("auto", "table", "lines", "label-first", "label-last", "conll"),
    )
    unlabelled_is: str = option(
        "skip",
        "what a picture is that has no file of boxes where others have one: skip (not labelled, not learned from), empty (a picture without objects)",
        choices=("skip", "empty"),
    )
    poses: str = option(
        "auto",
        "what a row of COCO's keypoints is: picture (those that show one pose), person (each pose, cut out of its picture by its box and a margin), auto: picture where most show one pose, else their boxes are read",
        choices=("auto", "picture", "person"),
    )
    test_fold: str | None = option(
        None, "where a column says in which fold a row stands: the fold that is the test split", metavar="FOLD"
    )
    fold: str | None = option(
        None,
        "make one fold of several the test split: 2/5 is the second of five, by content, classes in proportion",
        metavar="FOLD",
    )
    validation_fraction: float = option(
        0.1, "share of rows split off for validation where no such split is given", low=0.0, high=0.9
    )
    test_fraction: float = option(
        0.1, "share of rows split off for the test where no such split is given", low=0.0, high=0.9
    )
    split_seed: int = option(0, "another number makes another split; the same number the same split, for ever", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.places and not self.train:
            spec = next(spec for spec in dataclasses.fields(self) if spec.name == "data")
            missing = (
                "--train is missing beside --validation, --test or --unlabelled"
                if self.validation or self.test or self.unlabelled
                else f"{name_of(spec)} is missing: {spec.metadata['help']}"
            )
            raise UsageError(
                missing,
                f"give --data, or --train FILE (--validation FILE, --test FILE); pretune {self.verb} --help shows an example",
            )

    @property
    def places(self) -> tuple[str, ...]:
        """What was given as the data, but for the files of a told split."""
        return () if self.data is None else (self.data,)

    @property
    def every_place(self) -> tuple[str, ...]:
        """All that was given as data, files of told splits too."""
        return (*self.places, *self.train, *self.validation, *self.test, *self.unlabelled)

    @property
    def place(self) -> str:
        """What the data is called: the first that was given."""
        return next(iter((*self.places, *self.train)), "")

    def elsewhere(self, data: str, **changes: Any) -> Self:
        """The same reading of other data."""
        return dataclasses.replace(self, data=data, train=(), validation=(), test=(), unlabelled=(), **changes)


@dataclass(frozen=True, kw_only=True)
class StreamSettings(Settings):
    """Whether the rows are there as a whole, or come file by file."""

    stream: bool = option(
        False,
        "learn from the files of the data one after another, each copied, read and let go when it was learned from: for more than fits the disk or the memory",
    )


@dataclass(frozen=True, kw_only=True)
class CleanSettings(Settings):
    """What is changed in the rows: asked for, counted, recorded."""

    clean: tuple[str, ...] = option(
        (),
        "clean the text: html, whitespace, unicode, stopwords (several with commas)",
        choices=CLEAN_STEPS,
        metavar="STEPS",
    )
    relabel: str | None = option(
        None,
        "labels that a person set right or gave: a table of id, label and new_label, as pretune review and pretune ask write it",
        metavar="FILE",
    )
    deduplicate: bool = option(False, "drop later copies of a row inside each split")
    drop_leaks: bool = option(False, "drop rows of train and unlabelled that also stand in validation or test")
    drop_near_leaks: bool = option(
        False, "as --drop-leaks, and drop also rows that are near duplicates of one in validation or test"
    )
    redact: str = option(
        "no",
        "take e-mail addresses, phone, card and id numbers out of the texts: mask puts [EMAIL], [PHONE], ... in their place; pseudonym [EMAIL-3f2a91c0], for the same value always the same, by a key in ~/.config/pretune",
        choices=tuple(REDACTIONS),
        bare="mask",
    )
    redact_names: str | None = option(
        None,
        "with --redact: a run or model folder of token-classification, whose persons and places are taken out too ([PERSON], [PLACE])",
        metavar="RUN",
    )
    redact_types: tuple[str, ...] = option(
        (),
        "with --redact-names: the types of its entities that are taken out (several with commas); default: those that mean persons and places, such as PER, LOC, GPE",
        metavar="TYPES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        types = tuple(part.strip() for word in self.redact_types for part in word.split(",") if part.strip())
        object.__setattr__(self, "redact_types", types)
        if self.redact_types and self.redact_names is None:
            raise UsageError(
                "--redact-types does nothing without --redact-names", "name the run that finds them, or leave it out"
            )
        if self.redact_names is not None and self.redact == "no":
            raise UsageError("--redact-names does nothing without --redact", "give --redact too, or --redact pseudonym")


@dataclass(frozen=True, kw_only=True)
class AsReadSettings(Settings):
    """How files of rows are read; what is not said is as the model learned."""

    column: tuple[str, ...] = option(
        (),
        "name a column: text=title, text_pair=reply, label=category, id=key; default: those that the model learned from",
        metavar="ROLE=NAME",
    )
    header: str | None = option(
        None,
        "does the first row of a CSV/TSV name the columns; default: as the model learned",
        choices=("auto", "yes", "no"),
    )
    delimiter: str | None = option(
        None, "what separates columns of a text table (auto: found by looking); default: as the model learned"
    )
    encoding: str | None = option(
        None, "encoding of text files (auto: found by looking); default: as the model learned"
    )
    format: str | None = option(
        None,
        "what stands on the lines of a text file; default: as the model learned",
        choices=("auto", "table", "lines", "label-first", "label-last", "conll"),
    )
    files: str | None = _files()
    trust_paths: bool = _trust_paths()


@dataclass(frozen=True, kw_only=True)
class AsCleanedSettings(Settings):
    """How texts are cleaned; what is not said is as the model learned."""

    clean: tuple[str, ...] | None = option(
        None,
        "clean the text: html, whitespace, unicode, stopwords (several with commas), or none; default: as the model learned",
        choices=(*CLEAN_STEPS, "none"),
        metavar="STEPS",
    )
    redact: str | None = option(
        None,
        "take e-mail addresses, phone, card and id numbers out of the texts; default: as the model learned",
        choices=tuple(REDACTIONS),
        bare="mask",
    )
    redact_names: str | None = option(
        None,
        "with --redact: the run or model folder that finds names; default: where the one lay that the model learned with",
        metavar="RUN",
    )
