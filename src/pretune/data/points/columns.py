"""Which columns of a table of pictures hold points: one of lists, or two for each point (``x1, y1, ...`` or ``nose_x, nose_y, ...``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pretune.answers.keypoints import Keypoints
from pretune.data.columns.names import plain_name
from pretune.data.formats.base import ABSENT, Chunk, Table
from pretune.errors import DataError

__all__ = ["join_points", "points_column"]

JOINED = "keypoints"
"""The column that coordinates are joined into."""
_NAMES = ("keypoints", "keypoint", "joints", "landmarks", "points", "pose", "关键点")
_BEHIND = re.compile(r"(?P<name>.+?)[_ .\-]?(?P<axis>[xyv]|vis|visible|visibility)", re.I)
_BEFORE = re.compile(r"(?P<axis>[xyv])[_ .\-]?(?P<name>\d+)", re.I)
_FEWEST = 2
_FEW_CELLS = 50


def points_column(cells: Mapping[str, Sequence[Any]]) -> str | None:
    """The column of a usual name whose cells are keypoints; None where there is none."""
    named = {plain_name(column): column for column in reversed(list(cells))}
    return next((named[name] for name in _NAMES if name in named and _hold_points(cells[named[name]])), None)


def _hold_points(cells: Sequence[Any]) -> bool:
    try:
        found = [Keypoints.read(cell, "") for cell in cells[:_FEW_CELLS] if cell is not ABSENT and not _is_number(cell)]
    except DataError:
        return False
    return any(one is not None for one in found)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float))


def join_points(table: Table, asked: Mapping[str, str], stems: Mapping[str, str]) -> Table:
    """The table with a column of points in place of their coordinates, where it has two points or more and pictures are there
    (``stems``); else as it is.
    """
    if not table.named or JOINED in table.columns or "keypoints" in asked or "image" not in stems.values():
        return table
    axes = _axes_of(table.columns)
    if len(axes) < _FEWEST:
        return table
    used = {column for one in axes.values() for column in one.values()}
    columns = (*(column for column in table.columns if column not in used), JOINED)

    def chunks() -> Iterator[Chunk]:
        for chunk in table.chunks:

            def column(name: str, chunk: Chunk = chunk) -> Sequence[Any]:
                return chunk.column(name) if name != JOINED else _joined(chunk, axes)

            yield Chunk(chunk.numbers, column)

    names = {**table.class_names, JOINED: tuple(axes)}
    return replace(table, columns=columns, chunks=chunks(), class_names=names)


def _axes_of(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each point that has x and y their columns (``x``, ``y``, perhaps ``v``), points in the order of the columns."""
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        match = _BEFORE.fullmatch(column.strip()) or _BEHIND.fullmatch(column.strip())
        if match is not None:
            found.setdefault(match["name"].strip(), {}).setdefault(match["axis"][0].lower(), column)
    whole = {name: axes for name, axes in found.items() if {"x", "y"} <= axes.keys()}
    return {f"point {name}" if name.isdigit() else name: axes for name, axes in whole.items()}


def _joined(chunk: Chunk, axes: Mapping[str, Mapping[str, str]]) -> list[Any]:
    parts = [
        [chunk.column(one["x"]), chunk.column(one["y"]), *([chunk.column(one["v"])] if "v" in one else [])]
        for one in axes.values()
    ]
    return [
        [[None if one[row] is ABSENT else one[row] for one in point] for point in parts]
        for row in range(len(chunk.numbers))
    ]
