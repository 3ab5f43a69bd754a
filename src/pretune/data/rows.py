"""From the values of a file to the canonical columns: id, text, words, the answers, group; every change is counted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pretune.answers import TargetText, Value
from pretune.data.cells.boxes import BoxReader
from pretune.data.cells.spans import SpanReader, groups_of_passages
from pretune.data.cells.tagged import TaggedRows, TagReader
from pretune.data.columns.roles import Roles
from pretune.data.columns.split import FoldTally, split_of_cell
from pretune.data.dialogue.columns import sound_turns
from pretune.data.dialogue.turns import Turn
from pretune.data.formats.base import ABSENT, Chunk, Table
from pretune.data.labels.lists import is_missing, parts_of
from pretune.data.labels.words import MISSING_WORDS, plain_label
from pretune.data.masks.rows import MaskReader
from pretune.data.media.base import Find, Media
from pretune.data.media.rows import MediaReader
from pretune.data.places.group_names import GroupNames
from pretune.data.points.rows import PointReader
from pretune.errors import DataError

__all__ = ["RowMaker", "Rows", "sound_text"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def sound_text(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates (half of a character in JSON) become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


@dataclass
class Rows:
    """Canonical columns of some rows; None where there is no such column. ``answers`` holds, by kind, the JSON value of each row's
    answer (None where it is missing), ``words`` the ``[start, end]`` of each word in the text, ``turns`` the turns before it, ``speakers`` who says
    it, ``slices`` what scores are split by, ``media`` the picture or clip of each row, ``splits`` the split that the row itself names (None where it names none).
    """

    ids: list[str]
    texts: list[str] | None
    pairs: list[str] | None
    groups: list[str | None] | None
    answers: dict[str, list[Any]] = field(default_factory=dict)
    words: list[list[list[int]]] | None = None
    turns: list[list[Turn]] | None = None
    speakers: list[str | None] | None = None
    slices: list[str | None] | None = None
    media: list[Media] | None = None
    splits: list[str | None] | None = None

    def pick(self, keep: Sequence[bool]) -> Rows:
        """The rows where ``keep`` is true."""

        def some(values: Any) -> Any:
            if isinstance(values, dict):
                return {name: some(column) for name, column in values.items()}
            return None if values is None else [value for value, kept in zip(values, keep, strict=True) if kept]

        return Rows(**{spec.name: some(getattr(self, spec.name)) for spec in fields(self)})

    def labelled(self) -> list[bool]:
        """Which rows have something to learn: an answer of any kind, or a transcript."""
        columns = list(self.answers.values())
        if self.media is not None and self.texts is not None:
            columns.append([text.strip() or None for text in self.texts])
        return [any(column[place] is not None for column in columns) for place in range(len(self.ids))]


class RowMaker:
    """Makes canonical rows of the chunks of one table.

    ``counts`` says how many values were changed or found wanting, ``literal_labels`` which words counted as no label and
    ``missing_like`` which labels are called as a missing value is written.
    """

    def __init__(
        self,
        table: Table,
        roles: Roles,
        name: str,
        label: str | None = None,
        find: Find | None = None,
        folds: FoldTally | None = None,
        group_from: str | None = None,
        sample: Sequence[Chunk] = (),
    ) -> None:
        self.group_names = GroupNames(group_from, roles, name) if group_from is not None else None
        self.roles, self.name, self.counts = roles, name, Counter[str]()
        self._table = table
        self.literal_labels, self.missing_like = Counter[str](), Counter[str]()
        self._label = label and plain_label(label)[0]
        self._folds = folds or FoldTally(None)
        self._class_names = table.class_names.get(roles.label or roles.labels or "", ())
        self.media = MediaReader(roles.media[0], find, name) if roles.media is not None else None
        self.masks = MaskReader(roles.mask, find, name) if roles.mask is not None and self.media is not None else None
        self.boxes = BoxReader(roles.boxes, table.class_names.get(roles.boxes, ())) if roles.boxes is not None else None
        if self.boxes is not None and self.media is None:
            raise DataError(f"{name} has boxes, and no column of pictures", "name it: --column image=NAME")
        self.points = PointReader(roles.keypoints, self.counts) if roles.keypoints is not None else None
        self.tagged: TagReader | None = None
        if roles.words is not None or roles.tags is not None:
            names = table.class_names.get(roles.tags or "", ())
            self.tagged = TagReader(roles, names, sample, self.counts, self.row_name)
        self.spans = SpanReader(self.counts) if roles.span is not None else None
        self._known_labels: dict[tuple[type, Hashable], tuple[str | None, str]] = {}

    def __call__(self, chunk: Chunk) -> Rows:
        """The canonical rows of a chunk. Raises :class:`DataError` naming the file and row of a value that cannot be used."""
        roles = self.roles
        if roles.turns is not None:
            chunk = sound_turns(chunk, roles.turns, self.counts)
        texts = None if roles.text is None else self._strings(chunk, roles.text, "text")
        tagged = None if self.tagged is None else self.tagged(chunk, texts)
        texts = texts if tagged is None else self._sound(tagged.texts)
        self.counts["empty_texts"] += sum(1 for text in texts or () if not text or text.isspace())
        pairs = None if roles.text_pair is None else self._strings(chunk, roles.text_pair, "text_pair")
        groups = None if roles.group is None else self._groups(chunk, roles.group)
        if self.group_names is not None:
            groups = self.group_names(chunk)
            self.counts["names_without_group"] += groups.count(None)
        ids = self._table.row_names(self.name, chunk.numbers) if roles.id is None else self._ids(chunk, roles.id)
        words = None if tagged is None else tagged.words
        speakers = None if roles.speaker is None else self._names(chunk, roles.speaker)
        slices = None if roles.slice is None else self._names(chunk, roles.slice)
        answers = self._answers(chunk, tagged)
        if self.spans is not None and pairs is not None:
            answers["span"] = self._spans(chunk, self.spans, pairs)
            groups = groups_of_passages(pairs, groups)
        turns = None if roles.turns is None else list(chunk.column(roles.turns))
        rows = Rows(ids, texts, pairs, groups, answers, words, turns, speakers, slices, splits=self._splits(chunk))
        return rows if self.media is None else self._with_media(rows, chunk, self.media)

    def _answers(self, chunk: Chunk, tagged: TaggedRows | None) -> dict[str, list[Any]]:
        """The answers of the rows by their kind."""
        roles = self.roles
        found: dict[str, list[Any]] = {}
        if roles.label is not None:
            found["label"] = self._labels(chunk)
        elif self._label is not None:
            found["label"] = [self._label for _ in chunk.numbers]
        if roles.labels is not None:
            found["labels"] = self._label_lists(chunk, roles.labels)
        if roles.value is not None:
            found["value"] = self._values(chunk, roles.value)
        if roles.tags is not None and tagged is not None:
            found["tags"] = tagged.tags
        if roles.target is not None:
            found["target"] = self._targets(chunk, roles.target)
        if roles.boxes is not None:
            found["boxes"] = list(chunk.column(roles.boxes))
        return found

    def _targets(self, chunk: Chunk, column: str) -> list[list[str] | None]:
        """The texts to be written of each row; None where there is none."""
        found: list[list[str] | None] = []
        for place, cell in enumerate(chunk.column(column)):
            answer = None if cell is ABSENT else TargetText.read(cell, f"{self._where(chunk, place)} (column {column})")
            found.append(None if answer is None else self._sound(answer.values))
        return found

    def _spans(self, chunk: Chunk, reader: SpanReader, passages: Sequence[str]) -> list[Any]:
        """The answers of each row in its passage, None where they are missing."""
        self.counts["empty_passages"] += sum(1 for passage in passages if not passage.strip())
        column = self.roles.span or ""
        cells = (None if is_missing(cell) else cell for cell in chunk.column(column))
        return [
            reader(cell, passage, f"{self._where(chunk, place)} (column {column})")
            for place, (cell, passage) in enumerate(zip(cells, passages, strict=True))
        ]

    def _values(self, chunk: Chunk, column: str) -> list[float | None]:
        """The number of each row; None where it is missing, or a word such as ``nan`` stands there."""
        cells, found = chunk.column(column), []
        for place, cell in enumerate(cells):
            if is_missing(cell):
                self._note_missing(cell)
                found.append(None)
                continue
            answer = Value.read(cell, f"{self._where(chunk, place)} (column {column})")
            found.append(None if answer is None else answer.to_json())
        return found

    def _note_missing(self, cell: Any) -> None:
        """Count a word that stands for no answer."""
        if isinstance(cell, str):
            self.counts["labels_literally_missing"] += 1
            self.literal_labels[cell.strip()] += 1

    def _with_media(self, rows: Rows, chunk: Chunk, reader: MediaReader) -> Rows:
        """The rows whose picture or clip can be used; the reader counts the others."""
        assert self.roles.media is not None, "there is a reader"
        found = reader(chunk.column(self.roles.media[1]), chunk.numbers)
        if self.masks is not None:
            rows.answers["mask"] = self.masks(chunk, found)
        if self.points is not None:
            rows.answers["keypoints"] = self.points(chunk, found, self._where)
        rows = rows.pick([media is not None for media in found])
        rows.media = [media for media in found if media is not None]
        if self.boxes is not None:
            rows.answers["boxes"] = self.boxes(rows.answers["boxes"], rows.media, rows.ids)
        return rows

    def close(self) -> None:
        """End the threads that read files."""
        for reader in (self.media, self.masks and self.masks.reader):
            if reader is not None:
                reader.close()

    def row_name(self, number: int) -> str:
        """What a row is called that has no id: its table and line."""
        return self._table.row_name(self.name, number)

    def _where(self, chunk: Chunk, place: int) -> str:
        return self.row_name(chunk.numbers[place])

    def _strings(self, chunk: Chunk, column: str, role: str) -> list[str]:
        values = chunk.column(column)
        if set(map(type, values)) != {str}:
            values = [
                value if isinstance(value, str) else self._string(value, chunk, i, column, role)
                for i, value in enumerate(values)
            ]
        return self._sound(values)

    def _string(self, value: Any, chunk: Chunk, place: int, column: str, role: str) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            self.counts[f"null_{role}s"] += 1
            return ""
        if isinstance(value, (bool, int, float)):
            self.counts[f"{role}s_from_numbers"] += 1
            return str(value)
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            self.counts[f"{role}s_from_lists"] += 1
            return "\n".join(value)
        what = "nothing (the key is absent)" if value is ABSENT else f"a {type(value).__name__}"
        raise DataError(
            f"{self._where(chunk, place)} has {what} where the {role} column {column!r} needs text",
            f"mend the row, or name another column: --column {role}=NAME",
        )

    def _sound(self, texts: Sequence[str]) -> list[str]:
        """The texts as UTF-8 can hold them; those that change are counted."""
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            fixed = [sound_text(text) for text in texts]
            self.counts["texts_with_broken_characters"] += sum(a != b for a, b in zip(texts, fixed, strict=True))
            return fixed
        return list(texts)

    def _ids(self, chunk: Chunk, column: str) -> list[str]:
        ids = [
            str(value).strip() if value is not None and value is not ABSENT else "" for value in chunk.column(column)
        ]
        if "" in ids:
            raise DataError(
                f"{self._where(chunk, ids.index(''))} has no value in the id column {column!r}",
                "fill it in, or give --column id= to number the rows",
            )
        return self._sound(ids)

    def _groups(self, chunk: Chunk, column: str) -> list[str | None]:
        values = self._names(chunk, column)
        self.counts["rows_without_group"] += values.count(None)
        return values

    @staticmethod
    def _names(chunk: Chunk, column: str) -> list[str | None]:
        """The cells as names, None for empty ones."""
        return [
            None if value is None or value is ABSENT or value == "" else str(value) for value in chunk.column(column)
        ]

    def _splits(self, chunk: Chunk) -> list[str | None] | None:
        """The split that each row names, by its column of splits, or of folds where one was asked for."""
        fold, split = self.roles.fold, self.roles.split
        found = None
        if fold is not None:
            cells = enumerate(chunk.column(fold))
            found = [self._folds.split_of(cell, self._where(chunk, place), fold) for place, cell in cells]
        if split is None or (found is not None and self._folds.wanted is not None):
            return found
        return [self._split_of(cell, chunk, place) for place, cell in enumerate(chunk.column(split))]

    def _split_of(self, cell: Any, chunk: Chunk, place: int) -> str | None:
        if cell is None or cell is ABSENT or cell == "":
            self.counts["rows_without_split"] += 1
            return None
        found = split_of_cell(cell)
        if found is None:
            raise DataError(
                f"{self._where(chunk, place)} has {str(cell)[:40]!r} in the column {self.roles.split!r}, which names no split",
                "write train, validation, test or unlabelled there, or give --column split= to leave the column out",
            )
        return found

    def _labels(self, chunk: Chunk) -> list[str | None]:
        values = chunk.column(self.roles.label or "")
        labels: list[str | None] = []
        known = self._known_labels
        for place, value in enumerate(values):
            key = (type(value), value)
            try:
                label, change = known[key]
            except (KeyError, TypeError):
                label, change = self._label_of(value, lambda place=place: self._where(chunk, place))
                known[key] = label, change
            if change:
                self.counts[change] += 1
                if change == "labels_literally_missing":
                    self.literal_labels[str(value).strip()] += 1
            if label in MISSING_WORDS:
                self.missing_like[label] += 1
            labels.append(label)
        return labels

    def _label_lists(self, chunk: Chunk, column: str) -> list[list[str] | None]:
        """The labels of each row, each once, in order; None where the cell is missing. See :func:`pretune.data.labels.lists.parts_of`."""
        found: list[list[str] | None] = []
        for place, value in enumerate(chunk.column(column)):
            parts = parts_of(value)
            if parts is None:
                self._note_missing(value)
                found.append(None)
                continue
            names = [self._label_of(part, lambda place=place: self._where(chunk, place))[0] for part in parts]
            self.counts["missing_labels_in_lists"] += names.count(None)
            found.append(list(dict.fromkeys(name for name in names if name is not None)))
        self.counts["rows_with_none_of_the_labels"] += found.count([])
        return found

    def _label_of(self, value: Any, where: Callable[[], str]) -> tuple[str | None, str]:
        """The label's name, and the count that its change belongs to ("" for none)."""
        if value is None or value is ABSENT:
            return None, ""
        if isinstance(value, (list, dict, tuple)):
            raise DataError(
                f"{where()} has a {type(value).__name__} as label: {str(value)[:60]}",
                "a label is a word or number; rows of several are read with --column labels=NAME, those of another column with --column label=NAME",
            )
        if self._class_names and isinstance(value, int) and not isinstance(value, bool):
            if 0 <= value < len(self._class_names):
                return self._class_names[value], "labels_named_by_file"
            return None, "" if value == -1 else "label_indices_without_name"
        if isinstance(value, bool):
            return str(value).lower(), "labels_from_numbers"
        if isinstance(value, float) and math.isnan(value):
            return None, ""
        if isinstance(value, (int, float)):
            return plain_label(str(value))[0], "labels_from_numbers"
        if isinstance(value, bytes):
            value, from_bytes = value.decode("utf-8", "replace"), "labels_from_bytes"
        else:
            from_bytes = ""
        label, change = plain_label(self._sound([str(value)])[0])
        if not label:
            return None, ""
        if label in MISSING_WORDS and self.roles.words_mean_missing:
            return None, "labels_literally_missing"
        return label, from_bytes or change
