"""Labels that a person set right (``--relabel``): a table of ids with new labels, as ``pretune review`` writes it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.answers import Label
from pretune.errors import DataError, did_you_mean
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import datasets

__all__ = ["COLUMNS", "DROP", "relabelled"]

COLUMNS = ("id", "label", "new_label")
"""What such a table has at least: the row, the label it has (empty: not asked), and the one it gets (empty: it stays)."""
DROP = "-"
"""In place of a new label: the row is left out."""
_MOST_BYTES = 1 << 30
_NAMED = 3


def relabelled(rows: Mapping[str, datasets.Dataset], place: str) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    """The splits with the labels of the table at ``place``; by step (``relabel``, and where rows were dropped ``relabel_drop``) and split how
    many rows that were, and the first ids of them.

    Raises :class:`DataError` for a table that does not fit: ids that no row has, other labels than rows have now, unknown classes.
    """
    wanted = _read(Path(place))
    known = {label for split in rows.values() if Label.kind in split.column_names for label in split.unique("label")}
    if not known:
        raise DataError(f"--relabel {place}: the rows have no labels to set right", "leave --relabel out")
    if unknown := sorted({new for _, new in wanted.values() if new != DROP} - known):
        raise DataError(
            f"--relabel {place} names {unknown[0]!r}, which is the label of no row",
            did_you_mean(unknown[0], [str(one) for one in known if one is not None]),
        )
    found: dict[str, datasets.Dataset] = {}
    changes: dict[str, Any] = {}
    drops: dict[str, Any] = {}
    seen = set[str]()
    for name, split in rows.items():
        ids, labels = list(split["id"]), list(split["label"]) if Label.kind in split.column_names else []
        told = {place: wanted[row] for place, row in enumerate(ids) if row in wanted} if labels else {}
        seen |= {ids[at] for at in told}
        if other := [at for at, (before, _) in told.items() if before and before != labels[at]]:
            at = other[0]
            raise DataError(
                f"--relabel {place} is of other rows: {counted(len(other))} of {name} {agree(len(other), 'have', 'has')} another label now, "
                f"as row {ids[at]}: {labels[at]!r} where the table says {told[at][0]!r}",
                "write the table again: pretune review MODEL --data DATA",
            )
        changed = {at: new for at, (_, new) in told.items() if new not in (DROP, labels[at])}
        dropped = {at for at, (_, new) in told.items() if new == DROP}
        if changed:
            new_labels = [changed.get(at, label) for at, label in enumerate(labels)]
            split = split.remove_columns("label").add_column("label", new_labels, feature=split.features["label"])  # pyright: ignore[reportArgumentType, reportCallIssue]
        found[name] = split.select([at for at in range(len(ids)) if at not in dropped]) if dropped else split
        changes[name] = {"changed": len(changed), "ids": [ids[at] for at in changed][:_NAMED]}
        drops[name] = {"dropped": len(dropped), "ids": [ids[at] for at in sorted(dropped)][:_NAMED]}
    if lost := sorted(wanted.keys() - seen):
        raise DataError(
            f"--relabel {place} has {counted(len(lost))} that {agree(len(lost), 'are', 'is')} not in the data, as {lost[0]}",
            "give the data that the table was made from, read in the same way",
        )
    return found, {
        "relabel": changes,
        **({"relabel_drop": drops} if any(one["dropped"] for one in drops.values()) else {}),
    }


def _read(place: Path) -> dict[str, tuple[str, str]]:
    """By id the label that a row had and the one it gets, of the rows that get one."""
    fix = f"it is a CSV with the columns {', '.join(COLUMNS)}, as pretune review writes it"
    try:
        if place.stat().st_size > _MOST_BYTES:
            raise DataError(f"--relabel {place} is larger than a gigabyte", fix)
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--relabel {place} cannot be read: {error}", fix) from None
    lines = csv.DictReader(text.splitlines(keepends=True))
    if missing := [name for name in COLUMNS if name not in (lines.fieldnames or ())]:
        raise DataError(f"--relabel {place} has no column {missing[0]}", fix)
    found: dict[str, tuple[str, str]] = {}
    try:
        for line in lines:
            row, before, new = ((line[name] or "").strip() for name in COLUMNS)
            if not new:
                continue
            if found.setdefault(row, (before, new)) != (before, new):
                raise DataError(f"--relabel {place} gives row {row} two labels", "leave one line of it")
    except csv.Error as error:
        raise DataError(f"--relabel {place}, line {lines.line_num}: {error}", fix) from None
    return found
