"""The runs a run was made of, found from the folders that its ``run.json`` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretune.errors import PretuneError
from pretune.forwarded import places_in
from pretune.report.drawing.grids import Node
from pretune.report.story import main_split, primary_of
from pretune.report.words import name_of, number_text, plain, score_text, title_of
from pretune.runfolder import RunFolder, is_run

__all__ = ["backbone_of", "find_run", "nodes_of"]

MOST_STEPS = 60


def backbone_of(record: Mapping[str, Any]) -> str:
    """What the run began from, as it was given."""
    settings = record.get("settings") or {}
    for key in ("backbone", "model", "run"):
        if settings.get(key):
            return plain(settings[key])
    return ""


def find_run(place: str, child: Path) -> Path | None:
    """The folder of a parent as named by the run in ``child``.

    A relative name is looked for from each folder above the child (one of them is where the command was given), so that
    a page does not change with the folder it is made in; then beside the child, for runs that were moved together.
    """
    path = Path(place)
    above = child.resolve().parents
    candidates = [path] if path.is_absolute() else [folder / path for folder in above]
    for candidate in [*candidates, child.resolve().parent / path.name]:
        if is_run(candidate):
            return candidate
    return None


def nodes_of(run: RunFolder) -> list[Node]:
    """The run and all runs above it, each once, as deep as its longest way down; a parent that is not there is named."""
    own = run.path.resolve()
    facts: dict[str, tuple[str, tuple[str, ...]]] = {}
    depth: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(own), own.name, ())]
    for _ in range(MOST_STEPS):
        if not waiting:
            break
        key, name, below = waiting.pop(0)
        if key in below:
            continue
        depth[key] = max(depth.get(key, 0), len(below))
        if below and below[-1] not in children.setdefault(key, []):
            children[key].append(below[-1])
        facts[key], parents = _facts(Path(key), name)
        for place in parents:
            found = find_run(place, Path(key))
            waiting.append((str(found.resolve()) if found else f"missing:{place}", name_of(place), (*below, key)))
    return [Node(key, name, depth[key], lines, tuple(children.get(key, ()))) for key, (name, lines) in facts.items()]


def _facts(path: Path, name: str) -> tuple[tuple[str, tuple[str, ...]], list[str]]:
    if not is_run(path):
        return (name, ("not found here",)), []
    run = RunFolder(path)
    try:
        record, metrics = run.record, run.metrics
    except PretuneError:
        return (name, ("its run.json cannot be read",)), []
    begun = backbone_of(places_in(record).shown(record))
    what = title_of(str(record.get("verb", "run"))) + (f" from {begun}" if begun else "")
    return (name, (what, *_result(record, metrics))), [str(place) for place in record.get("parents") or []]


def _result(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> tuple[str, ...]:
    split = main_split(metrics)
    primary = primary_of(metrics[split]) if split else None
    if split and primary:
        return f"{title_of(primary[0])} {score_text(*primary)}", f"{split}, n = {number_text(primary[1].get('n'))}"
    return ("not evaluated" if record.get("status") == "finished" else f"status: {plain(record.get('status'))}",)
