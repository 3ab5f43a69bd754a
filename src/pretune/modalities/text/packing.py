"""Several rows in one sequence, none seeing the others: no padding is computed.

Shapes: B packs, T tokens of a pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pretune.errors import UsageError
from pretune.modalities.text.encoder import Padding, TextPiece, padded_length

__all__ = ["PackedBatch", "collate_packed", "pack"]


class PackedBatch(NamedTuple):
    """Packed rows. ``inputs`` are keyword arguments of a model's forward; ``starts`` int64 (rows, 2) holds the pack and
    place of each row's first token, in the order given; ``num_tokens`` real tokens, ``num_padded`` all B * T.
    """

    inputs: dict[str, torch.Tensor]
    starts: torch.Tensor
    num_tokens: int
    num_padded: int


def pack(lengths: np.ndarray, capacity: int) -> list[np.ndarray]:
    """Groups of row indices whose lengths sum to at most ``capacity``: best fit, longest first.

    Groups are kept by the room left in them, so that a row costs at most ``capacity`` steps in whole: with N rows and
    capacity C it takes O(N + C * number of different lengths). Deterministic: equal lengths keep their order.
    Raises :class:`UsageError` when a row is longer than the capacity.
    """
    lengths = np.asarray(lengths)
    if len(lengths) and int(lengths.max()) > capacity:
        raise UsageError(
            f"a row of {int(lengths.max())} tokens does not fit a pack of {capacity}",
            "raise the capacity, or lower --max-length",
        )
    order = np.argsort(-lengths, kind="stable")
    rooms: list[list[int]] = [[] for _ in range(capacity + 1)]
    group_of = np.empty(len(lengths), dtype=np.int64)
    num_groups, tightest, previous = 0, 0, -1
    for row, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if length != previous:
            tightest, previous = length, length
        while tightest <= capacity and not rooms[tightest]:
            tightest += 1
        if tightest <= capacity:
            group, room = rooms[tightest].pop(), tightest - length
        else:
            group, room = num_groups, capacity - length
            num_groups += 1
        group_of[row] = group
        rooms[room].append(group)
        tightest = min(tightest, room) if room >= length else tightest
    by_group = np.argsort(group_of, kind="stable")
    return np.split(by_group, np.cumsum(np.bincount(group_of, minlength=num_groups))[:-1]) if num_groups else []


def collate_packed(
    groups: Sequence[Sequence[TextPiece]],
    padding: Padding,
    *,
    position_offset: int = 0,
    additive_mask: bool = False,
    causal: bool = False,
) -> PackedBatch:
    """Each group of pieces as one sequence whose rows attend to themselves only.

    ``input_ids``, ``position_ids`` (and ``token_type_ids``) are (B, T) int64, ``attention_mask`` (B, 1, T, T): bool, as
    scaled-dot-product attention takes it, or ``additive_mask`` float32 for eager attention. ``position_offset`` is the
    position id of a row's first token (:func:`~pretune.backbones.text.limits.position_offset`). Padding attends to itself, so
    that no softmax is over nothing. ``causal``: a token attends to those before it alone, which positions that begin again do
    not do by themselves.
    """
    lengths = [np.array([len(piece.input_ids) for piece in group]) for group in groups]
    totals_B = np.array([group.sum() for group in lengths])
    length = padded_length(int(totals_B.max()), padding.multiple)
    real_BT = np.arange(length) < totals_B[:, None]
    owner_BT = np.full(real_BT.shape, -1, dtype=np.int64)
    owner_BT[real_BT] = np.concatenate([np.repeat(np.arange(len(group)), group) for group in lengths])
    arrays = {
        "input_ids": _filled(real_BT, padding.pad_id, [piece.input_ids for group in groups for piece in group]),
        "position_ids": _filled(
            real_BT, position_offset, [np.arange(count) + position_offset for group in lengths for count in group]
        ),
    }
    if padding.segments:
        segments = [
            np.zeros(len(piece.input_ids)) if piece.segment_ids is None else piece.segment_ids
            for group in groups
            for piece in group
        ]
        arrays["token_type_ids"] = _filled(real_BT, 0, segments)
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    inputs["attention_mask"] = _block_mask(torch.from_numpy(owner_BT), additive_mask, causal)
    starts = [(b, start) for b, group in enumerate(lengths) for start in np.cumsum(group) - group]
    return PackedBatch(inputs, torch.tensor(np.array(starts)), int(totals_B.sum()), int(real_BT.size))


def _filled(real_BT: np.ndarray, fill: int, parts: Sequence[np.ndarray]) -> np.ndarray:
    values_BT = np.full(real_BT.shape, fill, dtype=np.int64)
    values_BT[real_BT] = np.concatenate(parts)
    return values_BT


def _block_mask(owner_BT: torch.Tensor, additive: bool, causal: bool) -> torch.Tensor:
    mask_B1TT = owner_BT[:, None, :, None] == owner_BT[:, None, None, :]
    mask_B1TT = mask_B1TT.tril() if causal else mask_B1TT
    if not additive:
        return mask_B1TT
    return torch.zeros(mask_B1TT.shape).masked_fill(~mask_B1TT, torch.finfo(torch.float32).min)
