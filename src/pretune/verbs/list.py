"""``pretune list``: the runs in a folder; the tasks and what can be done with each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.errors import PretuneError, UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import RunFolder, data_of, is_run

__all__ = ["TAKING_TASKS", "ListSettings", "list"]


@dataclass(frozen=True, kw_only=True)
class ListSettings(Settings):
    """Settings of ``pretune list``."""

    verb: ClassVar[str] = "list"

    folder: str = option("runs", "folder to look in", positional=True, metavar="FOLDER")
    tasks: bool = option(
        False, "show the tasks: what rows they need, what decides which model is better, which verbs take them"
    )


@verb(ListSettings)
def list(settings: ListSettings, *, say: Say) -> Outcome:  # noqa: A001 - the verb's name
    """Show the runs in a folder: what made them, on which data, their state and their scores; or the tasks.

    Examples::

        pretune list
        pretune list runs --json
        pretune list --tasks
    """
    if settings.tasks:
        return _tasks()
    folder = Path(settings.folder)
    if not folder.is_dir():
        if settings.folder == "runs":
            return Outcome(text="no runs here yet. Begin with: pretune inspect DATA", facts={"runs": []})
        raise UsageError(f"{folder} is not a folder", "name the folder that holds your runs")
    places = sorted(path.parent for path in folder.glob("**/run.json") if "seeds" not in path.parts)
    runs = [_summary(RunFolder(place)) for place in places if is_run(place)]
    text = "\n".join(_line(run) for run in runs) or f"no runs in {folder}"
    return Outcome(text=text, facts={"runs": runs})


TAKING_TASKS = (
    "finetune", "evaluate", "compare", "predict", "drift", "audit", "probe", "review", "ask", "selftrain", "distill", "prune", "quantize", "benchmark", "export", "serve", "explain", "report",
)  # fmt: skip


def _tasks() -> Outcome:
    """Every task with its columns, its score, and the verbs that do not take it."""
    from pretune.tasks import TASKS
    from pretune.tasks.base import Task

    facts = [
        {
            "task": task.name,
            "columns": [*task.columns],
            "score": task.metric_type.primary,
            "verbs": {verb: task.lacks.get(verb, True) for verb in TAKING_TASKS},
        }
        for task in TASKS
    ]
    lines = []
    for one in facts:
        lines.append(f"{one['task']}: columns {', '.join(one['columns'])}; decided by {one['score']}")
        lacks = {verb: why for verb, why in one["verbs"].items() if why is not True}
        common = [verb for verb, why in lacks.items() if why == Task.lacks.get(verb)]
        lines += [f"  not {', '.join(common)} (below)"] if common else []
        lines += [f"  not {verb}: {why}" for verb, why in lacks.items() if verb not in common]
    told = f"Verbs that take a task: {', '.join(TAKING_TASKS)}. Where one does not, the reason stands below the task."
    below = ["What most tasks are not taken by:", *(f"  {verb}: {why}" for verb, why in Task.lacks.items())]
    return Outcome(text="\n".join([told, *lines, *below]), facts={"tasks": facts})


def _summary(run: RunFolder) -> dict[str, Any]:
    try:
        record, metrics = run.record, run.metrics
    except PretuneError as error:
        return {"run": str(run.path), "status": "broken", "problem": error.problem}
    scores = {}
    for split, evaluation in metrics.items():
        score = evaluation.get("scores", {}).get(evaluation.get("primary"))
        if score and None not in score.values():
            scores[split] = {"score": evaluation["primary"], **score}
    settings = record.get("settings", {})
    return {
        "run": str(run.path),
        "verb": record.get("verb"),
        "status": record.get("status"),
        "backbone": settings.get("backbone") or settings.get("run") or settings.get("recipe") or _several(settings),
        "data": ", ".join(data_of(record)) or None,
        "scores": scores,
    }


def _several(settings: dict[str, Any]) -> str | None:
    """The runs that were measured side by side."""
    return ", ".join(map(str, settings.get("runs") or ())) or None


def _line(run: dict[str, Any]) -> str:
    if run["status"] == "broken":
        return f"{run['run']}: broken ({run['problem']})"
    parts = [
        f"{split} {s['score']} {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for split, s in run["scores"].items()
    ]
    made = f"{run['verb']} {run['backbone'] or ''}".rstrip() + (f" on {run['data']}" if run["data"] else "")
    return "; ".join([f"{run['run']}: {made}, {run['status']}", *parts])
