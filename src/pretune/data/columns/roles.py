"""The roles that columns may have, and the column of each role: as ``--column`` told, or as was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pretune.answers import ANSWERS
from pretune.errors import UsageError, did_you_mean

__all__ = ["ANSWER_ROLES", "CLASS_ROLES", "INPUT_ROLES", "ROLES", "Roles", "kinds_in", "lack_of", "parse_columns"]

INPUT_ROLES = ("text", "text_pair", "words", "turns", "image", "audio", "speaker")
"""What a row is answered from. ``words`` stands beside ``text``: where its words begin and end, ``turns``: the turns of a conversation that it was made of; ``speaker`` beside a clip and its text: who says it."""
ANSWER_ROLES = tuple(kind for kind in ANSWERS if kind not in INPUT_ROLES)
"""The kinds of answers that have a column of their own (a transcript is the ``text`` of a clip)."""
CLASS_ROLES = ("label", "labels")
"""The answers that are one word or several of a row, as people write them."""
ROLES = (*INPUT_ROLES, *ANSWER_ROLES, "id", "group", "slice", "split", "fold")
_ALSO_CALLED = {"question": "text", "context": "text_pair", "passage": "text_pair", "answers": "span"}
"""Words of question answering for roles."""


@dataclass(frozen=True)
class Roles:
    """The column of each role, None where there is none; ``how`` says how each was found.

    ``words_mean_missing`` says that labels such as ``nan`` and ``None`` are no labels; ``advice`` what to type where no label
    was found.
    """

    text: str | None = None
    text_pair: str | None = None
    words: str | None = None
    turns: str | None = None
    image: str | None = None
    audio: str | None = None
    speaker: str | None = None
    label: str | None = None
    labels: str | None = None
    value: str | None = None
    tags: str | None = None
    target: str | None = None
    mask: str | None = None
    keypoints: str | None = None
    span: str | None = None
    boxes: str | None = None
    vector: str | None = None
    id: str | None = None
    group: str | None = None
    slice: str | None = None
    split: str | None = None
    fold: str | None = None
    how: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    words_mean_missing: bool = True
    advice: str = ""

    @property
    def media(self) -> tuple[str, str] | None:
        """``image`` or ``audio`` and its column, None for text."""
        if self.image is not None:
            return "image", self.image
        return ("audio", self.audio) if self.audio is not None else None

    @property
    def answers(self) -> dict[str, str]:
        """The columns of answers by their kind."""
        return {kind: getattr(self, kind) for kind in ANSWER_ROLES if getattr(self, kind) is not None}

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
        role = _ALSO_CALLED.get(role, role)
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


def kinds_in(columns: Iterable[str]) -> list[str]:
    """The kinds of answers among these columns; the first is what rows are split by."""
    found = set(columns)
    return [kind for kind in ANSWER_ROLES if kind in found]


def lack_of(kinds: Iterable[str]) -> str:
    """What rows without an answer of these kinds have none of: a label, a number, tags."""
    return next((ANSWERS[kind].lack for kind in ANSWER_ROLES if kind in set(kinds)), "label")
