"""Rows that share rare pieces: an inverted index of hashed pieces, which grows with the rows and is bounded in memory.

A piece that stands in two rows alone links them closely, one that stands in sixteen hardly, and commoner ones are left out: prefix
filtering in its plainest form (Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity Search", 2007). A row that is cut out of another, or
quoted inside it, keeps its rare pieces. Where there are too many pieces, only those with small hashes are kept, the same in all rows:
Broder, "On the resemblance and containment of documents" (1997), section 4. N rows, M pieces kept, P pairs.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST_GROUP", "RarePieces"]

LARGEST_GROUP = 16
_MOST_PIECES = 1 << 24  # 134 MB, and as much again while they are sorted
_MOST_PAIRS = 8_000_000


class RarePieces:
    """Collects the pieces of rows, then gives the pairs of rows that share rare ones."""

    def __init__(self, most: int = _MOST_PIECES) -> None:
        self._most = most
        self._limit = 2**32
        self._held: list[np.ndarray] = []
        self._size = 0

    def add(self, hashes: np.ndarray, rows: np.ndarray) -> None:
        """Pieces (uint32, spread evenly) and the row of each; one may stand several times in a row."""
        packed = (hashes.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)
        self._hold(packed if self._limit == 2**32 else packed[hashes < self._limit])
        while self._size > self._most:
            self._limit //= 2
            together = np.concatenate(self._held)
            self._held, self._size = [], 0
            self._hold(together[together < np.uint64(self._limit << 32)])

    def _hold(self, packed: np.ndarray) -> None:
        self._held.append(packed)
        self._size += len(packed)

    def pairs(self, num_rows: int, *, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Pairs ``left < right`` (P,) of rows with a bond of ``least`` or more, the bond (P,), and whether all rare pieces counted.

        The bond is the share of the pieces of the row that has fewer which the other has too, each counted by how rare it is: 1
        where the two rows alone have it, 2 / n where n rows do. Pairs that share one piece alone are left out, unless it is the only one of
        both rows. The arrays are empty without rows.
        """
        hashes, rows = self._sorted()
        pieces_N = np.bincount(rows, minlength=num_rows)
        group_M, sizes = _groups(hashes)
        sizes_M = sizes[group_M]
        largest, complete = _largest_group(sizes)
        packed, weights = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float32)]
        for step in range(1, largest):
            first = np.flatnonzero((group_M[step:] == group_M[:-step]) & (sizes_M[step:] <= largest))
            packed.append(rows[first].astype(np.int64) * num_rows + rows[first + step])
            weights.append((2 / sizes_M[first]).astype(np.float32))
        packed_P, weight_P, shared_P = _summed(np.concatenate(packed), np.concatenate(weights))
        left_P, right_P = np.divmod(packed_P, max(num_rows, 1))
        fewer_P = np.minimum(pieces_N[left_P], pieces_N[right_P])
        bond_P = weight_P / np.maximum(fewer_P, 1)
        more_P = np.maximum(pieces_N[left_P], pieces_N[right_P])
        kept = (bond_P >= least) & ((shared_P > 1) | (more_P == 1))
        return left_P[kept], right_P[kept], bond_P[kept], complete

    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct pieces of rows, by hash and row."""
        packed = np.concatenate(self._held) if self._held else np.empty(0, dtype=np.uint64)
        self._held, self._size = [], 0
        packed.sort()
        if len(packed):
            packed = packed[np.concatenate([[True], packed[1:] != packed[:-1]])]
        return (packed >> np.uint64(32)).astype(np.uint32), packed.astype(np.uint32).astype(np.int32)


def _groups(sorted_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number (M,) of the group of equal values that each belongs to, and the size of each group."""
    if not len(sorted_M):
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    group_M = np.zeros(len(sorted_M), dtype=np.int32)
    np.cumsum(sorted_M[1:] != sorted_M[:-1], out=group_M[1:])
    return group_M, np.bincount(group_M).astype(np.int32)


def _largest_group(sizes: np.ndarray) -> tuple[int, bool]:
    """Up to which size all pairs of all groups are affordable, and whether that is as many as is wanted."""
    counts = np.bincount(np.minimum(sizes, LARGEST_GROUP + 1), minlength=LARGEST_GROUP + 2)[: LARGEST_GROUP + 1]
    each = np.arange(LARGEST_GROUP + 1)
    total = np.cumsum(counts * each * (each - 1) // 2)
    affordable = int(np.searchsorted(total, _MOST_PAIRS, side="right")) - 1
    return max(2, affordable), affordable >= LARGEST_GROUP


def _summed(packed_Q: np.ndarray, weight_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values with the sum of their weights and how often each came."""
    order = np.argsort(packed_Q, kind="stable")
    packed_Q = packed_Q[order]
    if not len(packed_Q):
        return packed_Q, weight_Q, packed_Q
    starts = np.flatnonzero(np.concatenate([[True], packed_Q[1:] != packed_Q[:-1]]))
    return packed_Q[starts], np.add.reduceat(weight_Q[order], starts), np.diff(np.append(starts, len(packed_Q)))
