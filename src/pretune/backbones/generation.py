"""Texts written token by token: greedily, with beams, or drawn at random, by transformers' ``generate``; for decoders and encoder-decoders.

A row's answer does not depend on the rows beside it: each has its own limit, and its own stream of random numbers, a function of the
seed and of the row's tokens (``generate`` alone draws from one stream for the whole batch). Shapes: B rows, K beams, T tokens so far, V
tokens of the vocabulary.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pretune.errors import ModelError

if TYPE_CHECKING:
    from pretune.backbones.text.template import FastTokenizer

__all__ = ["Generation", "Marks", "Written", "generate", "marks_of"]


@dataclass(frozen=True)
class Generation:
    """How answers are searched. ``beam_size`` 1 takes the likeliest token each time; ``length_penalty`` is the power of the length that a
    beam's log-likelihood is divided by (Wu et al. 2016, arXiv 1609.08144, section 7, without its constants); no ``no_repeat_ngram``
    tokens come twice in an answer (0: they may). With a ``temperature`` above 0 tokens are drawn, from the ``top_k`` likeliest (0:
    all) that make up the share ``top_p``.
    """

    beam_size: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

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


def generate(
    model: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    how: Generation,
    *,
    limits_B: Sequence[int],
    marks: Marks,
) -> list[Written]:
    """Answers to the rows of ``inputs`` (``input_ids`` and ``attention_mask`` (B, T); rows of a decoder are padded on the left), each of
    at most ``limits_B`` tokens, its end mark among them.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    writer: Any = model
    is_decoder = not writer.config.is_encoder_decoder
    prompt = inputs["input_ids"].shape[1] if is_decoder else 1
    asked = GenerationConfig(
        max_new_tokens=max(limits_B), num_beams=how.beam_size, do_sample=False, early_stopping=False,
        **({"length_penalty": how.length_penalty} if how.beam_size > 1 else {}),
        no_repeat_ngram_size=how.no_repeat_ngram or None, eos_token_id=marks.end, pad_token_id=marks.pad, bos_token_id=marks.start,
        decoder_start_token_id=None if is_decoder else marks.start, forced_bos_token_id=marks.first, use_cache=True,
    )  # fmt: skip
    processors: list[Any] = [_Limits(limits_B, prompt, marks.end, how.beam_size)]
    if how.temperature > 0:
        processors.append(_Draws(inputs, how))
    taken = inspect.signature(writer.forward).parameters
    given = {name: value for name, value in inputs.items() if name in taken}
    ids_BT = writer.generate(
        **given, generation_config=asked, logits_processor=LogitsProcessorList(processors)
    )[:, prompt:].tolist()  # fmt: skip
    return [_written(row, limit, marks) for row, limit in zip(ids_BT, limits_B, strict=True)]


def _written(ids: list[int], limit: int, marks: Marks) -> Written:
    end = ids.index(marks.end) if marks.end in ids else len(ids)
    own = ids[1:end] if marks.first is not None else ids[:end]
    return Written(own, end + 1 >= limit)


class _Limits:
    """Ends each row at its own limit: there only the end mark may follow."""

    def __init__(self, limits_B: Sequence[int], prompt: int, end: int, beams: int) -> None:
        self.limits_R = torch.tensor(limits_B).repeat_interleave(beams)
        self.prompt, self.end = prompt, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        done_R = (self.limits_R <= input_ids.shape[1] - self.prompt + 1).to(scores.device)
        if not bool(done_R.any()):
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self.end] = scores[:, self.end]
        return torch.where(done_R[:, None], ended, scores)


class _Draws:
    """Draws a token by adding Gumbel noise to what would else be taken greedily (Gumbel 1954): the largest sum is a draw from the softmax."""

    def __init__(self, inputs: Mapping[str, torch.Tensor], how: Generation) -> None:
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.warpers: list[Any] = [TemperatureLogitsWarper(how.temperature)]
        self.warpers += [TopKLogitsWarper(how.top_k)] if how.top_k else []
        self.warpers += [TopPLogitsWarper(how.top_p)] if how.top_p < 1.0 else []
        rows = zip(inputs["input_ids"].cpu().numpy(), inputs["attention_mask"].cpu().numpy() > 0, strict=True)
        self.streams = [_stream(ids[real], how.seed) for ids, real in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        noise = np.stack([stream.gumbel(size=scores.shape[1]) for stream in self.streams])
        return scores + torch.from_numpy(noise).to(scores)


def _stream(ids: np.ndarray, seed: int) -> np.random.Generator:
    digest = hashlib.blake2b(np.ascontiguousarray(ids, dtype=np.int64).tobytes(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])
