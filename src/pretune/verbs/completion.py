"""``pretune completion``: a script by which a shell completes verbs, options and their values."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pretune.interface.declare import load_verb, verb
from pretune.interface.outcome import Outcome, Say
from pretune.interface.story import VERBS
from pretune.options import Settings, flag_of, option, value_type

__all__ = ["CompletionSettings", "completion"]

_LONGEST = 70
"""Characters of an option's help that a line of a shell has room for."""


@dataclass(frozen=True, kw_only=True)
class CompletionSettings(Settings):
    """Settings of ``pretune completion``."""

    verb: ClassVar[str] = "completion"

    shell: str = option(help="the shell", positional=True, metavar="SHELL", choices=("bash", "zsh", "fish"))


@dataclass(frozen=True)
class _Flag:
    """An option as a shell knows it; ``takes`` is empty for a switch."""

    name: str
    about: str
    takes: str
    choices: tuple[str, ...]
    is_repeated: bool


@verb(CompletionSettings)
def completion(settings: CompletionSettings, *, say: Say) -> Outcome:
    """Print a script that lets a shell complete verbs, options, the values of options that have a few, and files.

    For this terminal: source <(pretune completion bash). For good, write it to
    ~/.local/share/bash-completion/completions/pretune, of zsh to _pretune in a folder of fpath, of fish to
    ~/.config/fish/completions/pretune.fish.

    Examples::

        pretune completion bash
        pretune completion zsh
        pretune completion fish
    """
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[settings.shell]()
    return Outcome(text=script, facts={"shell": settings.shell, "script": script})


def _flags(name: str) -> Iterator[_Flag]:
    cls = load_verb(name).settings_class
    for spec in dataclasses.fields(cls):
        if spec.metadata.get("positional"):
            continue
        kind, many, _ = value_type(cls, spec.name)
        choices = tuple(spec.metadata.get("choices") or ())
        about = textwrap.shorten(spec.metadata.get("help", ""), _LONGEST, placeholder=" ...")
        takes = spec.metadata.get("metavar") or "VALUE"
        yield _Flag(flag_of(spec.name), about, "" if kind is bool else takes, choices, many)
        if kind is bool or spec.metadata.get("bare"):
            yield _Flag("--no-" + flag_of(spec.name)[2:], f"not: {about}", "", (), False)
    yield _Flag("--json", "print one JSON object on standard output", "", (), False)
    yield _Flag("--quiet", "no progress, only warnings and the result", "", (), False)
    yield _Flag("--help", "all options", "", (), False)


def _positions(name: str) -> tuple[str, ...]:
    """The words that a verb's first place takes, where they are a few."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(load_verb(name).settings_class)
    return next((tuple(one.metadata.get("choices") or ()) for one in fields if one.metadata.get("positional")), ())


def _bash() -> str:
    flags, values = [], []
    for entry in VERBS:
        found = [*_flags(entry.name)]
        flags.append(f'        {entry.name}) words="{" ".join(one.name for one in found)}" ;;')
        values += [
            f'        "{entry.name} {one.name}") words="{" ".join(one.choices)}" ;;' for one in found if one.choices
        ]
        if words := _positions(entry.name):
            values.append(f'        "{entry.name} {entry.name}") words="{" ".join(words)}" ;;')
    return "\n".join(
        [
            "_pretune() {",
            '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            '    local verb="${COMP_WORDS[1]}"',
            "    COMPREPLY=()",
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f'        COMPREPLY=($(compgen -W "{" ".join(entry.name for entry in VERBS)} --help --version" -- "$cur"))',
            "        return",
            "    fi",
            '    case "$verb $prev" in',
            *values,
            "    esac",
            '    if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); return; fi',
            '    case "$cur" in',
            "        -*) ;;",
            '        *) COMPREPLY=($(compgen -f -- "$cur")); return ;;',
            "    esac",
            '    case "$verb" in',
            *flags,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            "}",
            "complete -o filenames -F _pretune pretune",
        ]
    )


def _zsh() -> str:
    lines = ["#compdef pretune", "_pretune() {", "    local -a verbs", "    verbs=("]
    lines += [f"        '{entry.name}:{_quoted(entry.summary)}'" for entry in VERBS]
    lines += ["    )", "    if (( CURRENT == 2 )); then", "        _describe verb verbs", "        return", "    fi"]
    lines += ["    local verb=$words[2]", "    shift words", "    (( CURRENT-- ))", "    case $verb in"]
    for entry in VERBS:
        words = _positions(entry.name)
        rest = f"'1:word:({' '.join(words)})'" if words else "'*:file:_files'"
        lines += [f"        {entry.name}) _arguments {' '.join([*map(_zsh_flag, _flags(entry.name)), rest])} ;;"]
    return "\n".join(
        [*lines, "    esac", "}", '[ "$funcstack[1]" = _pretune ] && _pretune "$@" || compdef _pretune pretune']
    )


def _zsh_flag(one: _Flag) -> str:
    about = _quoted(one.about).replace("[", "\\[").replace("]", "\\]")
    values = f":{one.takes}:({' '.join(one.choices)})" if one.choices else f":{one.takes}:_files" if one.takes else ""
    return f"'{'*' if one.is_repeated else ''}{one.name}{'=' if one.takes else ''}[{about}]{values}'"


def _fish() -> str:
    lines = ["complete -c pretune -n __fish_use_subcommand -f"]
    lines += [
        f"complete -c pretune -n __fish_use_subcommand -a {entry.name} -d '{_quoted(entry.summary, for_fish=True)}'"
        for entry in VERBS
    ]
    for entry in VERBS:
        within = f"complete -c pretune -n '__fish_seen_subcommand_from {entry.name}'"
        lines += [f"{within} -f -a '{' '.join(words)}'" for words in [_positions(entry.name)] if words]
        for one in _flags(entry.name):
            values = f" -x -a '{' '.join(one.choices)}'" if one.choices else " -r" if one.takes else ""
            lines.append(f"{within} -l {one.name[2:]}{values} -d '{_quoted(one.about, for_fish=True)}'")
    return "\n".join(lines)


def _quoted(text: str, *, for_fish: bool = False) -> str:
    """Text within single quotes; of zsh's descriptions a colon would end them."""
    if for_fish:
        return text.replace("\\", "\\\\").replace("'", "\\'")
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("'", "'\\''")
