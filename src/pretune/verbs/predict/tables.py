"""Answers of rows written to a file: JSON lines, or a table for a person's programs."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.answers import ANSWERS
from pretune.errors import UsageError
from pretune.runs.answer_files import MANIFEST

if TYPE_CHECKING:
    from pretune.tasks.base import Task

__all__ = ["checked_place", "write_records"]

_TABLES = {".csv": ",", ".tsv": "\t"}
_OTHERS = (".xlsx", ".xls", ".parquet", ".arrow", ".feather", ".zip", ".gz")


def checked_place(path: Path, task: Task) -> Path:
    """The file to write to, before anything is computed; of answers that are files, the manifest in a folder. Raises :class:`UsageError` for
    a folder where one file is written, and for forms that are not written.
    """
    if ANSWERS[task.answer].in_files and (path.is_dir() or not path.suffix):
        path.mkdir(parents=True, exist_ok=True)
        return path / MANIFEST
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder", "give a file")
    if path.suffix.lower() in _OTHERS:
        raise UsageError(f"--out {path} ends in {path.suffix}, which is not written", "give .csv, .tsv or .jsonl")
    return path


def write_records(path: Path, records: Iterator[Mapping[str, Any]], task: Task) -> int:
    """Write the records and return how many there are; a table where the name asks for one. The file is whole or not there.

    Raises :class:`UsageError` where it cannot be written.
    """
    from pretune.files import json_text, translate_disk_errors

    delimiter = _TABLES.get(path.suffix.lower())
    count = 0
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with translate_disk_errors(path), open(aside, "w", encoding="utf-8", newline="") as file:
            table = None if delimiter is None else csv.writer(file, delimiter=delimiter, lineterminator="\n")
            if table is not None:
                table.writerow(_names(task))
            for record in records:
                if table is not None:
                    table.writerow(_cells(record, task))
                else:
                    file.write(json_text(record) + "\n")
                count += 1
        aside.replace(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError) as error:
        raise UsageError(
            f"--out {path} cannot be written: {error.strerror}", "choose a file in a folder that you may write to"
        ) from None
    finally:
        with contextlib.suppress(NotADirectoryError):
            aside.unlink(missing_ok=True)
    return count


def _shares(task: Task) -> list[str]:
    """The labels whose probabilities a record has."""
    return list(task.record_schema()["properties"].get("probabilities", {}).get("properties", ()))


def _others(task: Task) -> list[str]:
    """What else a record has: where the words of its tags stand."""
    return [name for name in task.record_schema()["properties"] if name not in ("id", task.answer, "probabilities")]


def _names(task: Task) -> Sequence[str]:
    """The columns: id, the answer, the probability of each class, and what else a record has, as JSON."""
    return ["id", task.answer, *(f"probability of {label}" for label in _shares(task)), *_others(task)]


def _cells(record: Mapping[str, Any], task: Task) -> Sequence[str]:
    answer = record[task.answer]
    shown = answer if isinstance(answer, str) else _joined(answer) if isinstance(answer, list) else json.dumps(answer)
    shares = (f"{record['probabilities'][label]:.6g}" for label in _shares(task))
    others = (json.dumps(record[name], ensure_ascii=False) if name in record else "" for name in _others(task))
    return [record["id"], shown, *shares, *others]


def _joined(labels: Sequence[str]) -> str:
    """Several labels in one cell as they are read again: cut at ``;``, or as a list where a label holds a sign that cuts."""
    cuts = ";|；[]" if len(labels) > 1 else ";|；[],，、"
    if any(set(label) & set(cuts) for label in labels):
        return json.dumps(list(labels), ensure_ascii=False)
    return ";".join(labels)
