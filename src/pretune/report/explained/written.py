"""What each token of a written text hangs on, as parts of a page: the tokens that speak for and against it, and the test of it."""

from __future__ import annotations

import numpy as np

from pretune.explain.written_saliency import WrittenSaliency
from pretune.report.explained.attributions import deletion_parts
from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.words import percent_text, plain

__all__ = ["saliency_section"]

_NAMED = 5
_LEAST = 0.005


def saliency_section(found: WrittenSaliency) -> Section:
    """The chapter about the tokens that were written."""
    how = (
        "Integrated gradients (Sundararajan et al. 2017) share the log-probability of each written token among the tokens that were read for it, along the "
        f"straight way from a text whose own tokens are all the mean of the vocabulary; {percent_text(found.error)} of the whole is missing from the sums. Figures are nats: 0.69 doubles "
        "the probability, a negative one speaks for another token."
    )
    rows = [_row(found, number) for number in range(len(found.written))]
    parts = [
        part("paragraph", text=how, kind="note"),
        data_table("Tokens in the order in which they were written", ["written", "its probability", "speaks most for it", "speaks most against it"], rows),
        *deletion_parts(found.faithfulness),
    ]  # fmt: skip
    return Section("saliency", "What each written token hangs on", tuple(parts))


def _row(found: WrittenSaliency, number: int) -> list[Cell]:
    nats_T = found.nats_LT[number]
    order = np.argsort(-nats_T, kind="stable")
    best = [place for place in order[:_NAMED].tolist() if nats_T[place] >= _LEAST]
    worst = [place for place in order[::-1][: _NAMED - 2].tolist() if nats_T[place] <= -_LEAST]
    named = [", ".join(f"{plain(found.tokens[place])} {nats_T[place]:+.2f}" for place in places) or "–" for places in (best, worst)]  # fmt: skip
    return [Cell(plain(found.written[number])), Cell(percent_text(found.probabilities_L[number]), numeric=True), *map(Cell, named)]  # fmt: skip
