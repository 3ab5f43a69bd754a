"""The rows that a run made from another learns from: the parent's own, and others with and without labels, none of which is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import AsReadSettings
from pretune.errors import DataError, RunError
from pretune.interface.outcome import Say
from pretune.modalities import modality_of_columns
from pretune.runfolder import RunFolder
from pretune.runs.reading import learned_by, read_like, reading_of
from pretune.training.derived import unchanged_data
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.data.splits import Splits

__all__ = ["LearnedRows", "note_rows", "rows_to_learn"]

_INPUTS = ("text", "text_pair", "turns", "image", "audio", "speaker")
_CARRIED = ("id", *_INPUTS, "content", "look", "sketch", "width", "height", "seconds", "rate")


@dataclass(frozen=True)
class LearnedRows:
    """``data`` is the teacher's own with the other rows in it; ``own_fingerprint`` is that of the former alone, ``fingerprint``
    of all, and ``untouched`` are the splits that are the teacher's own. ``notes`` say in sentences what was added and dropped,
    ``facts`` in numbers.
    """

    data: Splits
    own_fingerprint: str
    fingerprint: str
    untouched: tuple[str, ...]
    notes: tuple[str, ...]
    facts: dict[str, Any]


def rows_to_learn(
    settings: AsReadSettings, parent: RunFolder, say: Say, *, labelled: str | None = None, unlabelled: str | None = None,
    own_unlabelled: bool = True,
) -> LearnedRows:  # fmt: skip
    """The rows that ``parent`` learned from, those of the place ``labelled`` among ``train``, and among ``unlabelled`` those of the
    place of that name and, where ``own_unlabelled``, the run's own. ``settings`` say how other places are read.

    Of rows that the teacher did not learn from, those are dropped that also stand in its validation or test, or nearly do: the
    student is compared with it there. Raises :class:`DataError` for rows of another kind, :class:`RunError` for data that is
    not what the teacher learned from.
    """
    from pretune.runs.rows import data_fingerprint
    from pretune.tasks import task_named

    own, own_fingerprint = unchanged_data(parent, say)
    adding = _Adding(own, answer=task_named(parent.record["model"]["task"]).columns[-1])
    if labelled is not None:
        read = read_like(parent, labelled, settings, learned_by(parent, answers=True), say)
        adding.labelled(read, labelled)
    if own_unlabelled and len(own.get("unlabelled", ())):
        adding.unlabelled([own["unlabelled"]], "the run's own rows without labels", prefix="")
    if unlabelled is not None:
        column = _without_answers(settings.column, own)
        rows = read_like(parent, unlabelled, replace(settings, column=column), learned_by(parent), say)
        adding.unlabelled([*rows.values()], f"--unlabelled {unlabelled}", prefix=_stem(unlabelled))
    for note in adding.notes:
        say.note(note)
    data = adding.joined()
    untouched = ("validation", "test", *(() if adding.train else ("train",)))
    return LearnedRows(data, own_fingerprint, data_fingerprint(data), untouched, tuple(adding.notes), adding.facts)


def note_rows(run: RunFolder, parent: RunFolder, rows: LearnedRows, notes: Sequence[str], *, kind: str) -> None:
    """What run.json says of the rows, in its part ``kind``; a resumed run has to find them as they were. Raises :class:`RunError`."""
    before = run.record.get(kind, {}).get("rows_fingerprint")
    if before is not None and before != rows.fingerprint:
        raise RunError(
            f"{run.path} was begun with other rows than --data and --unlabelled hold now",
            "bring the old rows back, or start again with --overwrite",
        )
    told = {"rows_fingerprint": rows.fingerprint, "rows": rows.facts, "notes": [*rows.notes, *notes]}
    run.update_record(**{"reading": reading_of(parent), kind: told})


@dataclass
class _Adding:
    """The teacher's own rows (``own``) and what is learned from beside them; ``answer`` is the column of right answers."""

    own: Splits
    answer: str
    train: list[Dataset] = field(default_factory=list)
    without: list[Dataset] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def labelled(self, read: Mapping[str, Dataset], place: str) -> None:
        """More rows with right answers."""
        known = [rows for name, rows in read.items() if name != "unlabelled" and self.answer in rows.column_names]
        if not known:
            raise DataError(
                f"the rows of --data {place} have no {self.answer}",
                "name its column with --column, or give --unlabelled",
            )
        columns = (*_CARRIED, self.answer)
        self.train += self._apart(known, f"--data {place}", columns, prefix=_stem(place))

    def unlabelled(self, read: Sequence[Dataset], named: str, *, prefix: str) -> None:
        """More rows, whose answers (if they have any) are not looked at."""
        columns = tuple(name for name in _CARRIED if name != self.answer)
        self.without += self._apart(read, named, columns, prefix=prefix)

    def _apart(self, read: Sequence[Dataset], named: str, columns: Sequence[str], *, prefix: str) -> list[Dataset]:
        from pretune.data.changes.held_apart import held_apart

        held = {name: self.own[name] for name in ("validation", "test") if len(self.own.get(name, ()))}
        found = []
        for rows in (_like(one, self.own["train"], named, columns, self.answer) for one in read if len(one)):
            apart = held_apart(rows, held)
            near = "" if apart.near is None else f", and {apart.near} that nearly do"
            if apart.dropped:
                self.notes.append(
                    f"{named}: {apart.same} of {counted(apart.of)} {agree(apart.same, 'stand', 'stands')} in the run's validation or test{near}; they were dropped"
                )
            self.notes.append(f"{named}: learning from {counted(len(apart.rows))}")
            self.facts.setdefault(named, []).append(apart.facts())
            if len(apart.rows):
                found.append(_renamed(apart.rows, prefix) if prefix else apart.rows)
        return found

    def joined(self) -> Splits:
        """All rows by split."""
        from datasets import concatenate_datasets

        splits = {name: rows for name, rows in self.own.items() if name != "unlabelled"}
        if self.train:
            shared = [
                name for name in splits["train"].column_names if all(name in more.column_names for more in self.train)
            ]
            splits["train"] = concatenate_datasets(
                [rows.select_columns(shared) for rows in (splits["train"], *self.train)]
            )
        if self.without:
            shared = [
                name for name in self.without[0].column_names if all(name in more.column_names for more in self.without)
            ]
            splits["unlabelled"] = concatenate_datasets([rows.select_columns(shared) for rows in self.without])
        return self.own.replace(splits, **({"taught": self.facts} if self.facts else {}))


def _without_answers(column: Sequence[str], own: Splits) -> tuple[str, ...]:
    """The columns to read, and that none is one of labels. A transcript cannot be told away so; it is left out later."""
    inputs = tuple(word for word in column if word.split("=")[0].strip() not in ("label", "labels"))
    is_text = not modality_of_columns(own["train"].column_names).is_file
    return (*inputs, "label=", "labels=") if is_text else inputs


def _like(rows: Dataset, train: Dataset, named: str, columns: Sequence[str], answer: str) -> Dataset:
    """The rows with these of their columns. Raises :class:`DataError` where the teacher reads what they do not have."""
    asked = [name for name in _INPUTS if name in train.column_names and name != answer]
    if lacking := [name for name in asked if name not in rows.column_names]:
        raise DataError(
            f"{named} has no {lacking[0]} column, and the teacher reads one",
            f"name it with --column {lacking[0]}=NAME, or give rows of the same kind",
        )
    unknown = [name for name in _INPUTS if name in rows.column_names and name not in train.column_names]
    if unknown:
        raise DataError(f"{named} has a {unknown[0]} column, and the teacher reads none", "give rows of the same kind")
    return rows.select_columns([name for name in columns if name in rows.column_names])


def _renamed(rows: Dataset, prefix: str) -> Dataset:
    """The rows with a word before their ids, so that they are no other row's."""
    ids = [f"{prefix}:{name}" for name in rows["id"]]
    others = [name for name in rows.column_names if name != "id"]
    return rows.select_columns(others).add_column("id", ids).select_columns(["id", *others])  # type: ignore[call-arg]


def _stem(place: str) -> str:
    return Path(place).name
