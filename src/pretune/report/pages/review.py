"""The page of ``pretune review``: the rows whose label looks wrong, and which classes are taken for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from pretune.report.layout import Cell, Page, Section, Tile, data_table, part, write_page
from pretune.report.pages.rows import row_parts
from pretune.report.words import percent_text, plain
from pretune.wording import agree, counted

__all__ = ["review_page", "write_review_page"]

Facts = Mapping[str, Any]
_MOST_PAIRS, _MOST_ROWS = 20, 500


def write_review_page(facts: Facts, out: Path) -> Path:
    """Write the page to the file ``out`` and return it."""
    return write_page(review_page(facts), out)


def review_page(facts: Facts) -> Page:
    """What the page shows."""
    wrong, rows = round(facts["estimated_wrong"]), facts["n"]
    chapters = (
        ("rows", "Rows whose label looks wrong", (_rows(facts["rows"]),)),
        ("classes", "Which labels stand for which classes", (_pairs(facts["pairs"]),)),
        ("how", "How they were found", (part("sentences", rows=_how(facts)),)),
    )
    return Page(
        title=f"About {wrong:,} of {counted(rows, 'label')} {agree(wrong, 'look', 'looks')} wrong"
        if wrong
        else "No label looks wrong",
        over_title=f"pretune review · {plain(PurePath(facts['data']).name)} · {plain(facts['split'])}",
        lead=(
            "The most suspicious rows come first. Each was judged by a fit on other rows, so that its own label had no say. A person decides: "
            "a row may be rare, or hold two things, and its label be right.",
        ),
        sections=tuple(Section(anchor, title, parts) for anchor, title, parts in chapters if any(parts)),
        tiles=(
            Tile("labels estimated to be wrong", f"{wrong:,}", percent_text(facts["estimated_wrong"] / rows)),
            Tile("rows for which another class is likelier", f"{facts['suspects']:,}", f"of {rows:,}"),
            Tile("told right when held out", percent_text(facts["accuracy"])),
        ),
        closing="Made by pretune. This page is complete in itself: it holds no script and loads nothing.",
    )


def _rows(rows: Sequence[Facts]) -> Markup:
    shown = rows[:_MOST_ROWS]
    note = f"The table beside this page has {counted(len(rows))}." if len(rows) > len(shown) else ""
    more = (
        ("label", [f"{plain(row['label'])} ({percent_text(row['probability_of_label'])})" for row in shown]),
        ("likelier", [f"{plain(row['suggested'])} ({percent_text(row['probability_of_suggested'])})" for row in shown]),
    )
    return row_parts([row["shown"] for row in shown], "The most suspicious first", note=note, more=more)


def _pairs(pairs: Sequence[Facts]) -> Markup:
    lines = [[Cell(plain(pair["label"])), Cell(plain(pair["is"])), Cell(f"{pair['estimated']:.0f}", numeric=True)] for pair in pairs[:_MOST_PAIRS]]  # fmt: skip
    return data_table("Estimated from all rows", ["labelled", "seems to be", "rows"], lines)


def _how(facts: Facts) -> list[str]:
    linear = facts["linear"]
    return [
        f"Logistic regression (C = {linear['strength']:.2g}) on the features of {plain(PurePath(facts['backbone']).name)}, which did not learn; rows of equal content or of one group were held out together.",
        "A row counts for another class where that class is told with at least the confidence that it is told with in rows of its own label (confident learning, Northcutt et al. 2021). The order is by how much likelier the other class is.",
        "The estimate holds what cannot be told apart too: classes that overlap raise it above what is truly wrong. The order does not suffer.",
        "Fill in new_label in the table where you agree, a hyphen to leave a row out, and give the table to pretune finetune with --relabel.",
    ]  # fmt: skip
