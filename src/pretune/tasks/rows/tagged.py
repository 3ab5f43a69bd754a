"""Rows of tagged words as flat arrays on disk, read through memory maps.

Shapes: P items of all rows (one a row, or one a window), T tokens of an item, W words of an item.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pretune.answers import Tags
from pretune.backbones.text.encoder import Ledger
from pretune.backbones.text.store import Growing, open_array
from pretune.cache import get_or_create
from pretune.files import fsync_file, write_json
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.tasks.token_classification import TokenClassification

__all__ = ["TaggedRows", "store_tagged"]

_FORMAT = 2
_TOKENS, _BY_WORD, _BY_ITEM = ("input_ids", "segment_ids"), ("places", "words", "spans", "tags"), ("row", "rows")
_ENDS = ("token_ends", "word_ends")
_KINDS: dict[str, type] = {
    **dict.fromkeys((*_TOKENS, *_BY_WORD, *_BY_ITEM), np.int32),
    **dict.fromkeys(_ENDS, np.int64),
}
"""The arrays on disk: int32, but for the counts of all tokens and words so far, which outgrow it."""


def store_tagged(task: TokenClassification, dataset: Dataset, *, fingerprint: str) -> TaggedRows:
    """The items of a data set's rows, from the cache when it has them. Raises :class:`~pretune.errors.DiskFull`."""
    about = json.dumps([task.to_dict(), task.inputs_identity()], sort_keys=True)
    return get_or_create(
        "tagged",
        f"{_FORMAT}:{fingerprint}:{about}",
        lambda folder: TaggedRows(folder, dataset),
        lambda folder: _write(folder, task, dataset),
    )


def _write(folder: Path, task: TokenClassification, dataset: Dataset) -> None:
    ledger = Ledger()
    unknown = task.encoder.tokenizer.unk_token_id
    tokens = words = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in _KINDS.items()}
        rows = cast("Iterable[dict[str, Any]]", dataset)
        for number, row in enumerate(rows):
            tags = row.get("tags")
            inputs = {name: row[name] for name in ("text", "words") if row.get(name) is not None}
            items = task.encode(Example(row["id"], inputs, None if tags is None else Tags(tuple(tags))))
            for item in items:
                tokens, words = tokens + item.cost, words + len(item.arrays["words"])
                for name in (*_TOKENS, *_BY_WORD[:-1], "row"):
                    if name in item.arrays:
                        files[name].append(item.arrays[name].reshape(-1))
                files["tags"].append(
                    np.array(item.target if item.target is not None else [-1] * len(item.arrays["words"]))
                )
                files["rows"].append(np.array([number if item.target is not None else -1 - number]))
                files["token_ends"].append(np.array([tokens]))
                files["word_ends"].append(np.array([words]))
            _count(ledger, items, unknown)
    for name in _KINDS:
        fsync_file(folder / f"{name}.npy")
    write_json(folder / "about.json", {"ledger": ledger.to_dict(), "items": ledger.pieces})


def _count(ledger: Ledger, items: list[Encoded], unknown: int | None) -> None:
    lost = int(items[0].arrays["row"][0]) - sum(len(item.arrays["words"]) for item in items)
    missed = sum(int((item.arrays["input_ids"] == unknown).sum()) for item in items) if unknown is not None else 0
    ledger.rows += 1
    ledger.pieces += len(items)
    ledger.tokens += sum(item.cost for item in items)
    ledger.window_rows += len(items) > 1
    ledger.empty_rows += int(items[0].arrays["row"][0]) == 0
    ledger.unknown_tokens += missed
    ledger.unknown_rows += missed > 0
    if lost > 0:
        ledger.add_lost(items[0].id, lost)


class TaggedRows:
    """Items by number. ``ledger`` counts rows in windows, and words without a token as lost."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._arrays: dict[str, Any] = {name: open_array(folder / f"{name}.npy") for name in _KINDS}
        if len(self._arrays["rows"]) != about["items"]:
            raise ValueError(f"{folder} is incomplete")
        self._ids = dataset.with_format("arrow")[:]["id"]
        self.lengths_N = np.diff(self._arrays["token_ends"], prepend=0)
        self.ledger: dict[str, Any] = about["ledger"]

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        arrays = self._arrays
        tokens, words = (self._range(name, index) for name in ("token_ends", "word_ends"))
        made = {"input_ids": np.array(arrays["input_ids"][tokens])}
        if len(arrays["segment_ids"]):
            made["segment_ids"] = np.array(arrays["segment_ids"][tokens], dtype=np.uint8)
        made |= {name: np.array(arrays[name][words]) for name in ("places", "words")}
        made["spans"] = np.array(arrays["spans"][2 * words.start : 2 * words.stop]).reshape(-1, 2)
        made["row"] = np.array(arrays["row"][2 * index : 2 * index + 2])
        number = int(arrays["rows"][index])
        row = number if number >= 0 else -1 - number
        target = tuple(arrays["tags"][words].tolist()) if number >= 0 else None
        weight = 1.0 / int(made["row"][1])
        return Encoded(self._ids[row].as_py(), made, len(made["input_ids"]), target, weight)

    def _range(self, name: str, index: int) -> slice:
        ends = self._arrays[name]
        return slice(int(ends[index - 1]) if index else 0, int(ends[index]))
