"""What a report shows of boxes: scores and curves of each class, what is taken for what, pictures with both kinds of boxes.

Shapes: C classes, R records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.answers import Boxes
from pretune.answers.boxes import Box, overlap
from pretune.metrics.places.detection import HALF, AveragePrecision, DetectionMetric, curve_of
from pretune.tasks.blocks.classification import Rows
from pretune.tasks.shown.boxes import drawn_address, letters_of

__all__ = ["detection_blocks", "pairs_told"]

WORST, BEST, BY_CHANCE = 9, 3, 6
MOST_CLASSES, MOST_CURVES, CURVE_POINTS = 40, 8, 200
BACKGROUND = "(background)"


def detection_blocks(
    records: Sequence[Mapping[str, Any]], rows: Rows, metric: DetectionMetric, threshold: float
) -> list[dict[str, Any]]:
    """``rows[i]`` is row i, read only where it is shown; ``threshold`` is the score from which boxes are told."""
    measured = AveragePrecision([metric.matched_row(record) for record in records])
    told = [_Told(record, threshold) for record in records]
    found = [_classes(measured, told), _curves(measured), _confusion(told), *_pictures(told, rows)]
    return [block for block in found if block]


class _Told:
    """A record's true boxes that count, the boxes that are told, and which belong together."""

    def __init__(self, record: Mapping[str, Any], threshold: float) -> None:
        self.record = record
        self.truth = Boxes.from_json(record["truth"]).boxes
        self.told = [box for box in Boxes.from_json(record["boxes"]).boxes if (box.score or 0.0) >= threshold]
        self.pairs = list(pairs_told(self.truth, self.told))
        self.right = sum(
            1 for true, said in self.pairs if true is not None and said is not None and true.label == said.label
        )

    @property
    def f1(self) -> float:
        """Of this picture; 1 where nothing is to be found and nothing is told."""
        whole = sum(true is not None for true, _ in self.pairs) + sum(said is not None for _, said in self.pairs)
        return 2 * self.right / whole if whole else 1.0


def pairs_told(truth: Sequence[Box], told: Sequence[Box]) -> Iterator[tuple[Box | None, Box | None]]:
    """Which true box each told one belongs to, whatever their classes: the one that it overlaps most, by half at least, the surest first,
    one of its own class before others. None on one side for what was missed, or made up; boxes set aside, and what lies over them, are left out.
    """
    counting = [box for box in truth if not box.aside]
    free = dict.fromkeys(range(len(counting)))
    for said in sorted(told, key=lambda box: -(box.score or 0.0)):
        near = [
            (counting[i].label == said.label, overlap(counting[i], said), i)
            for i in free
            if overlap(counting[i], said) >= HALF
        ]
        if near:
            place = max(near)[2]
            del free[place]
            yield counting[place], said
        elif not any(overlap(box, said) >= HALF for box in truth if box.aside):
            yield None, said
    for place in free:
        yield counting[place], None


def _classes(measured: AveragePrecision, told: Sequence[_Told]) -> dict[str, Any]:
    """Average precision, and at the threshold precision and recall, of each class."""
    ap_CT = measured.by_class()[..., 0]
    truths, said, right = Counter[str](), Counter[str](), Counter[str]()
    for true, one in (pair for each in told for pair in each.pairs):
        truths.update([true.label] if true else [])
        said.update([one.label] if one else [])
        right.update([true.label] if true and one and true.label == one.label else [])
    cells = []
    for number, name in enumerate(measured.classes):
        shares = [
            float(ap_CT[number].mean()),
            float(ap_CT[number, 0]),
            _share(right[name], said[name]),
            _share(right[name], truths[name]),
        ]
        cells.append([name, truths[name], *(f"{100 * share:.1f} %" if np.isfinite(share) else "–" for share in shares)])
    columns = [
        {"name": name, "kind": "text" if name == "class" else "number"}
        for name in ("class", "true boxes", "AP50:95", "AP50", "precision", "recall")
    ]
    note = "AP looks at all boxes in the order of their scores; precision and recall at those scored high enough to be told."
    return {"type": "table", "title": "Boxes of each class", "note": note, "columns": columns, "rows": cells}


def _share(some: int, whole: int) -> float:
    return some / whole if whole else float("nan")


def _curves(measured: AveragePrecision) -> dict[str, Any]:
    series = []
    for number, name in enumerate(measured.classes[:MOST_CURVES]):
        recall, precision = curve_of(measured, number)
        if len(recall) and np.isfinite(recall).all():
            places = np.unique(np.linspace(0, len(recall) - 1, CURVE_POINTS).astype(int))
            series.append({"name": name, "x": recall[places].tolist(), "y": precision[places].tolist()})
    note = f"At half an overlap, over all scores.{f' The first {MOST_CURVES} of {len(measured.classes)} classes.' if len(measured.classes) > MOST_CURVES else ''}"
    return {
        "type": "curve", "title": "Precision and recall of each class", "x_title": "recall", "y_title": "precision", "series": series, "note": note,
    } if series else {}  # fmt: skip


def _confusion(told: Sequence[_Told]) -> dict[str, Any]:
    counts: Counter[tuple[str, str]] = Counter(
        (true.label if true else BACKGROUND, said.label if said else BACKGROUND)
        for each in told
        for true, said in each.pairs
    )
    common = Counter(name for pair, num in counts.items() for name in pair for _ in range(num) if name != BACKGROUND)
    names = [*sorted(name for name, _ in common.most_common(MOST_CLASSES - 1)), BACKGROUND]
    values = [[counts[true, said] for said in names] for true in names]
    return {
        "type": "matrix", "title": f"What is taken for what; {BACKGROUND} stands for what was missed (last column) or made up (last row)",
        "labels": names, "values": values, "row_title": "true", "column_title": "told",
    }  # fmt: skip


def _pictures(told: Sequence[_Told], rows: Rows) -> Iterator[dict[str, Any]]:
    """The pictures with the lowest and the highest F1 of their own, and some by chance."""
    names = sorted({box.label for each in told for box in (*each.truth, *each.told)})
    order = sorted(range(len(told)), key=lambda i: (told[i].f1, i))
    worst = order[:WORST]
    best = [i for i in reversed(order[WORST:]) if told[i].truth][:BEST]
    rest = sorted(set(order) - {*worst, *best})
    chance = np.random.default_rng(0).permutation(len(rest))[:BY_CHANCE]
    signs = ", ".join(f"{sign} {name}" for name, sign in letters_of(names).items())
    note = f"Dashed: true boxes. Solid: boxes told, with the class and its score in percent. {signs}."
    for title, places in (
        ("Worst pictures", worst),
        ("Best pictures", best),
        ("Pictures at random", [rest[i] for i in chance]),
    ):
        shown = [
            {
                "image": drawn_address(
                    rows[i]["image"], told[i].record["truth"], [box.to_json() for box in told[i].told], names
                ),
                "caption": _caption(told[i]),
            }
            for i in places
        ]
        if shown:
            yield {"type": "pictures", "title": title, "note": note, "rows": shown, "wide": True}


def _caption(one: _Told) -> str:
    missed = sum(said is None for _, said in one.pairs)
    made_up = sum(true is None for true, _ in one.pairs)
    mixed = len(one.pairs) - one.right - missed - made_up
    return f"{one.record['id']}: {one.right} right, {missed} missed, {made_up} made up, {mixed} of another class"
