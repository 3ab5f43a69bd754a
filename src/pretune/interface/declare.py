"""``@verb(Settings)``: one function becomes a Python call and a command line, both read off the settings class."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

from pretune.errors import UsageError
from pretune.interface.language import Translate, english
from pretune.interface.outcome import Outcome, Say
from pretune.interface.story import VERBS
from pretune.listeners import has_listeners, listening
from pretune.notices import telling
from pretune.options import Settings, value_type
from pretune.types import SPLIT_NAMES

__all__ = ["VerbFunction", "build_settings", "describe_option", "is_required", "load_verb", "nearest", "verb"]

_DATA = ("DATA", "NEW_DATA")
"""What options are called that take data: files or, in Python, rows."""

S = TypeVar("S", bound=Settings)
S_contra = TypeVar("S_contra", bound=Settings, contravariant=True)


class _Story(Protocol[S_contra]):
    """The function a verb's author writes."""

    __name__: str

    def __call__(self, settings: S_contra, /, *, say: Say) -> Outcome: ...


class VerbFunction(Protocol):
    """What ``@verb`` makes of it.

    ``run`` is the author's function, for callers that hold settings already; ``story`` its own docstring.
    """

    __name__: str
    settings_class: type[Settings]
    run: Callable[..., Outcome]
    story: str

    def __call__(
        self, *positional: Any, say: Say | None = None, listeners: Sequence[Any] = (), **options: Any
    ) -> Outcome:
        """Build the settings from the arguments, then run. Raises a :class:`PretuneError` for a person's mistake.

        ``listeners`` follow the runs that are begun (:mod:`pretune.listeners`).
        """
        ...


def verb(settings_class: type[S]) -> Callable[[_Story[S]], VerbFunction]:
    """Declare a verb: ``@verb(FinetuneSettings)`` over ``def finetune(settings, *, say)``.

    The result is called with the positional fields in order and all others by name, as on the command line.
    """

    def declare(function: _Story[S]) -> VerbFunction:
        name = function.__name__
        assert settings_class.verb == name, f"{settings_class.__name__}.verb is {settings_class.verb!r}, not {name!r}"

        @functools.wraps(function)
        def run(settings: S, *, say: Say, listeners: Sequence[Any] = ()) -> Outcome:
            with telling(say.note, say.warn), listening([*listeners, *_trackers(settings)]):
                return function(settings, say=say)

        @functools.wraps(function)
        def call(*positional: Any, say: Say | None = None, listeners: Sequence[Any] = (), **options: Any) -> Outcome:
            from pretune.interface.program import PythonSay, as_it_was

            with as_it_was():
                settings = build_settings(settings_class, positional, options)
                return run(settings, say=PythonSay() if say is None else say, listeners=listeners)

        made = cast(Any, call)
        made.settings_class, made.run, made.story = settings_class, run, inspect.getdoc(function) or ""
        made.__signature__ = _signature(settings_class)
        made.__doc__ = f"{made.story}\n\nOptions:\n{_option_list(settings_class)}"
        return cast(VerbFunction, made)

    return declare


def _trackers(settings: Settings) -> list[Any]:
    """The listeners that ``--report-to`` names; none within a verb that is followed already."""
    names = getattr(settings, "report_to", ())
    if not names or has_listeners():
        return []
    from pretune.trackers import trackers_of

    return [*trackers_of(names)]


def load_verb(name: str) -> VerbFunction:
    """Import the verb's module, and no other verb's."""
    module = next((entry.module for entry in VERBS if entry.name == name), f"pretune.verbs.{name}")
    return getattr(importlib.import_module(module), name)


def build_settings(settings_class: type[S], positional: Iterable[Any], options: dict[str, Any]) -> S:
    """The validated settings of a call. Raises :class:`UsageError` for what is unknown, missing or given twice."""
    specs = {spec.name: spec for spec in dataclasses.fields(settings_class)}
    for key in options:
        if key not in specs:
            raise UsageError(f"{settings_class.verb} has no option {key!r}", nearest(key, specs))
    given = _place(settings_class, list(positional))
    twice = given.keys() & options.keys()
    if twice:
        raise UsageError(f"{settings_class.verb} was given {min(twice)} twice", "give it once, by position or by name")
    values = _placed(settings_class, {**given, **options})
    values = {key: _plain(value) for key, value in values.items()}
    for spec in specs.values():
        if is_required(spec) and spec.name not in values:
            raise UsageError(f"{settings_class.verb} needs {spec.name}", spec.metadata.get("help", ""))
    return settings_class(**values)


def _place(settings_class: type[Settings], values: list[Any]) -> dict[str, Any]:
    """Positional values by field name; a last field that takes several takes all that are left."""
    names = [spec.name for spec in dataclasses.fields(settings_class) if spec.metadata.get("positional")]
    if names and value_type(settings_class, names[-1])[1] and len(values) >= len(names):
        rest = values[len(names) - 1 :]
        if len(rest) > 1 or not isinstance(rest[0], (list, tuple)):
            values = [*values[: len(names) - 1], tuple(rest)]
    if len(values) > len(names):
        takes = ", ".join(names) or "no positional argument"
        raise UsageError(
            f"{settings_class.verb} was given {len(values)} positional arguments", f"it takes {takes}; the rest by name"
        )
    return dict(zip(names, values, strict=False))


def _placed(settings_class: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """Rows in memory, given where data is taken, as the file in the cache that holds them; those in splits as one file a split."""
    places = {spec.name for spec in dataclasses.fields(settings_class) if spec.metadata.get("metavar") in _DATA}
    found: dict[str, Any] = {}
    for name, value in values.items():
        _, many, _ = value_type(settings_class, name)
        if name not in places or _is_place(value, many):
            found[name] = value
            continue
        from pretune.data.cells.given import is_in_splits, place_of

        if is_in_splits(value):
            if others := sorted({*value} - places):
                taken = ", ".join(sorted({*SPLIT_NAMES} & places)) or "rows without splits"
                raise UsageError(
                    f"{settings_class.verb} was given the split {others[0]!r} as {name}", f"it takes {taken}"
                )
            found |= {split: place_of(rows) for split, rows in value.items()}
        elif many and isinstance(value, (list, tuple)) and all(hasattr(one, "columns") for one in value):
            found[name] = tuple(map(place_of, value))
        else:
            found[name] = place_of(value)
    return found


def _is_place(value: Any, many: bool) -> bool:
    """Is this a path, or several of them where several are taken?"""
    if value is None or isinstance(value, (str, os.PathLike, bool, int, float)):
        return True
    return many and isinstance(value, (list, tuple)) and all(isinstance(one, (str, os.PathLike)) for one in value)


def _plain(value: Any) -> Any:
    """Paths as text, lists as tuples."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value


def nearest(given: str, allowed: Iterable[str]) -> str:
    """``did you mean "epochs"?``, or nothing when no word is near. For long lists, which no error should recite."""
    near = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def is_required(spec: dataclasses.Field[Any]) -> bool:
    """Has the field no default?"""
    return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING


def describe_option(spec: dataclasses.Field[Any], translate: Translate = english) -> str:
    """Help text of a field with its choices, limits and default."""
    text = translate(spec.metadata["help"]) if spec.metadata.get("help") else ""
    notes = translate("; ").join(_notes(spec, translate))
    return translate("{text} ({notes})").format(text=text, notes=notes) if notes else text


def _notes(spec: dataclasses.Field[Any], translate: Translate) -> Iterator[str]:
    meta, low, high = spec.metadata, spec.metadata.get("low"), spec.metadata.get("high")
    if meta.get("choices"):
        yield translate("one of {words}").format(words=", ".join(meta["choices"]))
    if low is not None and high is not None:
        yield translate("{low} to {high}").format(low=f"{low:,}", high=f"{high:,}")
    elif low is not None:
        yield translate("at least {low}").format(low=f"{low:,}")
    elif high is not None:
        yield translate("at most {high}").format(high=f"{high:,}")
    if meta.get("bare"):
        yield translate("alone: {value}").format(value=meta["bare"])
    if is_required(spec):
        yield translate("required")
    elif spec.default not in (None, (), ""):
        yield translate("default: {value}").format(value=_shown(spec.default, translate))


def _shown(value: Any, translate: Translate) -> str:
    if isinstance(value, bool):
        return translate("yes" if value else "no")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _signature(settings_class: type[Settings]) -> inspect.Signature:
    specs = sorted(dataclasses.fields(settings_class), key=lambda spec: not spec.metadata.get("positional"))
    parameters = [_parameter(settings_class, spec) for spec in specs]
    say = inspect.Parameter("say", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Say | None")
    listeners = inspect.Parameter("listeners", inspect.Parameter.KEYWORD_ONLY, default=(), annotation="Sequence[Any]")
    return inspect.Signature([*_defaults_last(parameters), say, listeners], return_annotation="Outcome")


def _parameter(settings_class: type[Settings], spec: dataclasses.Field[Any]) -> inspect.Parameter:
    _, many, _ = value_type(settings_class, spec.name)
    kind = inspect.Parameter.KEYWORD_ONLY
    if spec.metadata.get("positional"):
        kind = inspect.Parameter.VAR_POSITIONAL if many else inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = inspect.Parameter.empty if is_required(spec) or kind is inspect.Parameter.VAR_POSITIONAL else spec.default
    return inspect.Parameter(spec.name, kind, default=default, annotation=spec.type)


def _defaults_last(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """A signature must not show a required positional after an optional one."""
    return sorted(parameters, key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))


def _option_list(settings_class: type[Settings]) -> str:
    return "\n".join(f"    {spec.name}: {describe_option(spec)}" for spec in dataclasses.fields(settings_class))
