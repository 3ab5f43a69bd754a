"""A sheet of pictures with what is marked on them: boxes, masks, points, as the data has them. The eye finds at once what no count tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Boxes, Keypoints, Mask
from pretune.errors import DataError
from pretune.tasks.shown.boxes import drawn_address, letters_of
from pretune.tasks.shown.masks import legend, side_by_side
from pretune.tasks.shown.points import one_pose

if TYPE_CHECKING:
    import datasets

__all__ = ["sheet_of"]

_SHOWN = 9
_MOST_NAMES = 12


def sheet_of(splits: Mapping[str, datasets.Dataset], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A block of pictures, drawn by chance from the first split that has any with an answer of places; none where no split has."""
    for kind, draw in ((Boxes.kind, _boxes), (Mask.kind, _masks), (Keypoints.kind, _points)):
        for name, rows in splits.items():
            if kind in rows.column_names and (chosen := _chosen(rows[kind])):
                block = draw([rows[place] for place in chosen], rows[kind], facts)
                title = f"{len(block['rows'])} pictures of {name} by chance, with what is marked on them"
                return [{"type": "pictures", "title": title, "wide": True, **block}] if block["rows"] else []
    return []


def _chosen(cells: Sequence[Any]) -> list[int]:
    """Rows by chance of those with an answer, in their order."""
    known = [place for place, cell in enumerate(cells) if cell]
    return sorted(known[int(place)] for place in np.random.default_rng(0).permutation(len(known))[:_SHOWN])


def _boxes(rows: Sequence[Mapping[str, Any]], cells: Sequence[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    names = sorted({box["label"] for cell in cells for box in cell or ()})
    signs = ", ".join(f"{sign} {name}" for name, sign in [*letters_of(names).items()][:_MOST_NAMES])
    note = f"{signs}{' ...' if len(names) > _MOST_NAMES else ''}. Dashed: boxes that are set aside (crowds, difficult ones)."

    def drawn(row: Mapping[str, Any]) -> str:
        aside, others = ([box for box in row[Boxes.kind] if bool(box.get("aside")) is is_so] for is_so in (True, False))
        return drawn_address(row["image"], aside, others, names)

    return {"note": note, "rows": [_captioned(row, drawn) for row in rows]}


def _masks(rows: Sequence[Mapping[str, Any]], cells: Sequence[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    names = sorted({name for cell in cells if cell for name in cell["classes"]})

    def drawn(row: Mapping[str, Any]) -> str:
        return side_by_side(row["image"], [Mask.from_json(row[Mask.kind])], names)

    note = "Each picture as it is, then with its mask; pixels without a class keep their colour."
    return {"note": note, "rows": [_captioned(row, drawn) for row in rows], "legend": legend(names[:_MOST_NAMES])}


def _points(rows: Sequence[Mapping[str, Any]], cells: Sequence[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    given = tuple(facts.get("classes") or facts.get("read", {}).get("classes", ()))

    def drawn(row: Mapping[str, Any]) -> str:
        points = row[Keypoints.kind]
        names = given if len(given) == len(points) else tuple(map(str, range(len(points))))
        return one_pose(row["image"], points, names)

    note = (
        "Orange: points of the left side, blue: of the right, where their names tell; joined where a body joins them."
    )
    return {"note": note, "rows": [_captioned(row, drawn) for row in rows]}


def _captioned(row: Mapping[str, Any], drawn: Any) -> dict[str, str]:
    """The picture with its id; none where it cannot be read, which the findings tell."""
    try:
        return {"image": drawn(row), "caption": str(row["id"])}
    except DataError:
        return {"image": "", "caption": str(row["id"])}
