"""What each written token hangs on: integrated gradients of its log-probability (Sundararajan, Taly & Yan 2017, arXiv 1703.01365, equation 1),
shared among the tokens that were read for it.

Tokens of an encoder-decoder are those of the source, of a decoder the prompt's and those written before. The way goes from a text whose own
tokens are all the mean of the vocabulary's embeddings (marks stay) to the text. Shapes: T read tokens, L written ones, K points of the
way, H width, V vocabulary, M texts of the deletion test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretune.explain.faithfulness import Faithfulness, deletion_test
from pretune.explain.reading import read_example, reader_of
from pretune.tasks.base import Task
from pretune.types import Example

__all__ = ["MOST_WRITTEN", "WrittenSaliency", "written_saliency"]

MOST_WRITTEN = 32
"""Written tokens that are explained: each costs a backward pass a point of the way."""

_FIRST_POINTS, _MOST_POINTS, _AT_A_TIME = 32, 512, 8
_CLOSE = 0.02
"""Points are doubled until the sums miss no more than this share of the whole."""
_BLANK = "the mean of all embeddings"


@dataclass(frozen=True)
class WrittenSaliency:
    """``nats_LT`` says how much of the log-probability of each written token (``probabilities_L``) the read ones give it; ``error`` is the mean
    share that is missing from the whole. ``left_out`` written tokens are not explained. ``faithfulness`` takes read tokens out and watches the
    probability of a written token (the geometric mean over all).
    """

    tokens: tuple[str, ...]
    written: tuple[str, ...]
    nats_LT: np.ndarray
    probabilities_L: np.ndarray
    error: float
    left_out: int
    faithfulness: Faithfulness | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        told = [
            {
                "token": token, "probability": round(float(self.probabilities_L[row]), 6),
                "from": [round(float(one), 5) for one in self.nats_LT[row]],
            }
            for row, token in enumerate(self.written)
        ]  # fmt: skip
        return {
            "tokens": list(self.tokens), "written": told, "error": self.error, "left_out": self.left_out,
            "faithfulness": self.faithfulness.to_dict() if self.faithfulness else None,
        }  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """Read tokens ``ids_T`` and the ``written_L`` behind them, told from position ``first`` on; ``more`` are other inputs of the model, ``table``
    gives its embeddings. ``is_own_T``: no mark; ``asked`` of the read tokens were given, not written.
    """

    model: Any
    table: Any
    ids_T: torch.Tensor
    written_L: torch.Tensor
    first: int
    asked: int
    more: dict[str, torch.Tensor]
    is_own_T: torch.Tensor
    left_out: int

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (T, H) of the text whose own tokens are the mean of all, and of the text."""
        device = self.table.weight.device
        with torch.no_grad():
            whole_TH = self.table(self.ids_T[None].to(device))[0]
            mean_H = self.table(torch.arange(self.table.weight.shape[0], device=device)[None])[0].mean(dim=0)
            return torch.where(self.is_own_T[:, None].to(device), mean_H, whole_TH), whole_TH

    def log_probabilities(self, texts_MTH: torch.Tensor) -> torch.Tensor:
        """(M, L) of the written tokens."""
        count, device = len(texts_MTH), texts_MTH.device
        given = {name: value.to(device).expand(count, -1) for name, value in self.more.items()}
        mask_MT = torch.ones(count, len(self.ids_T), dtype=torch.long, device=device)
        logits_MTV = self.model(inputs_embeds=texts_MTH, attention_mask=mask_MT, use_cache=False, **given).logits
        logits_MLV = logits_MTV[:, self.first : self.first + len(self.written_L)]
        wanted_ML1 = self.written_L.to(device).expand(count, -1)[..., None]
        return torch.log_softmax(logits_MLV.float(), dim=-1).gather(-1, wanted_ML1)[..., 0]


def _told(task: Task, plain: Any, example: Example, text: str) -> _Told:
    """The first written tokens, and all that was read for them."""
    reader: Any = reader_of(task)
    steps = task.steps_of(example, text)
    if steps.read_T is None:
        ids_T = read_example(reader, example, plain.config).inputs["input_ids"][0]
        written_L, first, asked = torch.from_numpy(steps.written_L.astype(np.int64)), 0, len(ids_T)
        more = {"decoder_input_ids": torch.from_numpy(steps.before_L.astype(np.int64))[None, :MOST_WRITTEN]}
        table, read = plain.get_encoder().get_input_embeddings(), len(ids_T)
    else:
        (item,) = task.encode(example)
        ids_T = torch.from_numpy(steps.read_T.astype(np.int64))
        asked = len(item.arrays["input_ids"])
        written_L, first, more = ids_T[asked:], asked - 1, {}
        table, read = plain.get_input_embeddings(), first + min(len(written_L), MOST_WRITTEN)
    ids_T = ids_T[:read]
    is_own_T = ~torch.isin(ids_T, torch.tensor(sorted({*reader.tokenizer.all_special_ids})))
    left_out = max(0, len(written_L) - MOST_WRITTEN)
    return _Told(plain.eval(), table, ids_T, written_L[:MOST_WRITTEN], first, asked, more, is_own_T, left_out)


def written_saliency(
    task: Task, plain: Any, example: Example, text: str, names: Callable[[Any, np.ndarray], tuple[str, ...]], *, orders: int
) -> WrittenSaliency | None:  # fmt: skip
    """What the tokens of ``text``, which the model writes for the example, hang on; ``names`` gives a tokenizer's ids as words.

    None where nothing was written.
    """
    told = _told(task, plain, example, text)
    if not len(told.written_L):
        return None
    blank_TH, whole_TH = told.ends()
    with torch.no_grad():
        ends_2L = told.log_probabilities(torch.stack([blank_TH, whole_TH])).cpu().double().numpy()
    differences_L, points = ends_2L[1] - ends_2L[0], _FIRST_POINTS
    while True:
        nats_LT = _path_integral(told.log_probabilities, blank_TH, whole_TH, len(told.written_L), points)
        missing = np.abs(nats_LT.sum(axis=1) - differences_L).sum()
        error = float(missing / max(np.abs(differences_L).sum(), 1e-9))
        if error <= _CLOSE or points >= _MOST_POINTS:
            break
        points *= 2
    tokenizer = reader_of(task).tokenizer  # type: ignore[union-attr]
    return WrittenSaliency(
        names(tokenizer, told.ids_T.numpy()), names(tokenizer, told.written_L.numpy()), nats_LT, np.exp(ends_2L[1]), error,
        told.left_out, _tested(told, nats_LT.sum(axis=0), blank_TH, whole_TH, orders),
    )  # fmt: skip


def _tested(
    told: _Told, scores_T: np.ndarray, blank_TH: torch.Tensor, whole_TH: torch.Tensor, orders: int
) -> Faithfulness | None:
    """The deletion test of the own tokens that were given."""
    own = np.flatnonzero(told.is_own_T.numpy()[: told.asked])

    def probability(taken_MN: np.ndarray) -> np.ndarray:
        """Of a written token, the geometric mean."""
        found = []
        for taken_N in taken_MN:
            gone_T = torch.zeros(len(whole_TH), dtype=torch.bool, device=whole_TH.device)
            gone_T[torch.from_numpy(own[taken_N])] = True
            with torch.no_grad():
                logs_1L = told.log_probabilities(torch.where(gone_T[:, None], blank_TH, whole_TH)[None])
            found.append(float(logs_1L.mean().exp()))
        return np.array(found)

    return deletion_test(scores_T[own], probability, blank=_BLANK, orders=orders, figure="probability of a written token")  # fmt: skip


def _path_integral(
    log_probabilities: Callable[[torch.Tensor], torch.Tensor],
    blank_TH: torch.Tensor,
    whole_TH: torch.Tensor,
    count: int,
    points: int,
) -> np.ndarray:
    """(L, T) float64: gradients at the middles of equal pieces of the way, times the way."""
    way_TH = whole_TH - blank_TH
    sums_LT = np.zeros((count, len(way_TH)))
    for start in range(0, points, _AT_A_TIME):
        shares_K = (torch.arange(start, start + _AT_A_TIME, device=way_TH.device) + 0.5) / points
        texts_KTH = (blank_TH + shares_K[:, None, None] * way_TH).requires_grad_()
        logs_L = log_probabilities(texts_KTH).sum(dim=0)
        for row in range(count):
            (gradient_KTH,) = torch.autograd.grad(logs_L[row], texts_KTH, retain_graph=row + 1 < count)
            sums_LT[row] += (gradient_KTH * way_TH).sum(dim=(0, 2)).cpu().double().numpy() / points
    return sums_LT
