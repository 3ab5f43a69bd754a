"""What documents say of files: each exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
FOLDERS = ("src", "tests", "benchmarks")
FILES = ["/" + str(path.relative_to(ROOT)) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
FENCED, INLINE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL), re.compile(r"`[^`\n]+`")
PATH, LINK = re.compile(r"(?<![\w<>])[\w./-]+\.py\b"), re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_python_file_that_a_document_names_exists(document: Path) -> None:
    """A path may be told from any folder above the file."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    named = {path for code in INLINE.findall(text) for path in PATH.findall(code)}
    assert sorted(path for path in named if not any(each.endswith("/" + path) for each in FILES)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    linked = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in linked if not (document.parent / link).exists()] == []
