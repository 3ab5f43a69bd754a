"""Texts that go on: one token after the other, each row by its own random stream, so that no row depends on its neighbours.

Rows are padded in front, and those that fill the model's context are taken apart. A draw is the largest of the logarithms of the
probabilities plus Gumbel noise (Gumbel 1954; the "Gumbel-max trick"), and the noise is a function of (seed, prompt, step, token): the
library's greedy search then samples, and gives the same text in any batch.
Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pretune.engine.randomness import seed_of, uniform

if TYPE_CHECKING:
    from pretune.backbones.blocks import BlockEncoder

__all__ = ["Writing", "Written", "go_on"]


@dataclass(frozen=True)
class Writing:
    """How texts go on. ``temperature`` 0 takes the likeliest token; ``top_p`` keeps the likeliest tokens that have this probability
    together (Holtzman et al. 2020, arXiv 1904.09751), ``top_k`` so many; ``stop`` are words before which a text ends.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int | None = None
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    sampling_seed: int = 0


class Written(NamedTuple):
    """``text`` goes on from the prompt; ``num_tokens`` were written; ``reason`` is "end" (the text ended), "stop" (a stop word) or
    "length" (the most tokens, or the model's context is full).
    """

    text: str
    num_tokens: int
    reason: str


def go_on(
    model: torch.nn.Module, prompts: Sequence[np.ndarray], encoder: BlockEncoder, writing: Writing
) -> list[Written]:
    """What follows each prompt (ids with the start mark, shorter than the context), in their order."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, ids_T in enumerate(prompts):
        room = encoder.max_length - len(ids_T)
        is_free = room >= writing.max_new_tokens
        groups.setdefault((writing.max_new_tokens, 0) if is_free else (room, len(ids_T)), []).append(number)
    found: dict[int, Written] = {}
    for (most, _), numbers in groups.items():
        texts = _written(model, [prompts[number] for number in numbers], encoder, writing, most)
        found.update(zip(numbers, texts, strict=True))
    return [found[number] for number in range(len(prompts))]


def _written(
    model: torch.nn.Module, prompts: Sequence[np.ndarray], encoder: BlockEncoder, writing: Writing, most: int
) -> list[Written]:
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    pad_id = encoder.padding.pad_id
    ids_BT = np.full((len(prompts), width), pad_id, dtype=np.int64)
    for row, ids_T in enumerate(prompts):
        ids_BT[row, width - len(ids_T) :] = ids_T
    real_BT = np.arange(width) >= width - np.array([[len(ids_T)] for ids_T in prompts])
    device = next(model.parameters()).device
    reader = _Reader(encoder, prompts, writing.stop)
    config = GenerationConfig(
        max_new_tokens=most, do_sample=False, num_beams=1, pad_token_id=pad_id, eos_token_id=list(encoder.end) or None
    )
    made_BT = model.generate(  # type: ignore[operator]
        input_ids=torch.from_numpy(ids_BT).to(device),
        attention_mask=torch.from_numpy(real_BT.astype(np.int64)).to(device),
        generation_config=config,
        logits_processor=_draws(encoder, prompts, writing, width),
        stopping_criteria=[reader.stops(width)] if writing.stop else None,
    )
    return [reader.written(row, ids_T) for row, ids_T in enumerate(made_BT[:, width:].cpu().tolist())]


def _draws(encoder: BlockEncoder, prompts: Sequence[np.ndarray], writing: Writing, width: int) -> Any:
    """What is done with the logits before the largest is taken: no control tokens, temperature, the likeliest ones, noise."""
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        SuppressTokensLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps: list[Any] = []
    marks = sorted({*encoder.tokenizer.all_special_ids} - {*encoder.end})
    if marks:
        steps.append(SuppressTokensLogitsProcessor(marks))
    if writing.temperature > 0:
        steps += [TemperatureLogitsWarper(writing.temperature)] if writing.temperature != 1 else []
        steps += [TopKLogitsWarper(writing.top_k)] if writing.top_k else []
        steps += [TopPLogitsWarper(writing.top_p)] if writing.top_p < 1 else []
        steps.append(_noise(prompts, writing.sampling_seed, width))
    return LogitsProcessorList(steps)


def _noise(prompts: Sequence[np.ndarray], seed: int, width: int) -> Any:
    keys_B = np.array([seed_of(seed, "writing", ids_T.tobytes().hex()) for ids_T in prompts], dtype=np.uint64)

    def add(input_ids: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        draw_BV = uniform(keys_B, scores_BV.shape[1], purpose=input_ids.shape[1] - width)
        noise_BV = -np.log(-np.log(np.maximum(draw_BV, 2.0**-53)))
        return scores_BV + torch.from_numpy(noise_BV).to(scores_BV)

    return add


class _Reader:
    """Tokens that were written, as text."""

    def __init__(self, encoder: BlockEncoder, prompts: Sequence[np.ndarray], stop: Sequence[str]) -> None:
        self._tokenizer, self._end, self._stop = encoder.tokenizer, {*encoder.end}, tuple(stop)
        self._prompts = [ids_T.tolist() for ids_T in prompts]
        self._before = [self._text(ids_T) for ids_T in self._prompts]

    def _text(self, ids_T: list[int]) -> str:
        return self._tokenizer.decode(ids_T, skip_special_tokens=True)

    def _following(self, row: int, ids_T: list[int]) -> str:
        """The text of tokens behind a prompt: some tokenizers write a space before a token only where something stands before it."""
        whole, before = self._text([*self._prompts[row], *ids_T]), self._before[row]
        return whole[len(before) :] if whole.startswith(before) else self._text(ids_T)

    def _cut(self, text: str) -> str | None:
        """The text before the first stop word; None where there is none."""
        places = [at for word in self._stop if (at := text.find(word)) >= 0]
        return text[: min(places)] if places else None

    def stops(self, width: int) -> Any:
        """For the library's search: which rows have a stop word."""

        def criterion(input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            rows = input_ids[:, width:].tolist()
            stopped = [self._cut(self._following(row, self._own(ids_T))) is not None for row, ids_T in enumerate(rows)]
            return torch.tensor(stopped, device=input_ids.device)

        return criterion

    def _own(self, ids_T: list[int]) -> list[int]:
        """The tokens before the end mark."""
        return ids_T[: next((at for at, one in enumerate(ids_T) if one in self._end), len(ids_T))]

    def written(self, row: int, ids_T: list[int]) -> Written:
        """The text of a row's tokens, which end at an end mark, before a stop word, or are as many as may be."""
        own = self._own(ids_T)
        for number in range(1, len(own) + 1) if self._stop else ():
            if (cut := self._cut(self._following(row, own[:number]))) is not None:
                return Written(cut, number, "stop")
        text = self._following(row, own)
        if len(own) < len(ids_T):
            return Written(text, len(own), "end")
        return Written(text.rstrip("\ufffd"), len(own), "length")  # a character may have been cut
