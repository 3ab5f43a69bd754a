"""Groups (a patient, a speaker) that stand on both sides of a split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pretune.data.checks.finding import finding
from pretune.data.checks.rows import Tally, column_batches
from pretune.wording import counted

if TYPE_CHECKING:
    import datasets

__all__ = ["group_findings", "shared_groups"]


def shared_groups(splits: Mapping[str, datasets.Dataset]) -> list[dict[str, Any]] | None:
    """For each pair of splits with common groups, how many, and the rows of the later split in them; None without groups."""
    grouped = {name: dataset for name, dataset in splits.items() if "group" in dataset.column_names}
    if not grouped:
        return None
    groups = {
        name: {group for batch in column_batches(dataset, ["group"]) for group in batch["group"]}
        for name, dataset in grouped.items()
    }
    found = []
    for one, other in itertools.combinations(grouped, 2):
        common = {group for group in groups[one] & groups[other] if group is not None}
        if common:
            rows = _rows_in(grouped[other], common)
            found.append({"rows_of": other, "also_in": one, "groups": len(common), **rows.to_dict()})
    return found


def _rows_in(dataset: datasets.Dataset, groups: set[str]) -> Tally:
    tally = Tally()
    for batch in column_batches(dataset, ["id", "group"]):
        for row_id, group in zip(batch["id"], batch["group"], strict=True):
            if group in groups:
                tally.add(row_id)
    return tally


def group_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Groups on both sides: what a model learns of a group would be counted as knowledge."""
    for pair in passport["shared_groups"] or []:
        names = {pair["rows_of"], pair["also_in"]}
        if names == {"train", "unlabelled"}:
            continue
        severity = "error" if "train" in names else "warning"
        message = f"{counted(pair['groups'], 'group')} of {pair['rows_of']} stand in {pair['also_in']} too ({counted(pair['count'])} of {pair['rows_of']})."
        fix = "give all rows in one file with --group, so that each group is kept on one side"
        yield finding(severity, "shared-groups", message, pair["count"], pair["rows"], fix)
