"""How copies were looked for, and what the checks find of copies that were planted among the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pretune.report.layout import Cell, data_table, part
from pretune.report.passport.findings import pairs_list
from pretune.report.words import number_text, percent_text, plain
from pretune.wording import counted

__all__ = ["leak_checks"]


def leak_checks(passport: Mapping[str, Any]) -> Markup:
    """The measured recall by kind and what was flagged without anything planted; without a measurement what is known of the checks."""
    search, checks = passport.get("near_duplicates"), passport.get("leak_checks")
    body = Markup("")
    if isinstance(search, Mapping) and search.get("method"):
        body += part("paragraph", text=f"Copies were looked for by {plain(search['method'])}.")
        body += part("paragraph", text=plain(search["measured"])) if search.get("measured") else Markup("")
    if isinstance(checks, Mapping):
        return body + _kinds(checks) + _flagged(checks.get("flagged") or {})
    return part("details", summary="How copies were looked for, and what the checks find", body=body) if body else body


def _kinds(checks: Mapping[str, Any]) -> Markup:
    rows = [
        [
            Cell(plain(one.get("kind"))),
            Cell(number_text(one.get("found")), numeric=True),
            Cell(number_text(one.get("planted")), numeric=True),
            Cell(percent_text(one.get("share")), _interval(one), numeric=True),
        ]
        for one in checks.get("kinds") or []
    ]
    note = "Each copy was made of another row of these data and planted among all of them, in memory."
    return data_table("Planted copies that were found", ["kind", "found", "planted", "share"], rows, note=note)


def _flagged(flagged: Mapping[str, Any]) -> Markup:
    if not flagged:
        return Markup("")
    said = (
        f"With nothing planted, {counted(flagged.get('found', 0))} of {number_text(flagged.get('of'))} different ones "
        f"({percent_text(flagged.get('share'), 2)} {_interval(flagged, 2)}) are near an earlier one: true copies and false alarms together. "
        "Only people can tell them apart."
    )
    return part("paragraph", text=said) + pairs_list(flagged.get("pairs") or [])


def _interval(one: Mapping[str, Any], digits: int = 1) -> str:
    low, high = one.get("interval") or (None, None)
    return f"[{percent_text(low, digits).removesuffix(' %')}, {percent_text(high, digits).removesuffix(' %')}]"
