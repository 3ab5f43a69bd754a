"""Masked language modelling (Devlin et al. 2019, section 3.1) with dynamic masks (Liu et al. 2019, section 4.1).

The vocabulary head runs at masked positions only: a hook gathers them from the encoder's output before whatever head the
architecture has. Masks are a function of (seed, epoch, row), so they need no state and do not depend on the batch.

Shapes: R rows, T tokens, M masked positions, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.backbones.heads import IGNORED, heads_at, in_blocks
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.fit import Objective
from pretune.engine.randomness import row_keys, uniform
from pretune.errors import DataError
from pretune.modalities.text.encoder import TextEncoder, TextPiece, collate_text
from pretune.modalities.text.packing import collate_packed, pack
from pretune.modalities.text.store import TokenStore
from pretune.modalities.text.words import whole_words, word_starts
from pretune.types import TERM, Batch, Feed, Loss

__all__ = ["MaskedText"]

_CHOOSE, _REPLACE, _WORD, _COUNT = 0, 1, 2, 3
_BUDGET_TOKENS = 8192  # padded, of a forward pass that only answers


class _Masked(NamedTuple):
    pieces: list[TextPiece]
    chosen: list[np.ndarray]


@final
class MaskedText(Objective):
    """Predict masked tokens of raw text.

    ``mask_fraction`` of the tokens (of the words, with ``mask_whole_words``) are chosen; of these 80 % become the mask
    token, 10 % a random token and 10 % stay. Short rows share a sequence when ``pack_tokens`` is given: they do not see
    each other.

    ``bag_of_words`` is the weight of a second loss: from the first position alone, which classifiers read and masked
    prediction leaves idle, the vocabulary head tells which masked tokens the row has (bag-of-word
    prediction: Ma et al. 2024, arXiv 2401.11248, who let it tell all tokens).
    """

    log_names: tuple[str, ...] = ("correct",)

    def __init__(
        self,
        encoder: TextEncoder,
        adaptation: Adaptation,
        *,
        mask_fraction: float = 0.15,
        mask_whole_words: bool = False,
        pack_tokens: int | None = None,
        position_offset: int = 0,
        bag_of_words: float = 0.0,
    ) -> None:
        tokenizer = encoder.tokenizer
        if tokenizer.mask_token_id is None:
            raise DataError(
                "the tokenizer has no mask token", "choose a masked-language-model backbone (BERT, RoBERTa, ...)"
            )
        if bag_of_words and tokenizer.cls_token_id is None:
            raise DataError(
                "the tokenizer puts no token before a row that could tell its words", "leave --bag-of-words out"
            )
        self.encoder = encoder
        self.adaptation = adaptation
        self.mask_fraction = mask_fraction
        self.pack_tokens = pack_tokens
        self.position_offset = position_offset
        self.bag_of_words = bag_of_words
        self.log_names = self.parts_with(bag_of_words)
        self.mask_id = int(tokenizer.mask_token_id)
        self.special_ids = np.array(sorted(tokenizer.all_special_ids))
        self.ordinary_ids = np.setdiff1d(np.arange(len(tokenizer)), self.special_ids)
        self.starts = word_starts(tokenizer) if mask_whole_words else None

    @classmethod
    def parts_with(cls, bag_of_words: float) -> tuple[str, ...]:
        """The names of a loss's parts."""
        return (*cls.log_names, "bag_of_words") if bag_of_words else cls.log_names

    def streams(self, store: TokenStore, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows, or of packs of rows. ``batch_size`` counts rows either way."""
        lengths_N = store.lengths
        if self.pack_tokens is None:

            def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
                pieces = [store.piece(int(i)) for i in rows_R]
                return {"text": self.collate(pieces, keys_R, [str(store.rows[i]) for i in rows_R])}

            return {"text": Stream(lengths_N, collate, batch_size, group_by_length)}
        groups = pack(lengths_N, self.pack_tokens)
        per_pack = len(lengths_N) / max(1, len(groups))
        totals = np.array([int(lengths_N[group].sum()) for group in groups])

        def collate_packs(packs_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"text": self._collate_packs(store, [groups[int(i)] for i in packs_R], keys_R)}

        return {"text": Stream(totals, collate_packs, max(1, round(batch_size / per_pack)), False)}

    def collate(self, pieces: list[TextPiece], keys_R: np.ndarray, ids: list[str]) -> Batch:
        """Masked rows, padded. ``extras["positions"]`` (M,) are places in the flattened B * T, ``targets`` (M,) the tokens.

        ``extras["firsts"]`` (R,) are the places of the rows' first tokens, ``extras["owners"]`` (M,) the row of each masked one.
        """
        masked = self.mask(pieces, keys_R)
        padded = collate_text(masked.pieces, self.encoder.padding, max_length=self.encoder.max_length)
        width = padded.inputs["input_ids"].shape[1]
        shift = [width - len(p.input_ids) if self.encoder.padding.left else 0 for p in pieces]
        firsts_R = np.arange(len(pieces)) * width + np.array(shift)
        return self._batch(padded.inputs, pieces, masked, firsts_R, ids, padded.num_tokens, padded.num_padded)

    def _collate_packs(self, store: TokenStore, groups: list[np.ndarray], keys_R: np.ndarray) -> Batch:
        rows = np.concatenate(groups)
        pieces = [store.piece(int(i)) for i in rows]
        sizes = [len(group) for group in groups]
        piece_keys = np.concatenate(
            [row_keys(int(key >> np.uint64(1)), "pack", 0, g) for key, g in zip(keys_R, groups, strict=True)]
        )
        masked = self.mask(pieces, piece_keys)
        at, grouped = 0, []
        for size in sizes:
            grouped.append(masked.pieces[at : at + size])
            at += size
        packed = collate_packed(grouped, self.encoder.padding, position_offset=self.position_offset, additive_mask=True)
        width = packed.inputs["input_ids"].shape[1]
        firsts_R = (packed.starts[:, 0] * width + packed.starts[:, 1]).numpy()
        ids = [str(store.rows[i]) for i in rows]
        return self._batch(packed.inputs, pieces, masked, firsts_R, ids, packed.num_tokens, packed.num_padded)

    @staticmethod
    def _batch(
        inputs: dict[str, torch.Tensor],
        pieces: list[TextPiece],
        masked: _Masked,
        firsts_R: np.ndarray,
        ids: list[str],
        num_tokens: int,
        num_padded: int,
    ) -> Batch:
        places = [first + chosen for first, chosen in zip(firsts_R, masked.chosen, strict=True)]
        owners_M = np.repeat(np.arange(len(pieces)), [len(chosen) for chosen in masked.chosen])
        targets = [piece.input_ids[chosen] for piece, chosen in zip(pieces, masked.chosen, strict=True)]
        targets_M = torch.from_numpy(np.concatenate(targets).astype(np.int64))
        positions_M = torch.from_numpy(np.concatenate(places).astype(np.int64))
        extras = {
            "positions": positions_M,
            "firsts": torch.from_numpy(firsts_R.astype(np.int64)),
            "owners": torch.from_numpy(owners_M),
        }
        return Batch(inputs, targets_M, {TERM: float(len(targets_M))}, tuple(ids), num_tokens, num_padded, extras)

    def mask(self, pieces: list[TextPiece], keys_R: np.ndarray) -> _Masked:
        """Copies of the pieces with chosen tokens replaced, and the chosen places of each."""
        longest = max(len(piece.input_ids) for piece in pieces)
        choose_RT = uniform(keys_R, longest, _CHOOSE)
        replace_RT = uniform(keys_R, longest, _REPLACE)
        word_RT = uniform(keys_R, longest, _WORD)
        count_R = uniform(keys_R, 1, _COUNT)[:, 0]
        masked, chosen = [], []
        for row, piece in enumerate(pieces):
            ids_T = piece.input_ids.copy()
            places = self._choose(ids_T, choose_RT[row], count_R[row])
            draw, word = replace_RT[row, places], word_RT[row, places]
            random_ids = self.ordinary_ids[(word * len(self.ordinary_ids)).astype(np.int64)]
            ids_T[places] = np.where(draw < 0.8, self.mask_id, np.where(draw < 0.9, random_ids, ids_T[places]))
            masked.append(TextPiece(ids_T, piece.segment_ids))
            chosen.append(places)
        return _Masked(masked, chosen)

    def _choose(self, ids_T: np.ndarray, draw_T: np.ndarray, count_draw: float) -> np.ndarray:
        """The share of a row's ordinary tokens (or words) with the smallest draws, at least one.

        ``count_draw`` is a draw of its own: with a word's draw, that word would be masked less often than the others.
        """
        ordinary = np.flatnonzero(~np.isin(ids_T, self.special_ids))
        if len(ordinary) == 0:
            return ordinary
        if self.starts is None:
            count = self._count(len(ordinary), count_draw)
            return np.sort(ordinary[np.argsort(draw_T[ordinary], kind="stable")[:count]])
        words_T = whole_words(ids_T, self.starts, self.special_ids)
        words = np.unique(words_T[ordinary])
        count = self._count(len(words), count_draw)
        picked = words[np.argsort(draw_T[: len(words)], kind="stable")[:count]]
        return ordinary[np.isin(words_T[ordinary], picked)]

    def _count(self, available: int, draw: float) -> int:
        """``mask_fraction`` of ``available`` on average, at least one: the fraction's rest is drawn."""
        return max(1, math.floor(self.mask_fraction * available + draw))

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn rests."""
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Cross entropy of the masked tokens, summed; and of the same tokens told by their row's first position."""
        batch = feed["text"]
        positions_M, targets_M = in_blocks(batch)
        firsts_R = batch.extras["firsts"] if self.bag_of_words else positions_M[:0]
        with heads_at(model, torch.cat([positions_M, firsts_R])):
            logits_MV, logits_RV = model(**batch.inputs).logits[0].float().split([len(positions_M), len(firsts_R)])
        total = functional.cross_entropy(logits_MV, targets_M, reduction="sum", ignore_index=IGNORED)
        parts = {"correct": float((logits_MV.detach().argmax(-1) == targets_M).sum())}
        if self.bag_of_words:
            assert batch.targets is not None
            told = -functional.log_softmax(logits_RV, dim=-1)[batch.extras["owners"], batch.targets].sum()
            total, parts["bag_of_words"] = total + self.bag_of_words * told, float(told.detach())
        return Loss.of(total, parts)

    def held_out_statistics(
        self,
        model: torch.nn.Module,
        store: TokenStore,
        device: Device,
        *,
        budget_tokens: int = _BUDGET_TOKENS,
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """(N, 3) per row: masked tokens, right ones, summed loss; with the same masks at every call.

        ``on_batch`` is told how many rows each batch had.
        """
        stats = np.zeros((len(store), 3))
        model.eval()
        keys = row_keys(0, "held-out", 0, np.arange(len(store)))
        for places in cut_by_budget(store.lengths, max_cost=budget_tokens, max_rows=2**31):
            pieces = [store.piece(int(i)) for i in places]
            masked = self.mask(pieces, keys[places])
            batch = self.collate(pieces, keys[places], [str(i) for i in places]).to(device.device)
            losses, right = self._losses(model, batch, device)
            owner = np.repeat(places, [len(chosen) for chosen in masked.chosen])
            np.add.at(stats, owner, np.stack([np.ones(len(owner)), right, losses], axis=1))
            if on_batch:
                on_batch(len(places))
        return stats

    def pseudo_perplexity_statistics(
        self,
        model: torch.nn.Module,
        store: TokenStore,
        device: Device,
        *,
        max_tokens: int = 6000,
    ) -> np.ndarray:
        """(rows, 2) of a sample: tokens, and the summed negative log-likelihood of each token masked alone.

        Pseudo-log-likelihood: Salazar et al. 2020 (ACL), section 2. Rows are taken in the order of a fixed draw until
        about ``max_tokens`` tokens are scored.
        """
        order = np.argsort(row_keys(0, "pseudo-perplexity", 0, np.arange(len(store))), kind="stable")
        chosen = order[: max(1, int(np.searchsorted(np.cumsum(store.lengths[order]), max_tokens)))]
        stats = np.zeros((len(chosen), 2))
        model.eval()
        for number, row in enumerate(chosen):
            piece = store.piece(int(row))
            places = np.flatnonzero(~np.isin(piece.input_ids, self.special_ids))
            per_batch = max(1, _BUDGET_TOKENS // max(1, len(piece.input_ids)))
            for at in range(0, len(places), per_batch):
                part = places[at : at + per_batch]
                losses, _ = self._losses(model, self._one_masked(piece, part).to(device.device), device)
                stats[number] += (len(part), losses.sum())
        return stats[stats[:, 0] > 0]

    def _one_masked(self, piece: TextPiece, places: np.ndarray) -> Batch:
        """The piece once for each of ``places``, with that place masked."""
        copies = []
        for place in places:
            ids_T = piece.input_ids.copy()
            ids_T[place] = self.mask_id
            copies.append(TextPiece(ids_T, piece.segment_ids))
        masked = _Masked(copies, [np.array([place]) for place in places])
        padded = collate_text(copies, self.encoder.padding, max_length=self.encoder.max_length)
        width = padded.inputs["input_ids"].shape[1]
        shift = width - len(piece.input_ids) if self.encoder.padding.left else 0
        firsts_R = np.arange(len(places)) * width + shift
        ids = [""] * len(places)
        return self._batch(
            padded.inputs, [piece] * len(places), masked, firsts_R, ids, padded.num_tokens, padded.num_padded
        )

    @staticmethod
    def _losses(model: torch.nn.Module, batch: Batch, device: Device) -> tuple[np.ndarray, np.ndarray]:
        assert batch.targets is not None
        with inference(device), heads_at(model, batch.extras["positions"]):
            logits_MV = model(**batch.inputs).logits[0].float()
            losses_M = functional.cross_entropy(logits_MV, batch.targets, reduction="none")
            right_M = logits_MV.argmax(-1) == batch.targets
        return losses_M.cpu().double().numpy(), right_M.cpu().double().numpy()
