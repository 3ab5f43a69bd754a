"""What a report shows of pairs of texts: where the right text stands, the rows where it stands furthest back, cosines beside scores.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.tasks.blocks.classification import Rows
from pretune.tasks.blocks.regression import drawn_points
from pretune.wording import counted, figure

__all__ = ["embedding_blocks"]

MAX_WORST = 20
_PLACES = ((1, 1), (2, 3), (4, 10), (11, 100), (101, None))


def embedding_blocks(records: Sequence[Mapping[str, Any]], rows: Rows, *, scored: bool) -> list[dict[str, Any]]:
    """``rows[i]`` is row i."""
    cosine_N = np.array([record["similarity"] for record in records])
    if scored:
        truth_N = np.array([float(record["truth"]) for record in records])
        return [_points(truth_N, cosine_N), _furthest(truth_N, cosine_N, rows)]
    rank_N = np.array([record["rank"] for record in records])
    return [_places(rank_N), _last(rank_N, records, rows)]


def _places(rank_N: np.ndarray) -> dict[str, Any]:
    cells = []
    for low, high in _PLACES:
        count = int(((rank_N >= low) & (rank_N <= (high or rank_N.max(initial=0)))).sum())
        name = f"{low}" if high == low else f"{low} to {high}" if high else f"{low} or later"
        cells.append([name, count, f"{100 * count / max(1, len(rank_N)):.1f} %"])
    columns = [{"name": name, "kind": kind} for name, kind in (("place", "text"), ("rows", "number"), ("share", "number"))]  # fmt: skip
    note = (
        f"Of {counted(len(rank_N), 'text')} each was asked for its own pair among those of all; place 1 is the nearest."
    )
    return {"type": "table", "title": "Where the right text stands", "note": note, "columns": columns, "rows": cells}


def _last(rank_N: np.ndarray, records: Sequence[Mapping[str, Any]], rows: Rows) -> dict[str, Any]:
    """The texts whose pair is furthest back, with the text that stands first in its place."""
    vectors_ND = np.array([record["vector"] for record in records], dtype=np.float32)
    pairs_ND = np.array([record["pair_vector"] for record in records], dtype=np.float32)
    order = [place for place in np.argsort(-rank_N, kind="stable")[:MAX_WORST].tolist() if rank_N[place] > 1]
    found = []
    for place in order:
        nearest = int(np.argmax(vectors_ND[place] @ pairs_ND.T))
        row = rows[place]
        found.append(
            {
                "id": row["id"], "text": row["text"], "truth": f"{records[place]['truth']} (place {rank_N[place]:,})",
                "predicted": records[nearest]["truth"],
            }
        )  # fmt: skip
    note = f"{int((rank_N > 1).sum())} of {counted(len(rank_N), 'text')} are nearer to another one's pair; the {len(found)} whose own is furthest back, with the nearest."
    return {"type": "examples", "title": "Worst rows", "note": note, "rows": found}


def _points(truth_N: np.ndarray, cosine_N: np.ndarray) -> dict[str, Any]:
    named = {"title": "Cosines beside scores", "x_title": "score", "y_title": "cosine", "diagonal": False}
    return drawn_points(truth_N, cosine_N, "Each point is a pair of texts.", **named)


def _furthest(truth_N: np.ndarray, cosine_N: np.ndarray, rows: Rows) -> dict[str, Any]:
    """The pairs whose place by their cosine is furthest from that by their score."""
    away_N = np.abs(np.argsort(np.argsort(truth_N)) - np.argsort(np.argsort(cosine_N)))
    order = np.argsort(-away_N, kind="stable")[:MAX_WORST].tolist()
    found = [
        {
            **{key: rows[i][key] for key in ("id", "text", "text_pair")},
            "truth": figure(float(truth_N[i])), "predicted": f"cosine {figure(float(cosine_N[i]), 3)}",
        }
        for i in order
    ]  # fmt: skip
    note = f"The {counted(len(found), 'pair')} whose place by cosine is furthest from their place by score."
    return {"type": "examples", "title": "Worst rows", "note": note, "rows": found}
