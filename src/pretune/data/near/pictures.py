"""Pictures that are copies: at another size or quality, grey, brighter, mirrored, cropped, bordered, turned a little.

Each picture is known by its sketch, 32 x 32 grey pixels. Low frequencies of the whole sketch and of windows of it (what a crop would leave,
what is inside a border) make vectors; a picture is a candidate for another one's copy when its vector is near that of a window, as it is or
mirrored. Then the sketches are laid over each other (``align``), and their edges compared. S sketches, P pairs.

How the limits were chosen: docs/decisions.md, D140.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from pretune.data.media.look import SKETCH_SIDE
from pretune.data.near.align import agreement, aligned, band_passed, halved
from pretune.data.near.pairs import KINDS, NearPairs, no_pairs
from pretune.data.near.vectors import cells_of, close_pairs, nearest_cells, unit

__all__ = ["LEAST_AGREEMENT", "METHOD", "MOST_CROPPED", "find_near_pictures", "unpacked"]

MOST_CROPPED = 100_000
"""Among more pictures, cropped, bordered and turned copies are not looked for."""
LEAST_AGREEMENT = 0.88
METHOD = "low frequencies of 32 x 32 grey pixels and of windows of them, as they are and mirrored; every near pair laid over each other and compared by its edges"

_F = np.float32
_FREQUENCIES = 8
_LEAST_ALIKE = 0.76
_PROBED, _MOST_EACH = 8, 8
_MOST_CANDIDATES = 8  # a sketch: the most alike ones of all
_LEAST_COARSE, _LEAST_GREY = 0.72, 0.85
_FEWEST_PAIRS = 20_000
_BATCH = 2_048
_MARGIN = 0.15  # the edge of a border, and what a turn leaves empty, spoil what is beside them
_STEPS_COARSE, _STEPS_FINE = 3, 3
_MOST_TURNED, _MOST_SHEARED, _MOST_STRETCHED = 0.17, 0.12, 1.25
_SCALES = (0.7, 1.35)
_STILL = 0.03  # of half a side: what is not moved by more is the whole picture


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pairs of sketches (one, other), whether the one is mirrored, and the map (P, 2, 3) from its coordinates to the other's."""

    one_P: np.ndarray
    other_P: np.ndarray
    mirrored_P: np.ndarray
    maps_P23: np.ndarray
    complete: bool


def unpacked(sketches: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Sketches (S, 32, 32) uint8 of pictures that have one or two each (see ``media_look``), and the picture (S,) of each."""
    whole = np.frombuffer(b"".join(sketches), dtype=np.uint8).reshape(-1, SKETCH_SIDE, SKETCH_SIDE)
    counts = np.fromiter((len(each) for each in sketches), dtype=np.int64, count=len(sketches)) // whole[0:1].size
    return whole, np.repeat(np.arange(len(sketches)), counts)


def find_near_pictures(sketches_SHW: np.ndarray, picture_S: np.ndarray) -> NearPairs:
    """Pairs of pictures which are copies of each other, by their sketches (S, 32, 32) uint8, as :func:`unpacked` gives them. Pictures of one
    even colour are not compared.
    """
    if not len(sketches_SHW) or not len((found := _candidates(sketches_SHW, picture_S)).one_P):
        return no_pairs()
    parts = [_judged(sketches_SHW, found, slice(start, start + _BATCH)) for start in range(0, len(found.one_P), _BATCH)]
    kind_P, alike_P = (np.concatenate(part) for part in zip(*parts, strict=True))
    copies = np.flatnonzero(kind_P >= 0)
    copies = copies[np.argsort(-alike_P[copies], kind="stable")]
    both = np.sort(picture_S[np.stack([found.one_P, found.other_P])[:, copies]], axis=0)
    _, first = np.unique(both, axis=1, return_index=True)
    chosen = copies[first]
    left_P, right_P = both[:, first]
    return NearPairs(left_P, right_P, alike_P[chosen], kind_P[chosen], complete=found.complete).sorted()


def _candidates(sketches_SHW: np.ndarray, picture_S: np.ndarray) -> _Candidates:
    flat_SN = sketches_SHW.reshape(len(sketches_SHW), -1)
    windows = range(len(_windows()) if len(flat_SN) <= MOST_CROPPED else 1)
    asking = np.concatenate([_vectors(flat_SN, 0), _vectors(sketches_SHW[:, :, ::-1].reshape(flat_SN.shape), 0)])
    middles = cells_of(asking[: len(flat_SN)])
    probed = nearest_cells(asking, middles, _PROBED)
    found = [np.empty((4, 0))]
    for window in windows:
        vectors = _vectors(flat_SN, window)
        home = nearest_cells(vectors, middles, 1)[:, 0]
        for query, other, alike in close_pairs(asking, probed, vectors, home, least=_LEAST_ALIKE, most=_MOST_EACH):
            mirrored, one = np.divmod(query, len(flat_SN))
            apart = picture_S[one] != picture_S[other]
            found.append(np.stack([one + len(flat_SN) * mirrored, other, np.full(len(one), window), alike])[:, apart])
    query_P, other_P, window_P, alike_P = np.concatenate(found, axis=1)
    mirrored_P, one_P = np.divmod(query_P.astype(np.int64), max(len(flat_SN), 1))
    whole = (one_P, other_P.astype(np.int64), mirrored_P.astype(bool), window_P.astype(np.int64), alike_P)
    return _best(*whole, most_pairs=max(_FEWEST_PAIRS, _MOST_CANDIDATES * len(flat_SN)))


def _best(
    one_P: np.ndarray,
    other_P: np.ndarray,
    mirrored_P: np.ndarray,
    window_P: np.ndarray,
    alike_P: np.ndarray,
    *,
    most_pairs: int,
) -> _Candidates:
    """Of each two sketches the best window as they are and mirrored; the most alike ones where there are too many."""
    order = np.argsort(-alike_P, kind="stable")
    least, most = np.minimum(one_P, other_P)[order], np.maximum(one_P, other_P)[order]
    size = int(most.max(initial=0)) + 1
    _, first = np.unique((least * size + most) * 2 + mirrored_P[order], return_index=True)
    chosen = order[np.sort(first)]
    complete = len(chosen) <= most_pairs
    chosen = chosen[:most_pairs]
    maps = np.stack(_windows()).astype(_F)[window_P[chosen]]
    return _Candidates(one_P[chosen], other_P[chosen], mirrored_P[chosen], maps, complete)


def _judged(sketches_SHW: np.ndarray, found: _Candidates, cut: slice) -> tuple[np.ndarray, np.ndarray]:
    """Kinds (P,), -1 for no copy, and how well the edges agree."""
    ours = sketches_SHW[found.one_P[cut]].astype(_F)
    ours = np.where(found.mirrored_P[cut, None, None], ours[:, :, ::-1], ours)
    theirs = sketches_SHW[found.other_P[cut]].astype(_F)
    kind_P, alike_P = np.full(len(ours), -1, dtype=np.int8), np.zeros(len(ours))
    small, others = halved(ours), halved(theirs)
    maps = aligned(small, others, found.maps_P23[cut], _STEPS_COARSE)
    coarse = agreement(band_passed(small), band_passed(others), maps, _MARGIN)
    rest = np.flatnonzero((coarse >= _LEAST_COARSE) & _is_plain(maps, slack=1.3))
    if not len(rest):
        return kind_P, alike_P
    ours, theirs = ours[rest], theirs[rest]
    maps = aligned(ours, theirs, maps[rest], _STEPS_FINE)
    edges = agreement(band_passed(ours), band_passed(theirs), maps, _MARGIN)
    grey = agreement(ours, theirs, maps, _MARGIN)
    copies = (edges >= LEAST_AGREEMENT) & (grey >= _LEAST_GREY) & _is_plain(maps)
    kind_P[rest[copies]] = _kinds(maps[copies], found.mirrored_P[cut][rest[copies]])
    alike_P[rest[copies]] = edges[copies]
    return kind_P, alike_P


def _is_plain(maps_P23: np.ndarray, slack: float = 1.0) -> np.ndarray:
    """(P,) bool: is the map one that cropping, bordering, stretching or turning a little makes, with no shear and nothing far away."""
    wide, high = maps_P23[:, 0, 0], maps_P23[:, 1, 1]
    off = maps_P23[:, [0, 1], [1, 0]]
    shift = np.abs(maps_P23[:, :, 2]) - np.abs(1 - np.stack([wide, high], axis=1))
    turned = (np.abs(off) < _MOST_TURNED * slack).all(axis=1) & (np.abs(off.sum(axis=1)) < _MOST_SHEARED * slack)
    scaled = (np.minimum(wide, high) > _SCALES[0] / slack) & (np.maximum(wide, high) < _SCALES[1] * slack)
    stretched = np.abs(np.log(np.maximum(wide, 0.1) / np.maximum(high, 0.1))) < np.log(_MOST_STRETCHED) * slack
    return turned & scaled & stretched & (shift < 0.08 * slack).all(axis=1)


def _kinds(maps_P23: np.ndarray, mirrored_P: np.ndarray) -> np.ndarray:
    moved_P = (np.abs(maps_P23 - np.eye(2, 3)) > _STILL).any(axis=(1, 2))
    kinds = np.where(moved_P, KINDS.index("framed"), KINDS.index("look"))
    return np.where(mirrored_P, KINDS.index("mirrored"), kinds)


def _vectors(flat_SN: np.ndarray, window: int) -> np.ndarray:
    """(S, 63) float32 of length 1: low frequencies of one window of each sketch, without the mean."""
    weights = _window_weights(window)
    return np.concatenate(
        [unit(part.astype(_F) @ weights) for part in _parts(flat_SN)] or [np.empty((0, weights.shape[1]), _F)]
    )


def _parts(flat_SN: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(flat_SN), 4 * _BATCH):
        yield flat_SN[start : start + 4 * _BATCH]


@cache
def _windows() -> tuple[np.ndarray, ...]:
    """Maps (2, 3) from the coordinates of a window to those of the picture: all of it, nine tenths, eight tenths, turned by 4 degrees."""
    places = [(1.0, 0.0, 0.0)]
    places += [(0.9, x, y) for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0))]
    places += [(0.8, x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    straight = [np.array([[scale, 0, (1 - scale) * x], [0, scale, (1 - scale) * y]]) for scale, x, y in places]
    angle = np.deg2rad(4)
    sine, cosine = np.sin(angle), np.cos(angle)
    return (
        *straight,
        np.array([[cosine, -sine, 0], [sine, cosine, 0]]),
        np.array([[cosine, sine, 0], [-sine, cosine, 0]]),
    )


@cache
def _window_weights(window: int) -> np.ndarray:
    """(1024, 63) from the pixels of a sketch to the low frequencies of a window.

    A cosine transform; each frequency counts by its square root, as natural pictures have amplitudes that fall with it (Field, "Relations
    between the statistics of natural images and the response properties of cortical cells", 1987): half of the way to equal ones.
    """
    number, pixel = np.arange(_FREQUENCIES)[:, None], np.arange(SKETCH_SIDE)
    waves = np.cos(np.pi * number * (2 * pixel + 1) / (2 * SKETCH_SIDE)) * np.where(number == 0, np.sqrt(0.5), 1.0)
    height = np.hypot(number, number.T).reshape(-1, 1)
    patterns = np.einsum("ay,bx->abyx", waves, waves).reshape(_FREQUENCIES**2, -1) * np.sqrt(height)
    return (patterns[1:] @ _sampling(_windows()[window])).T.astype(_F)


def _sampling(map_23: np.ndarray) -> np.ndarray:
    """(1024, 1024) from the pixels of a sketch to those of a window, between pixels in proportion."""
    middles = (np.arange(SKETCH_SIDE) + 0.5) / SKETCH_SIDE * 2 - 1
    x, y = np.meshgrid(middles, middles)
    places = np.einsum("ij,jhw->ihw", map_23, np.stack([x, y, np.ones_like(x)]))
    across, down = np.clip((places + 1) * SKETCH_SIDE / 2 - 0.5, 0, SKETCH_SIDE - 1.001).reshape(2, -1)
    left, top = across.astype(int), down.astype(int)
    weights = np.zeros((SKETCH_SIDE**2, SKETCH_SIDE**2))
    pixel = np.arange(SKETCH_SIDE * SKETCH_SIDE)
    for one, other in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.where(one, down - top, 1 - down + top) * np.where(other, across - left, 1 - across + left)
        np.add.at(weights, (pixel, (top + one) * SKETCH_SIDE + left + other), share)
    return weights
