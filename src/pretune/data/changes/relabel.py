"""Labels that a person set right or gave (``--relabel``): a table of ids with new labels, as ``pretune review`` and ``pretune ask`` write it."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.answers import Label
from pretune.errors import DataError, did_you_mean
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import datasets

__all__ = ["COLUMNS", "DROP", "relabelled", "table_lines"]

COLUMNS = ("id", "label", "new_label")
"""What such a table has at least: the row, the label it has (empty: not asked), and the one it gets (empty: it stays)."""
DROP = "-"
"""In place of a new label: the row is left out."""
_MOST_BYTES = 1 << 30
_NAMED = 3


def relabelled(rows: Mapping[str, datasets.Dataset], place: str) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    """The splits with the labels of the table at ``place``; by step (``relabel``, and where there were any ``relabel_drop`` and ``relabel_join``)
    and split how many rows that were, and the first ids of them. Rows without labels that get one join ``train``.

    Raises :class:`DataError` for a table that does not fit: ids that no row has, other labels than rows have now, unknown classes.
    """
    wanted = _read(Path(place))
    known = {label for split in rows.values() if Label.kind in split.column_names for label in split.unique("label")}
    known.discard(None)
    if not known:
        raise DataError(f"--relabel {place}: the rows have no labels to set right", "leave --relabel out")
    if unknown := sorted({new for _, new in wanted.values() if new != DROP} - known):
        raise DataError(
            f"--relabel {place} names {unknown[0]!r}, which is the label of no row",
            did_you_mean(unknown[0], sorted(map(str, known))),
        )
    found: dict[str, datasets.Dataset] = {}
    changes: dict[str, Any] = {}
    drops: dict[str, Any] = {}
    joins: dict[str, Any] = {}
    seen = set[str]()
    for name, split in rows.items():
        ids = list(split["id"])
        told = {at: wanted[row] for at, row in enumerate(ids) if row in wanted}
        seen |= {ids[at] for at in told}
        dropped = {at for at, (_, new) in told.items() if new == DROP}
        if Label.kind in split.column_names:
            split, changed = _changed(split, told, f"{place} is of other rows: {{}} of {name}")
            changes[name] = _facts("changed", ids, changed)
        else:
            changed = {at: new for at, (_, new) in told.items() if new != DROP}
            joins |= {name: {**_facts("joined", ids, changed), "rows": split.select([*changed]), "labels": [*changed.values()]}} if changed else {}  # fmt: skip
            dropped |= changed.keys() if "train" in rows else set()
        found[name] = split.select([at for at in range(len(ids)) if at not in dropped]) if dropped else split
        drops[name] = _facts("dropped", ids, sorted(at for at in dropped if told[at][1] == DROP))
    if lost := sorted(wanted.keys() - seen):
        raise DataError(
            f"--relabel {place} has {counted(len(lost))} that {agree(len(lost), 'are', 'is')} not in the data, as {lost[0]}",
            "give the data that the table was made from, --unlabelled too where it was, read in the same way",
        )
    for name, join in joins.items():
        found["train"] = _joined(found["train"], join.pop("rows"), join.pop("labels"), f"the rows of {name}")
    found = {name: split for name, split in found.items() if len(split) or name not in joins}
    return found, {
        **({"relabel": changes} if not joins or any(one["changed"] for one in changes.values()) else {}),
        **({"relabel_join": joins} if joins else {}),
        **({"relabel_drop": drops} if any(one["dropped"] for one in drops.values()) else {}),
    }


def _facts(word: str, ids: Sequence[str], places: Collection[int]) -> dict[str, Any]:
    return {word: len(places), "ids": [ids[at] for at in places][:_NAMED]}


def _changed(
    split: datasets.Dataset, told: Mapping[int, tuple[str, str]], problem: str
) -> tuple[datasets.Dataset, dict[int, str]]:
    """The labelled rows with the labels of these places set right, and by place the new ones. Raises :class:`DataError`, its words
    beginning with ``problem``, where they are not those that the table was made from.
    """
    ids, labels = list(split["id"]), list(split["label"])
    if other := [at for at, (before, _) in told.items() if before and before != labels[at]]:
        at = other[0]
        raise DataError(
            f"--relabel {problem.format(counted(len(other)))} {agree(len(other), 'have', 'has')} another label now, "
            f"as row {ids[at]}: {labels[at]!r} where the table says {told[at][0]!r}",
            "write the table again: pretune review MODEL --data DATA",
        )
    changed = {at: new for at, (_, new) in told.items() if new not in (DROP, labels[at])}
    return (_with_labels(split, [changed.get(at, label) for at, label in enumerate(labels)]) if changed else split), changed  # fmt: skip


def _with_labels(split: datasets.Dataset, labels: Sequence[Any], like: Any = None) -> datasets.Dataset:
    feature = (split if like is None else like).features["label"]
    without = split.remove_columns("label") if like is None else split
    return without.add_column("label", labels, feature=feature)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _joined(train: datasets.Dataset, rows: datasets.Dataset, labels: Sequence[str], called: str) -> datasets.Dataset:
    """The training rows with these, which have their labels now. Raises :class:`DataError` for rows without what others have."""
    from datasets import concatenate_datasets

    labelled = _with_labels(rows, labels, train)
    lacking = [name for name in train.column_names if name not in labelled.column_names]
    if "content" in rows.column_names:  # of pictures and clips without labels nothing else is kept
        train, lacking = train.remove_columns(lacking), [name for name in lacking if name == "group"]
    if lacking:
        raise DataError(
            f"--relabel gives labels to {called}, and they have no {lacking[0]} as those of train have",
            f"give them with their {lacking[0]}",
        )
    shared = [name for name in train.column_names if name in labelled.column_names]
    return concatenate_datasets([train, labelled.select_columns(shared).cast(train.features)])


def _read(place: Path) -> dict[str, tuple[str, str]]:
    """By id the label that a row had and the one it gets, of the rows that get one."""
    found: dict[str, tuple[str, str]] = {}
    for line in table_lines(place):
        row, before, new = (line[name] for name in COLUMNS)
        if new and found.setdefault(row, (before, new)) != (before, new):
            raise DataError(f"--relabel {place} gives row {row} two labels", "leave one line of it")
    return found


def table_lines(place: Path) -> list[dict[str, str]]:
    """The lines of such a table (CSV, or a JSON object a line), each with at least :data:`COLUMNS`, as text without spaces around it.

    Raises :class:`DataError` for what is no such table.
    """
    from pretune.data.remote.copies import local

    place = Path(local(str(place)) or place)
    fix = f"it is a CSV with the columns {', '.join(COLUMNS)}, or JSON lines with these keys, as pretune review and pretune ask write it"
    try:
        if place.stat().st_size > _MOST_BYTES:
            raise DataError(f"--relabel {place} is larger than a gigabyte", fix)
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--relabel {place} cannot be read: {error}", fix) from None
    try:
        lines = _json_lines(text) if place.suffix.lower() == ".jsonl" else [*csv.DictReader(text.splitlines(keepends=True), restkey="")]  # fmt: skip
    except (csv.Error, ValueError) as error:
        raise DataError(f"--relabel {place} cannot be read: {error}", fix) from None
    names = set(lines[0]) if lines else set(COLUMNS)
    if missing := [name for name in COLUMNS if name not in names]:
        raise DataError(f"--relabel {place} has no column {missing[0]}", fix)
    return [{name: str("" if cell is None else cell).strip() for name, cell in line.items()} for line in lines]


def _json_lines(text: str) -> list[dict[str, Any]]:
    """Raises ValueError for a line that is no object with the columns."""
    lines = [(number, json.loads(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        if not isinstance(line, dict) or not set(COLUMNS) <= line.keys():
            raise ValueError(f"line {number} is no object with {', '.join(COLUMNS)}")
    return [line for _, line in lines]
