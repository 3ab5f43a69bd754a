"""One pass over the rows of a split: lengths, writing systems, empty rows, and what is wrong with single rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pretune.data.text import pii, scripts, scrub, troubles

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = [
    "SHOWN_ROWS",
    "Tally",
    "column_batches",
    "column_values",
    "distribution",
    "full_texts",
    "histogram_of",
    "scan",
    "text_batches",
]

SHOWN_ROWS = 20
_BATCH_ROWS = 5_000
_BINS = 20
_SHOWN_WORDS = 5


@dataclass(slots=True)
class Tally:
    """How many rows show something, and the ids of the first of them."""

    count: int = 0
    rows: list[str] = field(default_factory=list)

    def add(self, row_id: str) -> None:
        """Count one row."""
        self.count += 1
        if len(self.rows) < SHOWN_ROWS:
            self.rows.append(row_id)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"count": self.count, "rows": self.rows}


@dataclass(slots=True)
class _Scan:
    """What one pass gathers; lengths are of text and pair together."""

    characters: list[np.ndarray] = field(default_factory=list)
    words: list[np.ndarray] = field(default_factory=list)
    exact_keys: list[np.ndarray] = field(default_factory=list)
    script_counts: np.ndarray = field(default_factory=lambda: np.zeros(len(scripts.SCRIPTS), dtype=np.int64))
    empty: Tally = field(default_factory=Tally)
    html: Tally = field(default_factory=Tally)
    control: Tally = field(default_factory=Tally)
    control_words: Counter[str] = field(default_factory=Counter)
    personal: dict[str, Tally] = field(default_factory=dict)
    encoding: dict[str, Tally] = field(default_factory=dict)


def text_batches(dataset: datasets.Dataset) -> Iterator[tuple[list[str], list[str], list[str] | None]]:
    """Batches of ids, texts and pairs (None where the data has none), in order, in bounded memory."""
    columns = [name for name in ("id", "text", "text_pair") if name in dataset.column_names]
    for batch in column_batches(dataset, columns):
        texts = [text or "" for text in batch["text"]]
        pairs = [text or "" for text in batch["text_pair"]] if "text_pair" in columns else None
        yield batch.get("id") or [""] * len(texts), texts, pairs


def column_batches(dataset: datasets.Dataset, columns: list[str]) -> Iterator[dict[str, list[Any]]]:
    """Batches of these columns as lists, in order; much faster than the library's own decoding of rows."""
    arrow = cast("Iterable[pa.Table]", dataset.select_columns(columns).with_format("arrow").iter(_BATCH_ROWS))
    for table in arrow:
        yield table.to_pydict()


def column_values(dataset: datasets.Dataset, column: str) -> Iterator[Any]:
    """The values of a column in order, in bounded memory."""
    for batch in column_batches(dataset, [column]):
        yield from batch[column]


def full_texts(texts: list[str], pairs: list[str] | None) -> list[str]:
    """Each row as one text; a pair follows after a line break."""
    return texts if pairs is None else [f"{one}\n{two}" for one, two in zip(texts, pairs, strict=True)]


def scan(dataset: datasets.Dataset) -> tuple[dict[str, Any], np.ndarray]:
    """The part of the passport that rows give one by one, and a hash (N,) uint64 of each row's exact text."""
    found = _Scan()
    for ids, texts, pairs in text_batches(dataset):
        whole = full_texts(texts, pairs)
        found.characters.append(np.fromiter(map(len, whole), dtype=np.int64, count=len(whole)) - (pairs is not None))
        found.words.append(np.fromiter((len(text.split()) for text in whole), dtype=np.int64, count=len(whole)))
        found.exact_keys.append(np.fromiter(map(_exact_key, whole), dtype=np.uint64, count=len(whole)))
        found.script_counts += scripts.count_scripts(whole)
        _look(found, ids, texts, whole)
    return _summary(found), np.concatenate(found.exact_keys or [np.empty(0, dtype=np.uint64)])


def _exact_key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _look(found: _Scan, ids: list[str], texts: list[str], whole: list[str]) -> None:
    """Tally what single rows show."""
    for row_id, text, both in zip(ids, texts, whole, strict=True):
        if not text or text.isspace():
            found.empty.add(row_id)
        if scrub.has_html(both):
            found.html.add(row_id)
        if words := troubles.control_words(both):
            found.control.add(row_id)
            found.control_words.update(words)
        for kind in troubles.encoding_troubles(both):
            found.encoding.setdefault(kind, Tally()).add(row_id)
        for kind in dict.fromkeys(kind for kind, _, _ in pii.find(both)):
            found.personal.setdefault(kind, Tally()).add(row_id)


def _summary(found: _Scan) -> dict[str, Any]:
    shares = scripts.shares(found.script_counts)
    unspaced = scripts.mostly_unspaced(shares)
    return {
        "empty": found.empty.to_dict(),
        "length": {
            "unit": "characters" if unspaced else "words",
            "characters": distribution(found.characters),
            "words": None if unspaced else distribution(found.words),
        },
        "scripts": shares,
        "unspaced": unspaced,
        "encoding": {kind: found.encoding[kind].to_dict() for kind in troubles.TROUBLES if kind in found.encoding},
        "html": found.html.to_dict(),
        "control_tokens": {**found.control.to_dict(), "words": dict(found.control_words.most_common(_SHOWN_WORDS))},
        "personal_data": {kind: found.personal[kind].to_dict() for kind in pii.KINDS if kind in found.personal},
    }


def distribution(parts: list[np.ndarray]) -> dict[str, Any] | None:
    """Quantiles, mean and a histogram of whole numbers; None if there are none."""
    found = histogram_of(np.concatenate(parts)) if parts else None
    return found and {**found, "min": int(found["min"]), "max": int(found["max"]), "total": int(found["total"])}


def histogram_of(values: np.ndarray) -> dict[str, Any] | None:
    """Quantiles, mean and a histogram of 20 bins up to the 99.5 % quantile (the last bin takes the rest); None if empty."""
    if not len(values):
        return None
    low, p5, median, p95, top, high = (float(q) for q in np.quantile(values, [0, 0.05, 0.5, 0.95, 0.995, 1]))
    whole = np.issubdtype(values.dtype, np.integer)
    edges = np.linspace(low, max(top, low + 1) if whole or top <= low else top, _BINS + 1)
    counts, _ = np.histogram(np.minimum(values, edges[-1]), bins=edges)
    return {
        "min": low,
        "p5": p5,
        "median": median,
        "p95": p95,
        "max": high,
        "mean": float(values.mean()),
        "total": float(values.sum()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
