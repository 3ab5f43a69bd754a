"""Span corruption (Raffel et al. 2020, arXiv 1910.10683, section 3.1.4): stretches of a row are replaced by sentinels, and the decoder
writes each sentinel with what stood there.

The row is cut as if it were a ring, turned at random: every place is hidden as often as any other. The published way begins with kept
tokens and ends with hidden ones, so that a short row always loses its end.
Shapes: R rows, T tokens read, L tokens written, M of all rows, S stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
import torch

from pretune.engine.randomness import uniform
from pretune.errors import ModelError
from pretune.modalities.text.encoder import Padding, TextEncoder, TextPiece, collate_text
from pretune.objectives.text.hidden_tokens import HiddenTokens, number_of
from pretune.types import TERM, Batch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone

__all__ = ["SpanText", "hidden_places"]

_MEAN_SPAN = 3
"""Tokens of a stretch on average: table 7 of the paper."""
_COUNT, _HIDDEN_CUTS, _KEPT_CUTS, _TURN = 0, 1, 2, 3


def _sizes(total: int, parts: int, draw: np.ndarray) -> np.ndarray:
    """``total`` cut in ``parts`` of at least 1, every way as likely, by draws (total - 1 at least)."""
    cuts = np.sort(np.argsort(draw[: total - 1], kind="stable")[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def hidden_places(length: int, fraction: float, draws: Sequence[np.ndarray]) -> np.ndarray:
    """Which of a row's tokens are hidden, bool (length,): ``fraction`` of them, at least one, in stretches of three on average.

    ``draws`` are numbers in [0, 1): one for how many, as many as tokens for the cuts of the hidden and of the kept, one for the turn.
    """
    hidden = number_of(length, fraction, float(draws[_COUNT][0]))
    kept = length - hidden
    if kept == 0:
        return np.ones(length, dtype=bool)
    spans = max(1, min(round(hidden / _MEAN_SPAN), kept))
    sizes = np.stack([_sizes(hidden, spans, draws[_HIDDEN_CUTS]), _sizes(kept, spans, draws[_KEPT_CUTS])], axis=1)
    ring = np.repeat(np.tile([True, False], spans), sizes.ravel())
    return np.roll(ring, int(draws[_TURN][0] * length))


@final
class SpanText(HiddenTokens):
    """See the head of this file."""

    name: ClassVar[str] = "span-corruption"
    models: ClassVar[str] = "an encoder-decoder with sentinels (scratch:t5-mini)"
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    default_fraction: ClassVar[float] = 0.15
    reading: str = "Accuracy is the share of hidden tokens that were told right, each from the rest of its row and the hidden ones before it."

    def __init__(self, backbone: Backbone, encoder: TextEncoder, *, fraction: float | None = None, seed: int) -> None:
        super().__init__(backbone, encoder, fraction=fraction, seed=seed)
        self.sentinels = _sentinels(encoder)
        self.end_id = int(encoder.tokenizer.eos_token_id or 0)
        self.begin_id = int(backbone.config.decoder_start_token_id)

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """T5 and its kin."""
        return config.model_type in ("t5", "mt5", "umt5")

    def collate(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, ids: Sequence[str]) -> Batch:
        """Rows with sentinels for encoder and decoder; ``labels`` are left to :meth:`told`."""
        longest = max(len(piece.input_ids) for piece in pieces)
        draws_RT = [uniform(keys_R, longest, purpose) for purpose in range(4)]
        read, written = [], []
        for row, piece in enumerate(pieces):
            source, target = self._corrupted(piece, [draws_T[row] for draws_T in draws_RT])
            read.append(TextPiece(source))
            written.append(target)
        padding = Padding(self.encoder.padding.pad_id, multiple=self.encoder.padding.multiple)
        source = collate_text(read, padding)
        begun = [TextPiece(np.concatenate([[self.begin_id], target[:-1]]).astype(np.int32)) for target in written]
        decoder = collate_text(begun, padding)
        lengths_R = np.array([len(target) for target in written])
        width = decoder.inputs["input_ids"].shape[1]
        places = [row * width + np.arange(length) for row, length in enumerate(lengths_R)]
        targets_M = torch.from_numpy(np.concatenate(written).astype(np.int64))
        inputs = {
            **source.inputs, "decoder_input_ids": decoder.inputs["input_ids"],
            "decoder_attention_mask": decoder.inputs["attention_mask"],
        }  # fmt: skip
        extras = {
            "places": torch.from_numpy(np.concatenate(places).astype(np.int64)),
            "owners": torch.from_numpy(np.repeat(np.arange(len(pieces)), lengths_R)),
            "hidden": torch.from_numpy(~np.isin(targets_M.numpy(), self.special_ids)),
        }
        tokens, padded = source.num_tokens + decoder.num_tokens, source.num_padded + decoder.num_padded
        return Batch(inputs, targets_M, {TERM: float(len(targets_M))}, tuple(ids), tokens, padded, extras)

    def _corrupted(self, piece: TextPiece, draws: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What is read and what is to be written for it, int32."""
        ids_T, own = piece.input_ids, self.own_places(piece)
        hidden_T = np.zeros(len(ids_T), dtype=bool)
        if len(own):
            hidden_T[own] = hidden_places(len(own), self.fraction, draws)
        begins_T = hidden_T & ~np.concatenate([[False], hidden_T[:-1]])
        number_T = np.cumsum(begins_T) - 1
        number_T = np.minimum(number_T, len(self.sentinels) - 1)
        marked_T = np.where(begins_T, self.sentinels[number_T], ids_T)
        source = marked_T[~hidden_T | begins_T]
        # Each hidden stretch behind its sentinel.
        twice = np.stack([self.sentinels[number_T], ids_T], axis=1)[hidden_T]
        is_written = np.stack([begins_T[hidden_T], np.ones(int(hidden_T.sum()), dtype=bool)], axis=1)
        target = np.concatenate([twice[is_written], [self.end_id]])
        return source.astype(np.int32), target.astype(np.int32)

    def told(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`HiddenTokens`."""
        logits_RLV = model(**batch.inputs, use_cache=False).logits
        return logits_RLV.flatten(0, 1)[batch.extras["places"]], batch.targets


def _sentinels(encoder: TextEncoder) -> np.ndarray:
    """Ids of ``<extra_id_0>``, ``<extra_id_1>``, ... Raises :class:`ModelError` for a tokenizer without."""
    tokenizer = encoder.tokenizer
    ids = [i for i in tokenizer.all_special_ids if tokenizer.convert_ids_to_tokens([i])[0].startswith("<extra_id_")]
    if not ids:
        raise ModelError(
            "the tokenizer has no sentinels (<extra_id_0>, ...) that could stand for hidden words",
            "choose a T5 whose tokenizer has them, such as scratch:t5-mini",
        )
    names = tokenizer.convert_ids_to_tokens(ids)
    return np.array([i for _, i in sorted(zip((int(n[10:-1]) for n in names), ids, strict=True))])
