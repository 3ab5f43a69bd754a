"""Settings: frozen, validated where they are declared, and the single source of the command line, the Python API,
``run.json`` and "the exact command to repeat this".

A verb's settings are one frozen dataclass. Each field is made by :func:`option`, which holds its help text and limits;
the command line's flags are read off the fields (``learning_rate`` is ``--learning-rate``).
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

from pretune.errors import UsageError, did_you_mean

__all__ = [
    "BackboneSettings",
    "CleanSettings",
    "DataSettings",
    "RunSettings",
    "Settings",
    "TextSettings",
    "TrainSettings",
    "flag_of",
    "option",
    "parse_duration",
    "value_type",
]

CLEAN_STEPS = ("html", "whitespace", "unicode", "stopwords")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",  # noqa: A002 - the word every command line uses
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    positional: bool = False,
    metavar: str = "",
    not_in_identity: bool = False,
) -> Any:
    """A field of a settings class. ``not_in_identity`` marks what may change when a run is resumed (``--minutes`` may not)."""
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "positional": positional,
        "metavar": metavar,
        "not_in_identity": not_in_identity,
    }
    return field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """The flag of a field: ``learning_rate`` to ``--learning-rate``."""
    return "--" + name.replace("_", "-")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def value_type(cls: type, name: str) -> tuple[type, bool, bool]:
    """The field's plain type, whether it is a tuple of it, and whether None is allowed."""
    hint = _hints(cls)[name]
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        hint = inner[0]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True, optional
    return hint, False, optional


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every verb's settings: checks each field's type, choices and limits, naming the flag to change."""

    verb: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            self._check(spec)

    def _check(self, spec: dataclasses.Field[Any]) -> None:
        value = getattr(self, spec.name)
        kind, many, optional = value_type(type(self), spec.name)
        if value is None:
            if not optional:
                raise UsageError(f"{flag_of(spec.name)} is missing", spec.metadata.get("help", ""))
            return
        if many:
            value = (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, spec.name, value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
            object.__setattr__(self, spec.name, value)
        items: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        for item in items:
            self._check_item(spec, kind, item)

    @staticmethod
    def _check_item(spec: dataclasses.Field[Any], kind: type, item: Any) -> None:
        flag, meta = flag_of(spec.name), spec.metadata
        if not isinstance(item, kind) or (kind is not bool and isinstance(item, bool)):
            raise UsageError(f"{flag} is {item!r}, a {type(item).__name__}", f"it takes a {kind.__name__}")
        if meta.get("choices") and item not in meta["choices"]:
            raise UsageError(f"{flag} is {item!r}", did_you_mean(str(item), meta["choices"]))
        low, high = meta.get("low"), meta.get("high")
        if isinstance(item, float) and not math.isfinite(item):
            raise UsageError(f"{flag} is {item}", "it takes a finite number")
        if (low is not None and item < low) or (high is not None and item > high):
            allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
            raise UsageError(f"{flag} is {item}", f"allowed: {allowed}")

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], **changes: Any) -> Self:
        """The settings among those that :meth:`to_dict` of any class saved, with ``changes``; other names are passed over."""
        names = {spec.name for spec in dataclasses.fields(cls)}
        kept: dict[str, Any] = {key: value for key, value in saved.items() if key in names}
        return cls(**{**kept, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    def identity(self) -> dict[str, Any]:
        """The fields that define the result; a resumed run must agree on them."""
        free = {spec.name for spec in dataclasses.fields(self) if spec.metadata.get("not_in_identity")}
        return {key: value for key, value in self.to_dict().items() if key not in free}

    def command(self) -> str:
        """The command line that gives these settings (defaults left out)."""
        places: list[str] = []
        flags: list[str] = []
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.metadata.get("positional"):
                places += [str(item) for item in (value if isinstance(value, tuple) else (value,))]
            elif value != spec.default:
                flags += _flag_words(spec.name, value)
        return " ".join(shlex.quote(word) for word in ["pretune", self.verb, *places, *flags])


def _flag_words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag_of(name)] if value else ["--no-" + name.replace("_", "-")]
    if isinstance(value, tuple):
        return [word for item in value for word in _flag_words(name, item)]
    return [f"{flag_of(name)}={value}"] if str(value).startswith("-") else [flag_of(name), str(value)]


def parse_duration(text: str, *, flag: str, steps_per_epoch: int, total_steps: int) -> int:
    """Steps of a duration: ``500`` (steps), ``2epochs``, ``0.5epoch`` or ``6%`` (of the run). At least 0.

    Raises :class:`UsageError` naming ``flag``.
    """
    word = text.strip().lower()
    try:
        if word.startswith("-"):
            raise ValueError
        if word.endswith("%"):
            return round(float(word[:-1]) / 100 * total_steps)
        if word.endswith(("epoch", "epochs")):
            return max(1, round(float(word.split("epoch")[0] or 1) * steps_per_epoch))
        return int(word.removesuffix("steps").removesuffix("step"))
    except (ValueError, OverflowError):
        raise UsageError(f"{flag} is {text!r}", "a duration is written 500 (steps), 2epochs, 0.5epoch or 6%") from None


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Where the rows are and which columns mean what."""

    data: str = option(
        help="file, folder or hub id with the data; - reads JSON lines from standard input where rows are predicted",
        metavar="DATA",
    )
    column: tuple[str, ...] = option(
        (),
        "name a column: text=title, text_pair=reply, label=category, id=key, group=patient; a number is a position (from 0)",
        metavar="ROLE=NAME",
    )
    group: str | None = option(
        None, "column whose equal values stay on one side of every split (a patient, a speaker)", metavar="COLUMN"
    )
    header: str = option("auto", "does the first row of a CSV/TSV name the columns", choices=("auto", "yes", "no"))
    delimiter: str | None = option(
        None, "what separates columns of a text table, where it is not found by looking (\\t for a tab)"
    )
    encoding: str | None = option(
        None, "encoding of text files, where it is not found by looking (utf-8, latin-1, gb18030, ...)"
    )
    validation_fraction: float = option(
        0.1, "share of rows split off for validation where no such split is given", low=0.0, high=0.9
    )
    test_fraction: float = option(
        0.1, "share of rows split off for the test where no such split is given", low=0.0, high=0.9
    )
    split_seed: int = option(0, "another number makes another split; the same number the same split, for ever", low=0)


@dataclass(frozen=True, kw_only=True)
class CleanSettings(Settings):
    """What is changed in the rows: asked for, counted, recorded."""

    clean: tuple[str, ...] = option(
        (),
        "clean the text: html, whitespace, unicode, stopwords (several with commas)",
        choices=CLEAN_STEPS,
        metavar="STEPS",
    )
    deduplicate: bool = option(False, "drop later copies of a row inside each split")
    drop_leaks: bool = option(False, "drop rows of train and unlabelled that also stand in validation or test")
    redact: bool = option(False, "replace e-mail addresses, phone, card and id numbers by [EMAIL], [PHONE], ...")


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """How text becomes tokens."""

    max_length: int | None = option(
        None, "longest row in tokens; default: the model's own limit, or less if no row needs it", low=8, high=1_000_000
    )
    long_text: str = option(
        "truncate",
        "rows over the limit: keep the start, keep start and end, or cut into windows whose predictions are averaged",
        choices=("truncate", "head-tail", "windows"),
    )


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(Settings):
    """What learning starts from."""

    backbone: str = option(
        help="hub id, model folder, run folder, or scratch:<preset> (scratch:bert-mini)",
        positional=True,
        metavar="BACKBONE",
    )
    tokenizer: str = option(
        "auto", "with scratch:... the tokenizer to train (wordpiece, bpe) or a folder that holds one", metavar="KIND"
    )
    vocab_size: int | None = option(
        None, "with scratch:... tokens in the vocabulary; default: by the size of the data", low=100, high=1_000_000
    )
    trust_remote_code: bool = option(False, "run Python code that comes with the backbone; only for sources you trust")


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings):
    """Where the result goes."""

    out: str | None = option(None, "run folder to write; default: runs/<verb>-<data>-<number>", metavar="FOLDER")
    overwrite: bool = option(False, "delete what the run folder holds and start again", not_in_identity=True)
    dry_run: bool = option(False, "run a few steps, forecast time and memory, write nothing", not_in_identity=True)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """How long, how fast and how exactly to learn."""

    epochs: float | None = option(None, "passes over the training rows", low=0.001, high=100_000)
    max_steps: int | None = option(None, "optimizer updates at most", low=1)
    minutes: float | None = option(None, "wall-clock minutes at most; the schedule is bent to end there", low=0.01)
    batch_size: int = option(32, "rows per optimizer update, over all processes", low=1, high=1_000_000)
    micro_batch_size: int | None = option(
        None, "rows per forward pass at most; the update stays the same (gradient accumulation)", low=1
    )
    max_tokens: int = option(16_384, "padded tokens per forward pass at most; the update stays the same", low=64)
    learning_rate: float | None = option(
        None, "peak learning rate; default: by size of the model and --adapt", low=0.0, high=10.0
    )
    weight_decay: float = option(0.01, "AdamW weight decay on matrices", low=0.0, high=10.0)
    schedule: str = option(
        "linear", "shape of the learning rate after the warm-up", choices=("linear", "cosine", "constant")
    )
    warmup: str = option("6%", "length of the warm-up: 500 (steps), 0.5epoch or 6%", metavar="DURATION")
    clip: float = option(1.0, "largest gradient norm", low=1e-6)
    eval_every: str = option(
        "1epoch", "how often to evaluate and save: 500 (steps), 0.5epoch or 10%", metavar="DURATION"
    )
    save_every: str | None = option(
        None,
        "how often to save between evaluations: 500 (steps), 0.5epoch or 10%; default: every 5 minutes",
        metavar="DURATION",
        not_in_identity=True,
    )
    early_stopping_patience: int | None = option(
        None, "stop after this many evaluations without a better result; the best model is kept either way", low=1
    )
    precision: str = option(
        "auto",
        "number format of matrix products; auto measures bf16 against fp32 here and takes the faster",
        choices=("auto", "fp32", "bf16"),
    )
    activation_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, about a fifth slower"
    )
    group_by_length: bool = option(True, "put rows of like length in one batch (less padding); batches stay shuffled")
    seed: int = option(0, "seed of every draw (initialisation, order, masks, dropout)", low=0, high=2**32 - 1)
    threads: int | None = option(None, "processor threads; default: all", low=1, not_in_identity=True)
