"""Answers that are files: kept beside the records that point to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pretune.answers import ANSWERS, answer_of

__all__ = ["MANIFEST", "answers_in_files"]

MANIFEST = "manifest.jsonl"
"""What a folder of such answers tells of them, as a data set that pretune reads again."""


def answers_in_files(
    records: Iterable[Mapping[str, Any]], kind: str, folder: Path, name: str, *, fresh: bool = True
) -> Iterator[dict[str, Any]]:
    """The records with each answer of such a kind written into ``folder/name``, numbered in their order; others as they are.

    A record then holds the file's place from ``folder`` on, its ``sha256`` and its ``bytes``. ``fresh``: what files are there go first.
    """
    if not ANSWERS[kind].in_files:
        yield from map(dict, records)
        return
    place = folder / name
    if fresh and place.is_dir():
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records, start=1):
        answer = answer_of(kind, record.get(kind))
        if answer is None:
            yield dict(record)
            continue
        file, facts = answer.in_file(place, f"{number:05}")
        yield {**record, kind: f"{name}/{file}" if name else file, **facts}
