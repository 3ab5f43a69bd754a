"""What was measured: one JSON file a chapter in ``docs/results``, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from acceptance.places import RESULTS

__all__ = ["read_result", "result_path", "write_result"]


def result_path(name: str, folder: Path = RESULTS) -> Path:
    """The file of a chapter."""
    return folder / f"{name}.json"


def read_result(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """``claims``: a list of figures (name, commands, value, unit, and what is known of low, high, n, p, seed, commit, machine, date,
    asked, note); ``last_run``: commit, date, seconds and machine of the last measurement by ``run``. Without a file none.
    """
    path = result_path(name, folder)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"chapter": name, "claims": []}


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> None:
    """Replace the file of a chapter."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, indent=1)
    result_path(name, folder).write_text(f"{text}\n", encoding="utf-8")
