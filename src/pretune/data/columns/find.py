"""Which column is the text, which the label: as told with ``--column``, by usual names, else by what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.data.cells.tagged import are_places, items_of
from pretune.data.columns.answers import span_column, tagged_columns, target_columns, value_column
from pretune.data.columns.looks import Look, advised_label, column_flag, label_advice, listed, look_at, sampled
from pretune.data.columns.media import SPEAKER_NAMES, TRANSCRIPT_NAMES, folder_column, mask_column, media_column
from pretune.data.columns.names import passage_columns, plain_name, roles_by_name
from pretune.data.columns.roles import ANSWER_ROLES, CLASS_ROLES, ROLES, Roles
from pretune.data.columns.split import split_role
from pretune.data.formats.base import Chunk, Table
from pretune.data.labels.lists import holds_lists, holds_several
from pretune.data.labels.words import missing_words_are_empty
from pretune.data.places.folder_names import folder_depth
from pretune.data.points.columns import points_column
from pretune.errors import DataError, did_you_mean

__all__ = ["find_roles"]


@dataclass
class _Finding:
    """Roles as they are found for a table: ``roles`` and ``how`` grow, ``free`` are those that may be found by looking."""

    table: Table
    sample: Sequence[Chunk]
    name: str
    roles: dict[str, str]
    how: dict[str, str]
    free: set[str]
    notes: list[str]
    advice: str = ""

    def add(self, found: Mapping[str, str], by: str) -> None:
        """Take the roles that are free, of columns that have none."""
        for role, column in found.items():
            if role in self.free and role not in self.roles and column not in self.roles.values():
                self.roles[role], self.how[role] = column, by

    def rest(self) -> list[str]:
        """The columns without a role; of files in folders none is left."""
        return (
            []
            if self.table.in_folders
            else [column for column in self.table.columns if column not in self.roles.values()]
        )

    def looks(self) -> list[Look]:
        """What the columns without a role hold."""
        return [look_at(column, sampled(self.sample, column)) for column in self.rest()]

    def wants_label(self) -> bool:
        """Whether no label, labels or transcript was found, and none was refused."""
        answered = set(ANSWER_ROLES) & self.roles.keys() or ("text" in self.roles and "audio" in self.roles)
        return "label" in self.free and not answered and not self.table.roles

    def by_name(self) -> dict[str, str]:
        """Roles of usual names. Raises :class:`DataError` when several columns may be the label."""
        pairs = {"text", "text_pair"} <= self.free
        found, rivals = roles_by_name(self.table.columns, set(self.roles.values()), pairs=pairs)
        if rivals and "label" in self.free and "label" not in self.roles:
            looks = [look_at(column, sampled(self.sample, column)) for column in rivals]
            raise DataError(
                f"{self.name} has several columns that may be the label: {listed(looks)} (columns: {', '.join(self.table.columns)})",
                label_advice(looks),
            )
        return found

    def has_text(self) -> bool:
        """Whether a text was named, or a column has a usual name of one."""
        return "text" in {*self.roles, *roles_by_name(self.table.columns, set(self.roles.values()), pairs=False)[0]}

    def note_left_out(self) -> None:
        """Tell of columns without a role, and where there is no label of what may be one."""
        left_out = self.rest()
        if left_out:
            self.notes.append(f"{self.name}: columns left out: {', '.join(left_out[:20])}.")
        if left_out and self.wants_label():
            self.advice = label_advice(self.looks())
            self.notes.append(f"{self.name}: no column was taken as the label; {self.advice}.")


def find_roles(
    table: Table, sample: Sequence[Chunk], asked: Mapping[str, str], name: str, *, classes_named: bool = False
) -> Roles:
    """The roles of a table's columns, from ``sample`` rows where names do not tell. ``classes_named``: a file beside the data
    names class indices.

    Raises :class:`DataError` that lists the columns and the flag to type, when a column is missing or several fit.
    """
    given = {role: _asked_column(table, role, column, name) for role, column in asked.items() if column}
    how = {role: "--group" if role == "group" else "--column" for role in given}
    free = {role for role in ROLES if role not in asked} - _settled(asked)
    finding = _Finding(table, sample, name, given, how, free, [])
    finding.add(table.roles, "the format")
    if table.named and not {"split", "fold"} & asked.keys():
        finding.add(split_role(table, sample, set(finding.roles.values())), "its name")
    if "turns" in finding.roles:
        finding.free -= {*ANSWER_ROLES, "text_pair"}
    if _add_media(finding):
        _add_beside_media(finding)
    else:
        _add_span(finding)
        _add_tagged(finding)
        if table.named:
            _add_target(finding)
            finding.add(finding.by_name(), "its name")
            _add_value(finding)
        _add_by_content(finding)
    if "label" in finding.roles and "labels" in free:
        _several(finding, classes_named)
    return Roles(
        **finding.roles, how=finding.how, notes=tuple(finding.notes), advice=finding.advice,
        words_mean_missing=_words_mean_missing(finding),
    )  # fmt: skip


def _settled(asked: Mapping[str, str]) -> set[str]:
    """The answers that are not looked for where a person named another: of ``label`` it may still turn out that rows have several."""
    told = {role for role in ANSWER_ROLES if asked.get(role)}
    others = set(ANSWER_ROLES) - told
    return others - {"labels"} if told == {"label"} else others if told else set()


def _add_tagged(finding: _Finding) -> None:
    """Fill in the columns of words and tags; words as strings are the text."""
    roles, table = finding.roles, finding.table
    if table.named and {"words", "tags"} & finding.free and not set(CLASS_ROLES) & roles.keys():
        cells = {column: sampled(finding.sample, column) for column in finding.rest()}
        cells |= {roles[role]: sampled(finding.sample, roles[role]) for role in ("words", "tags") if role in roles}
        told = {role: roles[role] for role in ("words", "tags") if role in roles}
        found = tagged_columns(cells, table.class_names, told)
        if "text" in roles and "words" in found.keys() - told.keys() and not _are_places(finding, found["words"]):
            found = {}  # the text that was told is read, not the words of another column
        if "tags" in {*found, *told} or not finding.has_text() or _are_places(finding, found.get("words")):
            finding.add(found, "its name and what it holds")
    if "tags" in roles:
        finding.free -= set(ANSWER_ROLES)
    if "words" in roles and finding.how.get("text") != "--column" and not _are_places(finding, roles["words"]):
        finding.free.discard("text")


def _add_span(finding: _Finding) -> None:
    """Fill in question, passage and answers where a column holds answers in a passage; the passages of a title are a group.

    Raises :class:`DataError` where answers are named and no passage is found.
    """
    roles, table = finding.roles, finding.table
    if table.named and "span" in finding.free and "span" not in roles and not {*ANSWER_ROLES} & roles.keys():
        column = span_column({column: sampled(finding.sample, column) for column in finding.rest()})
        finding.add({} if column is None else {"span": column}, "its name and what it holds")
    if "span" not in roles:
        return
    finding.free -= set(ANSWER_ROLES)
    finding.add(passage_columns(table.columns, set(roles.values())) if table.named else {}, "its name")
    if lacking := [word for role, word in (("text", "question"), ("text_pair", "context")) if role not in roles]:
        raise DataError(
            f"{finding.name} has answers ({roles['span']}), and no column of them was found to be the {lacking[0]}: {', '.join(table.columns[:20])}",
            f"name it: --column {lacking[0]}=NAME",
        )


def _are_places(finding: _Finding, column: str | None) -> bool:
    return column is not None and any(are_places(items_of(cell) or ()) for cell in sampled(finding.sample, column))


def _add_target(finding: _Finding) -> None:
    """Fill in the columns of texts and of the texts to be written from them."""
    if "target" in finding.free and "text" in finding.free and not {*ANSWER_ROLES, "text"} & finding.roles.keys():
        found = target_columns({column: sampled(finding.sample, column) for column in finding.rest()})
        finding.add(found, "its name and what it holds")
        finding.free -= {"text_pair", *ANSWER_ROLES} if found else set()
    elif "target" in finding.roles:
        finding.free.discard("text_pair")


def _add_value(finding: _Finding) -> None:
    """Fill in a column of numbers to estimate, where there is no label."""
    if "value" in finding.free and finding.wants_label():
        column = value_column({column: sampled(finding.sample, column) for column in finding.rest()})
        finding.add({} if column is None else {"value": column}, "its name and what it holds")


def _words_mean_missing(finding: _Finding) -> bool:
    """Whether labels such as ``nan`` say that there is none; where rows have several, an empty cell says that none applies."""
    if "label" not in finding.roles:
        return True
    cells = sampled(finding.sample, finding.roles["label"])
    return missing_words_are_empty(cell.strip() for cell in cells if isinstance(cell, str))


def _add_media(finding: _Finding) -> bool:
    """Fill in the column of pictures or clips where there is one; whether there is."""
    roles = finding.roles
    if {"image", "audio"} <= roles.keys():
        raise DataError(
            f"{finding.name}: a row has a picture or a clip, not both", "give --column image= or --column audio="
        )
    if not {"image", "audio"} & roles.keys():
        kinds = {"image", "audio"} & finding.free
        if "text" in roles:  # a text named beside pictures: text is wanted
            kinds -= {"image"}
        cells = {column: sampled(finding.sample, column) for column in finding.rest()}
        mask = mask_column(finding.table, cells) if finding.table.named and len(cells) > 1 else None
        if mask is not None:
            del cells[mask]
            finding.add({"mask": mask}, "its name and what it holds")
        if found := media_column(finding.table, cells, kinds, finding.name):
            roles[found[0]], finding.how[found[0]] = found[1], "what it holds"
    return bool({"image", "audio"} & roles.keys())


def _add_beside_media(finding: _Finding) -> None:
    """The columns beside pictures or clips: transcript (of clips), label or labels, id. None of them has to be there."""
    roles, columns = finding.roles, finding.table.columns
    if finding.table.named and "image" in roles and not {*ANSWER_ROLES} & roles.keys():
        points = points_column({column: sampled(finding.sample, column) for column in finding.rest()})
        finding.add({} if points is None else {"keypoints": points}, "its name and what it holds")
        finding.free -= {*ANSWER_ROLES} if points is not None else set()
    if finding.table.named:
        found = finding.by_name()
        words = {plain_name(column): column for column in columns if column not in found.values()}
        texts = [
            found.pop(role) for role in ("text", "text_pair") if role in found
        ]  # such names mean less beside media
        words |= {plain_name(column): column for column in texts}
        if "audio" in roles and (text := next((words[word] for word in TRANSCRIPT_NAMES if word in words), None)):
            found["text"] = text
            if speaker := next((words[word] for word in SPEAKER_NAMES if word in words), None):
                found["speaker"] = speaker
        finding.add(found, "its name")
        _add_value(finding)
    looks = finding.looks()
    if not {*ANSWER_ROLES, "text"} & roles.keys() and not finding.table.roles and len(looks) == 1:
        role = "label" if looks[0].is_class else "text" if "audio" in roles and looks[0].is_text else ""
        if role:
            finding.add({role: looks[0].column}, "what it holds")
    if any(plain_name(column) == "offset" for column in finding.rest()):
        finding.notes.append(f"{finding.name}: offsets are not used: each clip is read whole.")
    finding.note_left_out()


def _several(finding: _Finding, classes_named: bool) -> None:
    """Take the column of labels as one of several labels a row where its cells are such; the note says so."""
    roles, how, name = finding.roles, finding.how, finding.name
    column = roles["label"]
    cells = sampled(finding.sample, column)
    lists = holds_lists(cells)
    if how["label"] == "--column" and not _are_lists(cells):
        if lists:
            finding.notes.append(
                f"{name}: the cells of {column} are written as lists; each is one label, as --column label={column} says."
            )
        return
    if not lists and (how["label"] == "--column" or not holds_several(column, cells, classes_named=classes_named)):
        return
    roles["labels"], how["labels"] = roles.pop("label"), how.pop("label")
    if not lists:
        finding.notes.append(
            f"{name}: the column {column} was read as several labels a row; {column_flag('label', column)} makes each combination one label."
        )


def _are_lists(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, (list, tuple)) for cell in cells)


def _asked_column(table: Table, role: str, column: str, name: str) -> str:
    if folder_depth(column) or table.in_folders:
        return folder_column(table, role, column, name)
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


def _add_by_content(finding: _Finding) -> None:
    """Fill the roles that neither flags, format nor names told; the notes say what was left out."""
    roles, table = finding.roles, finding.table
    text_lacks = "text" not in roles and "text" in finding.free
    looks = finding.looks() if text_lacks or finding.wants_label() else []
    if text_lacks:
        roles["text"], finding.how["text"] = _longest(looks, table, finding.name), "what it holds"
    looks = [look for look in looks if look.column != roles.get("text")]
    if finding.wants_label():
        classes = [look for look in looks if look.is_class]
        if not table.named and len(classes) > 1:
            raise DataError(
                f"{finding.name} has several columns that may be the label: {listed(looks)}", label_advice(looks)
            )
        if len(classes) == 1 and (not table.named or len(looks) == 1):
            roles["label"], finding.how["label"] = classes[0].column, "what it holds"
    finding.note_left_out()


def _longest(looks: Sequence[Look], table: Table, name: str) -> str:
    """The one column of text that is clearly longer than the others, or DataError."""
    texts = sorted((look for look in looks if look.is_text and not look.is_class), key=lambda look: -look.mean_length)
    texts = texts or sorted((look for look in looks if look.is_text), key=lambda look: -look.mean_length)
    if len(looks) == 1 and not texts and not table.named:
        texts = list(looks)
    if not texts:
        raise DataError(f"{name} has no column of text: {listed(looks)}", "name it: --column text=NAME")
    if len(texts) > 1 and texts[0].mean_length < 2 * texts[1].mean_length:
        first, second = sorted(texts[:2], key=looks.index)
        best = advised_label([look for look in looks if look not in texts[:2]])
        label = f"; the label may be {column_flag('label', best.column)} ({best.values})" if best else ""
        raise DataError(
            f"{name} has several columns that may be the text: {listed(looks)}",
            f"name it: {column_flag('text', first.column)} (and {column_flag('text_pair', second.column)} for pairs, {column_flag('target', second.column)} where it is to be written from the first){label}",
        )
    return texts[0].column
