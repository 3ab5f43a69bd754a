"""From CTC's frames to characters: the greedy path, and prefix beam search.

Shapes: F frames, V characters of the vocabulary. Log probabilities are natural logarithms.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["beam_search", "greedy", "least_frames"]

_KEPT_CHARACTERS = 20


def least_frames(ids: tuple[int, ...]) -> int:
    """Frames that CTC needs at least for these characters: one each, and a blank between equal neighbours
    (Graves et al. 2006, section 3.1).
    """
    return len(ids) + sum(one == other for one, other in itertools.pairwise(ids))


def greedy(log_probs_FV: np.ndarray, blank: int) -> list[int]:
    """The most probable character of each frame; repeats and blanks taken out."""
    best_F = log_probs_FV.argmax(axis=1)
    kept = np.ones(len(best_F), dtype=bool)
    kept[1:] = best_F[1:] != best_F[:-1]
    return [int(i) for i in best_F[kept] if i != blank]


def beam_search(log_probs_FV: np.ndarray, blank: int, beam_size: int) -> list[int]:
    """The characters whose alignments are most probable in sum, searched among ``beam_size`` prefixes a frame.

    Prefix search: Graves et al. 2006, section 3.2, as a beam (Hannun et al. 2014, arXiv 1408.2873, algorithm 1) without a language
    model. The 20 most probable characters of a frame are tried.
    """
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for log_probs_V in log_probs_FV:
        likely = np.argsort(-log_probs_V, kind="stable")[:_KEPT_CHARACTERS]
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (ends_blank, ends_character) in beams.items():
            either = np.logaddexp(ends_blank, ends_character)
            _add(found, prefix, either + log_probs_V[blank], -np.inf)
            if prefix:
                _add(found, prefix, -np.inf, ends_character + log_probs_V[prefix[-1]])
            for character in likely:
                if character == blank:
                    continue
                before = ends_blank if prefix and character == prefix[-1] else either
                _add(found, (*prefix, int(character)), -np.inf, before + log_probs_V[character])
        kept = sorted(found, key=lambda prefix: -np.logaddexp(*found[prefix]))[:beam_size]
        beams = {prefix: found[prefix] for prefix in kept}
    return list(max(beams, key=lambda prefix: np.logaddexp(*beams[prefix])))


def _add(
    found: dict[tuple[int, ...], tuple[float, float]], prefix: tuple[int, ...], blank: float, character: float
) -> None:
    """Add probabilities of alignments that end in a blank and in the prefix's last character."""
    before = found.get(prefix, (-np.inf, -np.inf))
    found[prefix] = (float(np.logaddexp(before[0], blank)), float(np.logaddexp(before[1], character)))
