"""Pages in two languages: where the Chinese page has drifted from its English one, and by which line."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ONLY_HERE", "TWINS", "drifts", "drifts_of"]

TWINS = {
    "README.md": "README.zh.md", "examples/README.md": "examples/README.zh.md",
    **{f"docs/{name}.md": f"docs/{name}-zh.md" for name in ("tutorial", "recipes", "glossary", "tour", "gallery", "machines")},
}  # fmt: skip
"""The Chinese page of an English one. Beside these the site has its reference in both languages, and the rest in English alone."""
ONLY_HERE = "<!-- only in Chinese -->"
"""What stands below this line of a Chinese page has no English side."""
_ENGLISH = {chinese: english for english, chinese in TWINS.items()}
_CODE, _TARGET = re.compile(r"`[^`\n]+`"), re.compile(r"\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"(?:^|\s+)#\s.*$")
_NUMBER, _FLAG = re.compile(r"\d+(?:[.,]\d+)*"), re.compile(r"--[a-z][a-z-]*")
_NAME = re.compile(r"[\w/]+\.(?:py|html|json)\b|[A-Z]\w*(?:\.\w+)*")
_KINDS = (("```", "code"), ("|", "row of a table"), ("<", "HTML"))


@dataclass
class _Piece:
    """A heading, a row, an item, a paragraph or a block of code, from the line ``at`` on."""

    kind: str
    at: int
    lines: list[str] = field(default_factory=list)


def drifts(root: Path, english: str) -> list[str]:
    """What the Chinese page of ``english`` says otherwise, leaves out or adds: one sentence each, with both lines."""
    chinese = TWINS[english]
    pages = ((root / name).read_text(encoding="utf-8") for name in (english, chinese))
    return drifts_of(*pages, english=english, chinese=chinese)


def drifts_of(text: str, translated: str, *, english: str, chinese: str) -> list[str]:
    """The same of two texts that would stand in the files of these names."""
    mine, theirs = [*_pieces(text)], [*_pieces(translated.partition(ONLY_HERE)[0])]
    found: list[str] = []
    for one, other in zip(mine, theirs, strict=False):
        where = f"{chinese}:{other.at} (beside {english}:{one.at})"
        if one.kind != other.kind:
            return [*found, f"{where}: a {other.kind} stands where a {one.kind} should"]
        told = _of_code(one, other) if one.kind == "code" else _of_words(one, other, english, chinese)
        found += [f"{where}: {problem}" for problem in told]
    for name, rest in ((chinese, mine[len(theirs) :]), (english, theirs[len(mine) :])):
        beside = english if name == chinese else chinese
        found += [f"{name}: ends before the {piece.kind} of {beside}:{piece.at}" for piece in rest[:1]]
    return found


def _pieces(text: str) -> Iterator[_Piece]:
    piece: _Piece | None = None
    for at, line in enumerate(text.splitlines(), 1):
        kind = _kind(line)
        if piece and piece.kind == "code":
            piece.lines.append(line)
            if kind == "code":
                yield piece
                piece = None
        elif piece and kind == "paragraph":  # goes on
            piece.lines.append(line)
        else:
            if piece:
                yield piece
            piece = _Piece(kind, at, [line]) if kind else None
    if piece:
        yield piece


def _kind(line: str) -> str:
    """Empty of an empty line."""
    if heading := re.match(r"#+(?= )", line):
        return f"heading of level {len(heading[0])}"
    if re.match(r"(?:-|\d+\.) ", line):
        return "list item"
    return next((kind for mark, kind in _KINDS if line.startswith(mark)), "paragraph" if line.strip() else "")


def _of_code(one: _Piece, other: _Piece) -> Iterator[str]:
    """Comments are translated, with the options and numbers that they name; of a drawing the names stay."""
    if len(one.lines) != len(other.lines):
        yield f"{len(other.lines) - 2} lines of code where there should be {len(one.lines) - 2}"
        return
    drawing = any("-->" in line for line in one.lines)
    for number, (line, told) in enumerate(zip(one.lines, other.lines, strict=True)):
        here = f"line {other.at + number}: "
        if drawing:
            yield from _differ(_NAME.findall(line), _NAME.findall(told), here)
        elif _COMMENT.sub("", line) != _COMMENT.sub("", told):
            yield f"{here}{_COMMENT.sub('', told)!r} should be {_COMMENT.sub('', line)!r}"
        else:
            for pattern in (_NUMBER, _FLAG):
                yield from _differ(pattern.findall(line), pattern.findall(told), here)


def _of_words(one: _Piece, other: _Piece, english: str, chinese: str) -> Iterator[str]:
    mine, theirs = "\n".join(one.lines), "\n".join(other.lines)
    if len(other.lines) > 1:
        yield f"line {other.at + 1}: belongs to the line before: a break shows as a gap between Chinese letters"
    yield from _differ({*_CODE.findall(mine)}, {*_CODE.findall(theirs)})
    mine, theirs = _CODE.sub("", mine), _CODE.sub("", theirs)
    for target in _TARGET.findall(theirs):
        path = _path(target, chinese)
        if path in TWINS and TWINS[path] != chinese:
            yield f"the link {target} should lead to {TWINS[path]}"
    yield from _differ(_paths(mine, english), _paths(theirs, chinese))
    yield from _differ(_NUMBER.findall(_TARGET.sub("]", mine)), _NUMBER.findall(_TARGET.sub("]", theirs)))


def _paths(text: str, page: str) -> set[str]:
    """Where links lead, by the names of English pages."""
    paths = (_path(target, page) for target in _TARGET.findall(text))
    return {_ENGLISH.get(path, path) for path in paths}


def _path(target: str, page: str) -> str:
    return target if "://" in target else posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _differ(wanted: Iterable[str], told: Iterable[str], here: str = "") -> Iterator[str]:
    mine, theirs = Counter(wanted), Counter(told)
    for word in sorted((mine - theirs).elements()):
        yield f"{here}{word} is missing"
    for word in sorted((theirs - mine).elements()):
        yield f"{here}{word} is not in the English page"
