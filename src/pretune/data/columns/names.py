"""Usual names of columns, and the roles they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretune.data.columns.media import MEDIA_NAMES, TRANSCRIPT_NAMES

__all__ = ["is_known_name", "is_label_name", "passage_columns", "plain_name", "roles_by_name", "split_columns"]

_TEXT = (
    "text",
    "sentence",
    "content",
    "review",
    "review_text",
    "review_body",
    "comment",
    "comment_text",
    "tweet",
    "utterance",
    "message",
    "paragraphs",
    "paragraph",
    "passage",
    "body",
    "article",
    "document",
    "description",
    "abstract",
    "text_a",
    "sentence1",
    "text1",
    "query",
    "question",
    "news",
    "post",
    "input",
    "string",
    "title",
    "headline",
    "文本",
    "内容",
    "评论",
    "正文",
    "句子",
    "标题",
)
_PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text", "text_pair"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "passage"),
    ("question", "answer"),
    ("query", "passage"),
    ("query", "document"),
    ("文本1", "文本2"),
    ("句子1", "句子2"),
    ("问题", "上下文"),
)
_QUESTIONS = ("question", "query", "question_text", "问题")
_PASSAGES = ("context", "passage", "paragraph", "text", "document", "article", "上下文", "篇章")
_TITLES = ("title", "article_title", "document_title", "doc_id", "document_id", "标题")
_SURE_LABEL = ("label_text", "label_name", "label", "labels", "gold_label", "class_label", "标签")
_LIKELY_LABEL = (
    "category",
    "class",
    "sentiment",
    "target",
    "intent",
    "topic",
    "polarity",
    "emotion",
    "rating",
    "stars",
    "class_index",
    "category_name",
    "class_name",
    "y",
    "类别",
    "情感",
    "分类",
)
_ID = ("id", "guid", "uid", "row_id", "example_id", "idx", "编号", "序号")
_KNOWN = {
    *MEDIA_NAMES,
    *TRANSCRIPT_NAMES,
    *_TEXT,
    *_SURE_LABEL,
    *_LIKELY_LABEL,
    *_ID,
    *(name for pair in _PAIR_NAMES for name in pair),
}
_SPLIT = ("split", "data_split", "fold", "set", "subset", "partition", "usage")


def plain_name(name: str) -> str:
    """A name without regard to case, spaces and hyphens."""
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def is_label_name(name: str) -> bool:
    """Whether this is a usual name of a label column."""
    return plain_name(name) in (*_SURE_LABEL, *_LIKELY_LABEL)


def is_known_name(name: str) -> bool:
    """Whether this is a usual name of a text, label or id column."""
    return plain_name(name) in _KNOWN


def roles_by_name(columns: Sequence[str], taken: set[str], *, pairs: bool) -> tuple[dict[str, str], list[str]]:
    """Role to column for columns with usual names that are not ``taken``, and the columns that may be the label where several
    may be; a label is then not among the roles. ``pairs`` allows two texts a row.
    """
    by_plain = {plain_name(column): column for column in columns if column not in taken}
    found: dict[str, str] = {}
    pair = next((pair for pair in _PAIR_NAMES if all(part in by_plain for part in pair)), None)
    if pair and pairs:
        found = {"text": by_plain[pair[0]], "text_pair": by_plain[pair[1]]}
    elif text := next((by_plain[word] for word in _TEXT if word in by_plain), None):
        found = {"text": text}
    if key := next((by_plain[word] for word in _ID if word in by_plain), None):
        found["id"] = key
    sure = [by_plain[word] for word in _SURE_LABEL if word in by_plain]
    likely = [by_plain[word] for word in _LIKELY_LABEL if word in by_plain and by_plain[word] not in found.values()]
    if not sure and len(likely) > 1:
        return found, likely
    if sure or likely:
        found["label"] = (sure or likely)[0]
    return found, []


def passage_columns(columns: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Question, passage and title (the group) of rows whose answers stand in a passage, by usual names."""
    by_plain = {plain_name(column): column for column in columns if column not in taken}
    wanted = {"text": _QUESTIONS, "text_pair": _PASSAGES, "group": _TITLES}
    found = {role: next((by_plain[name] for name in names if name in by_plain), None) for role, names in wanted.items()}
    return {role: column for role, column in found.items() if column is not None}


def split_columns(columns: Sequence[str], taken: set[str]) -> list[str]:
    """Columns that are called as those are which say in what split or fold a row stands."""
    by_plain = {plain_name(column): column for column in columns if column not in taken}
    return [by_plain[word] for word in _SPLIT if word in by_plain]
