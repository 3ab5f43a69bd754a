"""The kinds of answers: what each reads, keeps, compares and tells, and that every kind keeps the same promises."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pretune.answers import ANSWERS, Answer, Label, Labels, Tags, Text, Value, answer_of, answers_in
from pretune.errors import DataError

CASES: dict[str, list[Any]] = {
    "label": ["a", "b", "a"],
    "labels": [["a", "b"], [], ["b"]],
    "audio": ["a.wav", "b.wav", "a.wav"],
    "boxes": [
        [{"label": "cat", "box": [0.0, 1.0, 5.0, 6.5]}],
        [],
        [{"label": "dog", "box": [1.0, 1.0, 2.0, 2.0], "aside": "crowd"}],
    ],
    "value": [1.5, -2.0, 1e6],
    "tags": [["O", "B-X", "I-X"], ["O"], []],
    "mask": [
        {"size": [2, 3], "classes": ["car", "sky"], "counts": ["042", "42"]},
        {"size": [1, 1], "classes": [], "counts": []},
        {"size": [2, 3], "classes": ["sky"], "counts": ["06"]},
    ],
    "keypoints": [[[1.5, 2.0, 1.0], [0.0, 0.0, 0.0]], [[3.0, 4.0, 2.0]], [[1.5, 9.0, 1.0], [0.0, 0.0, 0.0]]],
    "span": [[{"text": "a b", "start": 3}], [], [{"text": "ä", "start": -1}, {"text": "a", "start": 0}]],
    "target": [["a b"], ["ä", "b"], ["a\n"]],
    "text": ["a b", "", "ä\n"],
    "vector": [[0.6, 0.8], [-1.0, 0.0], [0.0, 2.5, 1.0]],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_keeps_its_promises(kind: str) -> None:
    answers = [answer_of(kind, value) for value in CASES[kind]]
    assert all(isinstance(answer, ANSWERS[kind]) for answer in answers)
    assert [answer.to_json() for answer in answers if answer] == CASES[kind]
    if not ANSWERS[kind].in_files:
        column = pa.array(CASES[kind], ANSWERS[kind].arrow()).to_pylist()
        assert [answer_of(kind, value) for value in column] == answers, "a column holds it"
    first = answers[0]
    assert first is not None
    assert first.same(first)
    assert not first.same(next(other for other in answers if other and other != first))
    assert not first.same(Text("of another kind")) or kind == "text"
    assert "\n" not in first.said()
    assert first.combined()
    assert answer_of(kind, None) is None
    assert ANSWERS[kind].read(None, "row 1") is None
    assert len(ANSWERS[kind].strata([*answers, None])) == 4, "one stratum a row, unlabelled ones too"
    assert ANSWERS[kind].schema()["type"] in ("string", "array", "number", "object")
    assert all(ANSWERS[kind].words)
    assert ANSWERS[kind].lack
    figures = ANSWERS[kind].passport(iter([*answers, None]))
    assert figures is None or ({"rows", "missing", "sentence", "tile"} <= figures.keys() and figures["missing"] == 1)
    assert ANSWERS[kind].passport([None]) is None


@pytest.mark.parametrize("cell", ["3.5", 3.5, " 3.5 ", "35e-1"])
def test_a_number_is_read(cell: Any) -> None:
    assert Value.read(cell, "row 1") == Value(3.5)


@pytest.mark.parametrize("cell", ["", "  ", None, float("nan")])
def test_no_number_is_none(cell: Any) -> None:
    assert Value.read(cell, "row 1") is None


@pytest.mark.parametrize("cell", ["three", "3,5", True, float("inf"), [1], "nan?"])
def test_what_is_no_number_is_refused_by_row(cell: Any) -> None:
    with pytest.raises(DataError, match=r"row 7 has .* where a number is needed"):
        Value.read(cell, "row 7")


def test_numbers_agree_within_a_tolerance() -> None:
    assert Value(1.0).same(Value(1.1), 0.2)
    assert not Value(1.0).same(Value(1.3), 0.2)


def test_sets_of_labels_have_no_order() -> None:
    assert Labels(("a", "b")).same(Labels(("b", "a")))
    assert Labels(("b", "a")).combined() == Labels(("a", "b")).combined() == "a + b"


def test_strata_are_the_class_the_rarest_label_a_tenth_or_the_rarest_tag() -> None:
    assert Label.strata([Label("a"), None, Label("b")]) == ["a", "", "b"]
    assert Labels.strata([Labels(("a", "b")), Labels(("a",)), Labels(())]) == ["b", "a", ""]
    assert Tags.strata([Tags(("B-X", "O", "B-X")), Tags(("B-X", "B-Y")), Tags(("O",))]) == ["B-X", "B-Y", ""]
    numbers = Value.strata([Value(float(number)) for number in range(100)])
    assert {numbers.count(stratum) for stratum in set(numbers)} == {10}
    assert Value.strata([Value(1.0), None, Value(1.0)]) == ["1", "", "1"]


def test_only_labels_are_closed() -> None:
    assert {kind for kind, answer in ANSWERS.items() if answer.closed} == {"label", "labels"}


def codes(answers: list[Answer | None], kind: str = "value", split: str = "train", train: Any = None) -> list[str]:
    figures = ANSWERS[kind].passport(answers)
    assert figures is not None
    return [trouble.code for trouble in ANSWERS[kind].troubles(split, figures, train)]


def test_figures_and_troubles_of_numbers() -> None:
    plain = [Value(number / 10) for number in range(100)]
    figures = Value.passport([*plain, None])
    assert figures is not None
    assert figures["sentence"] == "numbers from 0 to 9.9, 100 different; median 4.95, mean 4.95, spread 2.89"
    assert sum(figures["histogram"]["counts"]) == figures["rows"] == 100
    assert codes([*plain]) == []
    assert codes([Value(2.0)] * 9) == ["one-number"]
    assert codes([*plain, Value(-999.0)]) == ["far-numbers"]
    assert codes([*plain, Value(11.0)], split="test", train=figures) == ["beyond-numbers"]
    assert codes([*plain], split="test", train=figures) == []


def test_figures_and_troubles_of_tags() -> None:
    rows = [Tags(("B-PER", "I-PER", "O")), Tags(("O",)), None, Tags(("B-LOC", "B-PER"))]
    figures = Tags.passport(rows)
    assert figures is not None
    assert figures["entities"] == {"PER": 2, "LOC": 1}
    assert (figures["words"], figures["without_any"], figures["missing"]) == (6, 1, 1)
    assert figures["sentence"] == "3 entities of 2 types: PER 2, LOC 1; 1 row without any"
    assert codes(list(rows), "tags") == ["rare-tag"]
    assert codes([Tags(("O", "O"))], "tags") == ["no-entity"]
    plain = Tags.passport([Tags(("DT", "NN"))] * 5)
    assert plain is not None
    assert plain["sentence"] == "10 words with 2 tags: DT 5, NN 5"


def test_equal_labels_are_one_answer() -> None:
    """A million rows of ten classes were a million answers."""
    one, none, other, same = answers_in("label", ["red", None, "blue", "".join(["r", "ed"])])
    assert (one, none, other) == (Label("red"), None, Label("blue"))
    assert same is one
    assert answers_in("labels", [["a"], None]) == [Labels(("a",)), None]
