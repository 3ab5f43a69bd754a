"""The best stretch of a passage by the scores of where an answer starts and ends; also used by exported models (numpy alone).

Shapes: P tokens of a window's passage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["answer_in", "best_span", "joined_windows", "trimmed_spans"]

_ROWS = 256


def trimmed_spans(spans: Iterable[Sequence[int]], passage: str) -> np.ndarray:
    """(P, 2) int32: where each token stands in the passage, without blanks at its ends; those of blanks alone are empty."""
    found = []
    for start, stop in spans:
        words = passage[start:stop]
        left = len(words) - len(words.lstrip())
        found.append((start + left, start + left + len(words.strip())))
    return np.array(found, dtype=np.int32).reshape(-1, 2)


def best_span(
    start_P: np.ndarray, end_P: np.ndarray, spans_P2: np.ndarray, longest: int
) -> tuple[int, int, float] | None:
    """First character, the one behind the last, and the sum of both scores, of the best answer of at most ``longest`` characters; None where
    there is none.
    """
    from_P, to_P = spans_P2[:, 0].astype(np.int64), spans_P2[:, 1].astype(np.int64)
    place_P, has_words_P = np.arange(len(spans_P2)), to_P > from_P
    found: tuple[int, int, float] | None = None
    for at in range(0, len(spans_P2), _ROWS):  # some starts at a time, so that memory does not grow with the square
        some = slice(at, at + _ROWS)
        size_SP = to_P[None] - from_P[some, None]
        fits_SP = (size_SP > 0) & (size_SP <= longest) & (place_P[None] >= place_P[some, None])
        fits_SP &= has_words_P[None] & has_words_P[some, None]
        sums_SP = np.where(fits_SP, start_P[some, None].astype(np.float64) + end_P[None], -np.inf)
        first, last = np.unravel_index(int(sums_SP.argmax()), sums_SP.shape)
        if fits_SP[first, last] and (found is None or sums_SP[first, last] > found[2]):
            found = (int(from_P[at + first]), int(to_P[last]), float(sums_SP[first, last]))
    return found


def answer_in(
    logits_T2: np.ndarray, first: int, spans_P2: np.ndarray, passage: str, base: int, longest: int
) -> dict[str, Any]:
    """What a window says: ``span`` (``text``, ``start``, ``end``; None where it has no word), its ``score``, that of no answer (``null``, read
    at the window's first token), and the logarithms of the sums of all ``start`` and ``end`` scores (``masses``).

    ``logits_T2`` are the window's own tokens, ``first`` the place of its passage among them, ``base`` the character of the row's
    passage at which the window's ``passage`` begins.
    """
    logits_T2 = logits_T2.astype(np.float64)
    own_P2 = logits_T2[first : first + len(spans_P2)]
    read = np.concatenate([logits_T2[:1], own_P2])
    highest = read.max(axis=0)
    masses = (highest + np.log(np.exp(read - highest).sum(axis=0))).tolist()
    found = best_span(own_P2[:, 0], own_P2[:, 1], spans_P2, longest) if len(spans_P2) else None
    told = {"null": float(logits_T2[0].sum()), "masses": masses}
    if found is None:
        return {"span": None, "score": None, **told}
    start, end, score = found
    return {"span": {"text": passage[start - base : end - base], "start": start, "end": end}, "score": score, **told}


def joined_windows(windows: Sequence[Mapping[str, Any]], *, threshold: float | None) -> dict[str, Any]:
    """The answer of a row: the best span of all windows; none where "no answer" is ahead of it by more than ``threshold`` (None: never).

    ``probability`` is that of the span among all starts and ends of the row; ``margin`` how far no answer is ahead of the best span
    (of the window that is least sure of it; Devlin et al. 2019, section 4.3), in nats.
    """
    nothing = {"text": "", "start": -1, "end": -1}
    told = [window for window in windows if window["span"] is not None]
    if not told:
        return {"span": nothing, "probability": 0.0, "margin": 0.0, "best": nothing}
    best = max(told, key=lambda window: (window["score"], -window["span"]["start"], -window["span"]["end"]))
    masses = np.logaddexp.reduce(sorted(window["masses"] for window in windows), axis=0)
    margin = min(window["null"] for window in windows) - best["score"]
    says_none = threshold is not None and margin > threshold
    return {
        "span": nothing if says_none else best["span"], "probability": float(np.exp(best["score"] - masses.sum())),
        "margin": float(margin), "best": best["span"],
    }  # fmt: skip
