"""A recipe file: named steps in order, each a verb with its options; ``$name`` stands for the run of an earlier step.

::

    out: runs/small-news
    defaults: {seed: 0}
    steps:
      pretrain: {backbone: scratch:bert-mini, data: news/}
      news: {verb: finetune, backbone: $pretrain, data: news/}
      small: {verb: distill, run: $news, student: layers:2}
      benchmark: {runs: [$news, $small]}
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretune.config import DataSettings, OutSettings
from pretune.data.places.patterns import expanded
from pretune.data.remote.addresses import is_address
from pretune.errors import DataError, PretuneError, UsageError, did_you_mean
from pretune.interface.declare import build_settings, load_verb, nearest
from pretune.interface.story import VERBS
from pretune.options import Settings, flag_of, meant, value_type
from pretune.study.recipe_file import load_recipe_file, typed

__all__ = ["Recipe", "Step", "as_declared", "read_recipe"]

_NOT_IN_RECIPES = ("run", "study", "serve", "demo", "list", "cache")
_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[^}]*)\}|(?P<plain>[\w-]+))")
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_KEYS = ("out", "defaults", "steps")
_OF_THE_WHOLE = ("out", "overwrite", "dry_run")
_WRITTEN = ("out", "png", "svg")
_FOLDERS_OF_RUNS = ("checkpoints", "model", "predictions", "seeds")
_MOST_STATS = 200_000


@dataclass(frozen=True)
class Step:
    """One verb call. ``needs`` names the earlier steps whose runs it takes; ``makes_run`` says whether it writes a run folder."""

    name: str
    verb: str
    settings: Settings
    needs: tuple[str, ...]

    @property
    def makes_run(self) -> bool:
        """Does it write a run folder of its own?"""
        return isinstance(self.settings, OutSettings)

    @property
    def files(self) -> list[Path]:
        """The files that it was told to write."""
        told = {} if self.makes_run else self.settings.to_dict()
        return [Path(told[name]) for name in _WRITTEN if told.get(name)]


@dataclass(frozen=True)
class Recipe:
    """A recipe file, every step's settings checked. ``out`` is the folder of all its runs."""

    path: Path
    out: Path
    steps: tuple[Step, ...]

    def keys(self) -> dict[str, str]:
        """By step, a hash of all that its result hangs on: its settings, the steps it needs, and the state of the files it
        reads (names, sizes, times; not their bytes).
        """
        found: dict[str, str] = {}
        for step in self.steps:
            parts = [step.verb, step.settings.identity(), [found[name] for name in step.needs], self._files(step)]
            text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
            found[step.name] = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return found

    def _files(self, step: Step) -> list[str]:
        """The state of what a step reads from outside the recipe's folder."""
        from pretune.data.remote.copies import state_of

        found = []
        for name, value in step.settings.to_dict().items():
            if name in _WRITTEN:
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str) and is_address(item):
                    with contextlib.suppress(PretuneError):  # what cannot be reached is told when the step begins
                        found.append(state_of(item))
                    continue
                for place in _places(item):
                    if not place.absolute().is_relative_to(self.out.absolute()):
                        found.append(_state_of(place, besides=self.out))
        return found


def read_recipe(path: Path, *, out: str | None = None, changes: Mapping[str, str] | None = None) -> Recipe:
    """The recipe in ``path``; ``out`` and ``changes`` (of its ``defaults``) go before what the file says.

    Raises :class:`UsageError` naming the step for whatever a verb would refuse before it computes, and
    :class:`DataError` for a file that is no YAML.
    """
    told = load_recipe_file(path)
    _refuse_unknown(path, told, _KEYS, "key")
    defaults = told.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise UsageError(f"{path}: defaults is {defaults!r}", "it takes options: defaults: {seed: 1}")
    defaults = {
        **_named(defaults, f"{path}, defaults"),
        **{key: typed(value) for key, value in (changes or {}).items()},
    }
    for key in _OF_THE_WHOLE:
        if key in defaults:
            raise UsageError(f"{path}: {key} is among the defaults", _for_the_whole(path, key))
    told_steps = told.get("steps")
    if not isinstance(told_steps, dict) or not told_steps:
        raise UsageError(
            f"{path} has no steps",
            "name them in order: steps: {pretrain: {backbone: scratch:bert-mini, data: news.csv}}",
        )
    reading = _Reading(path, _folder(path, out or told.get("out")), defaults)
    for name, options in told_steps.items():
        reading.add(str(name), options)
    reading.refuse_unused()
    return Recipe(path, reading.folder, tuple(reading.steps.values()))


def _folder(path: Path, told: Any) -> Path:
    """Where the runs go. Raises :class:`UsageError` for what is no folder's name."""
    if told is None or told == "":
        return Path("runs", path.stem)
    if not isinstance(told, str) or "$" in told or "\0" in told:
        raise UsageError(f"{path}: out is {told!r}", "it takes a folder, as it is: out: runs/films")
    return Path(told)


def _for_the_whole(path: Path, key: str) -> str:
    if key == "out":
        return "its place is beside defaults and steps: out: runs/films"
    return f"give it to the whole: pretune run {path} --{key.replace('_', '-')}"


def _named(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options by the names of Python. Raises :class:`UsageError` for one that stands there with ``-`` and with ``_``."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name in found:
            raise UsageError(f"{where}: {key} stands there twice, once with - and once with _", "give it once")
        found[name] = value
    return found


@dataclass
class _Reading:
    """A recipe while its steps are read: ``steps`` by name so far, and which of the ``defaults`` one of them ``used``."""

    path: Path
    folder: Path
    defaults: Mapping[str, Any]
    steps: dict[str, Step] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def add(self, name: str, options: Any) -> None:
        """Read the next step. Raises :class:`UsageError` naming it."""
        where = f"{self.path}, step {name}"
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{where}: this is no name", "letters, digits, - and _")
        if name in _FOLDERS_OF_RUNS:
            raise UsageError(f"{where}: {name} is the name of a folder that runs keep", "give the step another name")
        if options is not None and not isinstance(options, dict):
            raise UsageError(f"{where}: {options!r} are no options", f"{name}: {{verb: finetune, data: news.csv}}")
        own = _named(options or {}, where)
        verb = str(own.pop("verb", name))
        allowed = [entry.name for entry in VERBS if entry.name not in _NOT_IN_RECIPES]
        if verb not in allowed:
            raise UsageError(f"{where}: there is no verb {verb!r} for recipes", did_you_mean(verb, allowed))
        needs: list[str] = []
        try:
            settings = self._settings(load_verb(verb).settings_class, name, own, needs)
        except UsageError as error:
            raise UsageError(f"{where}: {error.problem}", error.fix) from None
        self.steps[name] = Step(name, verb, settings, tuple(dict.fromkeys(needs)))

    def _settings(self, settings_class: type[Settings], name: str, own: dict[str, Any], needs: list[str]) -> Settings:
        makes_run = issubclass(settings_class, OutSettings)
        if makes_run and "out" in own:
            raise UsageError("out is given", f"its run goes to {self.folder / name}; leave it out")
        for key in ("overwrite", "dry_run"):
            if key in own:
                raise UsageError(f"{key} is given", _for_the_whole(self.path, key))
        shared = {key: value for key, value in self._shared(settings_class).items() if key not in own}
        self.used |= shared.keys()
        values = {key: self._resolved(value, needs) for key, value in {**shared, **own}.items()}
        if makes_run:
            values["out"] = str(self.folder / name)
        values = {key: as_declared(settings_class, key, value) for key, value in values.items()}
        settings = build_settings(settings_class, (), values)
        _refuse_streams(settings)
        return settings

    def _shared(self, settings_class: type[Settings]) -> dict[str, Any]:
        """The defaults that such a step takes. One that takes a run reads the run's own rows: ``data`` is not for it."""
        fields = {spec.name for spec in dataclasses.fields(settings_class)}
        if not issubclass(settings_class, DataSettings):
            fields -= {spec.name for spec in dataclasses.fields(DataSettings)}
        return {key: value for key, value in self.defaults.items() if key in fields}

    def _resolved(self, value: Any, needs: list[str]) -> Any:
        """The value with ``$name`` replaced by the folder of that step, which is added to ``needs``; ``$$`` is a dollar sign."""
        if isinstance(value, list):
            return tuple(self._resolved(item, needs) for item in value)
        if not isinstance(value, str):
            return value
        found = _REFERENCE.sub(lambda reference: self._place(reference, needs), value)
        needs += [step.name for step in self.steps.values() if step.makes_run and found == str(self.folder / step.name)]
        return found

    def _place(self, found: re.Match[str], needs: list[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["braced"] if found["braced"] is not None else found["plain"]
        if name not in self.steps:
            allowed = did_you_mean(name, self.steps) if self.steps else "this is the first step"
            raise UsageError(f"{found[0]} is no earlier step", f"{allowed}; a dollar sign is written $$")
        if not self.steps[name].makes_run:
            raise UsageError(
                f"step {name} ({self.steps[name].verb}) makes no run of its own", "name the step whose run it works on"
            )
        needs.append(name)
        return str(self.folder / name)

    def refuse_unused(self) -> None:
        """Raise :class:`UsageError` for a default that changes no step."""
        for key in sorted(self.defaults.keys() - self.used):
            fields = {spec.name for step in self.steps.values() for spec in dataclasses.fields(step.settings)}
            if key in fields:
                raise UsageError(
                    f"{self.path}: the default {key!r} changes no step",
                    "every step that takes it says its own, or reads the data of a run: change it there",
                )
            raise UsageError(f"{self.path}: no step takes the default {key!r}", nearest(key, fields) or "leave it out")


def _refuse_streams(settings: Settings) -> None:
    """Raise :class:`UsageError` for a step that reads or writes what only a terminal has."""
    given = settings.to_dict()
    data = given.get("data")
    if "-" in (data if isinstance(data, (list, tuple)) else [data]):
        raise UsageError("data is standard input, which a recipe does not have", "name a file: data: new.csv")
    if settings.verb == "predict" and given["out"] is None:
        raise UsageError("its answers would go nowhere", "name a file for them: out: labels.jsonl")


def as_declared(settings_class: type[Settings], name: str, value: Any) -> Any:
    """YAML's idea of a value as the option's: a number where words are asked for, one item where several may stand, and
    2e-5, which YAML 1.1 takes for a word.
    """
    spec = next((spec for spec in dataclasses.fields(settings_class) if spec.name == name), None)
    if spec is None:
        return value
    value = meant(spec, value)
    kind, many, _ = value_type(settings_class, name)
    if many and not isinstance(value, tuple) and value is not None:
        value = (value,)
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    if kind is str:
        items = value if isinstance(value, tuple) else (value,)
        plain = tuple(_as_text(name, item, spec.metadata.get("choices") or ()) for item in items)
        return plain if isinstance(value, tuple) else plain[0]
    return value


def _as_text(name: str, item: Any, choices: Collection[str]) -> Any:
    """A word that YAML 1.1 took for something else. Raises :class:`UsageError` where it cannot be told which word it was."""
    if isinstance(item, bool):
        word = "yes" if item else "no"
        if word not in choices:
            raise UsageError(f"{flag_of(name)} is {str(item).lower()}", "a word like yes, no, on, off is put in quotes")
        return word
    return str(item) if isinstance(item, (int, float)) else item


def _refuse_unknown(path: Path, told: Mapping[str, Any], allowed: tuple[str, ...], what: str) -> None:
    for key in told:
        if key not in allowed:
            raise UsageError(f"{path} has the {what} {key!r}", did_you_mean(str(key), allowed))


def _places(value: Any) -> list[Path]:
    """The files and folders that a value names, by a pattern too; none where it names none."""
    if not isinstance(value, str) or not 0 < len(value) < 4096:
        return []
    with contextlib.suppress(DataError, OSError, ValueError):
        return [place for place in map(Path, expanded(value)) if _exists(place)]
    return []


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def _state_of(place: Path, *, besides: Path) -> str:
    """Names, sizes and times of a file, or of all files in a folder but those below ``besides``."""
    root, own = place.resolve(), besides.resolve()
    below = (path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(own))
    files = [root] if root.is_file() else sorted(itertools.islice(below, _MOST_STATS))
    digest = hashlib.blake2b(str(place).encode("utf-8", "surrogateescape"), digest_size=12)
    for path in files:
        facts = path.stat()
        told = f"{path.relative_to(root)}:{facts.st_size}:{facts.st_mtime_ns}"
        digest.update(told.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
