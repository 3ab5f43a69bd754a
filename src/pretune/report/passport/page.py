"""The page of a data passport, for data nothing has been trained on yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretune.report.blocks import pictures_block
from pretune.report.layout import Banner, Page, Section, Tile, part, write_page
from pretune.report.passport.answers import answer_parts, answer_tiles
from pretune.report.passport.checks import leak_checks
from pretune.report.passport.findings import conflicts, findings, findings_sentence, overlaps
from pretune.report.passport.parts import (
    balance,
    kinds_table,
    label_counts,
    ledger_table,
    lengths,
    lengths_heading,
    reading_facts,
    scripts_table,
    splits_table,
    total_rows,
)
from pretune.report.words import number_text
from pretune.wording import counted

__all__ = ["passport_page", "write_passport_page"]


def write_passport_page(
    passport: Mapping[str, Any], out: Path, title: str, sheet: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write the passport as one self-contained page to the file ``out`` and return it. Parts it lacks are left out."""
    return write_page(passport_page(passport, title, sheet), out)


def passport_page(passport: Mapping[str, Any], title: str, sheet: Sequence[Mapping[str, Any]] = ()) -> Page:
    """What the page of a passport shows; ``sheet`` are blocks of pictures."""
    chapters = (
        (
            "findings",
            "Findings",
            (findings(passport), overlaps(passport), conflicts(passport), kinds_table(passport), leak_checks(passport)),
        ),
        ("splits", "Splits and answers", (splits_table(passport), balance(passport), answer_parts(passport))),
        ("sheet", "Pictures and what is marked on them", tuple(pictures_block(block) for block in sheet)),
        (
            "lengths",
            lengths_heading(passport),
            (lengths(passport), scripts_table(passport), ledger_table(passport)),
        ),
        ("facts", "How it was read", (reading_facts(passport),)),
    )
    filled = [(anchor, heading, tuple(piece for piece in parts if piece)) for anchor, heading, parts in chapters]
    sections = tuple(Section(anchor, heading, parts) for anchor, heading, parts in filled if parts)
    return Page(
        title=title,
        over_title="Data passport",
        lead=tuple(sentence for sentence in (_rows_sentence(passport), findings_sentence(passport)) if sentence),
        sections=sections
        or (Section("empty", "Nothing to show", (part("paragraph", text="The passport is empty."),)),),
        banners=_banners(passport),
        tiles=_tiles(passport),
        closing="Made by pretune from the data passport. This page is complete in itself: it holds no script and loads nothing.",
    )


def _rows_sentence(passport: Mapping[str, Any]) -> str:
    splits = passport.get("splits") or {}
    names = " and ".join([*filter(None, [", ".join(list(splits)[:-1])]), *list(splits)[-1:]])
    rows = total_rows(passport)
    return f"{counted(rows, 'row')} in {counted(len(splits), 'split')}: {names}." if splits else ""


def _banners(passport: Mapping[str, Any]) -> tuple[Banner, ...]:
    errors = [
        one for one in passport.get("findings") or [] if isinstance(one, Mapping) and one.get("severity") == "error"
    ]
    if not errors:
        return ()
    return (Banner("error", f"{counted(len(errors), 'error')}.", "Mend the data before you trust a score on them."),)


def _tiles(passport: Mapping[str, Any]) -> tuple[Tile, ...]:
    splits = {str(name): value for name, value in (passport.get("splits") or {}).items() if isinstance(value, Mapping)}
    found = [
        Tile(name, number_text(split["rows"]), "rows")
        for name, split in splits.items()
        if split.get("rows") is not None
    ]
    labels = {label for split in splits.values() for label in label_counts(split)}
    found += [Tile("labels", number_text(len(labels)))] if labels else []
    return (*found, *answer_tiles(passport))
