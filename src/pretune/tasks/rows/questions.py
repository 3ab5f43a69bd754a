"""Questions and windows of their passages as flat arrays on disk, read through memory maps.

Shapes: P items of all rows (one a row, or one a window).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pretune.answers import AnswerSpan
from pretune.backbones.text.encoder import Ledger
from pretune.backbones.text.store import Growing, open_array
from pretune.cache import get_or_create
from pretune.files import fsync_file, write_json
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.tasks.question_answering import QuestionAnswering

__all__ = ["ABOUT", "QuestionRows", "store_questions"]

_FORMAT = 1
ABOUT = ("first", "base", "windows", "lost")
"""Of an item: the place of its passage among its tokens, the character of the row's passage at which its own begins, the number of
the row's items, and how many tokens of the question it lacks."""
_KINDS: dict[str, type] = {
    "input_ids": np.int32, "segment_ids": np.uint8, "spans": np.int32, "passage": np.uint8, "row": np.int32, "target": np.int32,
    "token_ends": np.int64, "span_ends": np.int64, "byte_ends": np.int64, "rows": np.int64,
}  # fmt: skip
_UNLABELLED = -2


def store_questions(task: QuestionAnswering, dataset: Dataset, *, fingerprint: str) -> QuestionRows:
    """The items of a data set's rows, from the cache when it has them. Raises :class:`~pretune.errors.DiskFull`."""
    about = json.dumps([task.cut(), task.inputs_identity()], sort_keys=True)
    return get_or_create(
        "questions",
        f"{_FORMAT}:{fingerprint}:{about}",
        lambda folder: QuestionRows(folder, dataset),
        lambda folder: _write(folder, task, dataset),
    )


def _write(folder: Path, task: QuestionAnswering, dataset: Dataset) -> None:
    ledger, kind = Ledger(), AnswerSpan.kind
    unknown = task.encoder.tokenizer.unk_token_id
    ends = dict.fromkeys(("token_ends", "span_ends", "byte_ends"), 0)
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", made)) for name, made in _KINDS.items()}
        for number, row in enumerate(cast("Iterable[dict[str, Any]]", dataset)):
            answer = row.get(kind)
            inputs = {name: row[name] for name in ("text", "text_pair")}
            items = task.encode(Example(row["id"], inputs, None if answer is None else AnswerSpan.from_json(answer)))
            for item in items:
                for name in ("input_ids", "segment_ids", "spans", "passage", "row"):
                    if name in item.arrays:
                        files[name].append(item.arrays[name].reshape(-1))
                files["target"].append(np.array(item.target if item.target is not None else (_UNLABELLED,) * 2))
                files["rows"].append(np.array([number]))
                for name, size in zip(
                    ends, (item.cost, len(item.arrays["spans"]), len(item.arrays["passage"])), strict=True
                ):
                    ends[name] += size
                    files[name].append(np.array([ends[name]]))
            _count(ledger, items, unknown)
    for name in _KINDS:
        fsync_file(folder / f"{name}.npy")
    write_json(folder / "about.json", {"ledger": ledger.to_dict(), "items": ledger.pieces})


def _count(ledger: Ledger, items: list[Encoded], unknown: int | None) -> None:
    missed = sum(int((item.arrays["input_ids"] == unknown).sum()) for item in items) if unknown is not None else 0
    ledger.rows += 1
    ledger.pieces += len(items)
    ledger.tokens += sum(item.cost for item in items)
    ledger.window_rows += len(items) > 1
    ledger.empty_rows += len(items[0].arrays["spans"]) == 0
    ledger.unknown_tokens += missed
    ledger.unknown_rows += missed > 0
    if lost := int(items[0].arrays["row"][ABOUT.index("lost")]):
        ledger.add_lost(items[0].id, lost)


class QuestionRows:
    """Items by number. ``ledger`` counts rows in windows, and what long questions lost."""

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
        tokens, spans, letters = (self._range(name, index) for name in ("token_ends", "span_ends", "byte_ends"))
        made = {"input_ids": np.array(arrays["input_ids"][tokens])}
        if len(arrays["segment_ids"]):
            made["segment_ids"] = np.array(arrays["segment_ids"][tokens])
        made["spans"] = np.array(arrays["spans"][2 * spans.start : 2 * spans.stop]).reshape(-1, 2)
        made["passage"] = np.array(arrays["passage"][letters])
        made["row"] = np.array(arrays["row"][len(ABOUT) * index : len(ABOUT) * (index + 1)])
        target = tuple(arrays["target"][2 * index : 2 * index + 2].tolist())
        weight = 1.0 / int(made["row"][ABOUT.index("windows")])
        return Encoded(
            self._ids[int(arrays["rows"][index])].as_py(), made, len(made["input_ids"]),
            None if target[0] == _UNLABELLED else target, weight,
        )  # fmt: skip

    def _range(self, name: str, index: int) -> slice:
        ends = self._arrays[name]
        return slice(int(ends[index - 1]) if index else 0, int(ends[index]))
