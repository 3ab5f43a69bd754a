"""``python -m acceptance.many_rows make TABLE ROWS OUT | run ROWS WORD ...``: a table of many texts, and what a command of pretune takes for them."""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

_EVERY_S = 0.02


def main() -> int:
    """Write the table; or run the command and print its seconds and the memory of its own that it held at most."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.many_rows", description=__doc__)
    verbs = parser.add_subparsers(required=True, dest="verb")
    made = verbs.add_parser(
        "make", help="different texts, each of the halves of two of TABLE and a number, with the label of the first"
    )
    made.add_argument("table", type=Path, help="CSV file with text and label")
    made.add_argument("rows", type=int)
    made.add_argument("out", type=Path, help="CSV file to write; with --files a folder")
    made.add_argument("--files", type=int, default=0, help="so many files with the rows among them")
    run = verbs.add_parser("run", help="a command of pretune over so many rows")
    run.add_argument("rows", type=int)
    run.add_argument("words", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if asked.verb == "run":
        return _run(asked.rows, asked.words)
    if asked.files:
        asked.out.mkdir()
    parts = [asked.out / f"part-{number}.csv" for number in range(asked.files)] or [asked.out]
    _make(asked.table, asked.rows // len(parts), parts)
    _tell({"rows": asked.rows})
    return 0


def _tell(found: dict[str, float]) -> None:
    sys.stdout.write(f"{json.dumps(found)}\n")


def _make(table: Path, rows: int, parts: list[Path]) -> None:
    """``rows`` in each of the files."""
    with table.open(encoding="utf-8", newline="") as file:
        held = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    draw = random.Random(0)
    for part in parts:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for _ in range(rows):
                (one, label), (other, _) = draw.choice(held), draw.choice(held)
                writer.writerow([f"{one[: len(one) // 2]}{other[len(other) // 2 :]}{draw.randrange(10**6)}", label])


def _run(rows: int, words: list[str]) -> int:
    began = time.monotonic()
    process = psutil.Popen([sys.executable, "-m", "pretune", *words], stdout=subprocess.DEVNULL)
    most: list[int] = [0]
    watching = threading.Thread(target=_watch, args=(process, most), daemon=True)
    watching.start()
    code = process.wait()
    watching.join()
    seconds = time.monotonic() - began
    _tell({"rows": rows, "seconds": seconds, "memory_bytes": most[0]})
    return code


def _watch(process: psutil.Process, most: list[int]) -> None:
    """Keep the most memory of its own: resident, without the pages of files that it shares."""
    try:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            held = process.memory_info()
            most[0] = max(most[0], held.rss - getattr(held, "shared", 0))
            time.sleep(_EVERY_S)
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(main())
