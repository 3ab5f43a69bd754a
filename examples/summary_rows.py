"""Write docstrings of the libraries that are installed as rows to learn summaries from: ``python summary_rows.py summaries.jsonl``.

Each row has ``source`` (what a docstring explains in its paragraphs of prose), ``target`` (its first line, which sums it up) and ``group`` (the file
that it stands in, so that no file is on two sides of a split). Names of libraries are masked, rows that repeat another are left out.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pretune.data.docstrings import library_roots, paragraphs_of, source_files

SHORTEST = 1.2
"""A source has at least so many times the characters of its target."""


def rows_of(label: str, root: Path) -> Iterator[dict[str, str]]:
    """The rows of one library."""
    for name in sorted(source_files(root)):
        by_owner: dict[int, dict[int, str]] = defaultdict(dict)
        for line, number, text in paragraphs_of((root / name).read_text(encoding="utf-8", errors="replace")):
            by_owner[line][number] = text
        for line, paragraphs in by_owner.items():
            target = paragraphs.pop(1, "")
            source = " ".join(text for _, text in sorted(paragraphs.items()))
            if target and len(source) >= SHORTEST * len(target):
                yield {"id": f"{label}/{name}:{line}", "source": source, "target": target, "group": f"{label}/{name}"}


def main(out: str) -> None:
    """All rows, as JSON lines."""
    seen: set[str] = set()
    rows: list[dict[str, str]] = []
    for label, root in library_roots().items():
        for row in rows_of(label, root):
            if row["source"].casefold() not in seen and row["target"].casefold() not in seen:
                seen |= {row["source"].casefold(), row["target"].casefold()}
                rows.append(row)
    Path(out).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{out}: {len(rows):,} docstrings of {len({row['group'] for row in rows}):,} files")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
