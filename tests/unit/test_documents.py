"""What documents say of files: each exists; and a Chinese page says what its English page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from website.twins import ONLY_HERE, TWINS, drifts, drifts_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for folder in ("docs", "examples", ".") for path in sorted((ROOT / folder).glob("*.md"))]
FOLDERS = ("src", "tests", "benchmarks", "website")
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


@pytest.mark.parametrize("english", TWINS)
def test_a_chinese_page_has_the_headings_commands_and_figures_of_its_english_page(english: str) -> None:
    """Whoever changes the one changes the other: what is said here names both lines."""
    found = drifts(ROOT, english)
    assert not found, "\n".join(found)


def test_every_chinese_page_has_an_english_one() -> None:
    pages = [path for path in DOCUMENTS if path.stem.endswith((".zh", "-zh"))]
    assert sorted(path.relative_to(ROOT).as_posix() for path in pages) == sorted(TWINS.values())


ENGLISH = """# A word

Of 1,821 rows 89.2 % by `--adapt head` ([how](docs/recipes.md)).

```
pretune inspect news.csv    # what is in it: --out F
```

| a | 3 |
- one of `x`
"""
CHINESE = """# 词

`--adapt head`：1,821 行中 89.2 %（[怎样](docs/recipes-zh.md)）。

```
pretune inspect news.csv    # 里面有什么：--out F
```

| 甲 | 3 |
- `x` 之一
"""


def _drifts(chinese: str) -> list[str]:
    return drifts_of(ENGLISH, chinese, english="a.md", chinese="a-zh.md")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("# 词", "## 词", "a-zh.md:1 (beside a.md:1): a heading of level 2 stands where a heading of level 1 should"),
        ("89.2", "89.3", "a-zh.md:3 (beside a.md:3): 89.2 is missing"),
        ("`--adapt head`", "`--adapt linear`", "a-zh.md:3 (beside a.md:3): `--adapt head` is missing"),
        ("recipes-zh.md", "recipes.md", "a-zh.md:3 (beside a.md:3): the link docs/recipes.md should lead to docs/recipes-zh.md"),
        ("news.csv", "old.csv", "a-zh.md:5 (beside a.md:5): line 6: 'pretune inspect old.csv' should be 'pretune inspect news.csv'"),
        ("：--out F", "", "a-zh.md:5 (beside a.md:5): line 6: --out is missing"),
        ("| 甲 | 3 |", "| 甲 | 4 |", "a-zh.md:9 (beside a.md:9): 3 is missing"),
        ("：1,821", "：\n1,821", "a-zh.md:3 (beside a.md:3): line 4: belongs to the line before: a break shows as a gap between Chinese letters"),
        ("- `x` 之一\n", "", "a-zh.md: ends before the list item of a.md:10"),
        ("之一\n", "之一\n\n多了一段\n", "a.md: ends before the paragraph of a-zh.md:12"),
    ],
)  # fmt: skip
def test_a_page_that_drifts_is_told_by_its_line(old: str, new: str, told: str) -> None:
    assert _drifts(CHINESE) == []
    assert CHINESE.count(old) == 1
    assert told in _drifts(CHINESE.replace(old, new))


def test_what_stands_below_the_mark_has_no_english_side() -> None:
    assert _drifts(f"{CHINESE}\n{ONLY_HERE}\n\n## 只在这里\n") == []
