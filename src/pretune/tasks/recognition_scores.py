"""Scores of speech recognition, as functions of sums over rows.

Shapes: N rows, K = 10 statistics of a row: words, and wrong, extra and missing ones; the same of characters; whether the row
is wholly right; 1. Every score is a function of the K sums, so :mod:`pretune.evaluation.intervals` resamples them as any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.backbones.spelling import tidy
from pretune.tasks.audio_shown import HOW_TO_READ

__all__ = [
    "HIGHER_IS_BETTER",
    "SCORE_LIMITS",
    "confusions",
    "recognition_blocks",
    "recognition_scores",
    "recognition_statistics",
]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "wer": False, "cer": False, "substitutions": False, "insertions": False, "deletions": False, "exact": True,
}  # fmt: skip
SCORE_LIMITS: Mapping[str, tuple[float, float]] = {"wer": (1.0, 0.0), "cer": (1.0, 0.0), "exact": (0.0, 1.0)}

MAX_WORST, MAX_CONFUSIONS = 20, 30
_NOTHING = "(nothing)"


def _edits(truth: Sequence[str], said: Sequence[str]) -> tuple[int, int, int, int]:
    """Units of the truth, and those replaced, inserted and deleted on a shortest way from it to what was said."""
    from rapidfuzz.distance import Levenshtein

    kinds = Counter(step.tag for step in Levenshtein.editops(truth, said))
    return len(truth), kinds["replace"], kinds["insert"], kinds["delete"]


def recognition_statistics(records: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Statistics (N, 10) of lines of a predictions file; words are what stands between spaces, characters include spaces."""
    rows = []
    for record in records:
        truth, said = tidy(record["truth"]), tidy(record["text"])
        words = _edits(truth.split(), said.split())
        rows.append((*words, *_edits(truth, said), float(truth == said), 1.0))
    return np.array(rows, dtype=np.float64).reshape(-1, 10)


def recognition_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of :data:`HIGHER_IS_BETTER`, from sums (..., 10) to arrays (...).

    ``wer`` and ``cer`` are substitutions, insertions and deletions over the words (characters) of the truth; they can be larger
    than 1. ``substitutions``, ``insertions`` and ``deletions`` are the parts of ``wer``. ``exact`` is the share of rows without a mistake.
    """
    words, characters = np.maximum(sums_K[..., 0], 1), np.maximum(sums_K[..., 4], 1)
    return {
        "wer": sums_K[..., 1:4].sum(-1) / words,
        "cer": sums_K[..., 5:8].sum(-1) / characters,
        "substitutions": sums_K[..., 1] / words,
        "insertions": sums_K[..., 2] / words,
        "deletions": sums_K[..., 3] / words,
        "exact": sums_K[..., 8] / np.maximum(sums_K[..., 9], 1),
    }


def confusions(records: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """How often a word was heard as another; the empty word stands for one that was missed or made up."""
    from rapidfuzz.distance import Levenshtein

    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        truth, said = tidy(record["truth"]).split(), tidy(record["text"]).split()
        for step in Levenshtein.editops(truth, said):
            was = "" if step.tag == "insert" else truth[step.src_pos]
            became = "" if step.tag == "delete" else said[step.dest_pos]
            found[was, became] += 1
    return found


def recognition_blocks(records: Sequence[Mapping[str, Any]], shown: Any) -> list[dict[str, Any]]:
    """The worst utterances (``shown(i)`` is what the page shows of row i) and the most frequent confusions."""
    stats_NK = recognition_statistics(records)
    errors_N = stats_NK[:, 1:4].sum(axis=1)
    letters_N = stats_NK[:, 5:8].sum(axis=1)
    order = np.lexsort((-letters_N, -errors_N / np.maximum(stats_NK[:, 0], 1), -errors_N))
    worst = [int(i) for i in order[:MAX_WORST] if letters_N[i] > 0]
    rows = [
        {
            **shown(i),
            "truth": tidy(records[i]["truth"]) or _NOTHING,
            "predicted": tidy(records[i]["text"]) or _NOTHING,
        }
        for i in worst
    ]
    wrong = int((letters_N > 0).sum())
    note = f"{wrong} of {len(records)} utterances have a mistake; the {len(rows)} with the most wrong words are shown. {HOW_TO_READ}"
    if not wrong:
        note = f"Utterances with a mistake: none of {len(records)}."
    return [
        _confusion_table(records),
        {"type": "examples", "title": "Worst utterances", "note": note, "rows": rows},
    ]


def _confusion_table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = confusions(records)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_CONFUSIONS]
    cells = [[was or _NOTHING, became or _NOTHING, count] for (was, became), count in ordered]
    columns = [{"name": "said", "kind": "text"}, {"name": "heard", "kind": "text"}, {"name": "times", "kind": "number"}]
    note = f"{len(cells)} of {len(found)} different mistakes; {_NOTHING} stands for a word that was missed or made up."
    return {"type": "table", "title": "Most frequent confusions", "note": note, "columns": columns, "rows": cells}
