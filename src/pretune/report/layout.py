"""The page's frame: sections of ready parts, the templates they are made with, and the one place that writes a page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pretune.files import write_text
from pretune.report.words import clean_text, number_text, percent_text, plain, score_value_text

__all__ = [
    "Banner",
    "Cell",
    "Page",
    "Section",
    "Tile",
    "cell_of",
    "data_table",
    "house_style",
    "part",
    "render_page",
    "write_page",
]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """One chapter: an anchor, a heading, and the parts below it in order."""

    anchor: str
    title: str
    parts: tuple[Markup, ...]


@dataclass(frozen=True)
class Banner:
    """A line at the top that must not be missed. ``kind`` is ``error``, ``warning`` or ``note``; ``word`` says it in words."""

    kind: str
    word: str
    text: str


@dataclass(frozen=True)
class Tile:
    """One key figure: what it is, the figure, and its interval or unit."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Page:
    """Everything a page shows. ``interactive`` is the stem of a style sheet and a script beside this file that the page holds too."""

    title: str
    over_title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    banners: tuple[Banner, ...] = ()
    tiles: tuple[Tile, ...] = ()
    closing: str = ""
    interactive: str = ""


@dataclass(frozen=True)
class Cell:
    """A table cell: the main text, a quieter second one, and how it stands."""

    text: str
    extra: str = ""
    numeric: bool = False
    own: bool = field(default=False)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def part(name: str, /, **context: Any) -> Markup:
    """One part of a page: the macro ``name`` of ``parts.html``. Everything that is not :class:`Markup` is escaped."""
    macros: Any = _environment().get_template("parts.html").module
    return Markup(getattr(macros, name)(**context))


def data_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    note: str = "",
    numeric: Sequence[bool] = (),
) -> Markup:
    """A table with a caption and column headings; the first cell of each row is its heading. Empty without rows."""
    if not rows:
        return Markup("")
    flags = list(numeric) or [all(row[k].numeric for row in rows if k < len(row)) for k in range(len(columns))]
    return part("table", caption=caption, columns=list(zip(columns, flags, strict=False)), rows=rows, note=note)


def cell_of(kind: str, value: Any, name: str = "") -> Cell:
    """A cell of a table block: ``kind`` is ``text``, ``number``, ``percent`` or ``score``; ``name`` is its column."""
    if isinstance(value, Mapping) and "value" in value:
        main, extra = score_value_text(name, value)
        return Cell(main, extra, numeric=True)
    if kind == "percent" and isinstance(value, (int, float)):
        return Cell(percent_text(value), numeric=True)
    if kind in ("number", "percent", "score"):
        return Cell(number_text(value), numeric=True)
    return Cell(plain(value))


@cache
def _file(name: str) -> str:
    """A style sheet or script, as it stands in a page."""
    return "\n" + (HERE / name).read_text(encoding="utf-8").strip() + "\n"


def _digest(text: str) -> str:
    """The name of a style sheet or script in the content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def house_style() -> str:
    """The style sheet of every page."""
    return _file("style.css")


def render_page(page: Page) -> str:
    """The page as one self-contained HTML text: nothing fetched, the style sheet (and the script of an interactive page, the
    only ones with one) inside and named by its hash.
    """
    css = _file("style.css") + (_file(f"{page.interactive}.css") if page.interactive else "")
    script = _file(f"{page.interactive}.js") if page.interactive else ""
    html = (
        _environment()
        .get_template("page.html")
        .render(page=page, css=Markup(css), style_hash=_digest(css), script=Markup(script), script_hash=_digest(script))
    )
    return clean_text(html)


def write_page(page: Page, out: Path) -> Path:
    """Write the page durably; the folder is made when missing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render_page(page))
    return out
