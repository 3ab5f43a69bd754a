"""``python -m acceptance.digits FSDD OUT --each N``: spoken digits as folders of classes (or with their words), few to learn from: as a person with recordings has them."""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


def main() -> None:
    """Copy ``N`` clips of each digit, of all speakers in turn, and the official test clips: to folders OUT/train/DIGIT and OUT/test/DIGIT,
    or with their words to OUT/train.jsonl and OUT/test.jsonl.
    """
    parser = argparse.ArgumentParser(prog="python -m acceptance.digits", description=__doc__)
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl, test.jsonl and the clips")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--each", type=int, required=True, help="clips of each digit to learn from")
    parser.add_argument(
        "--words", action="store_true", help="manifests of clips and words, in place of folders of classes"
    )
    asked = parser.parse_args()
    for split, most in (("train", asked.each), ("test", None)):
        by_digit: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows_of(asked.fsdd / f"{split}.jsonl"):
            by_digit[str(row["label"])].append(row)
        lines = []
        for digit, rows in by_digit.items():
            folder = asked.out / ("recordings" if asked.words else f"{split}/{digit}")
            folder.mkdir(parents=True, exist_ok=True)
            for row in _in_turn(rows)[:most]:
                clip = asked.fsdd / row["audio_filepath"]
                shutil.copyfile(clip, folder / clip.name)
                lines.append({"audio_filepath": f"recordings/{clip.name}", "text": row.get("text")})
        if asked.words:
            told = "".join(f"{json.dumps(line)}\n" for line in lines)
            (asked.out / f"{split}.jsonl").write_text(told, encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a manifest."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _in_turn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first clip of each speaker, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for row in rows:
        ranked.append((seen[row["speaker"]], row))
        seen[row["speaker"]] += 1
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


if __name__ == "__main__":
    main()
