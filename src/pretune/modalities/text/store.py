"""A whole data set as tokens on disk: written once, read through memory maps, in memory that does not follow the data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from pretune.cache import get_or_create
from pretune.files import fsync_file, write_json
from pretune.modalities.text.encoder import Ledger, TextPiece
from pretune.modalities.text.template import FastTokenizer

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Growing", "RowEncoder", "TokenStore", "encode_dataset", "open_array"]

ROWS_AT_A_TIME = 1000
FORMAT = 1


class TokenStore:
    """Encoded rows of a data set. Piece i is the i-th piece in row order; rows have several pieces only with windows.

    ``lengths`` int64 (pieces,) are tokens per piece, ``rows`` int64 (pieces,) the row each piece came from,
    ``ledger`` what encoding changed (a copy: fill in what you like).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.ledger = Ledger.from_dict(about["ledger"])
        self._tokens = open_array(folder / "tokens.npy")
        self._offsets = open_array(folder / "offsets.npy")
        self._segments = open_array(folder / "segments.npy") if about["segments"] else None
        self.rows = open_array(folder / "rows.npy")
        if len(self._offsets) != len(self.rows) + 1 or len(self._tokens) != about["tokens"]:
            raise ValueError(f"{folder} is incomplete")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per piece, special tokens included: int64 (pieces,)."""
        return np.diff(self._offsets)

    def piece(self, index: int) -> TextPiece:
        """Piece ``index``; its ids are int32 (T,)."""
        start, stop = self._offsets[index], self._offsets[index + 1]
        segments = None if self._segments is None else self._segments[start:stop]
        return TextPiece(self._tokens[start:stop].astype(np.int32), segments)


class RowEncoder(Protocol):
    """Rows to pieces of tokens: :class:`TextEncoder`, or :class:`pretune.backbones.blocks.BlockEncoder`."""

    tokenizer: FastTokenizer
    segments: bool

    def identity(self) -> str:
        """A hash of all that decides the ids."""
        ...

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, *, ids: Sequence[str], ledger: Ledger
    ) -> list[list[TextPiece]]:
        """The pieces of each row."""
        ...


def encode_dataset(dataset: Dataset, encoder: RowEncoder, *, fingerprint: str) -> TokenStore:
    """The tokens of a data set with columns ``id``, ``text`` and perhaps ``text_pair``; from the cache when it has them.

    ``fingerprint`` names the data; the encoder's own identity (tokenizer, limit, what is done with long rows) is added
    to it here. Raises :class:`~pretune.errors.DiskFull`.
    """
    return get_or_create(
        "tokens",
        f"{FORMAT}:{fingerprint}:{encoder.identity()}",
        TokenStore,
        lambda folder: _write(folder, dataset, encoder),
    )


def _write(folder: Path, dataset: Dataset, encoder: RowEncoder) -> None:
    small = len(encoder.tokenizer) <= np.iinfo(np.uint16).max
    kinds: dict[str, Any] = {"tokens": np.uint16 if small else np.uint32, "rows": np.int64, "offsets": np.int64}
    if encoder.segments:
        kinds["segments"] = np.uint8
    ledger = Ledger()
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in kinds.items()}
        files["offsets"].append(np.zeros(1))
        for first_row, pieces in _encoded(dataset, encoder, ledger):
            _append(files, first_row, pieces)
    for name in kinds:
        fsync_file(folder / f"{name}.npy")
    about = {"ledger": ledger.to_dict(), "segments": encoder.segments, "tokens": ledger.tokens}
    write_json(folder / "about.json", about)


def _encoded(dataset: Dataset, encoder: RowEncoder, ledger: Ledger) -> Iterator[tuple[int, list[list[TextPiece]]]]:
    has_pairs = "text_pair" in dataset.column_names
    for start in range(0, len(dataset), ROWS_AT_A_TIME):
        columns = dataset[start : start + ROWS_AT_A_TIME]
        pairs = columns["text_pair"] if has_pairs else None
        yield start, encoder.encode(columns["text"], pairs, ids=columns["id"], ledger=ledger)


def _append(files: dict[str, Growing], first_row: int, pieces: list[list[TextPiece]]) -> None:
    flat = [piece for row in pieces for piece in row]
    before = files["tokens"].size
    files["tokens"].append(np.concatenate([piece.input_ids for piece in flat]))
    files["offsets"].append(before + np.cumsum([len(piece.input_ids) for piece in flat]))
    files["rows"].append(np.repeat(np.arange(first_row, first_row + len(pieces)), [len(row) for row in pieces]))
    if "segments" in files:
        files["segments"].append(np.concatenate([piece.segment_ids for piece in flat if piece.segment_ids is not None]))


class Growing:
    """A one-dimensional .npy file that grows; its header (with room for any length) is written again at the end."""

    def __init__(self, path: Path, kind: type) -> None:
        self.path, self.kind, self.size = path, np.dtype(kind), 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Growing:
        self._file = open(self.path, "wb")
        self._write_header()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._write_header()
            self._file.close()

    def _write_header(self) -> None:
        assert self._file is not None
        header = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: np.ndarray) -> None:
        """Add values at the end."""
        assert self._file is not None
        self._file.write(np.ascontiguousarray(values, dtype=self.kind).data)
        self.size += len(values)


def open_array(path: Path) -> np.ndarray:
    """Memory-map an array; an empty one cannot be mapped and is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        return np.load(path, allow_pickle=False)
