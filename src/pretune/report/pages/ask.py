"""The page of ``pretune ask``: the rows to label, as a person can judge them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from pretune.report.layout import Page, Section, Tile, part, write_page
from pretune.report.pages.rows import row_parts
from pretune.report.words import percent_text, plain
from pretune.wording import counted

__all__ = ["ask_page", "write_ask_page"]

Facts = Mapping[str, Any]
_MOST_ROWS = 500
_HOW = {
    "margin": "margin: the two likeliest classes are about as likely, so that the answer decides between them.",
    "coreset": "coreset: the row is farthest from all that is labelled or asked about, by the model's features (k-centre greedy, Sener & Savarese 2018).",
    "random": "random: the row was drawn. As many are drawn as chosen, so that it can be told afterwards whether choosing was worth it: answer both.",
}


def write_ask_page(facts: Facts, out: Path) -> Path:
    """Write the page to the file ``out`` and return it."""
    return write_page(ask_page(facts), out)


def ask_page(facts: Facts) -> Page:
    """What the page shows."""
    chapters = (
        ("rows", "Rows to label", (_rows(facts),)),
        ("how", "How they were chosen", (part("sentences", rows=_how(facts)),)),
    )
    return Page(
        title=f"{counted(facts['n'])} to label next",
        over_title=f"pretune ask · {plain(PurePath(facts['data']).name)}",
        lead=("Chosen rows and drawn ones stand in turns: however far you come, both are there to be compared.",),
        sections=tuple(Section(anchor, title, parts) for anchor, title, parts in chapters if any(parts)),
        tiles=(
            *(Tile(f"by {name}", f"{count:,}") for name, count in facts["arms"].items()),
            Tile("rows without labels", f"{facts['pool']:,}"),
            Tile("labelled rows", f"{facts['labelled']:,}"),
        ),
        closing="Made by pretune. This page is complete in itself: it holds no script and loads nothing.",
    )


def _rows(facts: Facts) -> Markup:
    rows = facts["rows"][:_MOST_ROWS]
    note = f"The table beside this page has {counted(facts['n'])}." if facts["n"] > len(rows) else ""
    told = [f"{plain(row['suggested'])} ({percent_text(row['probability_of_suggested'])})" for row in rows]
    more = (("likeliest", told), ("chosen by", [row["chosen_by"].replace("+", " and ") for row in rows]))
    return row_parts([row["shown"] for row in rows], "In the order of the table", note=note, more=more)


def _how(facts: Facts) -> list[str]:
    return [
        f"The model is {plain(PurePath(facts['backbone']).name)}; {facts['how']}.",
        *(_HOW[name] for name in facts["arms"]),
        *(f"{plain(note)}." for note in facts["notes"]),
        "Fill in new_label in the table, a hyphen to leave a row out, and give the table to pretune finetune with --relabel. The likeliest class is the model's guess, not an answer.",
    ]  # fmt: skip
