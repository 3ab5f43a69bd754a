"""Named splits of a data set, with the facts of how they came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pretune.data.columns.roles import ANSWER_ROLES
from pretune.types import SPLIT_NAMES

if TYPE_CHECKING:
    import datasets

__all__ = ["COLUMNS", "Splits"]

COLUMNS = (
    "id",
    "text",
    "text_pair",
    "words",
    "turns",
    "image",
    "audio",
    "speaker",
    *ANSWER_ROLES,
    "group",
    "slice",
    "content",
    "look",
    "sketch",
    "width",
    "height",
    "seconds",
    "rate",
)
"""The only columns a split may have, in this order; ``id`` is always there, and one of ``text``, ``image`` and ``audio``.

``image`` and ``audio`` are ``{"bytes", "path"}``: the bytes of an encoded file, or None and the path of a file on disk.
``slice`` is what scores are split by beside (a source, a site, a device). ``content`` hashes those bytes. Pictures have ``look`` (perceptual hash), ``width`` and ``height`` (px, upright); clips have
``seconds`` and ``rate`` (Hz); both have ``sketch`` (what copies are found by, see ``media_look`` and ``media_sound``). ``labels`` stands for ``label`` where a row may have several, ``value`` (a double) for a number to estimate, ``tags`` for a tag
of each of ``words``, ``target`` (a list of strings) for a text to be written: the ``[start, end]`` of each in ``text``, in characters, the end left out.
"""


class Splits(Mapping[str, "datasets.Dataset"]):
    """Immutable mapping of split name (see ``SPLIT_NAMES``, in that order) to data set.

    ``facts`` is JSON-able: how the data was read and split, and the count of every row that was changed or moved.
    """

    def __init__(self, splits: Mapping[str, datasets.Dataset], facts: Mapping[str, Any] | None = None) -> None:
        unknown = sorted(set(splits) - set(SPLIT_NAMES))
        assert not unknown, f"unknown split names {unknown}"
        self._splits = {name: splits[name] for name in SPLIT_NAMES if name in splits}
        self.facts: dict[str, Any] = dict(facts or {})

    def __getitem__(self, name: str) -> datasets.Dataset:
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __repr__(self) -> str:
        return "Splits(" + ", ".join(f"{name}={len(rows)}" for name, rows in self.items()) + ")"

    def label_advice(self, role: str = "label") -> str:
        """What to type where labels were not found: the words of the reading, which knows what the columns hold."""
        files = self.facts.get("read", {}).get("files", ())
        known = next((file["advice"] for file in files if file.get("advice")), "") if role == "label" else ""
        return known or f"name their column: --column {role}=NAME"

    def replace(self, splits: Mapping[str, datasets.Dataset], **facts: Any) -> Splits:
        """Other data sets, with these facts added to the present ones."""
        return Splits(splits, {**self.facts, **facts})
