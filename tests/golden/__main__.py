"""``python -m tests.golden [--write]``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from curves import RUNS, TOLERANCE, curve, is_drawn_otherwise, largest_relative_difference, write  # noqa: E402


def main(words: list[str]) -> int:
    if words not in ([], ["--write"]):
        sys.stderr.write("usage: python -m tests.golden [--write]\n")
        return 2
    worst = 0.0
    for name in RUNS:
        if words:
            sys.stdout.write(f"written: {write(name)}\n")
            continue
        found = curve(name)
        apart = largest_relative_difference(found, name)
        if apart > TOLERANCE and is_drawn_otherwise(found, name):
            sys.stdout.write(f"{name}: this version of transformers draws other first weights\n")
            continue
        worst = max(worst, apart)
        sys.stdout.write(f"{name}: {apart:.1e} from the stored curve, {TOLERANCE:.0e} allowed\n")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
