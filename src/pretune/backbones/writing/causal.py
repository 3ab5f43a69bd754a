"""Rows for a model that tells each token from those before it: padded behind, or several in one sequence.

Shapes: R rows (blocks of texts), B sequences, T tokens of one, M told tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pretune.backbones.adaptation.modes import evaluating
from pretune.modalities.text.encoder import Padding, TextPiece, collate_text
from pretune.modalities.text.packing import collate_packed

__all__ = ["ToldTokens", "packs_exactly", "told_in_packs", "told_in_rows"]

_TRIED_TOKENS, _EXACT = 8, 1e-3


class ToldTokens(NamedTuple):
    """``inputs`` of the model's forward. Token ``targets_M`` is told at place ``positions_M`` of the flattened B * T, the one before
    it; ``owners_M`` is the row that it belongs to. ``num_tokens`` are real tokens, ``num_padded`` all B * T.
    """

    inputs: dict[str, torch.Tensor]
    positions_M: torch.Tensor
    targets_M: torch.Tensor
    owners_M: torch.Tensor
    num_tokens: int
    num_padded: int


def told_in_rows(pieces: Sequence[TextPiece], padding: Padding) -> ToldTokens:
    """One row a sequence, padded behind: what follows a row is not seen from it."""
    padded = collate_text(pieces, padding)
    width = padded.inputs["input_ids"].shape[1]
    return _told(padded.inputs, pieces, np.arange(len(pieces)) * width, padded.num_tokens, padded.num_padded)


def told_in_packs(groups: Sequence[Sequence[TextPiece]], padding: Padding, *, position_offset: int = 0) -> ToldTokens:
    """Each group of rows as one sequence, none seeing another."""
    packed = collate_packed(groups, padding, position_offset=position_offset, additive_mask=True, causal=True)
    width = packed.inputs["input_ids"].shape[1]
    firsts_R = (packed.starts[:, 0] * width + packed.starts[:, 1]).numpy()
    pieces = [piece for group in groups for piece in group]
    return _told(packed.inputs, pieces, firsts_R, packed.num_tokens, packed.num_padded)


def _told(
    inputs: dict[str, torch.Tensor], pieces: Sequence[TextPiece], firsts_R: np.ndarray, num_tokens: int, num_padded: int
) -> ToldTokens:
    counts_R = np.array([len(piece.input_ids) - 1 for piece in pieces])
    places = [first + np.arange(count) for first, count in zip(firsts_R, counts_R, strict=True)]
    targets = [piece.input_ids[1:] for piece in pieces]
    return ToldTokens(
        inputs,
        torch.from_numpy(np.concatenate(places).astype(np.int64)),
        torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        torch.from_numpy(np.repeat(np.arange(len(pieces)), counts_R)),
        num_tokens,
        num_padded,
    )


def packs_exactly(model: torch.nn.Module, padding: Padding, *, position_offset: int = 0) -> bool:
    """Does the model say the same of a row behind another in one sequence as of the row alone?

    Models that read on through a state (Mamba), or by distances alone (ALiBi), do not: tried on two rows of random tokens.
    """
    rng = np.random.default_rng(0)
    size = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    rows = [TextPiece(rng.integers(0, size, _TRIED_TOKENS).astype(np.int32)) for _ in range(2)]
    device = next(model.parameters()).device

    def said(told: ToldTokens) -> torch.Tensor:
        inputs = {name: value.to(device) for name, value in told.inputs.items()}
        logits_BTV = model(**inputs).logits
        return logits_BTV.flatten(0, 1)[told.positions_M.to(device)].float()

    with torch.no_grad(), evaluating(model):
        try:
            packed = said(told_in_packs([rows], padding, position_offset=position_offset))
        except (RuntimeError, TypeError, ValueError, IndexError):  # no such argument, another shape of mask
            return False
        alone = said(told_in_rows(rows, padding))
    return bool((packed - alone).abs().max() <= _EXACT * max(1.0, float(alone.abs().max())))
