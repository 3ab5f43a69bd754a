"""Conversations to answers, token by token, for the exported model in this folder; :mod:`predict` uses it.

The chat template stands in pretune.json as data: its own texts between two turns by their roles. Shapes: T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """A conversation as the tokens of a prompt, and the answer that was written behind it."""

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.prompts, self.cut = beside("prompts").Reader(folder, about, beside), beside("chat_tokens")
        self.tokens = self.cut.ChatTokens(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
        self.told = about["inputs"]["template"]
        self.most_together, self.asks = self.prompts.most_together, self.prompts.asks

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Answer otherwise than the model was exported."""
        self.prompts.ask(asked)

    def opened(self, *given: Any) -> Callable[[list[np.ndarray]], list[Any]]:
        """The graph of the folder, as a function from prompts to what was written behind them."""
        return self.prompts.opened(*given)

    def items(self, row: dict[str, Any]) -> list[tuple[np.ndarray, int]]:
        """The tokens of what is to be answered, and how many turns did not fit. Raises :class:`ValueError` for a last turn that fills the context."""
        turns, most = row.get("turns") or [{"role": "user", "content": row["text"]}], self.prompts.max_length
        ids, left_out = self.cut.fitted_prompt(turns, self.ids_of, most, self.prompts.writing["max_new_tokens"])
        if len(ids) >= most:
            raise ValueError(
                f"its last turn has {len(ids)} tokens with its marks, and the model's context holds {most}, question and answer together: shorten it"
            )
        return [(np.array(ids, dtype=np.int32), left_out)]

    def ids_of(self, turns: Any) -> list[int]:
        """The tokens of all of a conversation that is to be answered."""
        change = str.strip if self.told["strips"] else str
        return self.tokens.tokens(self.cut.parts_by_gaps(turns, self.told["gaps"], change))[0]

    def inputs(self, items: list[tuple[np.ndarray, int]]) -> list[np.ndarray]:
        """The prompts."""
        return [ids_T for ids_T, _ in items]

    def real(self, written: Any, item: Any) -> Any:
        """What was written behind a prompt."""
        return written

    def answer(self, outputs: list[Any], items: list[Any]) -> dict[str, Any]:
        """The text, how many tokens it has and why it ends; and the turns that were left out, where some were."""
        (text, num_tokens, reason), left_out = outputs[0], items[0][1]
        told = {"target": text.strip(), "new_tokens": num_tokens, "finish_reason": reason}
        return {**told, "turns_left_out": left_out} if left_out else told


def held(model: Any, lines: Iterable[str], say: Callable[[str], None]) -> Iterable[dict[str, Any]]:
    """The answer to each line in the light of those before it; an empty line begins anew."""
    turns: list[dict[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            turns = []
            continue
        turns.append({"role": "user", "content": line.strip()})
        try:
            (answer,) = model.answers([{"id": str(number), "turns": turns}])
        except ValueError as error:
            say(str(error))
            turns.pop()
            continue
        yield answer
        if answer["target"]:
            turns.append({"role": "assistant", "content": answer["target"]})
        else:
            turns.pop()
