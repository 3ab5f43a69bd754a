"""What a report shows of texts that were written: how answers fail, and the worst rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.metrics.base import Metric
from pretune.metrics.texts.ngrams import chrf_of, chrf_statistics
from pretune.metrics.texts.writing import references_of
from pretune.tasks.baselines.writing import main_script
from pretune.tasks.blocks.classification import Rows
from pretune.wording import counted

__all__ = ["writing_blocks", "writing_warnings"]

MAX_WORST = 20
_FEW_RECORDS, _SAME, _MANY = 10, 0.5, 0.1
_NOTHING = "(nothing)"
_REPEATED, _ORDER = 0.3, 4


def writing_blocks(
    records: Sequence[Mapping[str, Any]], rows: Rows, metric: Metric, purpose: str
) -> list[dict[str, Any]]:
    """``rows[i]`` is row i."""
    return [_failures(records, rows, purpose), _worst(records, rows)]


def _failures(records: Sequence[Mapping[str, Any]], rows: Rows, purpose: str) -> dict[str, Any]:
    """Kinds of answers that are wrong in themselves, how many there are, and the first."""
    script = main_script([references_of(record)[0] for record in records])
    kinds: dict[str, list[int]] = {name: [] for name in ("cut off at their limit", "empty", "the source, copied", "in another script than the right texts", "of repeated words")}  # fmt: skip
    cut, empty, copied, strange, repeated = kinds.values()
    for place, record in enumerate(records):
        said = record["target"]
        cut += [place] if record.get("cut_off") else []
        empty += [] if said else [place]
        copied += [place] if said and said == rows[place]["text"].strip() and said not in references_of(record) else []
        strange += [place] if said and main_script([said]) not in ("", script) else []
        repeated += [place] if _repetition(said) > _REPEATED else []
    if purpose == "summarization":
        kinds.pop("in another script than the right texts")
    cells = [
        [name, len(places), f"{100 * len(places) / max(1, len(records)):.1f} %", _shown(records, places)]
        for name, places in kinds.items()
    ]
    columns = [{"name": "answers", "kind": "text"}, {"name": "rows", "kind": "number"}, {"name": "share", "kind": "number"}, {"name": "the first", "kind": "text"}]  # fmt: skip
    note = f"Of {counted(len(records), 'answer')}. Repeated: more than {_REPEATED:.0%} of the runs of {_ORDER} words (or letters) stand in the answer already."
    return {"type": "table", "title": "Answers that are wrong in themselves", "note": note, "columns": columns, "rows": cells}  # fmt: skip


def _shown(records: Sequence[Mapping[str, Any]], places: Sequence[int]) -> str:
    if not places:
        return ""
    said = str(records[places[0]]["target"]) or _NOTHING
    return f"{records[places[0]]['id']}: {said[:80]}{'…' if len(said) > 80 else ''}"


def _repetition(text: str) -> float:
    """The share of runs of four words that stand in the text already; of a text without spaces of letters."""
    units: Sequence[str] = text.split() if len(text.split()) > _ORDER else text
    runs = [tuple(units[at : at + _ORDER]) for at in range(len(units) - _ORDER + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _worst(records: Sequence[Mapping[str, Any]], rows: Rows) -> dict[str, Any]:
    """The rows whose answers are least like a right text, by chrF."""
    stats = [chrf_statistics(record["target"], references_of(record)) for record in records]
    scores_N = chrf_of(np.array(stats, dtype=np.float64)) if stats else np.zeros(0)
    order = np.argsort(scores_N, kind="stable")[:MAX_WORST]
    shown = [
        {
            "id": records[i]["id"], "text": rows[int(i)]["text"], "truth": " | ".join(references_of(records[i])),
            "predicted": f"{records[i]['target'] or _NOTHING} (chrF {scores_N[i]:.1f})",
        }
        for i in order
        if scores_N[i] < 100
    ]  # fmt: skip
    note = f"The {len(shown)} of {counted(len(records), 'row')} whose answers share fewest characters with a right text (chrF2, 0 to 100)."
    return {"type": "examples", "title": "Worst rows", "note": note, "rows": shown}


def writing_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences for a model that writes nothing, the same everywhere, or does not end; none when all is well."""
    if len(records) < _FEW_RECORDS:
        return []
    said, count = Counter(record["target"] for record in records).most_common(1)[0]
    truths = Counter(references_of(record)[0] for record in records).most_common(1)[0][1]
    if count > _SAME * len(records) and count > 2 * truths:
        shown = f'"{said[:60]}"' if said else "nothing"
        return [
            f"The model writes {shown} for {count} of {len(records)} rows: it does not read yet. Learn longer (--epochs, --minutes), or "
            "from a pre-trained folder."
        ]
    cut = sum(bool(record.get("cut_off")) for record in records)
    if cut > _MANY * len(records):
        return [
            f"{cut} of {len(records)} answers were cut off at their limit: the model does not come to an end. Learn longer, try "
            "--beam-size 4 and --no-repeat-ngram 3, or raise --max-new-tokens where the texts are that long."
        ]
    return []
