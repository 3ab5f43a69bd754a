"""What an answer is: one final class for each kind, and nowhere else is a kind switched on."""

from collections.abc import Sequence
from typing import Any

from pretune.answers.base import Answer, Trouble
from pretune.answers.boxes import Boxes
from pretune.answers.classes import Label, Labels
from pretune.answers.keypoints import Keypoints
from pretune.answers.mask import Mask
from pretune.answers.span import AnswerSpan
from pretune.answers.tags import Tags
from pretune.answers.target import TargetText
from pretune.answers.text import Text
from pretune.answers.value import Value
from pretune.answers.vector import Vector
from pretune.answers.wave import Wave

__all__ = [
    "ANSWERS", "Answer", "AnswerSpan", "Boxes", "Keypoints", "Label", "Labels", "Mask", "Tags", "TargetText", "Text", "Trouble", "Value", "Vector", "Wave",
    "answer_of", "answers_in",
]  # fmt: skip

ANSWERS: dict[str, type[Answer]] = {
    kind.kind: kind
    for kind in (Label, Labels, Value, Tags, AnswerSpan, Mask, Boxes, Keypoints, Text, TargetText, Wave, Vector)
}
"""Every kind of answer by its word."""


def answer_of(kind: str, value: object) -> Answer | None:
    """The answer of this kind that a JSON value of a row or record stands for; None for None."""
    return None if value is None else ANSWERS[kind].from_json(value)


def answers_in(kind: str, values: Sequence[Any]) -> list[Any]:
    """:func:`answer_of` each value; answers that one equal word stands for are one object, so that millions of rows of few classes are
    no millions of answers.
    """
    if not any(isinstance(value, str) for value in values):
        return [answer_of(kind, value) for value in values]
    known = {value: answer_of(kind, value) for value in set(values)}
    return [known[value] for value in values]
