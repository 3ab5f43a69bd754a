"""``python -m acceptance.heard_words MANIFEST PREDICTIONS``: of strings of digits by a voice, how many words a judge hears right: those that the voice never heard its
speaker say, and the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from acceptance.digit_strings import WORDS, left_out
from acceptance.digits import rows_of

_RESAMPLES = 2000


def main() -> None:
    """Print the share of words heard right, of the voice and of the true clips; intervals draw pairs of a speaker and a digit."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.heard_words", description=__doc__)
    parser.add_argument("manifest", type=Path, help="the strings, with their speakers")
    parser.add_argument("predictions", type=Path, help="what pretune evaluate --judge wrote of them")
    asked = parser.parse_args()
    rows, records = rows_of(asked.manifest), rows_of(asked.predictions)
    left = left_out(sorted({row["speaker"] for row in rows}))
    told: dict[str, Any] = {}
    for heard, suffix in (("heard", ""), ("heard_true", "_true")):
        right: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for row, record in zip(rows, records, strict=True):
            assert row["text"] == record["text"], f"{record['id']} is another text"
            words = row["text"].split()
            for word, is_right in zip(words, heard_right(words, record[heard].split()), strict=True):
                right[row["speaker"], word].append(is_right)
        out = {pair: ones for pair, ones in right.items() if (pair[0], WORDS.index(pair[1])) in left}
        rest = {pair: ones for pair, ones in right.items() if pair not in out}
        told[f"left_out{suffix}"], told[f"learned{suffix}"] = share(list(out.values())), share(list(rest.values()))
        told[f"by_pair{suffix}"] = {f"{word} by {name}": f"{sum(ones)} of {len(ones)}" for (name, word), ones in sorted(out.items())}  # fmt: skip
    sys.stdout.write(json.dumps({"n": len(rows), **told}) + "\n")


def heard_right(words: Sequence[str], heard: Sequence[str]) -> list[bool]:
    """Which words stand in what was heard, along the alignment of fewest edits."""
    found = [False] * len(words)
    for step in Levenshtein.opcodes(words, heard):
        if step.tag == "equal":
            found[step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
    return found


def share(pairs: Sequence[Sequence[bool]]) -> dict[str, float | int]:
    """How many are right in all, with the 95 % interval of drawing pairs."""
    right_P, all_P = (np.array([count(ones) for ones in pairs]) for count in (sum, len))
    drawn_RP = np.random.default_rng(0).integers(len(pairs), size=(_RESAMPLES, len(pairs)))
    low, high = np.quantile(right_P[drawn_RP].sum(axis=1) / all_P[drawn_RP].sum(axis=1), (0.025, 0.975))
    return {"value": float(right_P.sum() / all_P.sum()), "low": float(low), "high": float(high), "n": int(all_P.sum()), "pairs": len(pairs)}  # fmt: skip


if __name__ == "__main__":
    main()
