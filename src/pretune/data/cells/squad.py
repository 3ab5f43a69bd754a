"""SQuAD's nested JSON (articles of paragraphs of questions; Rajpurkar et al. 2016, 2018) as one row a question, and tables that keep
an answer's words and its place in two columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pretune.data.columns.names import plain_name
from pretune.data.formats.base import ABSENT, Chunk, Table
from pretune.errors import DataError

__all__ = ["ANSWERS_COLUMN", "holds_articles", "join_answers", "questions_of"]

ANSWERS_COLUMN = "answers"
_TEXTS = ("answer_text", "answer", "answers_text", "answer_texts")
_STARTS = ("answer_start", "answer_starts", "answers_start", "start_position", "start")


def holds_articles(rows: Sequence[Any]) -> bool:
    """Are these articles of SQuAD, or paragraphs of one?"""
    first = next(iter(rows), None)
    inner = next(iter(_listed(first, "paragraphs") or ()), first)
    return _listed(inner, "qas") is not None


def questions_of(articles: Sequence[Any], name: str) -> Iterator[dict[str, Any]]:
    """A row a question: ``id`` (where it has one), ``title``, ``context``, ``question``, ``answers``. Raises :class:`DataError` naming the article that is none."""
    for number, article in enumerate(articles, 1):
        paragraphs = [article] if isinstance(article, Mapping) and "qas" in article else _listed(article, "paragraphs")
        if paragraphs is None:
            raise _strange(name, f"article {number} has no list of paragraphs")
        title = article.get("title")
        for place, paragraph in enumerate(paragraphs, 1):
            questions = _listed(paragraph, "qas")
            if questions is None or not isinstance(paragraph.get("context"), str):
                raise _strange(
                    name, f"paragraph {place} of article {number} has no context, or no list of questions (qas)"
                )
            for question in questions:
                if not isinstance(question, Mapping) or not isinstance(question.get("question"), str):
                    raise _strange(name, f"a question of article {number}, paragraph {place}, has no text")
                yield {
                    **({"id": str(question["id"])} if question.get("id") not in (None, "") else {}),
                    "title": title if isinstance(title, str) and title.strip() else None,
                    "context": paragraph["context"], "question": question["question"], ANSWERS_COLUMN: _answers(question),
                }  # fmt: skip


def _answers(question: Mapping[str, Any]) -> Any:
    """The answers of a question; an empty list where it is said to have none, None where nothing is said."""
    if question.get("is_impossible") is True:
        return []
    return question.get("answers")


def _listed(value: Any, key: str) -> list[Any] | None:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else None


def _strange(name: str, problem: str) -> DataError:
    return DataError(
        f"{name}: {problem}",
        'SQuAD reads {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}]}]}',
    )


def join_answers(table: Table) -> Table:
    """The table with one column of answers for two of words and of places, where it has such; others as they are."""
    named = {plain_name(column): column for column in reversed(table.columns)} if table.named else {}
    text = next((named[one] for one in _TEXTS if one in named), None)
    start = next((named[one] for one in _STARTS if one in named), None)
    if text is None or start is None or ANSWERS_COLUMN in named:
        return table

    def joined(chunk: Chunk) -> Chunk:
        def column_of(name: str) -> Sequence[Any]:
            if name != ANSWERS_COLUMN:
                return chunk.column(name)
            return [_both(*both) for both in zip(chunk.column(text), chunk.column(start), strict=True)]

        return Chunk(chunk.numbers, column_of)

    columns = (*(name for name in table.columns if name not in (text, start)), ANSWERS_COLUMN)
    return replace(table, columns=columns, chunks=map(joined, table.chunks))


def _both(text: Any, start: Any) -> Any:
    """Words and place as one cell; no words: no answer where the place says so (-1), else nothing is told."""
    texts = None if text is ABSENT or text is None or text == "" or text != text else text
    place = None if start is ABSENT or start is None or start == "" or start != start else start
    if isinstance(texts, str):
        return {"text": texts, "answer_start": place}
    if texts is None:
        return {"text": [], "answer_start": []} if place is not None and str(place).strip() in ("-1", "-1.0") else None
    return {"text": list(texts), "answer_start": None if place is None else list(place)}
