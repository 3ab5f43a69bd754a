"""Which column is the text, which the label: as told with ``--column``, by usual names, else by what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pretune.data.columns_media import TRANSCRIPT_NAMES, media_column
from pretune.data.columns_names import plain_name, roles_by_name
from pretune.data.formats import ABSENT, Chunk, Table
from pretune.data.label_lists import holds_lists, holds_several
from pretune.errors import DataError, UsageError, did_you_mean

__all__ = ["Roles", "find_roles", "parse_columns"]

ROLES = ("text", "text_pair", "image", "audio", "label", "labels", "id", "group")
_SAMPLE_ROWS = 2_000
_SHORT = 60


@dataclass(frozen=True)
class Roles:
    """The column of each role, None where there is none; ``how`` says how each was found."""

    text: str | None = None
    text_pair: str | None = None
    image: str | None = None
    audio: str | None = None
    label: str | None = None
    labels: str | None = None
    id: str | None = None
    group: str | None = None
    how: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def media(self) -> tuple[str, str] | None:
        """``image`` or ``audio`` and its column, None for text."""
        if self.image is not None:
            return "image", self.image
        return ("audio", self.audio) if self.audio is not None else None

    def to_dict(self) -> dict[str, str]:
        """Role to column, those that exist."""
        return {role: getattr(self, role) for role in ROLES if getattr(self, role) is not None}


def parse_columns(given: Iterable[str], group: str | None = None) -> dict[str, str]:
    """Role to column of ``--column role=name`` (and ``--group``). An empty name means that there is no such column.

    Raises :class:`UsageError` for an unknown role, a role told twice, or no text column.
    """
    asked: dict[str, str] = {}
    for word in given:
        role, equals, name = (part.strip() for part in word.partition("="))
        if not equals:
            raise UsageError(f"--column is {word!r}", "write role=name, for example --column text=title")
        if role not in ROLES:
            raise UsageError(f"--column is {word!r}: there is no role {role!r}", did_you_mean(role, ROLES))
        if asked.get(role, name) != name:
            raise UsageError(f"--column names {role} twice: {asked[role]!r} and {name!r}", "give one of them")
        asked[role] = name
    if group is not None:
        if asked.get("group", group) != group:
            raise UsageError(f"--group is {group!r} and --column group={asked['group']}", "give one of them")
        asked["group"] = group
    if asked.get("text") == "":
        raise UsageError("--column text= names no column", "name the text column, for example --column text=title")
    return asked


def find_roles(
    table: Table, sample: Sequence[Chunk], asked: Mapping[str, str], name: str, *, classes_named: bool = False
) -> Roles:
    """The roles of a table's columns, from ``sample`` rows where names do not tell. ``classes_named``: a file beside the data
    names class indices.

    Raises :class:`DataError` that lists the columns and the flag to type, when a column is missing or several fit.
    """
    roles: dict[str, str] = {}
    how: dict[str, str] = {}
    for role, column in asked.items():
        if column:
            roles[role] = _asked_column(table, role, column, name)
            how[role] = "--group" if role == "group" else "--column"
    free = {role for role in ROLES if role not in asked} - ({"label"} if asked.get("labels") else set())
    _add(roles, how, free, table.roles, "the format")
    if _add_media(table, sample, roles, how, free, name):
        notes = _add_beside_media(table, sample, roles, how, free, name)
    else:
        if table.named:
            _add(roles, how, free, roles_by_name(table.columns, set(roles.values()), free, name), "its name")
        notes = _add_by_content(table, sample, roles, how, free, name)
    if "label" in roles and "labels" in free:
        notes += _several(roles, how, _values(sample, roles["label"]), name, classes_named)
    return Roles(**roles, how=how, notes=tuple(notes))


def _add_media(
    table: Table, sample: Sequence[Chunk], roles: dict[str, str], how: dict[str, str], free: set[str], name: str
) -> bool:
    """Fill in the column of pictures or clips where there is one; whether there is."""
    if {"image", "audio"} <= roles.keys():
        raise DataError(f"{name}: a row has a picture or a clip, not both", "give --column image= or --column audio=")
    if not {"image", "audio"} & roles.keys():
        rest = [column for column in table.columns if column not in roles.values()]
        found = media_column(table, {column: _values(sample, column) for column in rest}, name)
        captions = (
            found and found[0] == "image" and "text" in roles
        )  # who names a text column beside pictures wants text
        if found and found[0] in free and not captions:
            roles[found[0]], how[found[0]] = found[1], "what it holds"
    return bool({"image", "audio"} & roles.keys())


def _add_beside_media(
    table: Table, sample: Sequence[Chunk], roles: dict[str, str], how: dict[str, str], free: set[str], name: str
) -> list[str]:
    """The columns beside pictures or clips: transcript (of clips), label or labels, id. None of them has to be there."""
    if table.named:
        found = roles_by_name(table.columns, set(roles.values()), free, name)
        words = {plain_name(column): column for column in table.columns if column not in found.values()}
        texts = [
            found.pop(role) for role in ("text", "text_pair") if role in found
        ]  # such names mean less beside media
        words |= {plain_name(column): column for column in texts}
        if "audio" in roles and (text := next((words[word] for word in TRANSCRIPT_NAMES if word in words), None)):
            found["text"] = text
        _add(roles, how, free, found, "its name")
    rest = [column for column in table.columns if column not in roles.values()]
    looks = [_look(column, _values(sample, column)) for column in rest]
    classes = [look.column for look in looks if look.is_class]
    if not {"label", "labels", "text"} & roles.keys() and not table.roles and len(rest) == 1:
        role = "label" if classes else "text" if "audio" in roles and looks[0].is_text else ""
        if role in free:
            roles[role], how[role] = rest[0], "what it holds"
    left_out = [column for column in table.columns if column not in roles.values()]
    notes = [f"{name}: columns left out: {', '.join(left_out[:20])}."] if left_out else []
    if any(plain_name(column) == "offset" for column in left_out):
        notes.append(f"{name}: offsets are not used: each clip is read whole.")
    if left_out and not {"label", "labels", "text"} & roles.keys() and "label" in free:
        notes.append(f"{name}: no column was taken as the label; if there is one, name it with --column label=NAME.")
    return notes


def _several(
    roles: dict[str, str], how: dict[str, str], cells: Sequence[Any], name: str, classes_named: bool
) -> list[str]:
    """Take the column of labels as one of several labels a row where its cells are such; the note says so."""
    column, lists = roles["label"], holds_lists(cells)
    if not lists and (how["label"] == "--column" or not holds_several(column, cells, classes_named=classes_named)):
        return []
    roles["labels"], how["labels"] = roles.pop("label"), how.pop("label")
    if lists:
        return []
    return [
        f"{name}: the column {column} was read as several labels a row; --column label={column} makes each combination one label."
    ]


def _add(roles: dict[str, str], how: dict[str, str], free: set[str], found: Mapping[str, str], by: str) -> None:
    for role, column in found.items():
        if role in free and role not in roles and column not in roles.values():
            roles[role], how[role] = column, by


def _asked_column(table: Table, role: str, column: str, name: str) -> str:
    if column in table.columns:
        return column
    if column.isdigit() and int(column) < len(table.columns):
        return table.columns[int(column)]
    same = [known for known in table.columns if plain_name(known) == plain_name(column)]
    if len(same) == 1:
        return same[0]
    flag = f"--group {column}" if role == "group" else f"--column {role}={column}"
    positions = (
        "" if table.named else f"; the file has no header, so name columns by position, 0 to {len(table.columns) - 1}"
    )
    raise DataError(f"{flag}: {name} has no column {column!r}", did_you_mean(column, table.columns) + positions)


@dataclass(frozen=True)
class _Look:
    """What a sampled column holds."""

    column: str
    mean_length: float
    is_class: bool
    is_text: bool
    example: str


def _look(column: str, values: Sequence[Any]) -> _Look:
    texts = [str(value) for value in values if value is not None and value is not ABSENT]
    distinct = len(set(texts))
    mean = sum(map(len, texts)) / max(1, len(texts))
    short = bool(texts) and max(map(len, texts)) <= _SHORT and mean <= 30
    is_class = short and distinct <= max(2, min(300, len(texts) // 3)) and distinct < len(texts)
    plain = all(value is None or value is ABSENT or isinstance(value, str) for value in values)
    numeric = sum(text.replace(".", "", 1).isdigit() for text in texts) > 0.9 * len(texts)
    return _Look(column, mean, is_class, plain and not numeric and bool(texts), (texts[0] if texts else "")[:40])


def _add_by_content(
    table: Table, sample: Sequence[Chunk], roles: dict[str, str], how: dict[str, str], free: set[str], name: str
) -> list[str]:
    """Fill the roles that neither flags, format nor names told; the notes say what was left out."""
    rest = [column for column in table.columns if column not in roles.values()]
    looks = (
        [_look(column, _values(sample, column)) for column in rest]
        if "text" not in roles or "label" not in roles
        else []
    )
    if "text" not in roles:
        roles["text"] = _longest(looks, table, name)
        how["text"] = "what it holds"
    classes = [look.column for look in looks if look.is_class and look.column != roles["text"]]
    others = [look.column for look in looks if look.column != roles["text"]]
    if "label" in free and "label" not in roles and not table.roles:
        if not table.named and len(classes) > 1:
            raise DataError(
                f"{name} has several columns that may be the label: {_listed(looks)}",
                f"name it: --column label={classes[0]} (or --column label= for none)",
            )
        if len(classes) == 1 and (not table.named or len(others) == 1):
            roles["label"], how["label"] = classes[0], "what it holds"
    left_out = [column for column in table.columns if column not in roles.values()]
    notes = [f"{name}: columns left out: {', '.join(left_out[:20])}."] if left_out else []
    if left_out and "label" not in roles and "label" in free:
        notes.append(f"{name}: no column was taken as the label; if there is one, name it with --column label=NAME.")
    return notes


def _values(sample: Sequence[Chunk], column: str) -> list[Any]:
    values: list[Any] = []
    for chunk in sample:
        values += chunk.column(column)[: _SAMPLE_ROWS - len(values)]
    return values


def _longest(looks: Sequence[_Look], table: Table, name: str) -> str:
    """The one column of text that is clearly longer than the others, or DataError."""
    texts = sorted((look for look in looks if look.is_text and not look.is_class), key=lambda look: -look.mean_length)
    texts = texts or sorted((look for look in looks if look.is_text), key=lambda look: -look.mean_length)
    if len(looks) == 1 and not texts and not table.named:
        texts = list(looks)
    if not texts:
        raise DataError(f"{name} has no column of text: {_listed(looks)}", "name it: --column text=NAME")
    if len(texts) > 1 and texts[0].mean_length < 2 * texts[1].mean_length:
        raise DataError(
            f"{name} has several columns that may be the text: {_listed(looks)}",
            f"name it: --column text={texts[0].column} (and --column text_pair={texts[1].column} for pairs)",
        )
    return texts[0].column


def _listed(looks: Sequence[_Look]) -> str:
    return ", ".join(f'{look.column} ("{look.example}")' for look in looks) or "no columns left"
