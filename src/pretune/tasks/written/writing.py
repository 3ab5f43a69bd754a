"""Texts that go on: one token after the other, each row by its own random stream, so that no row depends on its neighbours.

Rows are padded in front, and those that fill the model's context are taken apart. A draw is the largest of the logarithms of the
probabilities plus Gumbel noise (Gumbel 1954; the "Gumbel-max trick"), and the noise is a function of (seed, prompt, step, token): the
library's greedy search then samples, and gives the same text in any batch.
Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pretune.backbones.writing.continuations import Continuations, Written
from pretune.backbones.writing.generation import Marks, write_tokens
from pretune.backbones.writing.token_search import Noise, Search
from pretune.engine.randomness import gumbel, prompt_keys
from pretune.modalities.text.template import plain_backend

if TYPE_CHECKING:
    from pretune.modalities.text.encoder import Padding
    from pretune.modalities.text.template import FastTokenizer

__all__ = ["Writer", "Writing", "Written", "go_on", "portable_writing", "search_for"]


class Writer(Protocol):
    """How a model's texts are cut: ``end`` are the ids that end one."""

    tokenizer: FastTokenizer
    max_length: int
    end: tuple[int, ...]

    @property
    def padding(self) -> Padding:
        """How batches are padded."""
        ...


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


def go_on(
    model: torch.nn.Module,
    prompts: Sequence[np.ndarray],
    encoder: Writer,
    writing: Writing,
    *,
    told: Callable[[str], bool] | None = None,
) -> list[Written]:
    """What follows each prompt (ids with the start mark, shorter than the context), in their order. Of a single prompt ``told`` is
    given the text so far after each token, without half characters at its end, and says whether to go on.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for number, ids_T in enumerate(prompts):
        room = encoder.max_length - len(ids_T)
        is_free = room >= writing.max_new_tokens
        groups.setdefault((writing.max_new_tokens, 0) if is_free else (room, len(ids_T)), []).append(number)
    found: dict[int, Written] = {}
    for (most, _), numbers in groups.items():
        texts = _written(model, [prompts[number] for number in numbers], encoder, writing, most, told)
        found.update(zip(numbers, texts, strict=True))
    return [found[number] for number in range(len(prompts))]


def _written(
    model: torch.nn.Module,
    prompts: Sequence[np.ndarray],
    encoder: Writer,
    writing: Writing,
    most: int,
    told: Callable[[str], bool] | None,
) -> list[Written]:
    width = max(map(len, prompts))
    pad_id = encoder.padding.pad_id
    ids_BT = np.full((len(prompts), width), pad_id, dtype=np.int64)
    for row, ids_T in enumerate(prompts):
        ids_BT[row, width - len(ids_T) :] = ids_T
    real_BT = np.arange(width) >= width - np.array([[len(ids_T)] for ids_T in prompts])
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    inputs = {
        "input_ids": torch.from_numpy(ids_BT).to(device),
        "attention_mask": torch.from_numpy(real_BT.astype(np.int64)).to(device),
    }
    backend = plain_backend(encoder.tokenizer)
    said = Continuations(
        lambda tokens: backend.decode(tokens, skip_special_tokens=True),
        [ids_T.tolist() for ids_T in prompts], encoder.end, writing.stop,
    )  # fmt: skip

    def stops(row: int, ids_T: list[int]) -> bool:
        is_wanted = told is None or told(said.so_far(row, ids_T))
        return not is_wanted or (bool(writing.stop) and said.stops(row, ids_T))

    found = write_tokens(
        model, inputs, search_for(writing, encoder), [most] * len(prompts), Marks(pad_id, pad_id, pad_id),
        noise=_noise(prompts, writing.sampling_seed), stops=stops if writing.stop or told is not None else None,
    )  # fmt: skip
    return [said.written(row, ids_T) for row, ids_T in enumerate(found)]


def portable_writing(writing: Writing, encoder: Writer) -> dict[str, Any]:
    """How texts go on, for a program without pretune: ``search`` as :func:`search_for` has it, ``writing`` beside it, ``pad_id``."""
    how, asked = asdict(search_for(writing, encoder)), asdict(writing)
    return {"search": how, "writing": {name: asked[name] for name in asked if name not in how}, "pad_id": encoder.padding.pad_id}  # fmt: skip


def search_for(writing: Writing, encoder: Writer) -> Search:
    """The search that ``writing`` asks for: special tokens are never written, but for the end mark."""
    return Search(
        ends=tuple(encoder.end), barred=tuple(sorted({*encoder.tokenizer.all_special_ids} - {*encoder.end})),
        temperature=writing.temperature, top_k=writing.top_k or 0, top_p=writing.top_p,
    )  # fmt: skip


def _noise(prompts: Sequence[np.ndarray], seed: int) -> Noise:
    keys_B = prompt_keys(seed, prompts)
    return lambda rows, step, size: gumbel(keys_B[rows], size, purpose=step)
