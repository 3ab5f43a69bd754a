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


def written_saliency(
    task: Task, plain: Any, example: Example, text: str, names: Callable[[Any, np.ndarray], tuple[str, ...]], *, orders: int
) -> WrittenSaliency | None:  # fmt: skip
    """What the tokens of ``text``, which the model writes for the example, hang on; ``names`` gives a tokenizer's ids as words.

    None where nothing was written, or where the model takes no embeddings in place of tokens.
    """
    reader: Any = reader_of(task)
    steps = task.steps_of(example, text)
    plain = plain.eval()
    if steps.read_T is None:
        reading = read_example(reader, example, plain.config)
        ids_T = reading.inputs["input_ids"][0]
        written_L, first = torch.from_numpy(steps.written_L.astype(np.int64)), 0
        more = {"decoder_input_ids": torch.from_numpy(steps.before_L.astype(np.int64))[None]}
        table = plain.get_encoder().get_input_embeddings()
    else:
        (asked,) = task.encode(example)
        ids_T = torch.from_numpy(steps.read_T.astype(np.int64))
        first = len(asked.arrays["input_ids"]) - 1
        written_L, more = ids_T[first + 1 :], {}
        table = plain.get_input_embeddings()
    left_out = max(0, len(written_L) - MOST_WRITTEN)
    written_L = written_L[: len(written_L) - left_out]
    if not len(written_L):
        return None
    read = len(ids_T) if steps.read_T is None else first + len(written_L)
    ids_T = ids_T[:read]
    if more:
        more = {name: value[:, : len(written_L)] for name, value in more.items()}
    special = torch.tensor(sorted({*reader.tokenizer.all_special_ids}))
    is_own_T = ~torch.isin(ids_T, special)
    with torch.no_grad():
        whole_TH = table(ids_T[None].to(table.weight.device))[0]
        mean_H = table(torch.arange(table.weight.shape[0], device=table.weight.device)[None])[0].mean(dim=0)
        blank_TH = torch.where(is_own_T[:, None].to(whole_TH.device), mean_H, whole_TH)
    at_L = torch.arange(len(written_L)) + first

    def log_probabilities(texts_MTH: torch.Tensor) -> torch.Tensor:
        """(M, L)"""
        count = len(texts_MTH)
        given = {name: value.to(texts_MTH.device).expand(count, -1) for name, value in more.items()}
        mask_MT = torch.ones(count, read, dtype=torch.long, device=texts_MTH.device)
        logits_MLV = plain(inputs_embeds=texts_MTH, attention_mask=mask_MT, use_cache=False, **given).logits[:, at_L]
        wanted_ML1 = written_L.to(texts_MTH.device).expand(count, -1)[..., None]
        return torch.log_softmax(logits_MLV.float(), dim=-1).gather(-1, wanted_ML1)[..., 0]

    with torch.no_grad():
        ends_2L = log_probabilities(torch.stack([blank_TH, whole_TH])).double().cpu().numpy()
    differences_L, points = ends_2L[1] - ends_2L[0], _FIRST_POINTS
    while True:
        nats_LT = _path_integral(log_probabilities, blank_TH, whole_TH, len(written_L), points)
        missing = np.abs(nats_LT.sum(axis=1) - differences_L).sum()
        error = float(missing / max(np.abs(differences_L).sum(), 1e-9))
        if error <= _CLOSE or points >= _MOST_POINTS:
            break
        points *= 2
    own = np.flatnonzero(is_own_T.numpy()[: first + 1] if steps.read_T is not None else is_own_T.numpy())

    def probability(taken_MN: np.ndarray) -> np.ndarray:
        """Of a written token on average, with the marked own tokens of what was given taken out."""
        found = []
        for taken_N in taken_MN:
            gone_T = torch.zeros(read, dtype=torch.bool, device=whole_TH.device)
            gone_T[torch.from_numpy(own[taken_N])] = True
            with torch.no_grad():
                logs_1L = log_probabilities(torch.where(gone_T[:, None], blank_TH, whole_TH)[None])
            found.append(float(logs_1L.mean().exp()))
        return np.array(found)

    test = deletion_test(nats_LT.sum(axis=0)[own], probability, blank=_BLANK, orders=orders, figure="probability of a written token")  # fmt: skip
    return WrittenSaliency(
        names(reader.tokenizer, ids_T.numpy()), names(reader.tokenizer, written_L.numpy()), nats_LT, np.exp(ends_2L[1]), error,
        left_out, test,
    )  # fmt: skip


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
            sums_LT[row] += (gradient_KTH * way_TH).sum(dim=(0, 2)).double().cpu().numpy() / points
    return sums_LT
