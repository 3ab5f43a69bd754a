"""Puts the pages of the site together: the project's Markdown with its links mended, and the reference."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pretune.interface.story import VERBS
from website.messages import messages_page
from website.reference import FOLDERS, verb_page
from website.twins import TWINS

__all__ = ["PAGES", "ROOT", "assemble", "finished", "language_of"]

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
    for folder in FOLDERS.values():
        (into / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "pictures", into / "pictures")
    shutil.copyfile(ROOT / "website" / "style.css", into / "style.css")
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (into / page).write_text(_relinked(text, Path(source).parent), encoding="utf-8")
    for language, folder in FOLDERS.items():
        for entry in VERBS:
            (into / folder / f"{entry.name}.md").write_text(verb_page(entry.name, language), encoding="utf-8")
    (into / "messages.md").write_text(messages_page(ROOT / "src" / "pretune"), encoding="utf-8")


def language_of(page: str) -> str:
    """In which language a page of the site is, as HTML calls it."""
    is_chinese = page in {PAGES[twin] for twin in TWINS.values()} or page.startswith(f"{FOLDERS['zh']}/")
    return "zh-Hans" if is_chinese else "en"


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
