"""What the verbs do with data before they compute: read, check, count, fingerprint, take fewer rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import CheckFailed, DataError
from pretune.interface.outcome import Say
from pretune.modalities import FILES
from pretune.runfolder import is_run
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.tasks.base import Task

__all__ = [
    "check_ledgers",
    "data_fingerprint",
    "fewer_rows",
    "name_groups",
    "parents_of",
    "row_groups",
    "tell_findings",
    "tell_reading_of",
]

_TRUNCATED_SHARE = 0.01
_SHOWN_FILES = 3


def data_fingerprint(splits: Splits) -> str:
    """A hash of every value of every split, letter by letter: equal for equal data, wherever it lies.

    Tokens and pixels are kept under it, so texts that differ in case or spaces alone must differ here. Pictures and sounds
    count by the hash of their files, which reading made; what copies are found by follows from these.
    """
    digest = hashlib.blake2b(digest_size=12)
    for name in sorted(splits):
        digest.update(f"{name}:{len(splits[name])}:".encode())
        rows: Any
        for rows in splits[name].with_format("arrow").iter(batch_size=10_000):
            for column in rows.column_names:
                if column in (*FILES, "sketch"):
                    continue
                digest.update(f"{column}:{rows[column].to_pylist()!r}".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def row_groups(rows: Dataset) -> np.ndarray | None:
    """The group of each row (N,), as text; a row without one is a group of its own. None where rows have no groups."""
    import numpy as np

    if "group" not in rows.column_names:
        return None
    return np.array([f"row {at}" if group is None else str(group) for at, group in enumerate(rows["group"])])


def name_groups(records: Sequence[dict[str, Any]], rows: Dataset, task: Task) -> np.ndarray | None:
    """Write the group of its row into each record, and return them as :func:`row_groups` does; rows without groups that ask the same of the
    task are one.
    """
    import numpy as np

    groups_N = row_groups(rows)
    if groups_N is None and (units := task.units(rows)) is not None:
        groups_N = np.array(units)
    for record, group in zip(records, groups_N if groups_N is not None else (), strict=groups_N is not None):
        record["group"] = str(group)
    return groups_N


def fewer_rows(dataset: Dataset, most: int, *, seed: int) -> Dataset:
    """At most ``most`` rows, each class (where there are any) by its share, chosen by ``seed``; of each label one row at least.

    Raises :class:`DataError` where the labels need more.
    """
    import numpy as np

    from pretune.data.split import label_places, strata

    if most >= len(dataset):
        return dataset
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))
    classes, first_rank = np.array(strata(dataset))[order], np.empty(len(order))
    for name in np.unique(classes):
        mine = np.flatnonzero(classes == name)
        first_rank[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    place_N = np.argsort(order)
    row_M, label_M = label_places(dataset)
    for label in np.unique(label_M):
        first_rank[place_N[row_M[label_M == label]].min()] = -1.0
    if most < (needed := int((first_rank < 0).sum())):
        raise DataError(
            f"--max-train-samples is {most}, and {counted(needed)} {agree(needed, 'are', 'is')} needed to have one of every label",
            f"take {counted(needed)} at least",
        )
    chosen = order[np.argsort(first_rank, kind="stable")[:most]]
    return dataset.select(np.sort(chosen))


def tell_reading_of(data: Splits, say: Say, *, settings: Any = None, most: int = 8) -> None:
    """What was read, and what was left out, to the person who waits: a line each, and a warning for each loss.

    With the ``settings`` of a verb that learns also how it was read; without them (a run's own data, read again) losses alone.
    """
    from pretune.data.losses import losses, notes_of
    from pretune.data.reading import Reading

    read = data.facts.get("read", {})
    notes = []
    if settings is not None:
        reading = Reading.of(settings, {"facts": data.facts})
        told = [(file["name"], reading.sentence(file["columns"])) for file in read.get("files", ())[:_SHOWN_FILES]]
        notes = [f"reading {name}: {sentence}" for name, sentence in told if sentence] + notes_of(data.facts)
    for note in notes[:most]:
        say.note(note)
    if len(notes) > most:
        say.note(f"{len(notes) - most} more notes on the reading: pretune inspect shows all")
    lost = list(losses(read))
    for loss in lost[:most]:
        say.warn(f"data: {loss.sentence}")
    if len(lost) > most:
        say.warn(f"data: {len(lost) - most} more kinds of losses: pretune inspect shows all")


def tell_findings(passport: dict[str, Any], say: Say, *, most: int = 6) -> None:
    """The passport's warnings and errors, the first few, to the person who waits; what :func:`tell_reading_of` says is left aside."""
    said = {one["code"] for one in passport.get("facts", {}).get("read", {}).get("left_out", ())}
    found = [f for f in passport.get("findings", []) if f["code"] not in said and not f["code"].startswith("left-out-")]
    serious = [f for f in found if f["severity"] in ("error", "warning")]
    for finding in serious[:most]:
        say.warn(f"data: {finding['message']}")
    if len(serious) > most:
        say.warn(f"data: {counted(len(serious) - most, 'more finding')}: pretune inspect shows all")


def check_ledgers(ledgers: dict[str, dict[str, Any]], say: Say) -> None:
    """The token ledger: an error when nothing is left, a warning with the worst rows when much was cut off."""
    for split, ledger in ledgers.items():
        rows = ledger["rows"]
        if rows == 0 or ledger.get("empty_rows") == rows:
            raise CheckFailed(
                f"no token is left in the {counted(rows)} of {split}",
                "is --column text=... the right column? pretune inspect DATA shows the rows",
            )
        for note in ledger.get("notes", ()):
            say.warn(f"{split}: {note}")
        cut = ledger.get("truncated_rows", 0)
        if cut > _TRUNCATED_SHARE * rows:
            worst = ", ".join(f"{row} (-{counted(lost, 'token')})" for row, lost in ledger["worst"])
            say.warn(
                f"{cut} of {counted(rows)} of {split} ({cut / rows:.1%}) {agree(cut, 'are', 'is')} longer than the limit, {counted(ledger['truncated_tokens'], 'token')} {agree(ledger['truncated_tokens'], 'are', 'is')} not seen; worst: {worst}. Try --max-length or --long-text windows"
            )
        if ledger.get("unknown_tokens", 0) > 0.01 * max(1, ledger.get("tokens", 0)):
            say.warn(
                f"{counted(ledger['unknown_tokens'], 'token')} of {split} ({ledger['unknown_tokens'] / ledger['tokens']:.1%}) are unknown to the tokenizer"
            )


def parents_of(backbone: str) -> tuple[str, ...]:
    """The run a backbone comes from, as a parent."""
    return (str(Path(backbone)),) if is_run(backbone) else ()
