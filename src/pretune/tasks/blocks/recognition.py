"""What a report shows of transcripts: the most frequent confusions and the worst utterances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.backbones.text.characters import tidy
from pretune.metrics.recognition import confusions, recognition_statistics
from pretune.tasks.shown.audio import HOW_TO_READ

__all__ = ["recognition_blocks"]

MAX_WORST, MAX_CONFUSIONS = 20, 30
_NOTHING = "(nothing)"


def recognition_blocks(
    records: Sequence[Mapping[str, Any]], shown: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
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
