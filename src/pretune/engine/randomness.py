"""Randomness as a function: every draw comes from (seed, purpose, where), so nothing has to be saved for a resume.

Also used by exported models (numpy alone). The mixing function is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", fig. 15).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["dropout_mask", "gumbel", "prompt_keys", "row_keys", "seed_of", "spoken_key", "torch_generator", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from a seed, a purpose and a place, e.g. ``seed_of(0, "order", epoch)``."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def row_keys(seed: int, purpose: str, epoch: int, rows_R: np.ndarray) -> np.ndarray:
    """One 64-bit key a row, the same whatever batch, process or order the row comes in."""
    base = np.uint64(seed_of(seed, purpose, epoch))
    with np.errstate(over="ignore"):
        return _mix(base + (rows_R.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def uniform(keys_R: np.ndarray, count: int, purpose: int = 0) -> np.ndarray:
    """Numbers in [0, 1), shape (R, count): entry (r, i) depends on key r, i and ``purpose`` alone."""
    with np.errstate(over="ignore"):
        places = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(purpose) * np.uint64(1 << 32)) * _GOLDEN
        bits = _mix(keys_R[:, None] + places[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def prompt_keys(seed: int, prompts: Sequence[np.ndarray]) -> np.ndarray:
    """One 64-bit key a prompt (its token ids), by which what follows it is drawn."""
    ids = [np.asarray(ids_T, dtype=np.int32) for ids_T in prompts]
    return np.array([seed_of(seed, "writing", ids_T.tobytes().hex()) for ids_T in ids], dtype=np.uint64)


def spoken_key(take: int, voice: int, letters: Sequence[int]) -> int:
    """The 63-bit key of a text (its letters) as a voice says it; another ``take`` gives another."""
    return seed_of(take, "saying", voice, *letters)


def dropout_mask(keys_R: np.ndarray, shape: tuple[int, ...], dropout: float, purpose: int = 0) -> np.ndarray:
    """What stays, as float32 of 1 and 0 (R, ...): each row's a function of its key and ``purpose``."""
    drawn = uniform(keys_R, int(np.prod(shape)), purpose) >= dropout
    return drawn.reshape(len(keys_R), *shape).astype(np.float32)


def gumbel(keys_R: np.ndarray, count: int, purpose: int = 0) -> np.ndarray:
    """Gumbel noise (R, count) by :func:`uniform`: the largest of log probabilities plus this is a draw (Gumbel 1954)."""
    return -np.log(-np.log(np.maximum(uniform(keys_R, count, purpose), 2.0**-53)))


def torch_generator(*parts: int | str) -> torch.Generator:
    """A torch generator seeded by :func:`seed_of`."""
    import torch

    return torch.Generator().manual_seed(seed_of(*parts))
