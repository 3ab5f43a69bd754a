"""Texts that go on, token by token, for the exported model in this folder; :mod:`predict` uses it.

Tokens are drawn as pretune draws them: a number and a prompt give the same text, whatever stands beside it. Shapes: B prompts, T tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

OF_SEARCH = ("temperature", "top_k", "top_p")


class Reader:
    """A text as a prompt, and what was written behind it."""

    most_together = 32
    asks = (*OF_SEARCH, "max_new_tokens", "stop", "sampling_seed")

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True  # "</s>" in a text is text
        self.search, self.continuations, self.randomness = (
            beside(name) for name in ("token_search", "continuations", "randomness")
        )
        self.told, self.max_length = about["inputs"], about["max_length"]
        self.how, self.writing = self.search.Search(**self.told["search"]), dict(self.told["writing"])

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Write otherwise than the model was exported: ``temperature``, ``top_p``, ``top_k``, ``max_new_tokens``, ``stop``, ``sampling_seed``."""
        self.how = dataclasses.replace(self.how, **{name: asked[name] for name in OF_SEARCH if name in asked})
        self.writing.update({name: value for name, value in asked.items() if name not in OF_SEARCH})

    def opened(
        self, folder: Path, threads: int | None, open_session: Callable[[Path, int | None], Any]
    ) -> Callable[[list[np.ndarray]], list[Any]]:
        """The graph of the folder, as a function from prompts to what was written behind them."""
        steps = self.search.Steps(open_session(folder / "model.onnx", threads))

        def written(prompts: list[np.ndarray]) -> list[Any]:
            groups: dict[tuple[int, int], list[int]] = {}
            for number, ids_T in enumerate(
                prompts
            ):  # one that fills the context leaves the others the room that they have
                room, most = self.max_length - len(ids_T), self.writing["max_new_tokens"]
                groups.setdefault((most, 0) if room >= most else (room, len(ids_T)), []).append(number)
            found = {}
            for (most, _), numbers in groups.items():
                some = [prompts[number] for number in numbers]
                found.update(zip(numbers, self.gone_on(steps, some, most), strict=True))
            return [found[number] for number in range(len(prompts))]

        return written

    def gone_on(self, steps: Any, prompts: list[np.ndarray], most: int) -> list[Any]:
        """What follows each prompt, of ``most`` tokens at most."""
        width = max(map(len, prompts))
        ids_BT = np.full((len(prompts), width), self.told["pad_id"], dtype=np.int64)
        mask_BT = np.zeros_like(ids_BT)
        for row, ids_T in enumerate(prompts):
            ids_BT[row, width - len(ids_T) :], mask_BT[row, width - len(ids_T) :] = ids_T, 1
        before = [ids_T.tolist() for ids_T in prompts]
        said = self.continuations.Continuations(
            lambda tokens: self.tokenizer.decode(tokens, skip_special_tokens=True), before, self.how.ends, self.writing["stop"]
        )  # fmt: skip
        keys_B = self.randomness.prompt_keys(self.writing["sampling_seed"], prompts)
        ids = self.search.search_tokens(
            steps, steps.begin(ids_BT, mask_BT), self.how, [most] * len(prompts), before=before,
            noise=lambda rows, step, size: self.randomness.gumbel(keys_B[rows], size, purpose=step),
            stops=said.stops if self.writing["stop"] else None,
        )  # fmt: skip
        return [said.written(row, one) for row, one in enumerate(ids)]

    def items(self, row: dict[str, Any]) -> list[np.ndarray]:
        """The tokens of a prompt. Raises :class:`ValueError` for one that fills the context."""
        ids = [*self.told["start"], *self.tokenizer.encode(row["text"], add_special_tokens=False).ids]
        if len(ids) >= self.max_length:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, and the model's context holds {self.max_length}, prompt and answer together: shorten it"
            )
        return [np.array(ids, dtype=np.int32)]

    def inputs(self, items: list[np.ndarray]) -> list[np.ndarray]:
        """The prompts."""
        return items

    def real(self, written: Any, item: Any) -> Any:
        """What was written behind a prompt."""
        return written

    def answer(self, outputs: list[Any], items: list[Any]) -> dict[str, Any]:
        """The text, how many tokens it has and why it ends."""
        text, num_tokens, reason = outputs[0]
        return {"text": text, "new_tokens": num_tokens, "finish_reason": reason}
