"""Vectors of length 1 that point nearly the same way, by cells: only what lies in the nearest cells is compared.

An inverted file as in Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search" (2011), section IV, without the
quantisation. The cells are the means of spherical k-means on a sample. Q queries, N vectors, D numbers each, K cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["cells_of", "close_pairs", "nearest_cells", "unit"]

_SAMPLE, _ROUNDS = 16_384, 6
_MEMBERS, _MOST_CELLS = 64, 4_096
_CHUNK = 8_192


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """The same directions with length 1; zeros stay zeros."""
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-6)


def cells_of(vectors_ND: np.ndarray) -> np.ndarray:
    """(K, D) the middles of cells of about 64 vectors each; one cell for few vectors. The same for the same vectors."""
    num_cells = min(len(vectors_ND) // _MEMBERS, _MOST_CELLS)
    if num_cells < 2 * _MEMBERS // 8:
        return unit(vectors_ND[:1])
    draw = np.random.default_rng(0)
    sample_SD = vectors_ND[np.sort(draw.choice(len(vectors_ND), min(_SAMPLE, len(vectors_ND)), replace=False))]
    num_cells = min(num_cells, len(sample_SD) // 4)
    middles_KD = sample_SD[draw.choice(len(sample_SD), num_cells, replace=False)]
    for _ in range(_ROUNDS):
        home_S = nearest_cells(sample_SD, middles_KD, 1)[:, 0]
        sums_KD = np.zeros_like(middles_KD)
        np.add.at(sums_KD, home_S, sample_SD)
        filled_K = np.bincount(home_S, minlength=num_cells) > 0
        middles_KD = np.where(filled_K[:, None], unit(sums_KD), middles_KD)
    return middles_KD


def nearest_cells(vectors_ND: np.ndarray, middles_KD: np.ndarray, count: int) -> np.ndarray:
    """(N, count) int32 numbers of the nearest cells, all of them where there are fewer."""
    count = min(count, len(middles_KD))
    found = np.empty((len(vectors_ND), count), dtype=np.int32)
    for start in range(0, len(vectors_ND), _CHUNK):
        alike = vectors_ND[start : start + _CHUNK] @ middles_KD.T
        if count == 1:
            found[start : start + _CHUNK, 0] = alike.argmax(axis=1)
        elif count == len(middles_KD):
            found[start : start + _CHUNK] = np.arange(count)
        else:
            found[start : start + _CHUNK] = np.argpartition(alike, -count, axis=1)[:, -count:]
    return found


def close_pairs(
    queries_QD: np.ndarray,
    probed_QC: np.ndarray,
    vectors_ND: np.ndarray,
    home_N: np.ndarray,
    *,
    least: float,
    most: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs (query, vector) whose product is ``least`` or more, with it, cell by cell; of each query at most ``most`` in a cell, the closest.

    ``probed_QC`` are the cells to look into for each query, ``home_N`` the cell that each vector lies in.
    """
    by_home, home_starts = _by_value(home_N, int(probed_QC.max(initial=-1)) + 1)
    asking, cell_starts = _by_value(probed_QC.reshape(-1), len(home_starts) - 1)
    asking //= probed_QC.shape[1]
    for cell in np.flatnonzero((np.diff(home_starts) > 0) & (np.diff(cell_starts) > 0)):
        members = by_home[home_starts[cell] : home_starts[cell + 1]]
        vectors = vectors_ND[members]
        for start in range(cell_starts[cell], cell_starts[cell + 1], _CHUNK // 4):
            queries = asking[start : min(start + _CHUNK // 4, cell_starts[cell + 1])]
            yield _close(queries, members, queries_QD[queries] @ vectors.T, least, most)


def _close(
    queries: np.ndarray, members: np.ndarray, alike: np.ndarray, least: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places = np.flatnonzero(alike >= least)
    if len(places) > most and (np.bincount(places // len(members)) > most).any():
        kept = alike.reshape(-1)[places] >= np.partition(alike, -most, axis=1)[:, -most][places // len(members)]
        places = places[kept]
    row, column = np.divmod(places, len(members))
    return queries[row], members[column], alike.reshape(-1)[places]


def _by_value(values: np.ndarray, num_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Places ordered by value, and where each value begins (num_values + 1,); larger values stand behind the last."""
    order = np.argsort(values, kind="stable")
    return order, np.searchsorted(values[order], np.arange(num_values + 1))
