"""Settings: frozen, validated where they are declared, and the single source of the command line, the Python API,
``run.json`` and "the exact command to repeat this".

A verb's settings are one frozen dataclass. Each field is made by :func:`option`, which holds its help text and limits;
the command line's flags are read off the fields (``learning_rate`` is ``--learning-rate``).
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

from pretune.errors import UsageError, did_you_mean

__all__ = [
    "Settings",
    "as_compared",
    "flag_of",
    "json_value",
    "meant",
    "name_of",
    "option",
    "parse_duration",
    "refuse_unread",
    "value_type",
]

_PLACES = ("DATA", "FILE", "FOLDER")
"""What options are called that name places."""
_MODELS = ("BACKBONE", "MODEL", "RUN")
"""What options are called that name models, in folders or on a hub."""


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
    bare: str = "",
) -> Any:
    """A field of a settings class. ``not_in_identity`` marks what may change when a run is resumed (``--minutes`` may not).
    ``bare``: a switch with more than two positions; the one that the flag alone and ``True`` mean (``--no-...`` and ``False``: "no").
    """
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "positional": positional,
        "metavar": metavar,
        "not_in_identity": not_in_identity,
        "bare": bare,
    }
    return field(default=default, metadata=metadata)


def json_value(value: Any) -> Any:
    """A setting as JSON keeps it."""
    return list(value) if isinstance(value, tuple) else value


def meant(spec: dataclasses.Field[Any], value: Any) -> Any:
    """A switch's true or false as a word, where it has more than two positions (``bare`` of :func:`option`)."""
    bare = spec.metadata.get("bare")
    return (bare if value else "no") if bare and isinstance(value, bool) else value


def as_compared(spec: dataclasses.Field[Any], value: Any) -> Any:
    """A value as two commands are compared by it: a folder is the same with a stroke behind its name."""
    names_folder = spec.metadata.get("metavar") in (*_PLACES, *_MODELS)
    return value.rstrip("/") or value if names_folder and isinstance(value, str) else value


def flag_of(name: str) -> str:
    """The flag of a field: ``learning_rate`` to ``--learning-rate``."""
    return "--" + name.replace("_", "-")


def name_of(spec: dataclasses.Field[Any]) -> str:
    """What the command line calls a field: ``RUN`` where its place says what it is, its flag otherwise."""
    if spec.metadata.get("positional"):
        return spec.metadata.get("metavar") or spec.name.upper()
    return flag_of(spec.name)


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


_UNWRITABLE = re.compile("[\\0\ud800-\udfff]")
"""What no path, JSON file or tokenizer takes: zero bytes, and what is left of bytes that are no UTF-8."""
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every verb's settings: checks each field's type, choices and limits, naming the flag to change."""

    verb: ClassVar[str] = ""

    @property
    def is_shared(self) -> bool:
        """Do the processes that ``torchrun`` starts share this work? What does not train they would do once each."""
        return False

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            self._check(spec)

    def _check(self, spec: dataclasses.Field[Any]) -> None:
        value = getattr(self, spec.name)
        kind, many, optional = value_type(type(self), spec.name)
        if value is None:
            if not optional:
                raise UsageError(f"{name_of(spec)} is missing", spec.metadata.get("help", ""))
            return
        if isinstance(value, bool) and spec.metadata.get("bare"):
            value = meant(spec, value)
            object.__setattr__(self, spec.name, value)
        if many:
            value = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else (value,)
            object.__setattr__(self, spec.name, value)
            if not value and spec.default is dataclasses.MISSING:
                raise UsageError(f"{name_of(spec)} is missing", spec.metadata.get("help", ""))
        elif isinstance(value, (tuple, list)):
            raise UsageError(f"{name_of(spec)} was given {len(value)} values", f"it takes one: {_WORDS[kind]}")
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
            object.__setattr__(self, spec.name, value)
        items: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        for item in items:
            self._check_item(spec, kind, item)

    @staticmethod
    def _check_item(spec: dataclasses.Field[Any], kind: type, item: Any) -> None:
        flag, meta = name_of(spec), spec.metadata
        if not isinstance(item, kind) or (kind is not bool and isinstance(item, bool)):
            raise UsageError(f"{flag} is {item!r}, a {type(item).__name__}", f"it takes {_WORDS[kind]}")
        if isinstance(item, str) and _UNWRITABLE.search(item):
            raise UsageError(
                f"{flag} is {item!r}, which is no UTF-8", "give a text in UTF-8; rename a file or folder of such a name"
            )
        if isinstance(item, str) and "://" in item and meta.get("metavar") in _PLACES:
            _refuse_secrets(flag, item)
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
        return {key: json_value(value) for key, value in dataclasses.asdict(self).items()}

    def identity(self) -> dict[str, Any]:
        """The fields that define the result; a resumed run must agree on them."""
        free = {spec.name for spec in dataclasses.fields(self) if spec.metadata.get("not_in_identity")}
        return {key: value for key, value in self.to_dict().items() if key not in free}

    def refuse_given(self, names: Collection[str], why: str) -> None:
        """Raise :class:`UsageError` for the first of the fields ``names`` that was given: ``--flag`` and ``why``."""
        for spec in dataclasses.fields(self):
            if spec.name in names and getattr(self, spec.name) != spec.default:
                raise UsageError(f"{flag_of(spec.name)} {why}", "leave it out")

    def flags(self, names: Collection[str]) -> list[str]:
        """The words that give these fields by flag on a command line, defaults left out."""
        given = (spec for spec in dataclasses.fields(self) if spec.name in names)
        return [
            word
            for spec in given
            if getattr(self, spec.name) != spec.default
            for word in _flag_words(spec.name, getattr(self, spec.name))
        ]

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


def _refuse_secrets(flag: str, place: str) -> None:
    from pretune.forwarded import has_secrets, without_secrets

    if has_secrets(place):
        raise UsageError(
            f"{flag} is {without_secrets(place)}, with a password or signature where ... stands, which would be kept in records",
            "give credentials as the store's own tools take them (AWS_ACCESS_KEY_ID, ...), or download it (curl -o FILE 'ADDRESS') and give the file",
        )


def refuse_unread(settings: Settings, chosen: str, reads: Mapping[str, Sequence[str]]) -> None:
    """Raise :class:`UsageError` for a setting that ``chosen`` would not look at: one that was given and that only others read.

    ``reads`` names the settings that each choice (task, objective) reads; what none of them names is everybody's.
    """
    for spec in dataclasses.fields(settings):
        readers = [name for name, names in reads.items() if spec.name in names]
        if readers and chosen not in readers and getattr(settings, spec.name) != spec.default:
            raise UsageError(
                f"{flag_of(spec.name)} does nothing for {chosen}: it is for {', '.join(readers)}", "leave it out"
            )


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
