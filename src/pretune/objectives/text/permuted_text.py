"""Permutation language modelling (Yang et al. 2019, arXiv 1906.08237, sections 2.2 and 2.3): some tokens of a row are told one after the
other in a random order, each from all tokens that are not told and from those told before it.

The model has two streams: the content stream reads the true tokens, the query stream knows of a told token only its place. Whoever
writes mask tokens over all told ones (as transformers' collator does) learns masked language modelling at twice its price.
Shapes: R rows, T tokens, K told tokens of a row at most, M of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
import torch

from pretune.engine.randomness import uniform
from pretune.modalities.text.encoder import TextPiece, collate_text
from pretune.objectives.text.hidden_tokens import HiddenTokens, number_of
from pretune.types import TERM, Batch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["PermutedText"]

_ORDER, _COUNT = 0, 1


@final
class PermutedText(HiddenTokens):
    """See the head of this file."""

    name: ClassVar[str] = "permutation-language-modelling"
    models: ClassVar[str] = "an XLNet (scratch:xlnet-mini)"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    default_fraction: ClassVar[float] = 1 / 6
    reading: str = "Accuracy is the share of hidden tokens that were told right, each from the rest of its row and the hidden ones told before it."

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Models of two streams."""
        return config.model_type == "xlnet"

    def collate(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, ids: Sequence[str]) -> Batch:
        """``perm_mask`` (R, T, T) is 1 where a token does not see another, ``target_mapping`` (R, K, T) where the told ones stand."""
        padding = self.encoder.padding
        padded = collate_text(pieces, padding, max_length=self.encoder.max_length)
        width = padded.inputs["input_ids"].shape[1]
        order_RT, count_R = uniform(keys_R, width, _ORDER), uniform(keys_R, 1, _COUNT)[:, 0]
        told: list[np.ndarray] = []
        rank_RT = np.full((len(pieces), width), -1, dtype=np.int64)
        for row, piece in enumerate(pieces):
            own = self.own_places(piece)
            count = number_of(len(own), self.fraction, count_R[row]) if len(own) else 0
            chosen = own[np.argsort(order_RT[row, own], kind="stable")[:count]]
            chosen = chosen + (width - len(piece.input_ids) if padding.left else 0)
            rank_RT[row, chosen] = np.arange(count)
            told.append(chosen)
        counts_R = np.array([len(chosen) for chosen in told])
        most = max(1, int(counts_R.max()))
        mapping_RKT = np.zeros((len(pieces), most, width), dtype=np.float32)
        for row, chosen in enumerate(told):
            mapping_RKT[row, np.arange(len(chosen)), chosen] = 1
        # A token sees all that are not told, and of the told ones those before it. Of itself the query stream sees nothing, as its
        # rank is not below its own; the content stream always sees its own token (transformers adds that).
        mask_RTT = (rank_RT[:, None, :] >= 0) & (rank_RT[:, None, :] >= rank_RT[:, :, None])
        inputs = {
            **padded.inputs, "perm_mask": torch.from_numpy(mask_RTT.astype(np.float32)), "target_mapping": torch.from_numpy(mapping_RKT),
        }  # fmt: skip
        ids_RT = padded.inputs["input_ids"].numpy()
        targets = [ids_RT[row, chosen] for row, chosen in enumerate(told)]
        places = [row * most + np.arange(len(chosen)) for row, chosen in enumerate(told)]
        owners_M = np.repeat(np.arange(len(pieces)), counts_R)
        extras = {
            "places": torch.from_numpy(np.concatenate(places).astype(np.int64)), "owners": torch.from_numpy(owners_M),
            "hidden": torch.ones(len(owners_M), dtype=torch.bool),
        }  # fmt: skip
        targets_M = torch.from_numpy(np.concatenate(targets).astype(np.int64))
        counts = {TERM: float(len(targets_M))}
        return Batch(inputs, targets_M, counts, tuple(ids), padded.num_tokens, padded.num_padded, extras)

    def told(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`HiddenTokens`."""
        logits_RKV = model(**batch.inputs, use_mems=False).logits
        return logits_RKV.flatten(0, 1)[batch.extras["places"]], batch.targets
