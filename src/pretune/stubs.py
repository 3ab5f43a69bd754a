"""``python -m pretune.stubs`` writes ``__init__.pyi``: what editors and type checkers know of ``import pretune``.

The verbs take their options by name, from one declaration; the stub says the same in types, read off the same settings classes:
a ``TypedDict`` a class, with the inheritance they have. A test holds the file equal to what is generated here.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pretune.estimators import ESTIMATORS, parameters_of
from pretune.interface.declare import VerbFunction, is_required, load_verb
from pretune.interface.pages import PLACES, metavar_of
from pretune.interface.story import VERBS
from pretune.options import Settings, value_type
from pretune.training.settings import FinetuneSettings

__all__ = ["STUB", "stub"]

STUB = Path(__file__).with_name("__init__.pyi")
_QUOTES = '"' * 3
_HEAD = '''"""Types of ``import pretune``. Written by ``python -m pretune.stubs``: change the settings classes instead."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, Required, TypedDict, Unpack

from pretune import estimators as _estimators
from pretune.errors import PretuneError as PretuneError
from pretune.errors import PretuneWarning as PretuneWarning
from pretune.verbs.loaded import load as load
from pretune.interface.outcome import Outcome, Say
from pretune.runs.proven import open_model as open_model

__version__: str

_Place = str | PathLike[str]

class _Call(TypedDict, total=False):
    say: Say | None
    listeners: Sequence[Any]
'''


Types = dict[tuple[type[Settings], str], str]
"""By the class that declares an option and its name, the type that the stub gives it."""


def stub() -> str:
    """The text of the stub."""
    verbs = [(entry.name, load_verb(entry.name)) for entry in VERBS]
    classes = [*dict.fromkeys(base for _, function in verbs for base in _bases(function.settings_class))]
    types = _types(classes)
    parts = [
        _HEAD,
        *(_options(cls, types) for cls in classes),
        *(_function(function, name, types) for name, function in verbs),
    ]
    return "\n".join([*parts, _estimators(types)])


def _bases(cls: type[Settings]) -> Iterator[type[Settings]]:
    """The class and what it inherits from, the bases first."""
    for base in reversed(cls.__mro__):
        if issubclass(base, Settings) and base is not Settings:
            yield base


def _declaring(cls: type[Settings], name: str) -> list[type[Settings]]:
    """The classes among the bases that declare an option, the last of which counts."""
    return [base for base in _bases(cls) if name in inspect.get_annotations(base)]


def _types(classes: Iterable[type[Settings]]) -> Types:
    """Where a class declares an option again, both take what either does: a TypedDict cannot change the type of a key."""
    words: dict[tuple[type[Settings], str], dict[str, None]] = {}
    for cls in classes:
        for spec in dataclasses.fields(cls):
            declaring = _declaring(cls, spec.name)
            shared = {word: None for base in declaring for word in words.get((base, spec.name), {})}
            shared |= dict.fromkeys(_type(cls, spec))
            words |= {(base, spec.name): shared for base in declaring}
    return {key: " | ".join(sorted(found, key=lambda word: word == "None")) for key, found in words.items()}


def _type(cls: type[Settings], spec: dataclasses.Field[Any]) -> list[str]:
    if spec.metadata.get("metavar") in ("DATA", "NEW_DATA"):
        return ["Any"]
    kind, many, optional = value_type(cls, spec.name)
    choices = spec.metadata.get("choices")
    literal = f"Literal[{', '.join(map(repr, choices))}]" if choices else ""
    one = literal or ("_Place" if metavar_of(spec) in PLACES else kind.__name__)
    switch = ["bool"] if spec.metadata.get("bare") else []
    return [one, *switch, *([f"Sequence[{one}]"] if many else []), *(["None"] if optional else [])]


def _options(cls: type[Settings], types: Types) -> str:
    bases = [_name(base) for base in cls.__bases__ if issubclass(base, Settings) and base is not Settings] or ["_Call"]
    own = [spec for spec in dataclasses.fields(cls) if spec.name in inspect.get_annotations(cls)]
    lines = []
    for spec in own:
        if not spec.metadata.get("positional"):
            told = types[cls, spec.name]
            lines.append(f"    {spec.name}: {f'Required[{told}]' if is_required(spec) else told}")
    return "\n".join([f"class {_name(cls)}({', '.join(bases)}, total=False):", *(lines or ["    pass"]), ""])


def _name(cls: type[Settings]) -> str:
    return f"_{cls.__name__.removesuffix('Settings')}"


def _function(function: VerbFunction, name: str, types: Types) -> str:
    cls = function.settings_class
    specs = [spec for spec in dataclasses.fields(cls) if spec.metadata.get("positional")]
    declaring = {spec.name: _declaring(cls, spec.name) for spec in specs}
    if any(len(found) > 1 for found in declaring.values()):  # by name elsewhere: a parameter cannot be of both
        places = [f"*{specs[-1].name}: Any"]
    else:
        places = [_place(cls, spec, types[declaring[spec.name][-1], spec.name]) for spec in specs]
    first = function.story.partition("\n\n")[0]
    taken = ", ".join([*places, f"**options: Unpack[{_name(cls)}]"])
    told = textwrap.indent(_QUOTES + first + _QUOTES, "    ")
    return f"def {name}({taken}) -> Outcome:\n{told}\n"


def _place(cls: type[Settings], spec: dataclasses.Field[Any], told: str) -> str:
    if value_type(cls, spec.name)[1]:
        return f"*{spec.name}: {told}"
    return f"{spec.name}: {told}{'' if is_required(spec) else ' = ...'}"


def _estimators(types: Types) -> str:
    """The parameters, which are the same for all, and each class with them."""
    lines = ["class _Estimator(TypedDict, total=False):"]
    for one in parameters_of("")[1:]:
        lines.append(f"    {one.name}: {types[_declaring(FinetuneSettings, one.name)[-1], one.name]}")
    for kind in ESTIMATORS:
        taken = "self, backbone: _Place = ..., **options: Unpack[_Estimator]"
        lines += ["", f"class {kind.__name__}(_estimators.{kind.__name__}):", f"    def __init__({taken}) -> None: ..."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
