"""Puts the pages of the site together: the project's Markdown with its links mended, and a reference page for each verb."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from pretune.interface.declare import load_verb
from pretune.interface.option_schema import schema_of
from pretune.interface.story import VERBS
from website.messages import messages_page
from website.twins import TWINS

__all__ = ["PAGES", "ROOT", "assemble", "finished", "verb_page"]

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md", "README.zh.md": "zh.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md", "AGENTS.md": "agents.md", "examples/README.md": "cases.md", "examples/README.zh.md": "cases-zh.md",
    **{f"docs/{name}.md": f"{name}.md" for name in ("tutorial", "tour", "recipes", "acceptance", "benchmarks", "decisions", "glossary", "gallery", "machines")},
    **{path: f"{Path(path).stem}.md" for path in TWINS.values() if path.startswith("docs/")},
}  # fmt: skip
"""Where a file of the project stands in the site."""
_TOLD, _FLAG = re.compile(r"<code>[^<]*</code>"), re.compile(r"(?<![^\s>])--[\w-]+")
_LINK = re.compile(r"(?P<before>!?\[[^\]]*\])\((?P<target>[^)\s#]*)(?P<place>#[^)\s]*)?\)")


def assemble(into: Path) -> None:
    """Write every page below ``into``, which may not be there yet."""
    (into / "reference").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "pictures", into / "pictures")
    shutil.copyfile(ROOT / "website" / "style.css", into / "style.css")
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (into / page).write_text(_relinked(text, Path(source).parent), encoding="utf-8")
    for entry in VERBS:
        (into / "reference" / f"{entry.name}.md").write_text(verb_page(entry.name), encoding="utf-8")
    (into / "messages.md").write_text(messages_page(ROOT / "src" / "pretune"), encoding="utf-8")


def finished(html: str, language: str) -> str:
    """A built page that says what language it is in (screen readers speak it so, browsers choose letters by it), and whose
    options are not broken behind their hyphens.
    """
    html = re.sub(r'(<html[^>]*?lang=")[^"]*', rf"\g<1>{language}", html, count=1)
    return _TOLD.sub(lambda code: _FLAG.sub(r'<span class="option">\g<0></span>', code[0]), html)


def _relinked(text: str, folder: Path) -> str:
    """Links to files of the project lead to their pages; to what has none (code, notebooks) their words stay alone. What is folded up is Markdown too."""

    def mended(link: re.Match[str]) -> str:
        target, place = link["target"], link["place"] or ""
        if not target or "://" in target:
            return link[0]
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        if path.startswith("docs/pictures/"):
            return f"{link['before']}({path.removeprefix('docs/')})"
        if path in PAGES:
            return f"{link['before']}({PAGES[path]}{place})"
        return link["before"].strip("![]")

    text = text.replace('src="docs/pictures/', 'src="pictures/').replace("<details>", '<details markdown="1">')
    return _LINK.sub(mended, text)


def verb_page(name: str) -> str:
    """What ``pretune NAME --help`` says, and a table of all options."""
    function = load_verb(name)
    schema = schema_of(function)
    story, _, examples = function.story.partition("Examples::")
    lines = [f"# pretune {name}", "", story.strip(), ""]
    if examples.strip():
        lines += ["```bash", *(line.strip() for line in examples.strip().splitlines() if line.strip()), "```", ""]
    lines += ["| option | value | default | |", "|---|---|---|---|"]
    for field, told in schema["properties"].items():
        flag = told.get("flag", field.upper())
        lines.append(f"| `{flag}` | {_values(told)} | {_default(told)} | {_escaped(told['description'])} |")
    lines += [
        "",
        f"From Python: `pretune.{name}(...)` takes the same by name; as a schema: `pretune {name} --help --json`.",
    ]
    return "\n".join(lines) + "\n"


def _values(told: dict[str, Any]) -> str:
    kind = next((one for one in told.get("anyOf", ()) if one.get("type") != "null"), told)
    many, kind = kind.get("type") == "array", kind.get("items", kind)
    if "enum" in kind:
        words = ", ".join(f"`{word}`" for word in kind["enum"])
    else:
        limits = (("at least", kind.get("minimum")), ("at most", kind.get("maximum")))
        words = ", ".join([kind["type"], *(f"{word} {limit:g}" for word, limit in limits if limit is not None)])
    return f"{words}; several" if many else words


def _default(told: dict[str, Any]) -> str:
    default = told.get("default")
    return "" if default is None or default == [] or default == "" else f"`{default}`"


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;")
