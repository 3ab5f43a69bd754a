"""The corpus that is always at hand: prose only, names masked, grouped by file, the same every time."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from pretune.data.docstrings import MASK, library_roots, paragraphs_of, write_docstring_corpus
from pretune.errors import DataError

SOURCE = '''
"""Read and write tables that are too large for the memory of one machine.

    >>> table = read("x")
"""

class Table:
    """A table of rows, as `numpy` and :class:`~pandas.DataFrame` users know
    it, with **typed** columns [1]_.

    Parameters
    ----------
    rows : int
        The number of rows that the table holds at the moment.

    Args:
        rows: the number of rows that the table holds at the moment.

    - a bullet about something that is long enough to count as text.

    Short one.

    Never call ``close`` twice, as NumPy's own arrays do not forgive it either.
    """

    def rows(self):
        """Return the number of rows, which is counted again on each call."""
        text = """Not a docstring but a long text that only looks like one to a careless reader."""
'''


def test_paragraphs_are_prose_without_markup():
    texts = [text for _, _, text in paragraphs_of(SOURCE)]
    assert texts == [
        "Read and write tables that are too large for the memory of one machine.",
        f"A table of rows, as {MASK} and {MASK}.DataFrame users know it, with typed columns.",
        f"Never call close twice, as {MASK}'s own arrays do not forgive it either.",
        "Return the number of rows, which is counted again on each call.",
    ]


def test_what_is_left_out_is_counted():
    dropped: Counter[str] = Counter()
    assert list(paragraphs_of("def f(:", dropped)) == []
    assert list(paragraphs_of("x = 1\0", dropped)) == []
    assert dropped == {"file that cannot be parsed": 2}
    list(paragraphs_of(SOURCE, dropped := Counter()))
    assert dropped["code, table or list"] == 4


def library(folder: Path, topic: str, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        word = "".join("abcdefghij"[int(digit)] for digit in str(number))
        text = f"The {topic} {word} is turned until it stops, and then it is left alone."
        copy = f"Return Copy{number} of the {topic} as it was when the work had begun."
        (folder / f"{word}.py").write_text(f'"""{text}\n\n{copy}\n"""\n')
    return folder


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {
        topic: library(tmp_path / topic, topic, count) for topic, count in (("valve", 30), ("wheel", 12), ("cog", 3))
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_corpus_is_limited_grouped_and_free_of_copies(tmp_path: Path, roots: dict[str, Path]):
    facts = write_docstring_corpus(tmp_path / "new" / "a.csv", max_rows_per_label=20, min_rows_per_label=5, roots=roots)
    rows = rows_of(tmp_path / "new" / "a.csv")
    assert Counter(row["label"] for row in rows) == facts["labels"] == {"valve": 20, "wheel": 13}
    assert facts["left_out"] == {"cog": 4}
    assert facts["rows"] == len(rows) == len({row["id"] for row in rows}) == len({row["text"] for row in rows})
    assert all(row["id"].startswith(row["group"] + ":") and row["group"].startswith(row["label"] + "/") for row in rows)
    assert sum("Copy" in row["text"] for row in rows) == 2, "copies that differ in a name alone count once a topic"
    assert facts["dropped"]["repeats another, names aside"] >= 11


def test_corpus_is_the_same_every_time_and_another_by_seed(tmp_path: Path, roots: dict[str, Path]):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_docstring_corpus(tmp_path / name, max_rows_per_label=20, min_rows_per_label=5, seed=seed, roots=roots)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_too_little_text_is_told(tmp_path: Path, roots: dict[str, Path]):
    with pytest.raises(DataError, match="only 0 libraries"):
        write_docstring_corpus(tmp_path / "a.csv", min_rows_per_label=1000, roots=roots)
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.slow
def test_libraries_at_hand_give_real_text(tmp_path: Path):
    roots = library_roots()
    assert {"python", "numpy", "torch", "transformers", "sklearn"} <= set(roots)
    facts = write_docstring_corpus(
        tmp_path / "a.csv",
        max_rows_per_label=60,
        min_rows_per_label=60,
        roots={name: roots[name] for name in ("python", "sklearn")},
    )
    rows = rows_of(tmp_path / "a.csv")
    assert facts["labels"] == {"python": 60, "sklearn": 60}
    assert not any("sklearn" in row["text"].casefold().split() for row in rows)
    assert all(40 <= len(row["text"]) <= 400 for row in rows)
