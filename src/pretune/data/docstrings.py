"""Real text that is wherever pretune runs: paragraphs of the docstrings of the Python standard library and of the
libraries pretune depends on. The label is the library a paragraph is from; libraries' names are masked.

Source files are parsed, never imported.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib.util
import io
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretune.errors import DataError
from pretune.files import write_text

__all__ = ["LIBRARIES", "library_roots", "paragraphs_of", "source_files", "write_docstring_corpus"]

PYTHON = "python"
LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "huggingface_hub",
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "pyarrow",
    "networkx",
    "sympy",
    "mpmath",
    "fsspec",
    "jinja2",
)
NAMES = (
    *LIBRARIES,
    *("python", "cpython", "pytorch", "scikit-learn", "scikit", "hugging face", "huggingface", "arrow", "jinja"),
    *("aten", "libtorch", "torchscript", "np", "pd", "pa", "sp", "nx", "hf", "mp", "hub"),
)
MASK = "LIBRARY"
COLUMNS = ("id", "text", "label", "group")
MIN_CHARACTERS, MAX_CHARACTERS, MIN_WORDS = 40, 400, 7
MAX_FILE_BYTES = 1_500_000
LEFT_OUT_FOLDERS = {
    "site-packages",
    "tests",
    "test",
    "_vendor",
    "externals",
    "idlelib",
    "lib2to3",
    "testing",
    "__pycache__",
}

_names = re.compile(
    rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(NAMES, key=len, reverse=True)))})(?![\w-])", re.IGNORECASE
)
_role = re.compile(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_quotes = re.compile(r"`+([^`]*)`+_{0,2}")
_link = re.compile(r"\[([^\]]*)\]\([^)]*\)|https?://\S+")
_footnote = re.compile(r"\s*\[[\w#]{1,3}\]_")
_no_prose = re.compile(
    r"^\s*(>>>|\.\. |:\w[\w ]*:|[-=~^*#+]{3,}\s*$|\||\w[\w*, ]* ?: |\w+ \([^)]*\) ?:|@|\$|```|[\w*]+ ?=|(args|returns?|raises|yields|examples?|notes?|parameters):?\s*$)",
    re.IGNORECASE,
)


@dataclass
class _Counts:
    """What became of every paragraph."""

    files: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


def library_roots() -> dict[str, Path]:
    """Label to source folder, for the standard library and every library of :data:`LIBRARIES` that is installed."""
    roots = {PYTHON: Path(sysconfig.get_path("stdlib"))}
    for name in LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            roots[name] = Path(spec.origin).parent
    return roots


def write_docstring_corpus(
    out: Path,
    *,
    max_rows_per_label: int = 3000,
    min_rows_per_label: int = 500,
    seed: int = 0,
    roots: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Write a CSV with the columns ``id, text, label, group`` (the group is the source file) and return what was counted.

    The same libraries and seed give the same bytes. Raises :class:`DataError` when fewer than two labels have enough rows.
    """
    counts, seen, rows = _Counts(), set[str](), []
    left_out: dict[str, int] = {}
    for label, root in (library_roots() if roots is None else roots).items():
        found = _rows_of(label, root, max_rows_per_label, seed, seen, counts)
        if len(found) >= min_rows_per_label:
            rows += found
        else:
            left_out[label] = len(found)
    labels = Counter(row["label"] for row in rows)
    if len(labels) < 2:
        raise DataError(
            f"only {len(labels)} libraries here have {min_rows_per_label} paragraphs of docstrings",
            "is Python running with its source files? lower the number of rows asked for, or bring data of your own",
        )
    rows.sort(key=lambda row: _draw(seed, row["id"]))
    _write_csv(out, rows)
    return {
        "path": str(out),
        "rows": len(rows),
        "labels": dict(labels),
        "files": {label: counts.files[label] for label in labels},
        "left_out": left_out,
        "dropped": dict(counts.dropped),
        "seed": seed,
    }


def _rows_of(label: str, root: Path, limit: int, seed: int, seen: set[str], counts: _Counts) -> list[dict[str, str]]:
    """Up to ``limit`` rows of a library; files come in an order drawn by ``seed``, so that no corner of it stands out."""
    rows: list[dict[str, str]] = []
    for name in sorted(source_files(root), key=lambda name: _draw(seed, f"{label}/{name}")):
        counts.files[label] += 1
        for line, number, text in paragraphs_of(_source(root / name), counts.dropped):
            key = _template(text)
            if key in seen:
                counts.dropped["repeats another, names aside"] += 1
                continue
            seen.add(key)
            rows.append(
                {"id": f"{label}/{name}:{line}:{number}", "text": text, "label": label, "group": f"{label}/{name}"}
            )
        if len(rows) >= limit:
            return rows[:limit]
    return rows


def source_files(root: Path) -> Iterator[str]:
    """The Python files under ``root`` that are its own and no tests, as names inside it."""
    for path in root.rglob("*.py"):
        inside = path.relative_to(root)
        if not LEFT_OUT_FOLDERS & set(inside.parts) and path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            yield inside.as_posix()


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def paragraphs_of(source: str, dropped: Counter[str] | None = None) -> Iterator[tuple[int, int, str]]:
    """The clean paragraphs of a source file's docstrings: line of the owner, number of the paragraph, text.

    A file that this Python cannot parse has none. ``dropped`` counts paragraphs by the reason they were left out.
    """
    dropped = Counter() if dropped is None else dropped
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        dropped["file that cannot be parsed"] += 1
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node) or ""
            for number, paragraph in enumerate(re.split(r"\n\s*\n", docstring), start=1):
                reason, text = _prose(paragraph)
                if reason:
                    dropped[reason] += 1
                else:
                    yield getattr(node, "lineno", 1), number, text


def _prose(paragraph: str) -> tuple[str, str]:
    """Why a paragraph is left out (empty: it is not), and its text as one line."""
    lines = paragraph.splitlines()
    if not lines or any(_no_prose.match(line) for line in lines) or lines[0].startswith("    ") or _is_list(lines):
        return "code, table or list", ""
    text = _footnote.sub(
        "", _quotes.sub(r"\1", _role.sub(r"\1", _link.sub(r"\1", " ".join(line.strip() for line in lines))))
    )
    text = _names.sub(MASK, re.sub(r"\*\*|\s+", lambda found: "" if found[0] == "**" else " ", text)).strip()
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS or len(text.split()) < MIN_WORDS:
        return f"not {MIN_CHARACTERS} to {MAX_CHARACTERS} characters and {MIN_WORDS} words", ""
    letters = sum(character.isalpha() or character == " " for character in text)
    if letters < 0.85 * len(text) or not text[0].isalpha() or text[-1] not in ".:;!?)":
        return "not a sentence", ""
    return "", text


def _is_list(lines: list[str]) -> bool:
    """A heading over indented entries, or bullets."""
    return any(line.startswith("    ") for line in lines[1:]) or any(
        re.match(r"\s*([-*+•]|\d+[.)]|\(?[a-z]\)) ", line) for line in lines
    )


def _template(text: str) -> str:
    """What copies have in common: names, numbers and case are blanked ("Constructs a GPT2 tokenizer.")."""
    first, *rest = text.split()
    blank = ("#" if re.search(r"[A-Z_\d]", word) else word for word in rest)
    return " ".join([first.casefold(), *blank]).rstrip(".:")


def _draw(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{text}".encode(errors="replace"), digest_size=8).digest()


def _write_csv(out: Path, rows: list[dict[str, str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, buffer.getvalue())
