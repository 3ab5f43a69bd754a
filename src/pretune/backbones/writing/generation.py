"""Texts written token by token: greedily, with beams, or drawn at random; by transformers' ``generate``, or step by step with a graph.

A row's answer does not depend on the rows beside it: each has its own limit, and its own noise where tokens are drawn (``generate`` alone
draws from one stream for the whole batch). Shapes: B rows, K beams, T tokens read, V tokens of the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pretune.backbones.writing.token_search import Noise, Search, Steps, own_tokens, search_tokens
from pretune.errors import ModelError

if TYPE_CHECKING:
    from pretune.modalities.text.template import FastTokenizer

__all__ = ["Generation", "Marks", "Written", "generate", "marks_of", "search_of", "write_tokens"]


@dataclass(frozen=True)
class Generation:
    """How answers are searched. ``beam_size`` 1 takes the likeliest token each time; ``length_penalty`` is the power of the length that a
    beam's log-likelihood is divided by (Wu et al. 2016, arXiv 1609.08144, section 7, without its constants); no ``no_repeat_ngram``
    tokens come twice in an answer (0: they may).
    """

    beam_size: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What is not as by default, as JSON values; the beams always."""
        plain = Generation()
        return {
            name: value
            for name, value in vars(self).items()
            if name == "beam_size" or value != getattr(plain, name)
        }  # fmt: skip


class Marks(NamedTuple):
    """Token ids that begin, end and pad an answer; ``first`` is the token that every answer begins with (a language), where there is one."""

    start: int
    end: int
    pad: int
    first: int | None = None


class Written(NamedTuple):
    """An answer's token ids without its marks; ``cut_off``: it reached its limit."""

    ids: list[int]
    cut_off: bool


def marks_of(config: Any, tokenizer: FastTokenizer) -> Marks:
    """The marks of a model's answers. A folder that does not say what begins one takes its padding, as T5 and Pegasus do.

    Raises :class:`ModelError` where no token ends a text.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise ModelError(
            f"the tokenizer of this {config.model_type} has no token that ends a text",
            "choose a model that writes texts",
        )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    told = getattr(config, "decoder_start_token_id", None)
    start = told if told is not None else pad
    first = getattr(config, "forced_bos_token_id", None)
    return Marks(int(start), int(end), int(pad), None if first is None else int(first))


def search_of(how: Generation, marks: Marks) -> Search:
    """How an encoder-decoder's answers are searched: at its limit only the end mark may follow."""
    return Search(ends=(marks.end,), ends_at_limit=True, first=marks.first, **vars(how))


def generate(
    model: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    how: Generation,
    *,
    limits_B: Sequence[int],
    marks: Marks,
) -> list[Written]:
    """An encoder-decoder's answers to the rows of ``inputs`` (``input_ids`` and ``attention_mask`` (B, T)), each of at most ``limits_B``
    tokens, its end mark among them.
    """
    ids_BT = write_tokens(model, inputs, search_of(how, marks), limits_B, marks)
    return [_written(ids, limit, marks) for ids, limit in zip(ids_BT, limits_B, strict=True)]


def _written(ids: list[int], limit: int, marks: Marks) -> Written:
    end = ids.index(marks.end) if marks.end in ids else len(ids)
    return Written(own_tokens(ids, (marks.end,), marks.first), end + 1 >= limit)


def write_tokens(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], how: Search, limits_B: Sequence[int], marks: Marks, *,
    noise: Noise | None = None, stops: Callable[[int, list[int]], bool] | None = None,
) -> list[list[int]]:  # fmt: skip
    """The tokens of each row, those behind its end not cut off yet. An encoder-decoder writes behind ``marks.start``, a decoder behind its
    prompt, which is padded on the left; ``noise`` and ``stops`` are those of :func:`~pretune.backbones.writing.token_search.search_tokens`.
    """
    steps = getattr(model, "steps", None)
    if isinstance(steps, Steps):
        return _by_steps(steps, bool(model.alone), inputs, how, limits_B, marks, noise, stops)
    return _by_transformers(model, inputs, how, limits_B, marks, noise, stops)


def _by_steps(
    steps: Steps, alone: bool, inputs: Mapping[str, torch.Tensor], how: Search, limits_B: Sequence[int], marks: Marks, noise: Noise | None,
    stops: Callable[[int, list[int]], bool] | None,
) -> list[list[int]]:  # fmt: skip
    ids_BT, mask_BT = (inputs[name].cpu().numpy().astype(np.int64) for name in ("input_ids", "attention_mask"))
    count = len(ids_BT)
    reads = steps.reads != "input_ids"
    found: list[list[int]] = []
    for rows in np.array_split(np.arange(count), count if alone else 1):
        kept_T = mask_BT[rows].any(axis=0)
        ids, mask = ids_BT[rows][:, kept_T], mask_BT[rows][:, kept_T]
        first = np.full((len(rows), 1), marks.start, dtype=np.int64) if reads else None
        before = [[marks.start]] * len(rows) if reads else [one[real > 0].tolist() for one, real in zip(ids, mask, strict=True)]  # fmt: skip
        offset = int(rows[0])
        found += search_tokens(
            steps, steps.begin(ids, mask, first), how, [limits_B[row] for row in rows], before=before,
            noise=None if noise is None else lambda some, step, size, at=offset: noise(some + at, step, size),
            stops=None if stops is None else lambda row, tokens, at=offset: stops(row + at, tokens),
        )  # fmt: skip
    return found


def _by_transformers(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], how: Search, limits_B: Sequence[int], marks: Marks, noise: Noise | None,
    stops: Callable[[int, list[int]], bool] | None,
) -> list[list[int]]:  # fmt: skip
    from transformers import GenerationConfig

    writer: Any = model
    is_decoder = not writer.config.is_encoder_decoder
    prompt = inputs["input_ids"].shape[1] if is_decoder else 1
    asked = GenerationConfig(
        max_new_tokens=max(limits_B), num_beams=how.beam_size, do_sample=False, early_stopping=False,
        **({"length_penalty": how.length_penalty} if how.beam_size > 1 else {}),
        no_repeat_ngram_size=how.no_repeat_ngram or None, eos_token_id=list(how.ends) or None, pad_token_id=marks.pad,
        bos_token_id=marks.start, decoder_start_token_id=None if is_decoder else marks.start, forced_bos_token_id=how.first, use_cache=True,
    )  # fmt: skip
    taken = inspect.signature(writer.forward).parameters
    found_BT = writer.generate(
        **{name: value for name, value in inputs.items() if name in taken}, generation_config=asked,
        logits_processor=_processors(how, limits_B, prompt, noise), stopping_criteria=[_stopping(stops, prompt)] if stops else None,
    )  # fmt: skip
    return [ids[:limit] for ids, limit in zip(found_BT[:, prompt:].cpu().tolist(), limits_B, strict=True)]


def _processors(how: Search, limits_B: Sequence[int], prompt: int, noise: Noise | None) -> Any:
    """What is done with the logits before the largest is taken: limits, no barred tokens, temperature, the likeliest ones, noise."""
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        SuppressTokensLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps: list[Any] = [_Limits(limits_B, prompt, how)] if how.ends_at_limit else []
    if len(how.barred):
        steps.append(SuppressTokensLogitsProcessor(list(how.barred)))
    if how.temperature > 0:
        steps += [TemperatureLogitsWarper(how.temperature)] if how.temperature != 1 else []
        steps += [TopKLogitsWarper(how.top_k)] if how.top_k else []
        steps += [TopPLogitsWarper(how.top_p)] if how.top_p < 1 else []
        steps += [_Noise(noise, prompt)] if noise is not None else []
    return LogitsProcessorList(steps)


class _Limits:
    """Ends each row at its own limit: there only an end mark may follow."""

    def __init__(self, limits_B: Sequence[int], prompt: int, how: Search) -> None:
        self.limits_R = torch.tensor(limits_B).repeat_interleave(how.beam_size)
        self.prompt, self.ends = prompt, list(how.ends)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        done_R = (self.limits_R <= input_ids.shape[1] - self.prompt + 1).to(scores.device)
        if not bool(done_R.any()):
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self.ends] = scores[:, self.ends]
        return torch.where(done_R[:, None], ended, scores)


class _Noise:
    """Adds each row's own noise."""

    def __init__(self, noise: Noise, prompt: int) -> None:
        self.noise, self.prompt = noise, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        added_BV = self.noise(np.arange(len(scores)), input_ids.shape[1] - self.prompt, scores.shape[1])
        return scores + torch.from_numpy(added_BV).to(scores)


def _stopping(stops: Callable[[int, list[int]], bool], prompt: int) -> Any:
    """For the library's search: which rows have come to an end of their own."""

    def criterion(input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        said = [stops(row, ids_T) for row, ids_T in enumerate(input_ids[:, prompt:].tolist())]
        return torch.tensor(said, device=input_ids.device)

    return criterion
