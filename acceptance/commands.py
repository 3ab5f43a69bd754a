"""The command lines of chapters, as the programs themselves read them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from acceptance.places import ROOT
from pretune.errors import PretuneError
from pretune.options import Settings

__all__ = ["problem_of", "seed_of", "settings_of"]


def settings_of(words: Sequence[str]) -> Settings | None:
    """The settings of a ``pretune`` command, as its own command line reads them; None for another program's.

    Raises :class:`PretuneError` for what pretune would refuse.
    """
    if not words or words[0] != "pretune":
        return None
    from pretune.errors import UsageError
    from pretune.interface import VERBS, load_verb
    from pretune.interface.flags import parse_flags

    if len(words) < 2 or words[1] not in {entry.name for entry in VERBS}:
        raise UsageError(f"pretune has no verb {' '.join(words[1:2])!r}")
    return parse_flags(load_verb(words[1]), words[2:])[0]


def problem_of(command: str) -> str | None:
    """Why a command cannot be run by anybody; None where nothing speaks against it."""
    words = shlex.split(command, comments=True)
    try:
        if settings_of(words) is not None:
            return None
    except PretuneError as error:
        return error.problem
    if words[:2] == ["python", "-m"]:
        module = ROOT / words[2].replace(".", "/")
        return None if module.is_dir() or module.with_suffix(".py").is_file() else f"there is no module {words[2]}"
    if words[:1] == ["python"]:  # a program of this repository, or one that an export wrote
        program = Path(words[1])
        exported = program.name == "predict.py"
        return None if exported or (ROOT / program).is_file() else f"there is no program {program}"
    return f"{words[0]} is neither pretune nor python"


def seed_of(commands: Sequence[str]) -> int | None:
    """The seed of the last of the commands that has one."""
    for command in reversed(commands):
        settings = settings_of(shlex.split(command, comments=True))
        if (seed := getattr(settings, "seed", None)) is not None:
            return int(seed)
    return None
