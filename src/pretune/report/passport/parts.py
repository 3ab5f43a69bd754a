"""The data passport as parts of a page: splits, balance, lengths, findings, tokens. What a passport lacks is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.modalities import Modality
from pretune.report.drawing.charts import bars, histogram
from pretune.report.drawing.svg import finite, responsive
from pretune.report.layout import Cell, cell_of, data_table, part
from pretune.report.passport.answers import answer_parts
from pretune.report.passport.findings import conflicts, findings, modality_in, overlaps
from pretune.report.words import plain, tick_text, title_of

__all__ = [
    "balance",
    "facts_fold",
    "kinds_table",
    "label_counts",
    "ledger_table",
    "lengths",
    "lengths_heading",
    "passport_parts",
    "reading_facts",
    "scripts_table",
    "splits_table",
    "total_rows",
]

_KINDS = {
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "card": "payment card numbers",
    "iban": "bank account numbers (IBAN)",
    "cn_id": "Chinese identity numbers",
    "us_ssn": "US social security numbers",
    "ip": "IP addresses",
    "cn_plate": "Chinese number plates",
}
_LENGTHS = {
    "characters": ("Length of the texts", "characters of a text"),
    "words": ("Length of the texts", "words of a text"),
    "seconds": ("Length of the clips", "seconds of a clip"),
    "pixels": ("Size of the pictures", "pixels of a picture's shorter side"),
}
_LEDGERS = {
    Modality.TEXT: ("Token ledger", "What became of every row and token on its way into the model."),
    Modality.AUDIO: (
        "Clips on their way into the model",
        "A frame is 20 ms. Padding fills the shorter clips of a batch up to its longest.",
    ),
}
_MOST_FILES = 60
_PARTS_OF_ITS_OWN = (
    "labels",
    "answers",
    "balance",
    "lengths",
    "length",
    "ledger",
    "tokens",
    "columns",
    "scripts",
    "unspaced",
    "personal_data",
    "encoding",
)


def passport_parts(passport: Mapping[str, Any]) -> tuple[Markup, ...]:
    """All that is known of the data, the findings first."""
    found = (
        findings(passport),
        splits_table(passport),
        overlaps(passport),
        conflicts(passport),
        balance(passport),
        answer_parts(passport),
        lengths(passport),
        scripts_table(passport),
        kinds_table(passport),
        ledger_table(passport),
        facts_fold(passport),
    )
    return tuple(piece for piece in found if piece)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _splits(passport: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = _mapping(passport.get("splits"))
    return {str(name): value if isinstance(value, Mapping) else {"rows": value} for name, value in found.items()}


def lengths_heading(passport: Mapping[str, Any]) -> str:
    """What the chapter of lengths is about: texts, pictures or clips."""
    return modality_in(passport).many.capitalize()


def total_rows(passport: Mapping[str, Any]) -> int:
    """Rows of all splits together."""
    return sum(int(split["rows"]) for split in _splits(passport).values() if finite(split.get("rows")))


def splits_table(passport: Mapping[str, Any]) -> Markup:
    """One line a split with every figure the passport holds of it; a tally is shown by its count."""
    splits = {name: _figures(split) for name, split in _splits(passport).items()}
    columns = list(dict.fromkeys(key for split in splits.values() for key in split))
    numeric = [any(finite(split.get(key)) for split in splits.values()) for key in columns]
    kinds = ["number" if flag else "text" for flag in numeric]
    rows = [
        [Cell(name), *(cell_of(kind, split.get(key)) for kind, key in zip(kinds, columns, strict=True))]
        for name, split in splits.items()
    ]
    return data_table("Splits", ["split", *(title_of(key) for key in columns)], rows, numeric=[False, *numeric])


def _figures(split: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        key: value.get("count") if isinstance(value, Mapping) and "count" in value else value
        for key, value in split.items()
    }
    return {
        key: value
        for key, value in found.items()
        if key not in _PARTS_OF_ITS_OWN and not isinstance(value, (Mapping, list)) and value is not None
    }


def label_counts(split: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rows of each label of a split: ``labels``, or the ``counts`` inside it."""
    labels = _mapping(split.get("labels") or split.get("balance"))
    return _mapping(labels["counts"]) if "counts" in labels else labels


def balance(passport: Mapping[str, Any]) -> Markup:
    """Rows of each label in the first labelled split as bars, and in every split as a table below."""
    counts = {name: label_counts(split) for name, split in _splits(passport).items()}
    counts = {name: labels for name, labels in counts.items() if labels}
    if not counts:
        return Markup("")
    name, labels = next(iter(counts.items()))
    ordered = sorted(
        ((str(label), count) for label, count in labels.items() if finite(count)), key=lambda item: (-item[1], item[0])
    )
    title = f"Rows of each label in {name}"
    shown = part("figure", drawing=responsive(lambda width: bars(ordered, title=title, width=width)), caption=title)
    if len(counts) == 1:
        return shown
    every = sorted({str(label) for one in counts.values() for label in one})
    rows = [[Cell(label), *(cell_of("number", one.get(label, 0)) for one in counts.values())] for label in every]
    table = data_table("Rows of each label in every split", ["label", *counts], rows[:500])
    return shown + part("details", summary="Every split as a table", body=table)


def lengths(passport: Mapping[str, Any]) -> Markup:
    """How long the rows of the largest split are."""
    found = [(name, *_distribution(split), split.get("rows", 0)) for name, split in _splits(passport).items()]
    found = [one for one in found if _bins(one[2])]
    if not found:
        return Markup("")
    name, unit, facts, _ = max(found, key=lambda one: one[3] if finite(one[3]) else 0)
    what, x_title = _LENGTHS.get(unit, ("Length of the rows", f"{unit} of a row"))
    if facts.get("min") == facts.get("max"):
        return part("paragraph", text=f"{what} in {name}: all have {tick_text(facts['max'])} {x_title}.")
    title = f"{what} in {name}"
    said = [f"{title_of(key)} {_rounded(value)}" for key, value in facts.items() if finite(value)]
    chart = responsive(lambda width: histogram(_bins(facts), title=title, x_title=x_title, width=width))
    return part("figure", drawing=chart, caption=title, note=f"In {unit}: {', '.join(said)}." if said else "")


def _rounded(value: float) -> str:
    """Three figures of a small number, one decimal of a larger one."""
    return tick_text(round(value, 1) if value >= 10 else float(f"{value:.2g}"))


def _distribution(split: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The unit lengths are best told in, and their distribution in it."""
    facts = _mapping(split.get("length") or split.get("lengths"))
    unit = plain(facts.get("unit", "characters"))
    return unit, _mapping(facts.get(unit)) or facts


def _bins(facts: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """A histogram's ``(low, high, count)`` from its ``edges`` and ``counts``."""
    found = _mapping(facts.get("histogram"))
    edges, counts = found.get("edges") or [], found.get("counts") or []
    return list(zip(edges, edges[1:], counts, strict=False))


def kinds_table(passport: Mapping[str, Any]) -> Markup:
    """Personal data and encoding trouble: rows of each kind in each split."""
    rows = [
        [
            Cell(name),
            Cell(title_of(group)),
            Cell(_KINDS.get(str(kind), title_of(str(kind)))),
            cell_of("number", _mapping(tally).get("count")),
        ]
        for name, split in _splits(passport).items()
        for group in ("personal_data", "encoding")
        for kind, tally in _mapping(split.get(group)).items()
    ]
    return data_table("Personal data and encoding trouble", ["split", "what", "kind", "rows"], rows)


def scripts_table(passport: Mapping[str, Any]) -> Markup:
    """The share of each writing system among the letters of each split."""
    shares = {name: _mapping(split.get("scripts")) for name, split in _splits(passport).items()}
    names = list(
        dict.fromkeys(
            str(script) for one in shares.values() for script, share in one.items() if finite(share) and share >= 0.0005
        )
    )
    rows = [[Cell(script), *(cell_of("percent", one.get(script, 0.0)) for one in shares.values())] for script in names]
    return data_table("Writing systems", ["script", *shares], rows, note="Share of the letters.")


def ledger_table(passport: Mapping[str, Any]) -> Markup:
    """Rows and tokens (frames) of each split: how many were cut, padded, unknown or dropped. Of pictures, all scaled to one
    size, there is nothing to tell.
    """
    if modality_in(passport) not in _LEDGERS:
        return Markup("")
    ledger, (title, note) = _mapping(passport.get("tokens")), _LEDGERS[modality_in(passport)]
    splits = {str(name): value for name, value in ledger.items() if isinstance(value, Mapping)}
    columns: list[str] = []
    for split in splits.values():
        columns += [key for key, value in split.items() if key not in columns and finite(value)]
    rows = [[Cell(name), *(cell_of("number", split.get(key)) for key in columns)] for name, split in splits.items()]
    table = data_table(
        title,
        ["split", *(title_of(key) for key in columns)],
        rows,
        note=note,
    )
    return table + _worst_rows(splits)


def _worst_rows(splits: Mapping[str, Mapping[str, Any]]) -> Markup:
    worst = [
        (name, *row)
        for name, split in splits.items()
        for row in split.get("worst") or []
        if isinstance(row, Sequence) and len(row) == 2
    ]
    rows = [[Cell(plain(row_id)), Cell(name), cell_of("number", lost)] for name, row_id, lost in worst[:20]]
    if not rows:
        return Markup("")
    return part(
        "details",
        summary="Rows that lost most",
        body=data_table("Rows that lost most", ["row", "split", "tokens lost"], rows),
    )


def facts_fold(passport: Mapping[str, Any]) -> Markup:
    """:func:`reading_facts`, folded."""
    body = reading_facts(passport)
    return part("details", summary="How the data were read, split and cleaned", body=body) if body else Markup("")


def reading_facts(passport: Mapping[str, Any]) -> Markup:
    """How the data were read, split and cleaned; each note is a sentence."""
    body = Markup("")
    for name, facts in _mapping(passport.get("facts")).items():
        if isinstance(facts, Mapping) and facts:
            tables = {key: value for key, value in facts.items() if _is_table(value)}
            others = {key: value for key, value in facts.items() if key != "notes" and key not in tables}
            body += part("heading", text=title_of(str(name)).capitalize(), kind="block")
            body += part("facts", rows=_told(others))
            for key, rows in tables.items():
                body += _table_of(title_of(str(key)).capitalize(), rows)
            body += (
                part("sentences", rows=[plain(note) for note in facts["notes"]]) if facts.get("notes") else Markup("")
            )
        elif facts:
            body += part("facts", rows=[(title_of(str(name)), plain(facts))])
    return body


def _told(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in words; what is empty is left out, at any depth."""
    said = [(title_of(str(key)), _said(value)) for key, value in facts.items()]
    return [(name, value) for name, value in said if value not in ("", plain(None))]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in _told(value))
    return plain(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _table_of(title: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Mappings as lines of a table; the first ones, where there are many."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kinds = ["number" if all(finite(row.get(key)) for row in rows) else "text" for key in columns]
    lines = [
        [
            cell_of(kind, row.get(key) if kind == "number" else _said(row.get(key)))
            for kind, key in zip(kinds, columns, strict=True)
        ]
        for row in rows[:_MOST_FILES]
    ]
    note = f"The first {_MOST_FILES} of {len(rows)}." if len(rows) > _MOST_FILES else ""
    numeric = [kind == "number" for kind in kinds]
    return data_table(title, [title_of(str(key)) for key in columns], lines, note=note, numeric=numeric)
