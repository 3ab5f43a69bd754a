"""``pretune VERB --help --json``: the options of a verb as a JSON schema (draft 2020-12), for programs that call it."""

from __future__ import annotations

import dataclasses
from typing import Any

from pretune.config import DataSettings
from pretune.interface.declare import VerbFunction, is_required
from pretune.interface.story import VERBS
from pretune.options import Settings, flag_of, json_value, value_type

__all__ = ["schema_of", "verbs_schema"]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema_of(function: VerbFunction) -> dict[str, Any]:
    """The schema of the object of options that ``run.json`` keeps as ``settings`` and the Python function takes by name.

    ``flag`` is an option's name on the command line; ``position`` counts those that have no flag.
    """
    cls = function.settings_class
    places = [spec.name for spec in dataclasses.fields(cls) if spec.metadata.get("positional")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pretune {cls.verb}",
        "description": function.story.split("\n\n")[0],
        "type": "object",
        "properties": {spec.name: _property(cls, spec, places) for spec in dataclasses.fields(cls)},
        "required": [spec.name for spec in dataclasses.fields(cls) if is_required(spec)],
        **({"anyOf": [{"required": ["data"]}, {"required": ["train"]}]} if issubclass(cls, DataSettings) else {}),
        "additionalProperties": False,
    }


def _property(cls: type[Settings], spec: dataclasses.Field[Any], places: list[str]) -> dict[str, Any]:
    kind, many, optional = value_type(cls, spec.name)
    meta = spec.metadata
    limits = {"minimum": meta.get("low"), "maximum": meta.get("high"), "enum": list(meta.get("choices") or ()) or None}
    one: dict[str, Any] = {"type": _TYPES[kind], **{key: value for key, value in limits.items() if value is not None}}
    told: dict[str, Any] = {"type": "array", "items": one} if many else one
    if optional:
        told = {"anyOf": [told, {"type": "null"}]}
    where = {"position": places.index(spec.name)} if spec.name in places else {"flag": flag_of(spec.name)}
    default = {} if is_required(spec) else {"default": json_value(spec.default)}
    return {**told, "description": meta.get("help", ""), **where, **default}


def verbs_schema() -> dict[str, Any]:
    """``pretune --help --json``: the verbs, each with its line."""
    verbs = [{"name": entry.name, "chapter": entry.chapter, "summary": entry.summary} for entry in VERBS]
    return {"verbs": verbs, "options_of_a_verb": "pretune VERB --help --json"}
