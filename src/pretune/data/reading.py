"""How the rows were read that a model learned from: kept with it (``reading`` of pretune.json), and read so again by whatever
answers with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pretune.config import cleaning_steps
from pretune.data.columns.names import plain_name
from pretune.data.columns.roles import ANSWER_ROLES, parse_columns
from pretune.data.formats.base import Table
from pretune.data.text.encodings import check_encoding_name
from pretune.data.text.keys import key_at_hand
from pretune.data.text.scrub import REDACTING
from pretune.errors import DataError

if TYPE_CHECKING:
    from pretune.data.changes.redact import NameFinder

__all__ = ["AUTO", "HOW", "WHOLE_LINE", "Reading"]

HOW = ("header", "delimiter", "encoding", "format")
"""The settings that say how text files are read."""
AUTO = "auto"
WHOLE_LINE = ""
"""In place of a column: each line is one text."""
_NOT_KEPT = ("needed", "open_tagger")
_TEXTS = ("text", "text_pair")
_THINGS = {
    "text": "texts",
    "text_pair": "second texts",
    "image": "pictures",
    "audio": "clips",
    "speaker": "speakers",
    "label": "labels",
    "value": "numbers",
    "words": "words",
    "turns": "conversations",
    "tags": "tags",
    "target": "target texts",
    "mask": "masks",
    "keypoints": "keypoints",
    "span": "answers",
    "boxes": "boxes",
}


@dataclass(frozen=True)
class Reading:
    """What a model's rows were read as. ``columns``: role to column as a person told it ("" where there is none of it),
    ``found``: those that were read. ``width``: columns of tables that did not name theirs (0: they did). ``how``: options
    of text files (those of :data:`HOW`) that were told. ``clean``: steps of :data:`pretune.data.text.scrub.STEPS`; ``key``: what the key of pseudonyms is called; ``tagger``: what is known of the one
    whose names were taken out, and ``open_tagger`` opens it (it is not kept). ``pairs``: did
    rows hold two texts (None: not known)? ``masks``: the classes of the values of masks, None for no class. ``needed`` are the roles that rows must have where they are read again.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, str] = field(default_factory=dict)
    width: int = 0
    how: Mapping[str, str] = field(default_factory=dict)
    clean: tuple[str, ...] = ()
    key: str = ""
    pairs: bool | None = None
    masks: Mapping[str, str | None] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    tagger: Mapping[str, Any] = field(default_factory=dict)
    open_tagger: Callable[[], NameFinder] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Any, passport: Mapping[str, Any]) -> Self:
        """The reading that ``settings`` (of data and cleaning) asked for; ``passport`` tells what was found in the data."""
        files = passport.get("facts", {}).get("read", {}).get("files", [])
        known = Counter((tuple(sorted(_roles_found(file).items())), file.get("width", 0)) for file in files)
        (found, width), _ = known.most_common(1)[0] if known else (((), 0), 0)
        columns = passport.get("splits", {}).get("train", {}).get("columns", ())
        told = {name: getattr(settings, name) for name in HOW}
        return cls(
            columns=parse_columns(settings.column, settings.group), found=dict(found), width=width,
            how={name: value for name, value in told.items() if value not in (None, AUTO)},
            clean=cleaning_steps(settings.clean, settings.redact),
            key=passport.get("facts", {}).get("pseudonyms", {}).get("key", ""),
            tagger=passport.get("facts", {}).get("tagger", {}),
            pairs="text_pair" in columns if columns else None,
            masks=passport.get("facts", {}).get("read", {}).get("masks", {}).get("names", {}),
        )  # fmt: skip

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """As :meth:`to_dict` kept it; what a newer version may have kept beside it is passed over."""
        known = {
            spec.name: saved[spec.name] for spec in fields(cls) if spec.name in saved and spec.name not in _NOT_KEPT
        }
        return cls(**{**known, "clean": tuple(saved.get("clean", ()))})

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        kept = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in _NOT_KEPT}
        found = {name: dict(value) if isinstance(value, Mapping) else value for name, value in kept.items()}
        return {**found, "clean": list(self.clean)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of columns that it knows."""
        return tuple(sorted({name for name in (*self.columns.values(), *self.found.values()) if name}))

    def options(self, **given: str | None) -> dict[str, Any]:
        """The options of text files: as they were, where nothing else is ``given``; ``auto`` has one found by looking."""
        told = {**self.how, **{name: value for name, value in given.items() if value is not None}}
        found = {name: value for name, value in told.items() if value != AUTO}
        if "encoding" in found:
            found["encoding"] = check_encoding_name(found["encoding"])
        return found

    def asked(self, table: Table, given: Mapping[str, str], name: str) -> dict[str, str]:
        """The columns to ask of a table: ``given`` ones, then those of old. A format that fixes a role goes before these.

        Columns that were found by looking are taken where they are there. One that a person named must be there for the
        roles that are ``needed``, or a column called as the role is; else it raises :class:`DataError`, as it does where single
        texts were found and the table holds pairs.
        """
        self._refuse_pairs(table, given, name)
        asked = dict(given)
        asked |= {role: "" for role in ANSWER_ROLES if self.needed and role not in (*self.needed, *asked)}
        for role, column in {**self.found, **self.columns}.items():
            of_path = table.in_folders and column.startswith("folder:")
            if role in asked or (role in table.roles and not of_path):
                continue
            place = self._place(table, role, column)
            if place is not None:
                asked[role] = place
            elif role in self.columns and role in table.columns:
                asked[role] = role
            elif role in self.columns and role in self.needed:
                raise DataError(
                    f"{name} has no column {column!r}, from which the model learned its {_THINGS.get(role, role)}; "
                    f"it has {', '.join(table.columns[:20])}",
                    f"name the column: --column {role}={'NAME' if table.named else 'NUMBER (from 0)'}",
                )
        return asked

    def _refuse_pairs(self, table: Table, given: Mapping[str, str], name: str) -> None:
        """Raise :class:`DataError` for a column of second texts, where nobody said which of two texts is meant."""
        told = given.keys() | self.columns.keys()
        if self.pairs is False and "text_pair" in table.columns and not {"text", "text_pair"} & told:
            raise DataError(
                f"{name} has a column text_pair, and the model learned from single texts",
                "name the one that is meant with --column text=NAME",
            )

    def _place(self, table: Table, role: str, column: str) -> str | None:
        """The table's column for a role; None where it has none of that name."""
        if table.in_folders and column.startswith("folder:"):
            return column if role in self.needed else None
        if not column or column in table.columns:
            fits = role in self.columns or table.named or len(table.columns) == self.width
            return column if fits else None
        if column.isdigit() and role in self.columns and int(column) < len(table.columns):
            return column
        if role in self.columns and "," in column and all(part.strip() in table.columns for part in column.split(",")):
            return column  # several columns of 0 and 1
        same = [known for known in table.columns if plain_name(known) == plain_name(column)]
        return same[0] if len(same) == 1 else None

    @cached_property
    def cleaner(self) -> Callable[[str], str]:
        """What cleans a text."""
        from pretune.data.changes.clean import text_cleaner

        return text_cleaner(self.clean, key=self.key, names=self.name_finder)

    @cached_property
    def name_finder(self) -> NameFinder | None:
        """What finds the names that are taken out; None where none are."""
        return self.open_tagger() if self.open_tagger is not None and {*REDACTING} & {*self.clean} else None

    def refuse_other_key(self) -> None:
        """Raise :class:`pretune.errors.UsageError` where pseudonyms were learned, and their key is not at hand."""
        if "pseudonym" in self.clean:
            key_at_hand(self.key)

    def cleaned(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its texts cleaned."""
        if not self.clean:
            return dict(row)
        clean = self.cleaner
        found = {key: clean(value) if key in _TEXTS and isinstance(value, str) else value for key, value in row.items()}
        if row.get("turns"):
            found["turns"] = [{**turn, "content": clean(turn["content"])} for turn in row["turns"]]
        return found

    def differences(self, columns: Mapping[str, str]) -> list[str]:
        """Sentences on needed roles that are read from columns of other names than the model learned them from."""
        known = {**self.found, **self.columns}
        words = {WHOLE_LINE: "is each line as a whole (a table: give --delimiter)"}
        return [
            f"{role} {words.get(column, f'is read from the column {column}')}; the model learned it from {known[role]}"
            for role, column in columns.items()
            if known.get(role) and role in self.needed and plain_name(column) != plain_name(known[role])
        ]

    def sentence(self, columns: Mapping[str, str]) -> str:
        """What is read, in words: ``columns`` are those of a table by role; nothing where there is nothing to say."""
        told = [f"column {column} as {role}" if column else f"each line as {role}" for role, column in columns.items()]
        told += [f"cleaned: {', '.join(self.clean)}"] if self.clean else []
        return ", ".join(told)


def _roles_found(file: Mapping[str, Any]) -> dict[str, str]:
    """The roles of a file's columns, without those that its format told."""
    how = file.get("columns_found_by", {})
    return {
        role: column for role, column in file.get("columns", {}).items() if how.get(role) not in ("the format", None)
    }
