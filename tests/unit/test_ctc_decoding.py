"""Greedy decoding and beam search against every alignment there is."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

from pretune.tasks.speech.ctc_decoding import beam_search, greedy, least_frames


def collapsed(path: tuple[int, ...], blank: int = 0) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def by_every_alignment(log_probs_FV: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each text, summed over all V ** F alignments."""
    frames, size = log_probs_FV.shape
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(size), repeat=frames):
        found[collapsed(path)] += float(np.exp(sum(log_probs_FV[f, c] for f, c in enumerate(path))))
    return found


def random_log_probs(seed: int, frames: int = 5, size: int = 3) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, size)) * 1.5
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(25))
def test_a_wide_beam_finds_the_most_probable_text(seed: int) -> None:
    log_probs_FV = random_log_probs(seed)
    totals = by_every_alignment(log_probs_FV)
    assert tuple(beam_search(log_probs_FV, 0, 200)) == max(totals, key=totals.__getitem__)


def test_beam_search_beats_the_greedy_path_where_alignments_add_up() -> None:
    """The classic case: the blank is likeliest in each frame, yet "a" is the likeliest text."""
    log_probs_FV = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert greedy(log_probs_FV, 0) == []
    assert beam_search(log_probs_FV, 0, 4) == [1]


@pytest.mark.parametrize(
    ("path", "text"),
    [((0, 0), []), ((1, 1, 0, 1), [1, 1]), ((1, 2, 2, 1), [1, 2, 1]), ((0, 3, 0, 0, 3, 3), [3, 3]), ((2,), [2])],
)
def test_greedy_takes_repeats_and_blanks_out(path: tuple[int, ...], text: list[int]) -> None:
    log_probs_FV = np.log(np.eye(4)[list(path)] * 0.97 + 0.01)
    assert greedy(log_probs_FV, 0) == text == list(collapsed(path))
    assert beam_search(log_probs_FV, 0, 1) == text


def test_the_blank_may_have_any_number() -> None:
    log_probs_FV = random_log_probs(3, frames=4, size=3)
    turned = log_probs_FV[:, [1, 2, 0]]
    assert [{1: 0, 2: 1}[c] for c in beam_search(log_probs_FV, 0, 50)] == beam_search(turned, 2, 50)


@pytest.mark.parametrize(
    ("ids", "frames"), [((), 0), ((4,), 1), ((1, 2), 2), ((1, 1), 3), ((5, 5, 5), 5), ((1, 2, 2, 3), 5)]
)
def test_least_frames_is_the_shortest_alignment(ids: tuple[int, ...], frames: int) -> None:
    assert least_frames(ids) == frames
    if len(ids) > 1:
        import torch

        log_probs = torch.zeros(frames, 1, 6).log_softmax(-1)
        for given, finite in ((frames, True), (frames - 1, False)):
            loss = torch.nn.functional.ctc_loss(
                log_probs[:given], torch.tensor([ids]), torch.tensor([given]), torch.tensor([len(ids)]), reduction="sum"
            )  # fmt: skip
            assert bool(torch.isfinite(loss)) == finite
