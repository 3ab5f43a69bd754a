"""The generic blocks of an evaluation, each drawn by one function. The report knows no task: a task is what blocks it gives.

A new kind of block is one function and one line of ``BLOCKS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.charts import Series, line_chart, scatter
from pretune.report.drawing.grids import confused_pairs, heat_map, reliability
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, cell_of, data_table, part
from pretune.report.words import clean_text, number_text, percent_text, plain

__all__ = ["BLOCKS", "MOST_CLASSES", "render_block"]

MOST_CLASSES = 40
FIRST_EXAMPLES = 12
FIRST_ROWS = 60

Block = Mapping[str, Any]


def table_block(block: Block) -> Markup:
    """``columns`` of name and kind, ``rows`` of cells; a long table shows its start and folds the rest away."""
    columns = block.get("columns", [])
    names = [str(column.get("name", "")) for column in columns]
    kinds = [str(column.get("kind", "text")) for column in columns]
    rows = [
        [cell_of(kind, value, name) for kind, value, name in zip(kinds, row, names, strict=False)]
        for row in block.get("rows", [])
    ]
    numeric = [kind != "text" for kind in kinds]
    title, note = str(block.get("title", "")), str(block.get("note") or "")
    first = data_table(title, names, rows[:FIRST_ROWS], note=note, numeric=numeric)
    if len(rows) <= FIRST_ROWS:
        return first
    rest = data_table(f"{title}, the rest", names, rows[FIRST_ROWS:], numeric=numeric)
    return first + part("details", summary=f"{number_text(len(rows) - FIRST_ROWS)} more rows", body=rest)


def matrix_block(block: Block) -> Markup:
    """A confusion matrix of what is ``counted`` (rows, pixels): a heat map up to 40 classes, and always the pairs most often confused."""
    labels = [str(label) for label in block.get("labels", [])]
    values = [[int(cell) for cell in row] for row in block.get("values", [])]
    if not labels or any(len(row) != len(labels) for row in values) or len(values) != len(labels):
        return part("paragraph", text="The matrix in metrics.json is not square; it is left out.", kind="note")
    title = str(block.get("title", "Confusion matrix"))
    row_title, column_title = str(block.get("row_title", "true")), str(block.get("column_title", "predicted"))
    pairs = _pairs_table(labels, values, row_title, column_title, str(block.get("counted", "rows")))
    if len(labels) > MOST_CLASSES:
        said = f"{title}: {number_text(len(labels))} classes are too many to draw. These pairs are confused most often."
        return part("paragraph", text=said) + pairs
    note = f"Shade: share of the row. Figures: counts. Blue is right, orange is wrong. Rows: {row_title}; columns: {column_title}."
    chart = responsive(
        lambda width: heat_map(labels, values, title=title, row_title=row_title, column_title=column_title, width=width)
    )
    return part("figure", drawing=chart, caption=title, note=note, scrolls=True) + pairs


def _pairs_table(
    labels: Sequence[str], values: Sequence[Sequence[int]], row_title: str, column_title: str, counted: str
) -> Markup:
    pairs = confused_pairs(labels, values)
    if not pairs:
        return part("paragraph", text="No two classes were confused.")
    rows = [
        [Cell(a), Cell(b), Cell(number_text(count), numeric=True), Cell(percent_text(share), numeric=True)]
        for a, b, count, share in pairs
    ]
    return data_table("Most often confused", [row_title, column_title, counted, "share of its row"], rows)


def reliability_block(block: Block) -> Markup:
    """Calibration: accuracy by confidence."""
    title = str(block.get("title", "Calibration"))
    note = (
        str(block.get("note") or "")
        or "On the dashed line confidence and accuracy are equal. Below it, the model is overconfident. The area of a dot is its share of rows."
    )
    chart = responsive(lambda width: reliability(block.get("series", []), title=title, width=width))
    return part("figure", drawing=chart, caption=title, note=note)


def examples_block(block: Block) -> Markup:
    """Rows with their text, what they are and what they were predicted as, or what is ``said`` of them; the first stay open."""
    return _folded("examples", block, [_example(row) for row in block.get("rows", [])])


def _folded(macro: str, block: Block, rows: Sequence[Mapping[str, Any]]) -> Markup:
    head = part("heading", text=str(block.get("title", "Examples")), kind="block")
    if block.get("note"):
        head += part("paragraph", text=str(block["note"]), kind="note")
    if not rows:
        return head + part("paragraph", text="There are none.")
    shown, rest = head + part(macro, rows=rows[:FIRST_EXAMPLES]), rows[FIRST_EXAMPLES:]
    if not rest:
        return shown
    return shown + part("details", summary=f"{number_text(len(rest))} more", body=part(macro, rows=rest))


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    probability = row.get("probability")
    return {
        "id": plain(row.get("id", "")),
        "text": _cut(plain(row.get("text", ""))),
        "text_pair": _cut(plain(row["text_pair"])) if row.get("text_pair") else "",
        "truth": plain(row.get("truth")),
        "predicted": plain(row.get("predicted")),
        "said": plain(row["said"]) if row.get("said") else "",
        "probability": percent_text(probability) if isinstance(probability, (int, float)) else "",
        "image": _inside(row.get("image"), "data:image/"),
        "axes": _axes(row.get("axes")),
        "audio": _inside(row.get("audio"), "data:audio/"),
    }


def _axes(axes: Any) -> dict[str, list[str]]:
    """Labels at equal distances along a picture: ``x`` from left to right, ``y`` from the top down; none for a plain picture."""
    return {key: [plain(label) for label in axes[key]] for key in ("x", "y")} if isinstance(axes, Mapping) else {}


def _inside(address: Any, kind: str) -> str:
    """An address that holds its own bytes; any other would make the page ask for a file, and is left out."""
    return address if isinstance(address, str) and address.startswith(kind) else ""


def pictures_block(block: Block) -> Markup:
    """Small pictures side by side, each with a line under it; ``wide`` ones in two columns. ``legend`` names the colours drawn in them."""
    rows = [
        {"image": _inside(row.get("image"), "data:image/"), "caption": plain(row.get("caption", ""))}
        for row in block.get("rows", [])
    ]
    head = part("heading", text=str(block.get("title", "Pictures")), kind="block")
    if block.get("note"):
        head += part("paragraph", text=str(block["note"]), kind="note")
    if legend := [(plain(one.get("name")), _swatch(one.get("colour"))) for one in block.get("legend", [])]:
        head += part("legend", rows=legend)
    return head + part("pictures", rows=[row for row in rows if row["image"]], wide=bool(block.get("wide")))


def _swatch(value: Any) -> str:
    """``#rrggbb``; black for anything else."""
    return value if isinstance(value, str) and re.fullmatch(r"#[0-9a-f]{6}", value) else "#000000"


def _cut(content: str, most: int = 600) -> str:
    return (
        content
        if len(content) <= most
        else f"{content[:most].rstrip()} … ({number_text(len(content) - most)} more characters)"
    )


def curve_block(block: Block) -> Markup:
    """One or more lines over a common axis."""
    title = str(block.get("title", ""))
    series = [Series(str(one.get("name", "")), one.get("x", []), one.get("y", [])) for one in block.get("series", [])]
    x_title, y_title = str(block.get("x_title", "")), str(block.get("y_title", ""))
    chart = responsive(lambda width: line_chart(series, title=title, x_title=x_title, y_title=y_title, width=width))
    return part("figure", drawing=chart, caption=title, note=str(block.get("note") or ""))


def points_block(block: Block) -> Markup:
    """A dot a row."""
    words = {name: str(block.get(name) or "") for name in ("title", "x_title", "y_title")}
    x, y, diagonal = block.get("x", []), block.get("y", []), bool(block.get("diagonal"))
    chart = responsive(lambda width: scatter(x, y, **words, diagonal=diagonal, width=width))
    return part("figure", drawing=chart, caption=words["title"], note=str(block.get("note") or ""))


def tagged_block(block: Block) -> Markup:
    """Texts with marked stretches: the truth above the answer, a question (``title``) above both; the first stay open."""
    rows = [
        {
            "id": plain(row.get("id")),
            "title": plain(row.get("title", "")),
            "sides": [(side, _marked(row, side)) for side in block.get("sides") or ("truth", "answer")],
        }
        for row in block.get("rows", [])
        if isinstance(row, Mapping)
    ]
    return _folded("tagged", block, rows)


def _marked(row: Mapping[str, Any], side: str) -> list[tuple[str, str, int]]:
    """The text in stretches: each with the type that it is marked as ("" for none), and a number of that type for its colour."""
    line, found, at = str(row.get("text") or ""), [], 0
    marks = [mark for mark in row.get(side, []) if isinstance(mark, (list, tuple)) and len(mark) == 3]
    for start, stop, kind in sorted(marks, key=lambda mark: mark[0]):
        if start < at:
            continue
        found += [(clean_text(line[at:start]), "", 0), (clean_text(line[start:stop]), str(kind), _colour(str(kind)))]
        at = stop
    return [*found, (clean_text(line[at:]), "", 0)]


def _colour(kind: str) -> int:
    """One of six, the same for a type on every page."""
    return sum(kind.encode(errors="replace")) % 6


BLOCKS: Mapping[str, Callable[[Block], Markup]] = {
    "table": table_block,
    "matrix": matrix_block,
    "reliability": reliability_block,
    "examples": examples_block,
    "curve": curve_block,
    "pictures": pictures_block,
    "points": points_block,
    "tagged": tagged_block,
}


def render_block(block: Block) -> Markup:
    """The block as markup; a kind this version does not know is said, not hidden."""
    draw = BLOCKS.get(str(block.get("type")))
    if draw is None:
        return part(
            "paragraph",
            text=f"This report cannot show a block of kind “{plain(block.get('type'))}”; metrics.json has it.",
            kind="note",
        )
    return draw(block)
