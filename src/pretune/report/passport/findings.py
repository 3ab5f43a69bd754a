"""What the check of the data found: faults with what to do, rows that stand in two splits, texts with two labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.modalities import Modality, modality_of_columns
from pretune.report.drawing.svg import finite
from pretune.report.layout import Cell, cell_of, data_table, part
from pretune.report.words import number_text, percent_text, plain, title_of
from pretune.wording import counted

__all__ = ["conflicts", "findings", "findings_sentence", "modality_in", "overlaps", "pairs_list", "streamed_sentence"]

_WORDS = {"error": "Error", "warning": "Warning", "note": "Note"}
_ORDER = {"error": 0, "warning": 1, "note": 2}
_NEARLY = {
    Modality.TEXT: "cut, quoted, edited, in another order or in look-alike letters",
    Modality.IMAGE: "at another size or quality, mirrored, cropped, bordered or turned a little",
    Modality.AUDIO: "the same samples in another file, or re-coded, trimmed or louder",
}
MOST_ROWS_NAMED = 8
MOST_PAIRS_OPEN = 3


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
    return part("findings", rows=[_finding(one) for one in found], open=MOST_PAIRS_OPEN)


def _finding(one: Mapping[str, Any]) -> dict[str, Any]:
    severity = str(one.get("severity", "note"))
    ids = [plain(row) for row in one.get("rows") or []]
    message, count = plain(one.get("message", one.get("code", ""))), one.get("count")
    left = max(len(ids), int(count) if finite(count) else 0) - MOST_ROWS_NAMED
    more = f" and {number_text(left)} more" if left > 0 and len(ids) >= MOST_ROWS_NAMED else ""
    said = not finite(count) or number_text(count) in message or str(count) in message
    pairs = [_pair(pair) for pair in one.get("pairs") or [] if isinstance(pair, Mapping)]
    return {
        "kind": severity if severity in _WORDS else "note",
        "word": _WORDS.get(severity, title_of(severity)),
        "message": message,
        "count": "" if said else counted(count, "row"),
        "fix": plain(one["fix"]) if one.get("fix") else "",
        "rows": "" if pairs else ", ".join(ids[:MOST_ROWS_NAMED]) + more,
        "pairs": pairs,
        "more_pairs": _more_pairs(len(pairs), count),
    }


def pairs_list(pairs: Sequence[Any]) -> Markup:
    """Pairs of rows that are alike, both of each; the first few open."""
    shown = [_pair(pair) for pair in pairs if isinstance(pair, Mapping)]
    first = part("pairs", rows=shown[:MOST_PAIRS_OPEN])
    rest = shown[MOST_PAIRS_OPEN:]
    return first + (
        part("details", summary=_more_pairs(len(shown), None), body=part("pairs", rows=rest)) if rest else Markup("")
    )


def _more_pairs(shown: int, count: object) -> str:
    """The words of what opens the pairs that are folded."""
    rest = f"{number_text(shown - MOST_PAIRS_OPEN)} more pairs"
    return f"{rest}, of {counted(count, 'row')}" if finite(count) and count > shown else rest


def _pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    """How two rows are alike, and what each of them says and where it stands."""
    alike, how = percent_text(pair.get("alike"), 0), plain(pair.get("words", ""))
    if pair.get("alike") == 1.0:
        return {"how": how[:1].upper() + how[1:], "sides": [_twin(pair, letter) for letter in "ab"]}
    how = f"{how} ({f'{alike} of it' if pair.get('kind') == 'part' else f'{alike} alike'})"
    return {"how": how[:1].upper() + how[1:], "sides": [_twin(pair, letter) for letter in "ab"]}


def _twin(pair: Mapping[str, Any], letter: str) -> dict[str, str]:
    found = {
        name: pair.get(f"{letter}_{name}") for name in ("id", "split", "label", "noun", "seconds", "picture", "text")
    }
    place = [plain(found["split"]), plain(found["id"])]
    place += [f"{found['noun'] or 'label'} {found['label']}"] if found["label"] is not None else []
    place += [f"{found['seconds']:g} s"] if finite(found["seconds"]) else []
    is_file = found["picture"] is not None or found["seconds"] is not None
    return {
        "place": " · ".join(place),
        "picture": str(found["picture"] or ""),
        "text": "" if is_file else plain(found["text"] or ""),
    }


def findings_sentence(passport: Mapping[str, Any]) -> str:
    """How many errors, warnings and notes the data check gave; empty when it gave none."""
    severities = [str(one.get("severity")) for one in _ordered_findings(passport)]
    counts = [counted(severities.count(kind), kind) for kind in _WORDS if kind in severities]
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
    made_of = modality_in(passport)
    columns = ["rows of", "also in", f"same {made_of.one}", "same content", "nearly", "share"]
    same = "equal byte by byte" if made_of.is_file else "equal when Unicode form, case and white space are set aside"
    note = f"Same content: {same}. Nearly: {_NEARLY[made_of]}; the pairs stand above."
    return data_table("Rows that stand in two splits", columns, rows, note=note)


def modality_in(passport: Mapping[str, Any]) -> Modality:
    """What the rows that a passport tells of are made of."""
    splits = passport.get("splits") or {}
    return modality_of_columns(
        column for split in splits.values() if isinstance(split, Mapping) for column in split.get("columns") or ()
    )


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
    noun = modality_in(passport).one
    columns = [noun, "labels (rows)"]
    table = data_table(f"The same {noun} with different labels", columns, rows)
    return part("details", summary=f"Examples of {noun}s with different labels", body=table) if table else Markup("")


def streamed_sentence(record: Mapping[str, Any]) -> str:
    """Of files that came in turn, which one the data passport tells of."""
    told = record.get("streamed")
    if not isinstance(told, dict) or "rows_learned" not in told:
        return ""
    return (
        f"{counted(told['rows_learned'])} were learned from, of {number_text(told['files_learned'])} of {counted(told['files'], 'file')} that came in turn "
        f"(--stream). What is told of the data is of the first, {plain(told['first'])}."
    )
