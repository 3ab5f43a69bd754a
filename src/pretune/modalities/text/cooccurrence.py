"""Token vectors from which tokens stand together in the rows: a start for embeddings that takes seconds and no learning.

Positive pointwise mutual information of tokens in one stretch of a row, and its truncated singular value decomposition (Levy &
Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization", section 3.1), with contexts smoothed by a power of 0.75 and
singular values weighed by their root (Levy et al. 2015, "Improving Distributional Similarity", sections 3.2 and 3.3).

Shapes: V tokens of the vocabulary, D numbers of a vector, S stretches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.cache import get_or_create
from pretune.files import check_free_space
from pretune.modalities.text.store import TokenStore

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["cached_vectors", "cooccurrence_vectors"]

_FORMAT, _FILE = 1, "vectors.npy"

_STRETCH = 32
"""Tokens that count as standing together: wide, as vectors of wide windows tell what a row is about."""

_TOKENS_READ = 2_000_000
"""Enough for vectors, and few enough for the pairs of them to be counted in memory."""

_SMOOTHING = 0.75
_POWER_STEPS = 4
"""Of the randomised decomposition (Halko et al. 2011, arXiv 0909.4061, section 4.5): with four the sum of
singular values was 99 % of the exact one on the demo's paragraphs."""


def cooccurrence_vectors(
    store: TokenStore, *, vocabulary: int, width: int, ignored: np.ndarray, seed: int
) -> np.ndarray:
    """float32 (V, D): a vector of length 1 for each token that stands beside others in the rows, zeros for every other.

    ``ignored`` are ids that say nothing of a row (special tokens). Rows are drawn by ``seed`` where they are too many to count.
    """
    from sklearn.utils.extmath import randomized_svd

    told_VV = _information(_stretches(store, vocabulary, ignored, seed))
    vectors_VD = np.zeros((vocabulary, width), dtype=np.float32)
    found = min(width, told_VV.shape[0])
    if not told_VV.nnz:
        return vectors_VD
    left_VF, values_F, _ = randomized_svd(told_VV, found, n_iter=_POWER_STEPS, random_state=seed)  # pyright: ignore[reportArgumentType]
    vectors_VD[:, :found] = left_VF * np.sqrt(values_F)
    lengths_V = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    vectors_VD[np.diff(told_VV.indptr) == 0] = 0
    return vectors_VD / np.maximum(lengths_V, np.finfo(np.float32).tiny)


def cached_vectors(
    store: TokenStore, *, vocabulary: int, width: int, ignored: np.ndarray, seed: int, fingerprint: str
) -> np.ndarray:
    """:func:`cooccurrence_vectors`, from the cache when it has those of the same rows: a run that goes on does not count again.

    ``fingerprint`` names the rows and how they were cut into tokens. Raises :class:`~pretune.errors.DiskFull`.
    """

    def read(folder: Path) -> np.ndarray:
        vectors_VD = np.load(folder / _FILE)
        if vectors_VD.shape != (vocabulary, width):
            raise ValueError(f"{folder} holds other vectors")
        return vectors_VD

    def write(folder: Path) -> None:
        check_free_space(folder, 4 * vocabulary * width, "keeping the embeddings that are counted")
        found = cooccurrence_vectors(store, vocabulary=vocabulary, width=width, ignored=ignored, seed=seed)
        np.save(folder / _FILE, found)

    return get_or_create("embeddings", f"{_FORMAT}:{fingerprint}:{vocabulary}:{width}:{seed}", read, write)


def _stretches(store: TokenStore, vocabulary: int, ignored: np.ndarray, seed: int) -> csr_matrix:
    """(S, V): how often each token stands in each stretch of a row."""
    from scipy.sparse import csr_matrix

    is_read_V = np.ones(vocabulary, dtype=bool)
    is_read_V[ignored] = False
    parts = list(_parts(store, is_read_V, seed))
    tokens = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    ends = np.cumsum([0, *map(len, parts)])
    counts = csr_matrix((np.ones(len(tokens), dtype=np.float32), tokens, ends), shape=(len(parts), vocabulary))
    counts.sum_duplicates()
    return counts


def _parts(store: TokenStore, is_read_V: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The stretches of rows in a random order, until enough tokens were read."""
    read, most = 0, min(len(store), _TOKENS_READ)
    for index in np.random.default_rng(seed).choice(len(store), most, replace=False).tolist():
        ids = store.piece(index).input_ids
        ids = ids[is_read_V[ids]]
        yield from (ids[start : start + _STRETCH] for start in range(0, len(ids), _STRETCH))
        read += len(ids)
        if read >= _TOKENS_READ:
            return


def _information(counts_SV: csr_matrix) -> Any:
    """(V, V), sparse: the positive pointwise mutual information of a token and another of its stretch."""
    from scipy.sparse import csr_matrix, diags_array

    alone_V = np.asarray(counts_SV.sum(axis=0)).ravel()  # each token with itself
    together = ((counts_SV.T @ counts_SV) - diags_array(alone_V, dtype=np.float32)).tocoo()
    token, context, count = together.row, together.col, together.data
    size = len(alone_V)
    of_token_V, of_context_V = np.bincount(token, count, size), np.bincount(context, count, size)
    share_V = of_context_V**_SMOOTHING
    share_V /= max(share_V.sum(), 1e-12)
    with np.errstate(divide="ignore"):  # a pair that never was, and a token alone in its stretch
        told = np.log(count / np.maximum(of_token_V[token] * share_V[context], 1e-12))
    kept = told > 0
    return csr_matrix((told[kept].astype(np.float32), (token[kept], context[kept])), shape=(size, size))
