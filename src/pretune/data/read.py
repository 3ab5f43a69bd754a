"""Place to splits: any supported file, folder, archive or hub id as memory-mapped rows, with the facts of the reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretune.answers import ANSWERS, answer_of
from pretune.config import DataSettings
from pretune.data.cells.boxes import BoxTally
from pretune.data.cells.spans import span_notes
from pretune.data.columns.roles import ANSWER_ROLES, CLASS_ROLES, lack_of, parse_columns
from pretune.data.columns.split import FoldTally
from pretune.data.dialogue.notes import turn_notes
from pretune.data.dialogue.turns import TURNS_FIX, unusable_in
from pretune.data.formats.base import Options, options_of
from pretune.data.formats.open import reading
from pretune.data.labels.checks import change_notes, label_findings, number_notes, refuse_scores
from pretune.data.labels.names import label_names
from pretune.data.labels.words import one_spelling_of_booleans
from pretune.data.losses import refuse_mostly_lost
from pretune.data.masks.tally import MaskTally
from pretune.data.media.kinds import extras
from pretune.data.media.rows import MediaTally
from pretune.data.places.group_names import GroupTally, check_groups_asked
from pretune.data.places.inputs import STDIN, find_inputs, input_paths
from pretune.data.places.place import Place, seen_bytes
from pretune.data.points.rows import point_notes
from pretune.data.prepare import Prepared, prepared_tables
from pretune.data.read_notes import encoding_notes, row_notes, tag_notes
from pretune.data.reading import Reading
from pretune.data.remote.copies import by_address, facts_of, tell_by_address
from pretune.data.rows import Rows
from pretune.data.splits import Splits
from pretune.data.store import SplitWriter, fingerprint, load_stored, store_folder
from pretune.data.text.encodings import check_encoding_name
from pretune.errors import DataError, UsageError
from pretune.forwarded import shown_place

__all__ = ["read"]

_MAX_LABELS_KEPT = 100_000


def read(settings: DataSettings, learned: Reading | None = None) -> Splits:
    """The rows as found: ``train``, ``validation``, ``test`` as the data names them (all ``train`` where it does not). Columns
    that the settings do not name are those that a model ``learned`` from, where that is told.

    Rows without a label go to ``unlabelled``; data without any label is one split, ``unlabelled``. ``facts["read"]``
    tells the format, encoding and columns of each file and counts every row moved or changed.
    Raises :class:`DataError` for data that cannot be read as asked, :class:`UsageError` for settings that cannot be used.
    """
    try:
        return _read(settings, learned)
    except DataError as error:
        tell_by_address(error)
        raise


def _read(settings: DataSettings, learned: Reading | None) -> Splits:
    """As :func:`read`; errors may name the copy of what lies at an address."""
    given = settings.place
    if STDIN in settings.places and not settings.reads_input:
        raise UsageError(
            "standard input (-) cannot be read here, as the rows are needed again later",
            "write them to a file and give its name",
        )
    asked = parse_columns(settings.column, settings.group)
    if settings.encoding is not None:
        check_encoding_name(settings.encoding)
    options = options_of(settings, {*asked.values(), *(learned.names if learned else ())})
    check_groups_asked(asked, options)
    with reading(given):
        place = find_inputs(settings, options, ask=not {*ANSWER_ROLES, "text"} & asked.keys())
    place.notes[:] = map(by_address, place.notes)
    paths = [[split, [str(Path(path).absolute()) for path in paths]] for split, paths in input_paths(settings)]
    told = [] if learned is None else [learned.to_dict(), learned.needed]
    name = fingerprint(paths, place.stamps, seen_bytes(place), asked, vars(options), extras(), *told)
    stored = load_stored(name)
    if stored is None:
        try:
            _store(name, _Reading(place, asked, options, given, learned))
        except _RepeatedIdsError as error:
            if "id" in asked:
                raise
            again = _Reading(place, {**asked, "id": ""}, options, given, learned)
            again.notes.append(f"Rows were numbered instead: {error.problem}.")
            _store(name, again)
        stored = load_stored(name)
    assert stored is not None, "rows just stored are there"
    stored.facts["read"]["place"] = shown_place(given)
    if remote := facts_of((*settings.every_place, *filter(None, [settings.files]))):
        stored.facts["read"]["remote"] = remote
    if settings.label_type == "auto":
        read_facts = stored.facts["read"]
        refuse_scores(read_facts["labels"], given, _column_of(read_facts, "label"))
    return stored


def _column_of(read_facts: Mapping[str, Any], role: str) -> str:
    """The column that a role was read from, or NAME where the files differ or have none."""
    names = {file["columns"].get(role, "NAME") for file in read_facts["files"]}
    return names.pop() if len(names) == 1 else "NAME"


class _RepeatedIdsError(DataError):
    """The id column cannot serve."""


def _kept(split: str, rows: Rows) -> list[bool]:
    """Which rows stay in their split; the others belong to the split unlabelled."""
    return rows.labelled() if split != "unlabelled" else [False] * len(rows.ids)


def _by_split(rows: Rows, split: str) -> Iterator[tuple[str, Rows]]:
    """The rows by the split that each names itself; those that name none are of ``split``."""
    if rows.splits is None:
        yield split, rows
        return
    own = [name or split for name in rows.splits]
    for name in dict.fromkeys(own):
        yield name, rows.pick([one == name for one in own])


def _other_split(prepared: Prepared, split: str) -> DataError:
    column = prepared.roles.split or prepared.roles.fold
    return DataError(
        f"{prepared.name} was given as --{prepared.split}, and its column {column} says {split} of some rows",
        "--column split= leaves the column out; --data reads the splits that it names",
    )


def _store(name: str, once: _Reading) -> None:
    with store_folder(name) as (folder, publish):
        publish(once.run(folder))


class _Reading:
    """One reading of a place into Arrow files."""

    writer: SplitWriter

    def __init__(
        self, place: Place, asked: Mapping[str, str], options: Options, given: str, learned: Reading | None = None
    ) -> None:
        self.place, self.asked, self.options, self.given, self.learned = place, asked, options, given, learned
        self.counts: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.literal, self.missing_like = Counter[str](), Counter[str]()
        self.findings: list[dict[str, Any]] = []
        self.folds, self.groups = FoldTally(options.test_fold), GroupTally()
        self.ids: dict[str, list[np.ndarray]] = {}
        self.files: list[dict[str, Any]] = []
        self.notes = [*place.notes, *(one.sentence() for one in place.left_out)]
        self.pairs: dict[bool, str] = {}
        self.class_orders: list[tuple[str, ...]] = []
        self.media: MediaTally | None = None
        self.masks = MaskTally()
        self.boxes = BoxTally()

    def run(self, folder: Path) -> dict[str, Any]:
        """Read every table into ``folder``, mend labels and ids, and return the facts."""
        self.writer = SplitWriter(folder)
        try:
            for prepared in prepared_tables(
                self.place, self.asked, self.options, folds=self.folds, learned=self.learned
            ):
                with reading(prepared.name):
                    self._table(prepared)
        finally:
            self.writer.close()
        if self.media is not None:
            self.media.check(self.given)
        self.masks.check(self.given)
        self.boxes.check(self.given)
        self._check_labels()
        self._name_labels()
        self.masks.name(
            self.writer, self.place.mask_tables, self.place.label_files, ignore=self.options.ignore_class,
            learned=self.learned and self.learned.masks, encoding=self.options.encoding,
        )  # fmt: skip
        self.findings += self.folds.findings()
        self._check_ids()
        facts = self._facts()
        refuse_mostly_lost(facts)
        return facts

    def _table(self, prepared: Prepared) -> None:
        self.pairs.setdefault(prepared.roles.text_pair is not None, prepared.name)
        if len(self.pairs) > 1:
            raise DataError(
                f"{self.pairs[True]} holds pairs of texts and {self.pairs[False]} single texts",
                "name the columns: --column text=NAME --column text_pair=NAME",
            )
        split = prepared.split or "train"
        rows_seen = 0
        try:
            for chunk in prepared.chunks:
                rows = prepared.maker(chunk)
                rows_seen += len(rows.ids)
                for part, some in _by_split(rows, split):
                    if prepared.told and part != split:
                        raise _other_split(prepared, part)
                    if prepared.roles.id is not None:
                        self._note_ids(part, some)
                    self._write(part, some)
        finally:
            prepared.maker.close()
        self._note_media(prepared)
        self.counts.update(prepared.maker.counts)
        self.groups.update(prepared.maker.group_names)
        self.literal.update(prepared.maker.literal_labels)
        self.missing_like.update(prepared.maker.missing_like)
        self.notes += [*prepared.table.notes, *prepared.roles.notes]
        if names := prepared.class_names:
            self.class_orders.append(tuple(names))
        self.files.append(
            {
                "name": prepared.name,
                "split": split,
                "rows": rows_seen,
                **prepared.table.facts,
                "width": 0 if prepared.table.named else len(prepared.table.columns),
                "columns": prepared.roles.to_dict(),
                "columns_found_by": dict(prepared.roles.how),
                **(
                    {"tags": prepared.maker.tagged.scheme}
                    if prepared.maker.tagged and prepared.maker.tagged.scheme
                    else {}
                ),
                "advice": prepared.roles.advice,
            }
        )

    def _note_media(self, prepared: Prepared) -> None:
        if prepared.maker.boxes is not None:
            self.boxes.update(prepared.maker.boxes.tally)
        reader = prepared.maker.media
        if reader is None:
            return
        self.media = self.media or MediaTally(reader.kind)
        if self.media.kind != reader.kind:
            raise DataError(f"{self.given} holds tables of pictures and tables of clips", "give one of them")
        self.media.update(reader.tally)
        if prepared.maker.masks is not None:
            self.masks.update(prepared.maker.masks)

    def _write(self, split: str, rows: Rows) -> None:
        keep = _kept(split, rows)
        missing = keep.count(False)
        if missing:
            self.moved[split] += missing
            self.writer.write("unlabelled", rows.pick([not kept for kept in keep]))
            rows = rows.pick(keep)
        if rows.ids:
            self.masks.count(rows.answers.get("mask", ()))
            for kind, cells in rows.answers.items():
                answers = [answer for cell in cells if (answer := answer_of(kind, cell)) is not None]
                self.answers[kind] += len(answers)
                if kind in CLASS_ROLES:
                    self.labels.update(name for answer in answers for name in answer.names())
            if len(self.labels) > _MAX_LABELS_KEPT:
                raise DataError(
                    f"{self.given} has more than {_MAX_LABELS_KEPT} different labels, such as {next(iter(self.labels))[:40]!r}",
                    "is that the label column? Name it: --column label=NAME",
                )
            self.writer.write(split, rows)

    def _check_labels(self) -> None:
        if not self.writer.rows:
            if lost := unusable_in(self.counts):
                raise DataError(f"{self.given} holds no conversations: {', '.join(lost)}", TURNS_FIX)
            raise DataError(f"{self.given} holds no rows", "give data with rows")
        for role in ANSWER_ROLES:
            if self.asked.get(role) and not (self.labels if role in CLASS_ROLES else self.answers[role]):
                words = "labels" if role in CLASS_ROLES else ANSWERS[role].words[1]
                raise DataError(
                    f"--column {role}={self.asked[role]}: every {lack_of([role])} in {self.given} is missing",
                    f"name the column that holds {words}, or give --column {role}= for none",
                )

    def _name_labels(self) -> None:
        names, note = label_names(list(self.labels), self.place.label_files, self.options.encoding)
        self.notes += [note] if note else []
        if names:
            self._rename_labels(names)
            self.class_orders.append(tuple(names.values()))
        elif spelled := one_spelling_of_booleans(self.labels):
            self._rename_labels(spelled)
        self.notes += [*change_notes(self.counts, self.missing_like), *number_notes(self.labels)]
        self.findings += label_findings(self.labels)

    def _rename_labels(self, names: Mapping[str, str]) -> None:
        def renamed(cell: Any) -> Any:
            return [names.get(name, name) for name in cell] if isinstance(cell, list) else names.get(cell, cell)

        def rename(batch: pa.RecordBatch) -> pa.RecordBatch:
            for place, field in enumerate(batch.schema):
                if field.name in CLASS_ROLES:
                    new = pa.array(map(renamed, batch.column(place).to_pylist()), field.type)
                    batch = batch.set_column(place, field, new)
            return batch

        for split in self.writer.rows:
            if split != "unlabelled":
                self.writer.rewrite(split, rename)
        before, self.labels = self.labels, Counter()
        for label, times in before.items():
            self.labels[names.get(label, label)] += times

    def _classes(self) -> list[str]:
        """The classes in the order of the ids that the data gives them; none where it gives none, or several orders."""
        orders = set(self.class_orders)
        if len(orders) > 1:
            self.notes.append("The files give the classes different numbers; their names are put in order instead.")
        return [*orders.pop()] if len(orders) == 1 else []

    def _note_ids(self, split: str, rows: Rows) -> None:
        hashes = np.fromiter(map(hash, rows.ids), np.int64, len(rows.ids))
        whole = np.array(_kept(split, rows), dtype=bool)
        self.ids.setdefault(split, []).append(hashes[whole])
        self.ids.setdefault("unlabelled", []).append(hashes[~whole])

    def _check_ids(self) -> None:
        """Ids that repeat in a split are an error; ids that restart in every split get the split's name before them."""
        hashes = {split: np.concatenate(parts) for split, parts in self.ids.items()}
        for split, values in hashes.items():
            if len(np.unique(values)) < len(values):
                raise self._repeated_ids(split)
        total = sum(map(len, hashes.values()))
        if not total or len(np.unique(np.concatenate(list(hashes.values())))) == total:
            return
        for split in self.writer.rows:

            def prefixed(batch: pa.RecordBatch, split: str = split) -> pa.RecordBatch:
                return batch.set_column(0, "id", pc.binary_join_element_wise(pa.scalar(split), batch.column(0), ":"))  # pyright: ignore[reportAttributeAccessIssue]

            self.writer.rewrite(split, prefixed)
        self.notes.append('Ids restart in each split; the split\'s name was put before them ("train:17").')

    def _repeated_ids(self, split: str) -> _RepeatedIdsError:
        times: Counter[str] = Counter()
        for batch in self.writer.batches(split):
            times.update(batch.column(0).to_pylist())
        repeated = [name for name, count in times.items() if count > 1]
        column = next(file["columns"]["id"] for file in self.files if "id" in file["columns"])
        return _RepeatedIdsError(
            f"{self.given}: the id column {column!r} repeats {len(repeated)} ids in {split}: {', '.join(repeated[:5])}",
            "make them unique, name another column with --column id=NAME, or number the rows with --column id=",
        )

    def _facts(self) -> dict[str, Any]:
        self.files.sort(key=lambda file: file["name"])
        labelled = any(split != "unlabelled" for split in self.writer.rows)
        moved = {split: count for split, count in self.moved.items() if split != "unlabelled" and labelled}
        lack = lack_of(self.answers)
        self.notes += row_notes(self.counts, self.literal, moved, labelled=labelled, lack=lack)
        self.notes += [*tag_notes(self.files, self.counts), *span_notes(self.counts), *point_notes(self.counts)]
        self.notes += turn_notes(self.counts)
        self.notes += self.boxes.notes()
        self.counts.update({f"boxes_{what}": num for what, num in self.boxes.counts.items()})
        self.notes += [] if self.options.encoding else encoding_notes(self.files)
        self.notes += self.groups.notes(self.options.group_from)
        self.notes += [*(self.media.notes() if self.media is not None else []), *self.masks.notes()]
        return {
            "place": shown_place(self.given),
            **({"media": self.media.facts()} if self.media is not None else {}),
            "files": self.files,
            "encoding": {file["name"]: file["encoding"] for file in self.files if "encoding" in file},
            "rows": {split: self.writer.rows[split] for split in sorted(self.writer.rows)},
            "labels": dict(self.labels.most_common(1000)),
            **({"answers": dict(self.answers)} if self.answers else {}),
            **self.masks.facts(),
            **({"classes": classes} if (classes := self._classes()) else {}),
            "counts": {name: count for name, count in sorted(self.counts.items()) if count},
            "moved_to_unlabelled": moved,
            "left_out": [one.to_dict() for one in self.place.left_out],
            "notes": list(dict.fromkeys(self.notes)),
            "findings": self.findings,
        }
