"""Which columns hold words and tags, answers in a passage, or numbers to estimate: by usual names, where what they hold agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.answers import AnswerSpan
from pretune.answers.schemes import scheme_of
from pretune.answers.span import NOWHERE
from pretune.data.cells.tagged import are_places, items_of, named_tags, spans_in
from pretune.data.columns.looks import look_at
from pretune.data.columns.names import plain_name
from pretune.data.labels.lists import is_missing
from pretune.data.labels.words import are_scores, as_numbers
from pretune.errors import DataError

__all__ = ["hold_words", "span_column", "tagged_columns", "target_columns", "value_column"]

_WORDS = ("words", "tokens", "token", "word")
_TAGS = (
    "tags", "ner_tags", "ner", "bio_tags", "iob_tags", "slots", "slot_tags", "tag", "labels", "label", "ner_labels", "pos_tags", "upos", "chunk_tags",
)  # fmt: skip
_SPANS = ("entities", "spans", "labels", "label", "annotations", "ner", "tags")
_VALUES = ("value", "score", "grade", "similarity")
_TARGETS = (
    ("source", "target"), ("src", "tgt"), ("source_text", "target_text"), ("input_text", "target_text"), ("text", "target_text"),
    ("source", "translation"), ("text", "translation"), ("article", "highlights"), ("article", "summary"), ("document", "summary"),
    ("dialogue", "summary"), ("text", "summary"), ("text", "target"), ("input", "target"), ("原文", "译文"), ("原文", "摘要"), ("正文", "摘要"),
)  # fmt: skip
_ANSWERS = ("answers", "answer", "span", "spans", "answer_span", "gold_answers", "答案")
_AGREE = 0.9
_FEW_CELLS = 200
_FEW_TEXTS = 6


def tagged_columns(
    cells: Mapping[str, Sequence[Any]], class_names: Mapping[str, Sequence[str]], told: Mapping[str, str]
) -> dict[str, str]:
    """``words`` and ``tags``, or ``tags`` alone (spans of a text), among columns with these cells; nothing where there are none.

    A usual name is not enough: words and tags are lists of one length, spans are ``[start, end, type]``. Roles that were ``told`` stand.
    """
    named = {plain_name(column): column for column in reversed(list(cells))}
    words = told.get("words") or next(
        (named[name] for name in _WORDS if name in named and hold_words(cells[named[name]])), None
    )
    candidates = [told["tags"]] if "tags" in told else [named[name] for name in _TAGS if name in named]
    for column in candidates:
        if words is None:
            break
        if column != words and _go_together(cells[words], cells[column], class_names.get(column, ())):
            return {"words": words, "tags": column}
    if "tags" not in told:
        spans = [column for column, values in cells.items() if _hold_spans(values)]
        names = {plain_name(column): column for column in spans}
        usual = [names[name] for name in _SPANS if name in names]
        if usual or len(spans) == 1:
            return {"tags": (usual or spans)[0]}
    return {"words": words} if words is not None and not _are_strings(cells[words]) else {}


def hold_words(cells: Sequence[Any]) -> bool:
    """Whether cells are lists of words or of ``[start, end]`` places, or strings of such."""
    filled = [items for cell in cells[:_FEW_CELLS] if (items := items_of(cell))]
    return bool(filled) and all(are_places(items) or all(isinstance(item, str) for item in items) for items in filled)


def _are_strings(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, str) for cell in cells[:_FEW_CELLS])


def _go_together(words: Sequence[Any], tags: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether nearly all rows have as many tags as words; of cells that are no lists, also whether tags are of entities."""
    both = [(items_of(cell), named_tags(tag, names)) for cell, tag in zip(words, tags, strict=True)][:_FEW_CELLS]
    both = [(items, found) for items, found in both if items is not None and found is not None]
    if not both or sum(len(items) == len(found) for items, found in both) < _AGREE * len(both):
        return False
    if not _are_strings(words) and not _are_strings(tags):
        return all(isinstance(tag, (str, int)) for _, found in both for tag in found)
    return scheme_of([str(tag) for tag in found] for _, found in both) != "plain"


def _hold_spans(cells: Sequence[Any]) -> bool:
    filled = [cell for cell in cells if not is_missing(cell)]
    return any(filled) and all(spans_in(cell) is not None for cell in filled)


def target_columns(cells: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """``text`` and ``target``: two columns of usual names, of which the second holds texts that differ from row to row, not classes."""
    named = {plain_name(column): column for column in reversed(list(cells))}
    for text, target in _TARGETS:
        if text in named and target in named and _hold_texts(cells[named[target]]):
            return {"text": named[text], "target": named[target]}
    return {}


def _hold_texts(cells: Sequence[Any]) -> bool:
    first = [cell[0] if isinstance(cell, (list, tuple)) and cell else cell for cell in cells]
    look = look_at("", first)
    return look.is_text and not look.is_class and (look.distinct > 2 or look.rows < _FEW_TEXTS)


def span_column(cells: Mapping[str, Sequence[Any]]) -> str | None:
    """The column of a usual name whose cells are answers with their places in a passage; texts alone are none."""
    named = {plain_name(column): column for column in reversed(list(cells))}
    return next((named[name] for name in _ANSWERS if name in named and _hold_answers(cells[named[name]])), None)


def _hold_answers(cells: Sequence[Any]) -> bool:
    found = []
    for cell in (cell for cell in cells[:_FEW_CELLS] if not is_missing(cell)):
        try:
            answer = AnswerSpan.read(cell, "")
        except DataError:
            return False
        found += (
            []
            if answer is None
            else [answer.references == () or any(one.start != NOWHERE for one in answer.references)]
        )
    return any(found) and sum(found) >= _AGREE * len(found)


def value_column(cells: Mapping[str, Sequence[Any]]) -> str | None:
    """The column of a usual name whose cells are numbers to estimate: not few whole ones, which may be classes."""
    named = {plain_name(column): column for column in reversed(list(cells))}
    return next((named[name] for name in _VALUES if name in named and _hold_scores(cells[named[name]])), None)


def _hold_scores(cells: Sequence[Any]) -> bool:
    words = [str(cell).strip() for cell in cells if not is_missing(cell) and str(cell).strip()]
    counts = (
        {word: words.count(word) for word in set(words)} if len(set(words)) <= _FEW_CELLS else dict.fromkeys(words, 1)
    )
    recur = len(words) >= 3 * len(set(words))
    fractions = any(not number.is_integer() for number in as_numbers(counts))
    return bool(words) and (are_scores(counts) or (fractions and not recur))
