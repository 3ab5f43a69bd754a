"""The page of ``pretune audit``: what was found of the training rows, of canaries, and what was guaranteed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from pretune.evaluation.membership import FALSE_POSITIVES, NOTABLE_SHARE
from pretune.report.drawing.charts import Whisker, dot_whisker
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Page, Section, Tile, data_table, part, write_page
from pretune.report.privacy_words import audit_verdict, bound_text, guarantee_lines, how_lines
from pretune.report.words import number_text, percent_text, percent_tick, plain, score_text

__all__ = ["audit_page", "write_audit_page"]

Facts = Mapping[str, Any]


def write_audit_page(facts: Facts, out: Path) -> Path:
    """Write the page of what ``pretune audit`` found to the file ``out`` and return it."""
    return write_page(audit_page(facts), out)


def audit_page(facts: Facts) -> Page:
    """What the page shows."""
    guarantee = facts.get("guarantee")
    chapters = (
        ("found", "What an attacker finds", (_found(facts), _table(facts))),
        ("guarantee", "What is guaranteed", (part("sentences", rows=guarantee_lines(guarantee)),) if guarantee else ()),
        ("how", "How it was measured", (part("sentences", rows=[plain(line) for line in how_lines(facts)]),)),
    )
    return Page(
        title="Training rows can be told from others"
        if facts["told_apart"]
        else "Training rows were not told from others",
        over_title=f"pretune audit · {plain(PurePath(facts['run']).name)}",
        lead=(audit_verdict(facts),),
        sections=tuple(Section(anchor, title, parts) for anchor, title, parts in chapters if parts),
        tiles=_tiles(facts),
        closing="Made by pretune. This page is complete in itself: it holds no script and loads nothing.",
    )


def _sides(facts: Facts) -> list[tuple[str, Facts]]:
    return [("training rows", facts), *([("canaries", facts["canaries"])] if "canaries" in facts else [])]


def _tiles(facts: Facts) -> tuple[Tile, ...]:
    found, auc = facts["found"], facts["auc"]
    tiles = [
        Tile("found at 1 % false alarms", percent_text(found["value"]), f"[{percent_text(found['low'])}, {percent_text(found['high'])}]"),
        Tile("AUC", f"{auc['value']:.3f}", f"[{auc['low']:.3f}, {auc['high']:.3f}]"),
        Tile("epsilon is at least", bound_text(facts["epsilon"]), "95 % confidence"),
    ]  # fmt: skip
    if guarantee := facts.get("guarantee"):
        tiles.append(Tile("epsilon is at most", f"{guarantee['epsilon']:.3g}", f"delta {guarantee['delta']:.2g}"))
    return tuple(tiles)


def _found(facts: Facts) -> Markup:
    rows = [
        Whisker(name, one["found"]["value"], one["found"]["low"], one["found"]["high"], score_text("share", one["found"]), own=one["found"]["low"] > NOTABLE_SHARE)
        for name, one in _sides(facts)
    ]  # fmt: skip
    rows.append(Whisker("guessing", FALSE_POSITIVES, FALSE_POSITIVES, FALSE_POSITIVES, percent_text(FALSE_POSITIVES)))
    title = "Share found where 1 in 100 others is taken for one"
    note = "Line: 95 % interval. Coloured: more than twice what guessing finds."
    chart = responsive(lambda width: dot_whisker(rows, title=title, axis_text=percent_tick, width=width))
    return part("figure", drawing=chart, caption=title, note=note)


def _table(facts: Facts) -> Markup:
    rows = []
    for name, one in _sides(facts):
        auc, exposure = one["auc"], one.get("exposure")
        bits = f"{exposure['value']:.2f} [{exposure['low']:.2f}, {exposure['high']:.2f}]" if exposure else "–"
        rows.append(
            [
                Cell(name), Cell(number_text(one["members"]), numeric=True), Cell(number_text(one["others"]), numeric=True),
                Cell(f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]", numeric=True), Cell(score_text("share", one["found"]), numeric=True),
                Cell(bound_text(one["epsilon"]), numeric=True), Cell(bits, numeric=True),
            ]
        )  # fmt: skip
    heads = ["rows", "learned from", "others", "AUC", "found at 1 %", "epsilon at least", "exposure, bits"]
    return data_table("By kind of rows", heads, rows)
