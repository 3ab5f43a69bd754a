"""What a report shows of tags: scores of each type of entity, what is taken for what, the worst rows with their entities.

Spans are in words; the page gets them in characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pretune.answers.schemes import Span, spans_of, strict_spans_of
from pretune.metrics.base import values_of
from pretune.metrics.texts.tagging import by_type
from pretune.tasks.blocks.classification import Rows

__all__ = ["tagging_blocks"]

MAX_WORST, MAX_CONFUSIONS = 20, 30
_NOTHING = "(nothing)"


def tagging_blocks(records: Sequence[Mapping[str, Any]], rows: Rows, is_plain: bool) -> list[dict[str, Any]]:
    """``rows[i]`` is row i, read only where it is shown."""
    found = [_confusions(records, is_plain), _worst(records, rows, is_plain)]
    return found if is_plain else [_types(records), *found]


def _types(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    truths = Counter(span.type for record in records for span in strict_spans_of(record["truth"]))
    cells = []
    for kind, measured in by_type(records).items():
        scores = values_of(measured)
        shares = [f"{100 * scores[name]:.1f} %" for name in ("precision", "recall", "f1")]
        cells.append([kind or "(no type)", truths[kind], *shares])
    columns = [
        {"name": name, "kind": "text" if name == "type" else "number"}
        for name in ("type", "true ones", "precision", "recall", "F1")
    ]
    note = "An entity counts as found where its first and last word and its type are right."
    return {"type": "table", "title": "Entities of each type", "note": note, "columns": columns, "rows": cells}


def _read(tags: Sequence[str], is_plain: bool) -> list[Span]:
    return spans_of(tags, "plain") if is_plain else strict_spans_of(tags)


def _confusions(records: Sequence[Mapping[str, Any]], is_plain: bool) -> dict[str, Any]:
    """What stands where something else was said: of the same words, or of some of them."""
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        if is_plain:
            counts.update((a, b) for a, b in zip(record["truth"], record["tags"], strict=True) if a != b)
            continue
        truth, said = _read(record["truth"], is_plain), _read(record["tags"], is_plain)
        wrong = [one for one in said if one not in truth]
        for one in truth:
            if one in said:
                continue
            over = [other for other in wrong if other.start < one.end and one.start < other.end]
            counts[one.type, _said(one, over[0]) if over else _NOTHING] += 1
        for one in wrong:
            if not any(one.start < other.end and other.start < one.end for other in truth):
                counts[_NOTHING, one.type] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_CONFUSIONS]
    columns = [
        {"name": "truth", "kind": "text"},
        {"name": "answer", "kind": "text"},
        {"name": "times", "kind": "number"},
    ]
    note = f"{len(ordered)} of {len(counts)} different mistakes; {_NOTHING} stands for what was missed or made up."
    cells = [[true, said, times] for (true, said), times in ordered]
    return {"type": "table", "title": "What is taken for what", "note": note, "columns": columns, "rows": cells}


def _said(truth: Span, said: Span) -> str:
    return said.type if said.type != truth.type else f"{said.type}, other words"


def _worst(records: Sequence[Mapping[str, Any]], rows: Rows, is_plain: bool) -> dict[str, Any]:
    """The rows with the most wrong words, with the marks of both sides."""
    wrong = [sum(a != b for a, b in zip(record["truth"], record["tags"], strict=True)) for record in records]
    order = sorted(range(len(records)), key=lambda i: (-wrong[i], i))[:MAX_WORST]
    shown = []
    for i in order:
        if not wrong[i]:
            break
        row = rows[i]
        marks = {
            side: _marks(_read(records[i][key], is_plain), row["words"])
            for side, key in (("truth", "truth"), ("answer", "tags"))
        }
        shown.append({"id": row["id"], "text": row["text"], **marks})
    note = f"{sum(1 for one in wrong if one)} of {len(records)} rows have a wrong word; the {len(shown)} with the most are shown."
    return {"type": "tagged", "title": "Worst rows", "note": note, "rows": shown}


def _marks(spans: Sequence[Span], words: Sequence[Sequence[int]]) -> list[list[Any]]:
    """First character, the one behind the last, and the type of each."""
    return [[words[one.start][0], words[one.end - 1][1], one.type] for one in spans]
