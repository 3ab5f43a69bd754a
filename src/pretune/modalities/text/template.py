"""Where a tokenizer puts its special tokens, learned by asking it; so that rows can be cut first and wrapped after."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pretune.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["FastTokenizer", "Template", "plain_backend", "read_template"]


class FastTokenizer(Protocol):
    """What pretune uses of a transformers tokenizer with a fast backend (transformers makes these at run time)."""

    backend_tokenizer: Tokenizer
    model_input_names: list[str]
    init_kwargs: dict[str, Any]
    model_max_length: int
    padding_side: str
    split_special_tokens: bool
    pad_token: str | None
    eos_token: str | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | None
    unk_token_id: int | None
    cls_token_id: int | None
    sep_token_id: int | None
    mask_token_id: int | None
    pad_token_type_id: int
    all_special_ids: list[int]

    def __len__(self) -> int: ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The tokens of ids."""
        ...

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
        """The text of ids, special tokens included unless they are skipped."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Write the tokenizer's files."""
        ...


def plain_backend(tokenizer: FastTokenizer) -> Tokenizer:
    """The tokenizer's backend with cutting and padding off, which tokenizer.json may have turned on, and with texts read as
    texts: what spells a control token in them is none.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


@dataclass(frozen=True)
class Frame:
    """Special tokens around the sides of a row.

    ``gaps[k]`` are the (ids, segment ids) before side k, the last gap those after the last side; ``segments[k]`` is the
    segment id of side k's own tokens.
    """

    gaps: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    segments: tuple[int, ...]

    @cached_property
    def gap_ids(self) -> list[np.ndarray]:
        """The ids of each gap, int32."""
        return [np.array(ids, dtype=np.int32) for ids, _ in self.gaps]

    @cached_property
    def gap_segments(self) -> list[np.ndarray]:
        """The segment ids of each gap, uint8."""
        return [np.array(segments, dtype=np.uint8) for _, segments in self.gaps]

    @cached_property
    def num_special(self) -> int:
        """Special tokens in all gaps."""
        return sum(map(len, self.gap_ids))

    @cached_property
    def is_one_segment(self) -> bool:
        """Are all segment ids 0?"""
        return not any((*self.segments, *(number for _, gap in self.gaps for number in gap)))


@dataclass(frozen=True)
class Template:
    """The frames of single rows and of pairs."""

    single: Frame
    pair: Frame

    def num_special(self, *, pair: bool) -> int:
        """Special tokens added to a row."""
        return (self.pair if pair else self.single).num_special

    def identity(self) -> str:
        """The same text for the same template."""
        return json.dumps(dataclasses.asdict(self))

    def apply(self, sides: list[np.ndarray], *, segments: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The row's ids int32 (T,) and, where asked, its segment ids uint8 (T,)."""
        frame = self.pair if len(sides) == 2 else self.single
        ids_T = _woven(frame.gap_ids, sides)
        if not segments:
            return ids_T, None
        if frame.is_one_segment:
            return ids_T, np.zeros(len(ids_T), dtype=np.uint8)
        own = [np.full(len(side), mark, dtype=np.uint8) for side, mark in zip(sides, frame.segments, strict=True)]
        return ids_T, _woven(frame.gap_segments, own)


def _woven(gaps: list[np.ndarray], sides: list[np.ndarray]) -> np.ndarray:
    """Gaps and sides in turn, joined."""
    return np.concatenate([gaps[0], *itertools.chain(*zip(sides, gaps[1:], strict=True))])


def read_template(tokenizer: FastTokenizer) -> Template:
    """Ask the tokenizer for one row and one pair, and see what it put around them.

    Raises :class:`ModelError` when the tokenizer has no fast backend.
    """
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(
            f"the tokenizer {type(tokenizer).__name__} has no fast version (no tokenizer.json)",
            "choose a model whose folder holds tokenizer.json",
        )
    backend = plain_backend(tokenizer)
    return Template(_frame(backend.encode("a"), 1), _frame(backend.encode("a", "b"), 2))


def _frame(encoding: Encoding, num_sides: int) -> Frame:
    """Split a probe's tokens into gaps (special) and sides (its own)."""
    ids, types, owners = encoding.ids, encoding.type_ids, encoding.sequence_ids
    places = [[index for index, owner in enumerate(owners) if owner == side] for side in range(num_sides)]
    bounds = [0, *(edge for place in places for edge in (place[0], place[-1] + 1)), len(ids)]
    gaps = [slice(bounds[k], bounds[k + 1]) for k in range(0, len(bounds), 2)]
    return Frame(
        tuple((tuple(ids[gap]), tuple(types[gap])) for gap in gaps), tuple(types[place[0]] for place in places)
    )
