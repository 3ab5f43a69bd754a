"""A recipe's YAML: plain values only, no key twice, and nothing that unfolds into more than a recipe can be."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from pretune.errors import DataError, PretuneError, UsageError

__all__ = ["load_recipe_file", "typed"]

_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def load_recipe_file(path: Path) -> dict[str, Any]:
    """What the file holds. Raises :class:`UsageError` where there is no recipe in it, :class:`DataError` where it is no YAML."""
    if path.is_dir():
        raise UsageError(f"there is no recipe {path}: it is a folder", "give a YAML file; docs/recipes.md shows one")
    if not path.is_file():
        raise UsageError(f"there is no recipe {path}", "give a YAML file; docs/recipes.md shows one")
    if path.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size:,} bytes", "a recipe is a short YAML file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8") from None
    told = _parsed(text, str(path))
    if not isinstance(told, dict):
        raise UsageError(
            f"{path} holds no recipe", "it has the keys out, defaults and steps; docs/recipes.md shows one"
        )
    _refuse_unfolding(path, told)
    return told


def typed(text: str) -> Any:
    """The value of ``--set seed=1``, read as a recipe's values are; text where it is no YAML."""
    try:
        return _parsed(text, "--set")
    except PretuneError:
        return text


def _parsed(text: str, name: str) -> Any:
    """The plain value of a YAML text. A date stays the text that it is. Raises :class:`DataError`."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain values only, and no key twice."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - the name and form that yaml asks for
            first: [(tag, pattern) for tag, pattern in found if tag != _TIMESTAMP]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
        _refuse_keys(loader, node, name)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return Loader(text).get_single_data()
    except PretuneError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
        said = ", ".join(parts) or str(error).splitlines()[0]
        fix = "indent with spaces, not tabs" if "'\\t'" in said else "correct the line; docs/recipes.md shows a recipe"
        raise DataError(f"{name}{line} is no YAML: {said}", fix) from None


def _refuse_keys(loader: Any, node: Any, name: str) -> None:
    """Raise :class:`UsageError` for a key that is no word, and for one that stands twice. What ``<<`` brings may be overridden."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise UsageError(f"{name}, line {line}: the key {key!r} is no word", "put it in quotes")
        if key in seen:
            raise UsageError(
                f"{name}, line {line}: {key} stands there twice",
                "give one of the two another name; a step's verb may stand inside: second: {verb: evaluate, ...}",
            )
        seen.add(key)


def _refuse_unfolding(path: Path, told: dict[str, Any]) -> None:
    """Raise :class:`UsageError` where lists that name other lists (``*a``) unfold into more than a recipe holds."""
    left: list[Any] = [told]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        one = left.pop()
        left += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
    raise UsageError(f"{path} unfolds into more than {_MOST_VALUES:,} values", "a recipe is a short list of steps")
