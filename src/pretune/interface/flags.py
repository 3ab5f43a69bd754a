"""The command line of a verb, read off its settings class: flags, groups, its pages of help."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pretune.errors import UsageError
from pretune.interface.declare import VerbFunction, describe_option, is_required, nearest
from pretune.interface.language import Translate, english, of_reader
from pretune.interface.pages import flowed, is_common, metavar_of, usage_of, width
from pretune.interface.synonyms import own_flag
from pretune.interface.wrapping import columns_of, filled, wrapped
from pretune.options import Settings, flag_of, name_of, value_type

__all__ = ["HelpAsked", "parse_flags", "verb_page", "verb_parser"]

GLOBAL_FLAGS = {
    "json": "print one JSON object on standard output",
    "quiet": "no progress, only warnings and the result",
}
_ABOUT_HELP = "-h the options that most people give, --help all; with --json as JSON schema"
_GROUP_TITLES = {
    "TrainSettings": "learning",
    "LabelledTrainSettings": "learning",
    "CleanSettings": "cleaning",
    "OutSettings": "output",
    "RunSettings": "output",
}
_OF_THE_VERB = ("DerivedSettings",)


class HelpAsked(SystemExit):
    """``-h`` or ``--help`` was given: the end, with code 0, after ``page`` was shown."""

    def __init__(self, page: str) -> None:
        super().__init__(0)
        self.page = page


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Fills lines by columns, and begins with the reader's word for ``usage: ``."""

    def __init__(self, prog: str, *, width: int, usage: str) -> None:
        super().__init__(prog, width=width)
        self._usage = usage

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or self._usage)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(" ".join(text.split()), width)


class _Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help shows what it takes")


def verb_parser(
    function: VerbFunction, *, is_short: bool = False, translate: Translate = english
) -> argparse.ArgumentParser:
    """The parser of a verb; values not given are absent from its result. ``is_short``: of the options that most people give."""
    cls = function.settings_class
    parser = _Parser(
        **_texts(function, is_short, translate),
        formatter_class=functools.partial(_Formatter, width=width(), usage=f"{translate('usage')}: "),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    groups = _groups(cls)
    if is_short:
        common = [spec for *_, specs in groups for spec in specs if is_common(cls, spec)]
        groups = [(cls.verb, None, sorted(common, key=lambda spec: (not is_required(spec), spec.name != "data")))]
    for title, about, specs in groups:
        shown = title if title == cls.verb else translate(title)
        group = parser.add_argument_group(shown, about and flowed(about, width() - 2, translate))
        for spec in specs:
            _add(group, cls, spec, translate)
    group = parser.add_argument_group(translate("every verb"))
    for name, text in GLOBAL_FLAGS.items():
        group.add_argument(f"--{name}", action="store_true", default=False, help=translate(text))
    group.add_argument("-h", "--help", action="store_true", help=translate(_ABOUT_HELP))
    return parser


def _texts(function: VerbFunction, is_short: bool, translate: Translate) -> dict[str, Any]:
    """What stands above the options and below them."""
    cls, (description, examples) = function.settings_class, _split_examples(function.story)
    indent = columns_of(f"{translate('usage')}: ")
    below = [flowed(examples, width(), translate)]
    if is_short:
        count = len(dataclasses.fields(cls))
        below.append(translate("pretune {verb} --help shows all {count} options.").format(verb=cls.verb, count=count))
    return {
        "prog": f"pretune {cls.verb}",
        "usage": _escape(filled(usage_of(cls), width() - indent, then=" " * indent)),
        "description": flowed(description.split("\n\n")[0] if is_short else description, width(), translate),
        "epilog": "\n\n".join(filter(None, below)),
    }


def verb_page(function: VerbFunction, flags: Sequence[str]) -> str:
    """What ``-h``, ``--help`` and ``--help --json`` show; the last, which programs read, in English always."""
    if "--json" in flags:
        from pretune.interface.option_schema import schema_of

        return json.dumps(schema_of(function), ensure_ascii=False, allow_nan=False) + "\n"
    return verb_parser(function, is_short="--help" not in flags, translate=of_reader()).format_help()


def parse_flags(function: VerbFunction, words: Sequence[str]) -> tuple[Settings, argparse.Namespace]:
    """The validated settings of a command line, and the flags of every verb (``json``, ``quiet``).

    Raises :class:`UsageError`, and :class:`HelpAsked` for ``-h`` and ``--help``.
    """
    cls, parser = function.settings_class, verb_parser(function)
    flags, positionals = _sort_words(cls, words)
    if {"-h", "--help"} & set(flags):
        raise HelpAsked(verb_page(function, flags))
    _require(cls, flags, positionals)
    given, extra = parser.parse_known_args([*positionals, *flags])
    if extra:
        raise UsageError(f"{cls.verb} does not take another argument: {extra[0]!r}", _see_help(cls))
    values = {name: value for name, value in vars(given).items() if name != "help"}
    shared = argparse.Namespace(**{name: values.pop(name) for name in GLOBAL_FLAGS})
    return cls(**{name: _convert(cls, name, value) for name, value in values.items()}), shared


def _see_help(cls: type[Settings]) -> str:
    return f"pretune {cls.verb} --help shows what it takes"


def _sort_words(cls: type[Settings], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags and positional words apart, as argparse loses optional positionals that follow a flag.

    ``--flag value`` becomes ``--flag=value``, so that a value may begin with a dash (a column named ``-1``).
    Raises :class:`UsageError` for an unknown flag.
    """
    takes_value, flags, positionals, rest = _all_flags(cls), [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            positionals.append(word)
            continue
        given, equals, value = word.partition("=")
        name = own_flag(given, takes_value)
        word = f"{name}{equals}{value}"
        if name not in takes_value:
            guess = nearest(name, takes_value)
            raise UsageError(f"{cls.verb} has no option {given}", f"{guess} {_see_help(cls)}".strip())
        word = _switched(cls, word, rest)
        if (
            takes_value[name]
            and word == name
            and rest
            and own_flag(rest[0].split("=")[0], takes_value) not in takes_value
        ):
            word = f"{name}={rest.pop(0)}"
        flags.append(word)
    return flags, positionals


def _switched(cls: type[Settings], word: str, rest: list[str]) -> str:
    """A switch of several positions with the one that is meant, taken off the ``rest``: ``--redact pseudonym``; ``--redact`` and
    ``--no-redact`` alone mean one too.
    """
    for spec in dataclasses.fields(cls):
        flag, bare = flag_of(spec.name), spec.metadata.get("bare")
        if bare and word == flag:
            return f"{flag}={rest.pop(0) if rest and rest[0] in spec.metadata['choices'] else bare}"
        if bare and word == "--no-" + flag[2:]:
            return f"{flag}=no"
    return word


def _require(cls: type[Settings], flags: list[str], positionals: list[str]) -> None:
    """Raise :class:`UsageError` for the first required field that was not given."""
    given, place = {word.split("=")[0] for word in flags}, 0
    for spec in dataclasses.fields(cls):
        is_positional = spec.metadata.get("positional", False)
        place += is_positional
        missing = place > len(positionals) if is_positional else flag_of(spec.name) not in given
        if missing and is_required(spec):
            raise UsageError(
                f"{name_of(spec)} is missing: {spec.metadata.get('help', '')}",
                f"pretune {cls.verb} --help shows an example",
            )


def _all_flags(cls: type[Settings]) -> dict[str, bool]:
    """Every flag of the verb, and whether a value follows it."""
    flags = {f"--{name}": False for name in GLOBAL_FLAGS} | {"--help": False, "-h": False}
    for spec in dataclasses.fields(cls):
        if spec.metadata.get("positional"):
            continue
        is_switch = value_type(cls, spec.name)[0] is bool
        flags[flag_of(spec.name)] = not is_switch
        if is_switch or spec.metadata.get("bare"):
            flags["--no-" + flag_of(spec.name)[2:]] = False
    return flags


def _add(
    group: argparse._ArgumentGroup, cls: type[Settings], spec: dataclasses.Field[Any], translate: Translate
) -> None:
    kind, many, _ = value_type(cls, spec.name)
    text = _escape(describe_option(spec, translate))
    if spec.metadata.get("positional"):
        count = ("+" if many else None) if is_required(spec) else "*" if many else "?"
        group.add_argument(spec.name, nargs=count, metavar=metavar_of(spec), help=text, default=argparse.SUPPRESS)
    elif kind is bool:
        group.add_argument(
            flag_of(spec.name), action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )
    elif spec.metadata.get("bare"):
        group.add_argument(flag_of(spec.name), nargs="?", metavar=metavar_of(spec), help=text)
    else:
        group.add_argument(
            flag_of(spec.name), action="append" if many else "store", metavar=metavar_of(spec), help=text
        )


def _convert(cls: type[Settings], name: str, value: Any) -> Any:
    """Text of the command line to the field's type; limits and choices are the settings' own business."""
    kind, many, _ = value_type(cls, name)
    if not many:
        return _number(name, kind, value)
    choices = next(spec.metadata.get("choices") for spec in dataclasses.fields(cls) if spec.name == name)
    parts = [part.strip() for word in value for part in word.split(",")] if choices or kind is not str else value
    return tuple(_number(name, kind, part) for part in parts)


def _number(name: str, kind: type, value: Any) -> Any:
    if kind not in (int, float):
        return value
    try:
        return kind(value.replace("_", ""))
    except ValueError:
        raise UsageError(
            f"{flag_of(name)} is {value!r}", f"it takes {'a whole number' if kind is int else 'a number'}"
        ) from None


def _groups(cls: type[Settings]) -> list[tuple[str, str | None, list[dataclasses.Field[Any]]]]:
    """Fields by the class that declares them: the verb's own first, and among these its places, then the shared ones in order."""
    found: dict[str, tuple[str | None, list[dataclasses.Field[Any]]]] = {_title(cls, cls): (None, [])}
    for spec in sorted(dataclasses.fields(cls), key=lambda spec: not spec.metadata.get("positional")):
        owner = next(base for base in cls.__mro__ if spec.name in inspect.get_annotations(base))
        owner = cls if spec.metadata.get("positional") or owner.__name__ in _OF_THE_VERB else owner
        found.setdefault(_title(cls, owner), (_about(cls, owner), []))[1].append(spec)
    return [(title, about, specs) for title, (about, specs) in found.items() if specs]


def _title(cls: type[Settings], owner: type) -> str:
    return (
        cls.verb if owner is cls else _GROUP_TITLES.get(owner.__name__, owner.__name__.removesuffix("Settings").lower())
    )


def _about(cls: type[Settings], owner: type) -> str | None:
    return None if owner is cls else (owner.__doc__ or "").split("\n")[0]


def _split_examples(story: str) -> tuple[str, str]:
    """A docstring's own text, and its part from the line that begins with "Example"."""
    found = re.search(r"^Examples?\b", story, flags=re.MULTILINE)
    if not found:
        return story.strip(), ""
    return story[: found.start()].strip(), story[found.start() :].replace("::", ":", 1).strip()


def _escape(text: str) -> str:
    return text.replace("%", "%%")
