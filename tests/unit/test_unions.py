"""What rows are made of and what they are answered by are objects: few files still compare the words, and no more may."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import pretune
from pretune.answers import ANSWERS
from pretune.modalities import Modality

SOURCE = Path(pretune.__file__).parent
WORDS = {*map(str, Modality), *ANSWERS}
ROOMS = ("answers", "modalities", "data/columns", "config")
ALLOWED = {
    "data/changes/clean.py": 2,
    "data/checks/labels.py": 1,
    "data/checks/passport.py": 2,
    "data/checks/siblings.py": 1,
    "data/formats/marked/yolo.py": 1,
    "data/labels/lists.py": 1,
    "data/media/base.py": 1,
    "data/media/rows.py": 1,
    "data/points/coco.py": 1,
    "data/points/columns.py": 2,
    "data/read_notes.py": 1,
    "data/splits.py": 1,
    "explain/attention.py": 1,
    "export/graphs/trial.py": 1,
    "export/standalone/rows.py": 6,
    "metrics/texts/question_answering.py": 1,
    "objectives/distilling/features.py": 1,
    "objectives/image/image_pretraining.py": 1,
    "report/blocks.py": 1,
    "report/drawing/sheet.py": 1,
    "report/layout.py": 1,
    "report/words.py": 1,
    "serve/intake.py": 1,
    "tasks/classes/classification.py": 1,
    "tasks/listing.py": 2,
    "tasks/rows/audio.py": 1,
    "tasks/rows/masked.py": 2,
    "tasks/rows/pointed.py": 1,
    "tasks/rows/written.py": 1,
    "tasks/speech/recognition_checks.py": 1,
    "tasks/speech/speech_recognition.py": 1,
    "training/backbone.py": 5,
    "training/goal.py": 1,
    "verbs/distill/pretraining.py": 1,
    "verbs/distill/rows.py": 1,
    "verbs/evaluate/judging.py": 1,
    "verbs/explain/subject.py": 1,
    "verbs/inspect/story.py": 1,
    "verbs/probe/story.py": 1,
}


def words_in(node: ast.expr) -> Iterator[str]:
    """Words of the unions that stand in this literal, or in this literal collection."""
    if isinstance(node, ast.Constant) and node.value in WORDS:
        yield str(node.value)
    elif (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Modality"
        and node.attr.isupper()
    ):
        yield node.attr.lower()
    elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        for element in node.elts:
            yield from words_in(element)


def compares_words(node: ast.AST) -> bool:
    """Does this node ask ``x == "image"``, ``x in ("image", "audio")`` or ``case "image"``?"""
    if isinstance(node, ast.Compare):
        return any(word for side in (node.left, *node.comparators) for word in words_in(side))
    return isinstance(node, ast.MatchValue) and any(words_in(node.value))


def comparisons_by_file() -> Counter[str]:
    """How often each file outside the rooms of the unions compares their words."""
    found: Counter[str] = Counter()
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith(tuple(f"{room}/" for room in ROOMS)):
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            found[name] = sum(compares_words(node) for node in ast.walk(tree))
    return +found


def test_no_file_begins_to_compare_words_of_a_union() -> None:
    """Ask the object instead: a method of the answer (``answers/``), of the task or of the backbone."""
    assert dict(comparisons_by_file() - Counter(ALLOWED)) == {}


def test_what_is_allowed_shrinks_with_what_is_there() -> None:
    assert dict(Counter(ALLOWED) - comparisons_by_file()) == {}, "fewer are left: lower the numbers of ALLOWED"


@pytest.mark.parametrize(
    "code",
    ['kind == "image"', "kind is Modality.IMAGE", '"label" != role', 'kind in ("audio", "no")', 'kind not in ["tags"]'],
)
def test_a_comparison_is_found(code: str) -> None:
    assert compares_words(ast.parse(code, mode="eval").body)
    other = code.replace('"', '"some ', 1).replace("Modality.IMAGE", "Modality.IMAGE.many")
    assert not compares_words(ast.parse(other, mode="eval").body)


def test_a_case_is_found() -> None:
    tree = ast.parse('match kind:\n    case "value":\n        pass\n')
    assert sum(compares_words(node) for node in ast.walk(tree)) == 1
