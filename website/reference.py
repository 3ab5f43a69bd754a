"""A reference page for each verb, read off the code: in English, and in Chinese by the catalogue of help."""

from __future__ import annotations

import re
from typing import Any

from pretune.interface.declare import load_verb
from pretune.interface.language import Translate, translator
from pretune.interface.option_schema import schema_of
from pretune.wording import figure

__all__ = ["FOLDERS", "verb_page"]

FOLDERS = {"en": "reference", "zh": "reference-zh"}
"""Where the pages of a language stand in the site."""
_CHINESE = {
    "option": "选项",
    "value": "取值",
    "default": "默认",
    "string": "文本",
    "number": "数",
    "integer": "整数",
    "boolean": "是或否",
    "at least {limit}": "不小于 {limit}",
    "at most {limit}": "不大于 {limit}",
    "{value}; several": "{value}；可给出多个",
    ", ": "，",
    "From Python: `pretune.{verb}(...)` takes the same by name; as a schema: `pretune {verb} --help --json`.": "在 Python 中，`pretune.{verb}(...)` 按名称接受同样的选项；JSON schema：`pretune {verb} --help --json`。",
}
"""What the pages say beside the texts of help."""


def _translate(language: str) -> Translate:
    help_text = translator(language)
    return help_text if language == "en" else lambda text: _CHINESE.get(text) or help_text(text)


def verb_page(name: str, language: str = "en") -> str:
    """What ``pretune NAME --help`` says, and a table of all options."""
    function, translate = load_verb(name), _translate(language)
    schema = schema_of(function)
    story, _, examples = function.story.partition("Examples::")
    lines = [f"# pretune {name}", "", _told(story, translate), ""]
    if examples.strip():
        lines += ["```bash", *(line.strip() for line in examples.strip().splitlines() if line.strip()), "```", ""]
    heads = " | ".join(translate(head) for head in ("option", "value", "default"))
    lines += [f"| {heads} | |", "|---|---|---|---|"]
    for field, told in schema["properties"].items():
        flag, about = told.get("flag", field.upper()), told["description"] and translate(told["description"])
        lines.append(f"| `{flag}` | {_values(told, translate)} | {_default(told)} | {_escaped(about)} |")
    in_python = translate(
        "From Python: `pretune.{verb}(...)` takes the same by name; as a schema: `pretune {verb} --help --json`."
    )
    return "\n".join([*lines, "", in_python.format(verb=name), ""])


def _told(story: str, translate: Translate) -> str:
    """Its paragraphs; what is indented is code, and the same in every language."""
    parts = re.split(r"\n\s*\n", story.strip())
    return "\n\n".join(part if part.startswith(" ") else translate(" ".join(part.split())) for part in parts)


def _values(told: dict[str, Any], translate: Translate) -> str:
    kind = next((one for one in told.get("anyOf", ()) if one.get("type") != "null"), told)
    many, kind = kind.get("type") == "array", kind.get("items", kind)
    if "enum" in kind:
        words = ", ".join(f"`{word}`" for word in kind["enum"])
    else:
        limits = (("at least {limit}", kind.get("minimum")), ("at most {limit}", kind.get("maximum")))
        within = [
            translate(text).format(limit=figure(limit, grouped=False)) for text, limit in limits if limit is not None
        ]
        words = translate(", ").join([translate(kind["type"]), *within])
    return translate("{value}; several").format(value=words) if many else words


def _default(told: dict[str, Any]) -> str:
    default = told.get("default")
    return "" if default is None or default == [] or default == "" else f"`{default}`"


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;")
