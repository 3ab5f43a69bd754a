"""Replaced token detection (Clark et al. 2020, "ELECTRA", arXiv 2003.10555): a small generator fills hidden tokens in, and of every token of
a row a discriminator tells whether it is the true one. The discriminator is what is kept.

The generator is a quarter as wide, reads hidden tokens alone at its head, and shares its token embeddings with the discriminator
(section 3.2: nearly all of the gain of sharing everything, and it fits any trunk). Which tokens it draws is a function of (seed, epoch,
row): one number a hidden token, looked up in the running sum of its shares. A drawn token that is the true one counts as true.
Shapes: R rows, T tokens, M hidden tokens of all rows, V vocabulary, H width of the discriminator, N held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pretune.backbones.heads import heads_at
from pretune.backbones.load import without_pooler
from pretune.backbones.text_kinds import fills_in
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys, seed_of, uniform
from pretune.metrics.base import ScoreSpec
from pretune.modalities.text.encoder import TextPiece, collate_text
from pretune.objectives.text.hidden_tokens import BUDGET_TOKENS, HiddenTokens, OnTrunk, mask_id_of, number_of
from pretune.objectives.text.token_rows import store_of
from pretune.types import Batch, Feed, Loss, in_double

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.modalities.text.encoder import TextEncoder
    from pretune.modalities.text.store import TokenStore
    from pretune.tasks.protocols import EncodedRows

__all__ = ["ReplacedText", "Replacing"]

_CHOOSE, _COUNT, _DRAW = 0, 1, 2
_NARROWER, _NARROWEST = 4, 64
"""A quarter as wide (section 3.2, figure 3: the best are a quarter to a half), and no narrower than this."""
_DISCRIMINATOR_WEIGHT = 50.0
"""Lambda of section 3.1."""
_NUM_STATISTICS = 7


class Replacing(OnTrunk):
    """``trunk`` reads a row; ``head`` tells of each token whether it was replaced, ``generator`` what hidden tokens might be."""

    def __init__(self, trunk: nn.Module, *, seed: int) -> None:
        super().__init__(trunk)
        width = int(self.config.hidden_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "generator"))
            self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
            self.generator = _generator(trunk, self.config)
        self.tie_weights()

    def tie_weights(self) -> None:
        """The generator stands on the trunk's token embeddings."""
        self.generator.set_input_embeddings(self.trunk.get_input_embeddings())  # type: ignore[operator]
        self.generator.tie_weights()  # type: ignore[operator]

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits (R, T) of each token's having been replaced."""
        return self.head(self.trunk(**inputs).last_hidden_state)[..., 0]

    def filled_in(self, inputs: Mapping[str, torch.Tensor], positions_M: torch.Tensor) -> torch.Tensor:
        """The generator's logits (M, V) at hidden places of the flattened R * T."""
        with heads_at(self.generator, positions_M):
            return self.generator(**inputs).logits[0].float()


def _generator(trunk: Any, config: Any) -> nn.Module:
    """A narrow model that fills in, as deep as the trunk, on the trunk's token embeddings."""
    from transformers import ElectraConfig, ElectraForMaskedLM

    words = trunk.get_input_embeddings()
    heads = int(getattr(config, "num_attention_heads", _NARROWER))
    width = min(int(config.hidden_size), max(_NARROWEST, config.hidden_size // _NARROWER))
    fewer = max(1, heads // _NARROWER)
    width -= width % fewer
    made: Any = ElectraForMaskedLM(
        ElectraConfig(
            vocab_size=len(words.weight), embedding_size=words.weight.shape[1], hidden_size=width, num_attention_heads=fewer,
            num_hidden_layers=int(config.num_hidden_layers), intermediate_size=4 * width, pad_token_id=int(config.pad_token_id or 0),
            max_position_embeddings=int(config.max_position_embeddings), type_vocab_size=max(1, int(getattr(config, "type_vocab_size", 1))),
            hidden_dropout_prob=float(getattr(config, "hidden_dropout_prob", 0.0)),
            attention_probs_dropout_prob=float(getattr(config, "attention_probs_dropout_prob", 0.0)),
        )
    )  # fmt: skip
    return made


class _Told(NamedTuple):
    """Of the generator: logits (M, V). Of the discriminator: logits and which tokens are not the true ones, both (R, T)."""

    filled_MV: torch.Tensor
    replaced_RT: torch.Tensor
    is_replaced_RT: torch.Tensor


@final
class ReplacedText(HiddenTokens):
    """See the head of this file."""

    name: ClassVar[str] = "replaced-token-detection"
    models: ClassVar[str] = "a model that fills in (scratch:bert-mini)"
    auto_class: ClassVar[str] = "AutoModel"
    default_fraction: ClassVar[float] = 0.15
    primary: str = "replaced_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "replaced_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of true and of replaced tokens, averaged"),
        "generator_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="the generator's accuracy of hidden tokens"),
        "generator_perplexity": ScoreSpec(rising=False, unit="number", title="the generator's perplexity of hidden tokens"),
    }  # fmt: skip
    reading: str = (
        "Held-out tokens are replaced by others of the held-out rows, as often as they occur and the same at every evaluation: the "
        "generator's own get harder while it learns. Accuracy is the mean of that of true and that of replaced tokens: 0.5 is chance."
    )
    weights: Mapping[str, float] = {"discriminator": _DISCRIMINATOR_WEIGHT, "generator": 1.0}
    log_names: tuple[str, ...] = ("told_right",)

    def __init__(self, backbone: Backbone, encoder: TextEncoder, *, fraction: float | None = None, seed: int) -> None:
        super().__init__(backbone, encoder, fraction=fraction, seed=seed)
        self.mask_id = mask_id_of(encoder)
        trunk, self.report = without_pooler(self.model, self.report)
        self.model = Replacing(trunk, seed=seed)

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Models that fill in."""
        return fills_in(config)

    def saved(self) -> nn.Module:
        """The discriminator's trunk."""
        assert isinstance(self.model, Replacing), "it is made so"
        return self.model.trunk

    def collate(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, ids: Sequence[str]) -> Batch:
        """True rows; ``extras``: rows with mask tokens (``hidden_ids`` (R, T)), where (``positions`` (M,) of the flattened R * T), in [0, 1) what
        is drawn there (``draws`` (M,)), whose they are (``owners`` (M,)), and which tokens are a row's own (``own`` (R, T)).
        """
        padding = self.encoder.padding
        padded = collate_text(pieces, padding, max_length=self.encoder.max_length)
        ids_RT = padded.inputs["input_ids"].numpy()
        count, width = ids_RT.shape
        longest = max(len(piece.input_ids) for piece in pieces)
        order_RT, draws_RT = uniform(keys_R, longest, _CHOOSE), uniform(keys_R, longest, _DRAW)
        count_R = uniform(keys_R, 1, _COUNT)[:, 0]
        own_RT = np.zeros((count, width), dtype=bool)
        places, draws, owners = [], [], []
        for row, piece in enumerate(pieces):
            first = width - len(piece.input_ids) if padding.left else 0
            own = self.own_places(piece)
            hidden = number_of(len(own), self.fraction, count_R[row]) if len(own) else 0
            chosen = np.sort(own[np.argsort(order_RT[row, own], kind="stable")[:hidden]])
            own_RT[row, own + first] = True
            places.append(row * width + first + chosen)
            draws.append(draws_RT[row, chosen])
            owners.append(np.full(hidden, row))
        positions_M = torch.from_numpy(np.concatenate(places).astype(np.int64))
        targets_M = padded.inputs["input_ids"].flatten()[positions_M]
        hidden_ids = padded.inputs["input_ids"].flatten().index_fill(0, positions_M, self.mask_id).view(count, width)
        extras = {
            "hidden_ids": hidden_ids, "positions": positions_M, "draws": torch.from_numpy(np.concatenate(draws)),
            "owners": torch.from_numpy(np.concatenate(owners).astype(np.int64)), "own": torch.from_numpy(own_RT),
        }  # fmt: skip
        counts = {"discriminator": float(own_RT.sum()), "generator": float(len(targets_M))}
        return Batch(padded.inputs, targets_M, counts, tuple(ids), padded.num_tokens, padded.num_padded, extras)

    def told(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the generator says of the hidden tokens."""
        assert isinstance(model, Replacing), "it learns what start() made"
        return model.filled_in({**batch.inputs, "input_ids": batch.extras["hidden_ids"]}, batch.extras["positions"]), batch.targets  # fmt: skip

    def _told(self, model: Any, batch: Batch, replacing: Callable[[torch.Tensor], torch.Tensor]) -> _Told:
        """What both say of a batch in whose hidden places stand the tokens that ``replacing`` makes of the generator's logits."""
        filled_MV, _ = self.told(model, batch)
        true_RT = batch.inputs["input_ids"]
        drawn_M = replacing(filled_MV.detach())
        shown_RT = true_RT.flatten().index_copy(0, batch.extras["positions"], drawn_M).view_as(true_RT)
        return _Told(filled_MV, model(**{**batch.inputs, "input_ids": shown_RT}).float(), shown_RT != true_RT)

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Cross entropy of hidden tokens for the generator, of every token's being replaced for the discriminator."""
        batch = feed["text"]
        own_RT = batch.extras["own"]
        told = self._told(model, batch, lambda filled_MV: drawn(filled_MV, batch.extras["draws"]))
        losses_RT = functional.binary_cross_entropy_with_logits(told.replaced_RT, told.is_replaced_RT.float(), reduction="none")  # fmt: skip
        terms = {
            "discriminator": (losses_RT * own_RT).sum(),
            "generator": functional.cross_entropy(told.filled_MV, batch.targets, reduction="sum"),
        }
        right_RT = ((told.replaced_RT.detach() > 0) == told.is_replaced_RT) & own_RT
        return Loss(terms, {"told_right": float(right_RT.sum())})

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 7) a row: replaced tokens and those that were found, true ones and those that were left, hidden ones, those that the generator
        told, its summed loss.
        """
        store = store_of(rows)
        stats_NK = np.zeros((len(store), _NUM_STATISTICS))
        keys_N = row_keys(0, "held-out", 0, np.arange(len(store)))
        others = self._tokens(store)
        self.model.eval()
        for places in cut_by_budget(store.lengths, max_cost=BUDGET_TOKENS, max_rows=2**31):
            batch = self.collate([store.piece(int(i)) for i in places], keys_N[places], [str(i) for i in places])
            other_M = others[(batch.extras["draws"].numpy() * len(others)).astype(np.int64)]
            stats_NK[places] = self._statistics(batch.to(device.device), torch.from_numpy(other_M), device)
            if on_batch:
                on_batch(len(places))
        return stats_NK

    def _tokens(self, store: TokenStore) -> np.ndarray:
        """The own tokens of all rows, one after the other; a mask token where there is none."""
        own = [piece.input_ids[self.own_places(piece)] for piece in map(store.piece, range(len(store)))]
        return np.concatenate([*own, *([] if any(map(len, own)) else [[self.mask_id]])]).astype(np.int64)

    def _statistics(self, batch: Batch, other_M: torch.Tensor, device: Device) -> np.ndarray:
        with inference(device):
            told = self._told(self.model, batch, lambda filled_MV: other_M.to(filled_MV.device))
            losses_M = functional.cross_entropy(told.filled_MV, batch.targets, reduction="none")
        own_RT, is_replaced_RT = batch.extras["own"], told.is_replaced_RT
        says_RT = told.replaced_RT > 0
        true_RT = own_RT & ~is_replaced_RT
        of_tokens = [is_replaced_RT, is_replaced_RT & says_RT, true_RT, true_RT & ~says_RT]
        right_M = told.filled_MV.argmax(-1) == batch.targets
        of_hidden = [torch.ones_like(losses_M), right_M, losses_M]
        owners_M = batch.extras["owners"].cpu()
        rows = [one_RT.sum(dim=1).cpu().double() for one_RT in of_tokens]
        rows += [
            torch.zeros(len(batch.ids), dtype=torch.float64).index_add(0, owners_M, one_M.cpu().double())
            for one_M in of_hidden
        ]
        return torch.stack(rows, dim=1).numpy()

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., 7) sums; see :meth:`statistics`."""
        replaced, found, true, left, hidden, right, loss = np.moveaxis(np.maximum(sums_K, 0), -1, 0)
        replaced, true, hidden = (np.maximum(one, 1e-12) for one in (replaced, true, hidden))
        return {
            "replaced_accuracy": (found / replaced + left / true) / 2,
            "generator_accuracy": right / hidden,
            "generator_perplexity": np.exp(np.minimum(loss / hidden, 700)),
        }


def drawn(logits_MV: torch.Tensor, draws_M: torch.Tensor) -> torch.Tensor:
    """The token of each row at which the running sum of its shares first exceeds its draw from [0, 1)."""
    sums_MV = torch.softmax(in_double(logits_MV), dim=-1).cumsum(dim=-1)
    wanted_M1 = draws_M.to(sums_MV)[:, None] * sums_MV[:, -1:]
    found_M = torch.searchsorted(sums_MV, wanted_M1, right=True)[:, 0].clamp_(max=logits_MV.shape[1] - 1)
    return found_M.to(logits_MV.device)
