"""The texts of tokens that were written behind prompts; also used by exported models (no library at all)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

__all__ = ["Continuations", "Written"]


class Written(NamedTuple):
    """``text`` goes on from the prompt; ``num_tokens`` were written; ``reason`` is "end" (the text ended), "stop" (a stop word) or
    "length" (the most tokens, or the model's context is full).
    """

    text: str
    num_tokens: int
    reason: str


class Continuations:
    """What follows each of some prompts, told as tokens. ``decode`` gives the text of tokens without special ones, ``ends`` are the end
    marks, before a word of ``stop`` a text ends.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], prompts: Sequence[Sequence[int]], ends: Collection[int], stop: Sequence[str]
    ) -> None:  # fmt: skip
        self._decode, self._ends, self._stop = decode, {*ends}, tuple(stop)
        self._prompts = [list(ids_T) for ids_T in prompts]
        self._before = [decode(ids_T) for ids_T in self._prompts]

    def _following(self, row: int, ids_T: list[int]) -> str:
        """The text of tokens behind a prompt: some tokenizers write a space before a token only where something stands before it."""
        whole, before = self._decode([*self._prompts[row], *ids_T]), self._before[row]
        return whole[len(before) :] if whole.startswith(before) else self._decode(ids_T)

    def _cut(self, text: str) -> str | None:
        """The text before the first stop word; None where there is none."""
        places = [at for word in self._stop if (at := text.find(word)) >= 0]
        return text[: min(places)] if places else None

    def _own(self, ids_T: list[int]) -> list[int]:
        """The tokens before the end mark."""
        return ids_T[: next((at for at, one in enumerate(ids_T) if one in self._ends), len(ids_T))]

    def stops(self, row: int, ids_T: list[int]) -> bool:
        """Do the tokens behind a prompt hold a stop word?"""
        return self._cut(self._following(row, self._own(ids_T))) is not None

    def so_far(self, row: int, ids_T: list[int]) -> str:
        """The text of the tokens behind a prompt, before a stop word, without half characters at its end."""
        text = self._following(row, self._own(ids_T))
        cut = self._cut(text)
        return (text if cut is None else cut).rstrip("\ufffd")

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
