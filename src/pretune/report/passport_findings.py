"""What the check of the data found: faults with what to do, rows that stand in two splits, texts with two labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.report.layout import Cell, cell_of, data_table, part
from pretune.report.svg import finite
from pretune.report.words import count_text, number_text, percent_text, plain, title_of

__all__ = ["conflicts", "findings", "findings_sentence", "overlaps"]

_WORDS = {"error": "Error", "warning": "Warning", "note": "Note"}
_ORDER = {"error": 0, "warning": 1, "note": 2}
MOST_ROWS_NAMED = 8


def _ordered_findings(passport: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [one for one in passport.get("findings") or [] if isinstance(one, Mapping)]
    return sorted(found, key=lambda one: _ORDER.get(str(one.get("severity")), 3))


def findings(passport: Mapping[str, Any]) -> Markup:
    """What was found, worst first, each with its severity in words, its rows and what to do."""
    if "findings" not in passport:
        return Markup("")
    found = _ordered_findings(passport)
    if not found:
        return part("paragraph", text="Nothing was found that needs a look.")
    return part("findings", rows=[_finding(one) for one in found])


def _finding(one: Mapping[str, Any]) -> dict[str, str]:
    severity = str(one.get("severity", "note"))
    ids = [plain(row) for row in one.get("rows") or []]
    message, count = plain(one.get("message", one.get("code", ""))), one.get("count")
    left = max(len(ids), int(count) if finite(count) else 0) - MOST_ROWS_NAMED
    more = f" and {number_text(left)} more" if left > 0 and len(ids) >= MOST_ROWS_NAMED else ""
    said = not finite(count) or number_text(count) in message or str(count) in message
    return {
        "kind": severity if severity in _WORDS else "note",
        "word": _WORDS.get(severity, title_of(severity)),
        "message": message,
        "count": "" if said else count_text(count, "row"),
        "fix": plain(one["fix"]) if one.get("fix") else "",
        "rows": ", ".join(ids[:MOST_ROWS_NAMED]) + more,
    }


def findings_sentence(passport: Mapping[str, Any]) -> str:
    """How many errors, warnings and notes the data check gave; empty when it gave none."""
    severities = [str(one.get("severity")) for one in _ordered_findings(passport)]
    counts = [count_text(severities.count(kind), kind) for kind in _WORDS if kind in severities]
    return (
        f"The check of the data gave {' and '.join([', '.join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)}."
        if counts
        else ""
    )


def overlaps(passport: Mapping[str, Any]) -> Markup:
    """Rows of one split that also stand in another: exactly, in content, nearly."""
    lists = [value for value in passport.values() if isinstance(value, Sequence) and not isinstance(value, str)]
    pairs = [one for found in lists for one in found if isinstance(one, Mapping) and "rows_of" in one]
    rows = []
    for one in pairs:
        counts = [cell_of("number", _count(one.get(key))) for key in ("exact", "content", "near")]
        if not any(finite(_count(one.get(key))) and _count(one[key]) for key in ("exact", "content", "near")):
            continue
        share = Cell(percent_text(one.get("share"), 2), numeric=True)
        rows.append([Cell(plain(one["rows_of"])), Cell(plain(one.get("also_in"))), *counts, share])
    noun = _noun(passport)
    columns = ["rows of", "also in", f"same {noun}", "same content", "nearly", "share"]
    alike = (passport.get("near_duplicates") or {}).get("alike", "most of the letters in order are shared")
    same = "equal when Unicode form, case and white space are set aside" if noun == "text" else "equal byte by byte"
    note = f"Same content: {same}. Nearly: {plain(alike)}."
    return data_table("Rows that stand in two splits", columns, rows, note=note)


def _noun(passport: Mapping[str, Any]) -> str:
    """What a row is: a text, a picture or a clip."""
    splits = passport.get("splits") or {}
    columns = {
        column for split in splits.values() if isinstance(split, Mapping) for column in split.get("columns") or ()
    }
    return "picture" if "image" in columns else "clip" if "audio" in columns else "text"


def _count(value: object) -> object:
    return value.get("count") if isinstance(value, Mapping) else value


def conflicts(passport: Mapping[str, Any]) -> Markup:
    """Texts, pictures or clips that stand with more than one label."""
    facts = passport.get("conflicting_labels")
    examples = facts.get("examples") if isinstance(facts, Mapping) else None
    rows = []
    for one in examples or []:
        labels = "; ".join(f"{plain(row.get('label'))} ({plain(row.get('id'))})" for row in one.get("rows") or [])
        rows.append([Cell(plain(one.get("text"))), Cell(labels)])
    noun = _noun(passport)
    columns = [noun, "labels (rows)"]
    table = data_table(f"The same {noun} with different labels", columns, rows)
    return part("details", summary=f"Examples of {noun}s with different labels", body=table) if table else Markup("")
