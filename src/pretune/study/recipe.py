"""A recipe file: named steps in order, each a verb with its options; ``$name`` stands for the run of an earlier step.

::

    out: runs/small-news
    defaults: {seed: 0}
    steps:
      pretrain: {backbone: scratch:bert-mini, data: news/}
      news: {verb: finetune, backbone: $pretrain, data: news/}
      small: {verb: distill, run: $news, student: layers:2}
      benchmark: {run: [$news, $small]}
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.config import DataSettings, OutSettings
from pretune.errors import DataError, UsageError, did_you_mean
from pretune.options import Settings, value_type
from pretune.verbs.declare import build_settings, load_verb
from pretune.verbs.story import VERBS

__all__ = ["Recipe", "Step", "read_recipe"]

_NOT_IN_RECIPES = ("run", "serve", "demo", "list", "cache")
_REFERENCE = re.compile(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<plain>[\w-]+))")
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_KEYS = ("out", "defaults", "steps")
_MOST_BYTES = 1_000_000
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
        found = []
        for value in step.settings.to_dict().values():
            for item in value if isinstance(value, list) else [value]:
                place = Path(item) if isinstance(item, str) and item and len(item) < 4096 else None
                if place is not None and _exists(place) and not place.absolute().is_relative_to(self.out.absolute()):
                    found.append(_state_of(place))
        return found


def read_recipe(path: Path, *, out: str | None = None, changes: Mapping[str, str] | None = None) -> Recipe:
    """The recipe in ``path``; ``out`` and ``changes`` (of its ``defaults``) go before what the file says.

    Raises :class:`UsageError` naming the step for whatever a verb would refuse before it computes, and
    :class:`DataError` for a file that is no YAML.
    """
    told = _load(path)
    _refuse_unknown(path, told, _KEYS, "key")
    folder = Path(out or told.get("out") or Path("runs", path.stem))
    defaults = told.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise UsageError(f"{path}: defaults is {defaults!r}", "it takes options: defaults: {seed: 1}")
    defaults = {**defaults, **{key: _typed(value) for key, value in (changes or {}).items()}}
    told_steps = told.get("steps")
    if not isinstance(told_steps, dict) or not told_steps:
        raise UsageError(
            f"{path} has no steps",
            "name them in order: steps: {pretrain: {backbone: scratch:bert-mini, data: news.csv}}",
        )
    steps: list[Step] = []
    for name, options in told_steps.items():
        steps.append(_step(path, str(name), options, defaults, folder, {step.name: step for step in steps}))
    _refuse_unused(path, defaults, steps)
    return Recipe(path, folder, tuple(steps))


def _load(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain values only, and no key twice."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise UsageError(f"{path}{key_node.start_mark}: {key!r} is no name", "keys are words")
            if key in seen:
                raise UsageError(
                    f"{path}, line {key_node.start_mark.line + 1}: {key} stands there twice",
                    "give one of the two another name; a step's verb may stand inside: second: {verb: evaluate, ...}",
                )
            seen.add(key)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    if not path.is_file():
        raise UsageError(f"there is no recipe {path}", "give a YAML file; docs/recipes.md shows one")
    if path.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size:,} bytes", "a recipe is a short YAML file")
    try:
        told = Loader(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise DataError(
            f"{path}{line} is no YAML: {said}", "correct the line; docs/recipes.md shows a recipe"
        ) from None
    if not isinstance(told, dict):
        raise UsageError(
            f"{path} holds no recipe", "it has the keys out, defaults and steps; docs/recipes.md shows one"
        )
    return told


def _step(
    path: Path, name: str, options: Any, defaults: Mapping[str, Any], folder: Path, earlier: Mapping[str, Step]
) -> Step:
    where = f"{path}, step {name}"
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{where}: this is no name", "letters, digits, - and _")
    if options is None:
        options = {}
    if not isinstance(options, dict):
        raise UsageError(f"{where}: {options!r} are no options", f"{name}: {{verb: finetune, data: news.csv}}")
    own = {str(key).replace("-", "_"): value for key, value in options.items()}
    verb = str(own.pop("verb", name))
    allowed = [entry.name for entry in VERBS if entry.name not in _NOT_IN_RECIPES]
    if verb not in allowed:
        raise UsageError(f"{where}: there is no verb {verb!r} for recipes", did_you_mean(verb, allowed))
    needs: list[str] = []
    own = {key: _resolved(value, where, folder, earlier, needs) for key, value in own.items()}
    settings_class = load_verb(verb).settings_class
    values = {**_shared(defaults, settings_class), **own}
    if issubclass(settings_class, OutSettings):
        if "out" in own:
            raise UsageError(f"{where}: out is given", f"its run goes to {folder / name}; leave it out")
        values["out"] = str(folder / name)
    for key in ("overwrite", "dry_run"):
        if key in own:
            raise UsageError(
                f"{where}: {key} is given", f"give it to the whole: pretune run {path} --{key.replace('_', '-')}"
            )
    try:
        values = {key: _as_declared(settings_class, key, value) for key, value in values.items()}
        settings = build_settings(settings_class, (), values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.problem}", error.fix) from None
    return Step(name, verb, settings, tuple(dict.fromkeys(needs)))


def _shared(defaults: Mapping[str, Any], settings_class: type[Settings]) -> dict[str, Any]:
    """The defaults that such a step takes. One that takes a run reads the run's own rows: ``data`` is not for it."""
    fields = {spec.name for spec in dataclasses.fields(settings_class)}
    if not issubclass(settings_class, DataSettings):
        fields -= {spec.name for spec in dataclasses.fields(DataSettings)}
    shared = {str(key).replace("-", "_"): value for key, value in defaults.items()}
    return {key: value for key, value in shared.items() if key in fields}


def _resolved(value: Any, where: str, folder: Path, earlier: Mapping[str, Step], needs: list[str]) -> Any:
    """The value with ``$name`` replaced by the folder of that step, which is added to ``needs``."""
    if isinstance(value, list):
        return tuple(_resolved(item, where, folder, earlier, needs) for item in value)
    if not isinstance(value, str):
        return value

    def place(found: re.Match[str]) -> str:
        name = found["braced"] if found["braced"] is not None else found["plain"]
        if name not in earlier:
            raise UsageError(f"{where}: {found[0]} is no earlier step", did_you_mean(name, earlier) if earlier else "")
        if not earlier[name].makes_run:
            raise UsageError(
                f"{where}: step {name} ({earlier[name].verb}) makes no run of its own",
                "name the step whose run it works on",
            )
        needs.append(name)
        return str(folder / name)

    return _REFERENCE.sub(place, value)


def _as_declared(settings_class: type[Settings], name: str, value: Any) -> Any:
    """YAML's idea of a value as the option's: a number where words are asked for, one item where several may stand, and
    2e-5, which YAML 1.1 takes for a word.
    """
    if name not in {spec.name for spec in dataclasses.fields(settings_class)}:
        return value
    kind, many, _ = value_type(settings_class, name)
    if many and not isinstance(value, tuple) and value is not None:
        value = (value,)
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    if kind is str:
        items = value if isinstance(value, tuple) else (value,)
        plain = tuple(
            str(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else item for item in items
        )
        return plain if isinstance(value, tuple) else plain[0]
    return value


def _typed(text: str) -> Any:
    """The value of ``--set seed=1``, read as YAML reads it."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _refuse_unknown(path: Path, told: Mapping[str, Any], allowed: tuple[str, ...], what: str) -> None:
    for key in told:
        if key not in allowed:
            raise UsageError(f"{path} has the {what} {key!r}", did_you_mean(str(key), allowed))


def _refuse_unused(path: Path, defaults: Mapping[str, Any], steps: list[Step]) -> None:
    known = {spec.name for step in steps for spec in dataclasses.fields(step.settings)}
    for key in defaults:
        if str(key).replace("-", "_") not in known:
            raise UsageError(f"{path}: no step takes the default {key!r}", did_you_mean(str(key), known))


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def _state_of(place: Path) -> str:
    """Names, sizes and times of a file, or of all files in a folder."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())[:_MOST_STATS]
    digest = hashlib.blake2b(digest_size=12)
    for path in files:
        facts = path.stat()
        digest.update(f"{path}:{facts.st_size}:{facts.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
