"""Near pairs for people to look at: both rows, where they stand, what they say, and how they are alike."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pretune.answers import answer_of
from pretune.data.checks.contents import Contents
from pretune.data.checks.labels import row_words
from pretune.data.checks.rows import SHOWN_ROWS
from pretune.data.columns.roles import kinds_in
from pretune.data.media.base import BrokenMedia
from pretune.data.media.image import decode_image
from pretune.data.near.pairs import KINDS, SAME, WORDS
from pretune.data.text import pii

__all__ = ["all_pairs", "kinds_of", "same_pairs", "shown_pairs"]

_MOST_PAIRS, _MOST_PICTURES = 100, 12
_EXCERPT, _BEFORE = 160, 40
_THUMBNAIL_PX = 96


def kinds_of(contents: Contents, pairs: np.ndarray, ours: str, counted_N: np.ndarray) -> dict[str, int]:
    """How many of the rows (N,) bool of a split are alike to others in each way; of several ways the closest."""
    best = _best_pairs(contents, pairs, ours, counted_N)
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    kind_U = np.full(len(contents.split_U), -1)
    for content, (pair, _) in best.items():
        kind_U[content] = near.kind_P[pair]
    found = kind_U[contents.of_row[ours][counted_N]]
    counts = np.bincount(found[found >= 0], minlength=len(KINDS)).tolist()
    return {kind: count for kind, count in zip(KINDS, counts, strict=True) if count}


def shown_pairs(
    contents: Contents, pairs: np.ndarray, ours: str, theirs: str, counted_N: np.ndarray
) -> list[dict[str, Any]]:
    """For each of the rows (N,) bool of split ``ours`` its closest twin in split ``theirs``, as JSON, the least alike first; where
    there are many, some that are spread evenly.

    Each has ``kind`` and ``words`` (how they are alike), ``alike`` (0 to 1), and of both rows, a and b: ``id``, ``split``, ``text`` (an
    excerpt, or the file's name), ``label`` where there is one, ``picture`` (a small JPEG as a data: URL) or ``seconds``.
    """
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    best = _best_pairs(contents, pairs, ours, counted_N)
    ordered = sorted(best.items(), key=lambda item: (near.alike_P[item[1][0]], item[0]))
    most = _MOST_PICTURES if contents.have("image") else _MOST_PAIRS
    chosen = np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int)) if ordered else []
    return [_pair(contents, ordered[place], ours, theirs) for place in chosen]


def all_pairs(contents: Contents) -> list[dict[str, Any]]:
    """As :func:`shown_pairs`, over all splits together: each content that is near an earlier one with the closest of these."""
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    names, best = list(contents.splits), dict[int, int]()
    for pair in np.lexsort((near.kind_P, -near.alike_P)).tolist():
        best.setdefault(int(near.right_P[pair]), pair)
    ordered = sorted(best.values(), key=lambda pair: (near.alike_P[pair], pair))
    most = _MOST_PICTURES if contents.have("image") else _MOST_PAIRS
    found = []
    for place in np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int)) if ordered else ():
        one, other = int(near.right_P[ordered[place]]), int(near.left_P[ordered[place]])
        splits = (names[contents.split_U[one]], names[contents.split_U[other]])
        found.append(_pair(contents, (one, (ordered[place], other)), *splits))
    return found


def same_pairs(contents: Contents, ours: str, theirs: str, counted_N: np.ndarray) -> list[dict[str, Any]]:
    """As :func:`shown_pairs`, for the first of the rows (N,) bool of split ``ours`` whose content stands in ``theirs`` too (of one split:
    in an earlier row); ``kind`` is ``same``.
    """
    most = _MOST_PICTURES if contents.have("image") else SHOWN_ROWS
    content_N, first = contents.of_row[theirs], []
    for row in np.flatnonzero(counted_N)[:most].tolist():
        twin = int(np.flatnonzero(content_N == contents.of_row[ours][row])[0])
        sides = (contents.splits[ours][row], contents.splits[theirs][twin])
        first.append(_told("same", SAME, 1.0, sides, (ours, theirs)))
    return first


def _best_pairs(contents: Contents, pairs: np.ndarray, ours: str, counted_N: np.ndarray) -> dict[int, tuple[int, int]]:
    """Content of a counted row to its closest pair and the other content in it; the pair's later content is the one that repeats."""
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    counted_U = np.zeros(len(contents.split_U), dtype=bool)
    counted_U[contents.of_row[ours][counted_N]] = True
    best: dict[int, tuple[int, int]] = {}
    for pair in pairs[np.lexsort((near.kind_P[pairs], -near.alike_P[pairs]))].tolist():
        left, right = int(near.left_P[pair]), int(near.right_P[pair])
        for one, other in ((right, left), (left, right)):
            if counted_U[one] and one not in best:
                best[one] = (pair, other)
    return best


def _pair(contents: Contents, item: tuple[int, tuple[int, int]], ours: str, theirs: str) -> dict[str, Any]:
    near = contents.near
    assert near is not None, "near duplicates were looked for"
    one, (pair, other) = item
    kind = KINDS[near.kind_P[pair]]
    sides = (_row(contents, one, ours), _row(contents, other, theirs))
    return _told(kind, WORDS[kind], float(near.alike_P[pair]), sides, (ours, theirs))


def _told(
    kind: str, words: str, alike: float, rows: tuple[Mapping[str, Any], Mapping[str, Any]], splits: tuple[str, str]
) -> dict[str, Any]:
    found = {"kind": kind, "words": words, "alike": round(alike, 3)}
    for letter, split, row, twin in zip("ab", splits, rows, rows[::-1], strict=True):
        found |= {f"{letter}_{name}": value for name, value in _side(row, twin, split).items()}
    return found


def _row(contents: Contents, content: int, split: str) -> Mapping[str, Any]:
    """The first row of a split with this content."""
    return contents.splits[split][int(np.flatnonzero(contents.of_row[split] == content)[0])]


def _side(row: Mapping[str, Any], twin: Mapping[str, Any], split: str) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.get("id", ""), "split": split}
    if row.get("image") is None and row.get("audio") is None:
        found["text"] = _excerpt(row.get("text") or "", twin.get("text") or "")
    else:
        found["text"] = row_words(row)
    kind = next(iter(kinds_in(row)), None)
    answer = None if kind is None else answer_of(kind, row[kind])
    if answer is not None and answer.short:
        found |= {"label": answer.said(), "noun": answer.lack}
    if row.get("image") is not None:
        found["picture"] = _thumbnail(row["image"])
    if row.get("audio") is not None:
        found["seconds"] = round(float(row["seconds"]), 3)
    return found


def _excerpt(text: str, twin: str) -> str:
    """The start of a text, or of what it has in common with a shorter one, without personal data."""
    text, twin = (" ".join(words.split()) for words in (text, twin))  # one line, whatever it holds
    start = text.find(twin[:20]) if twin and len(twin) < len(text) else 0
    start = start - _BEFORE if start > _EXCERPT // 2 else 0
    shown = pii.redact(text[max(0, start - _EXCERPT) : start + 4 * _EXCERPT])[min(start, _EXCERPT) if start else 0 :]
    shown = shown if len(shown) <= _EXCERPT else shown[: _EXCERPT - 1] + "…"
    return f"…{shown.partition(' ')[2] or shown}" if start else shown


def _thumbnail(held: Mapping[str, Any]) -> str:
    """A small JPEG as a data: URL; empty where the file has gone since it was read."""
    picture = io.BytesIO()
    with contextlib.suppress(BrokenMedia):
        small = decode_image(held)
        small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        small.save(picture, "JPEG", quality=80)
    data = base64.b64encode(picture.getvalue()).decode()
    return f"data:image/jpeg;base64,{data}" if data else ""
