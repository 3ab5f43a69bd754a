"""The masks of one reading, all together: how many pixels of each value, which could not be used, and what the values are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pretune.answers.mask import Mask
from pretune.data.archives.streams import Entry
from pretune.data.masks.names import MaskNames, name_values
from pretune.data.masks.rows import MaskReader
from pretune.data.media.rows import MediaTally
from pretune.data.store import SplitWriter
from pretune.wording import agree, counted

__all__ = ["MaskTally"]

_SHOWN = 5


class MaskTally:
    """Counts masks while they are read; afterwards :meth:`name` gives their values names."""

    def __init__(self) -> None:
        self.pixels: Counter[str] = Counter()
        self.files = MediaTally("mask")
        self.scaled: list[str] = []
        self.named: MaskNames | None = None

    def count(self, masks: Iterable[Any]) -> None:
        """Count the pixels of the masks of some rows (JSON values)."""
        for mask in masks:
            if mask is not None:
                self.pixels.update(Mask.from_json(mask).areas())

    def update(self, reader: MaskReader) -> None:
        """Count the files of a table."""
        self.files.update(reader.reader.tally)
        self.scaled += reader.scaled

    def name(
        self, writer: SplitWriter, tables: Sequence[Entry], label_files: Sequence[Entry], *,
        ignore: Sequence[str], learned: Mapping[str, str | None] | None, encoding: str | None,
    ) -> None:  # fmt: skip
        """Give the values names, in the rows that were written too. Raises as :func:`pretune.data.masks.names.name_values`."""
        if not self.pixels:
            return
        self.named = name_values(self.pixels, tables, label_files, ignore=ignore, learned=learned, encoding=encoding)
        for split in writer.rows:
            writer.rewrite(split, self._rename)

    def _rename(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self.named is not None, "values have names"
        for place, field in enumerate(batch.schema):
            if field.name == Mask.kind:
                masks = [
                    None if cell is None else Mask.from_json(cell).renamed(self.named.names).to_json()
                    for cell in batch.column(place).to_pylist()
                ]
                batch = batch.set_column(place, field, pa.array(masks, field.type))
        return batch

    def check(self, place: str) -> None:
        """Raise :class:`~pretune.errors.DataError` where more than half of the masks cannot be used."""
        self.files.check(place)

    def notes(self) -> list[str]:
        """Sentences for people."""
        found = self.files.notes()
        if self.scaled:
            count = len(self.scaled)
            found.append(
                f"{counted(count, 'mask')} {agree(count, 'are', 'is')} of another size than {agree(count, 'their pictures', 'its picture')}, and of "
                f"the same shape; masks are scored at their own size: {', '.join(self.scaled[:_SHOWN])}{' ...' if count > _SHOWN else ''}."
            )
        return found + list(self.named.notes if self.named else ())

    def facts(self) -> dict[str, Any]:
        """JSON form; nothing where there are no masks."""
        if self.named is None and not self.files.lost:
            return {}
        about = self.files.facts()
        return {
            "masks": {
                **{key: about[key] for key in ("read", "left_out", "formats", "modes")},
                **(self.named.facts() if self.named else {}),
            }
        }
