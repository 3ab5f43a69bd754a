"""The chapter of a run whose settings were searched: what was tried, how far each trial came, and what that makes of the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.words import percent_text, plain, score_value_text, title_of
from pretune.wording import counted

__all__ = ["tuning_section"]

Found = Mapping[str, Any]


def tuning_section(record: Found) -> Section | None:
    """The trials as a table; None for a run that was not tuned."""
    found = record.get("tuning")
    if not found:
        return None
    metric, names, trials = str(record["result"]["metric"]), [str(name) for name in found["tuned"]], found["trials"]
    rows = [
        [
            Cell(f"{number + 1}{', kept' if number == found['best'] else ''}"),
            *(Cell(plain(one["values"].get(name, "as by itself")), numeric=name in one["values"]) for name in names),
            Cell(percent_text(one["share"]), numeric=True),
            Cell(*score_value_text(metric, {"value": one["value"]}), numeric=True) if one.get("value") is not None else Cell("ended in a loss that is not finite"),
        ]
        for number, one in enumerate(trials)
    ]  # fmt: skip
    note = (
        f"{counted(len(trials), 'setting was', 'settings were')} tried by successive halving: at each step the better half on validation went on, which cost as much as "
        f"{found['passes']:g} whole runs. The validation score of the one that is kept is the best of several, and so rather too good; rows that no trial saw say what it is worth."
    )
    columns = ["trial", *(name.replace("_", " ") for name in names), "of a whole run", f"validation {title_of(metric)}"]
    return Section("tuning", "Settings that were tried", (data_table("Trials", columns, rows, note=note), part("paragraph", text="The first trial is what the run would have been without a search.", kind="note")))  # fmt: skip
