"""``pretune multitask``: several tasks learned at once on one trunk, each a run of its own at the end; is it worth it?"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.config import BackboneSettings, LabelledTrainSettings, RunSettings
from pretune.errors import RunError, UsageError
from pretune.interface.declare import load_verb, verb
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, is_run, now
from pretune.runs.reading import refuse_missing_data
from pretune.study.joint.result import RESULT, measured, write_result
from pretune.study.joint.tasks import parse_tasks, read_tasks, settings_of
from pretune.training.settings import FinetuneSettings

__all__ = ["MultitaskSettings", "multitask"]


@dataclass(frozen=True, kw_only=True)
class MultitaskSettings(BackboneSettings, LabelledTrainSettings, RunSettings):
    """Settings of ``pretune multitask``."""

    verb: ClassVar[str] = "multitask"

    tasks: tuple[str, ...] = option(
        (),
        "what is learned together: NAME=DATA,OPTION=VALUE,... with the options of finetune that say how rows are read and answered (task, column, ...)",
        positional=True,
        metavar="TASK",
    )
    set: tuple[str, ...] = option((), "such an option for every task: max_length=64", metavar="OPTION=VALUE")
    weights: str = option(
        "equal",
        "what the tasks' losses weigh: equal, size (their rows), uncertainty (learned: each is divided by a variance), or a number each: intent=1,slots=2",
        metavar="WEIGHTS",
    )
    temperature: float = option(
        2.0,
        "rows of each task in an update: by the root of how many it has, 1 by their number itself, 2 the square root, 100 nearly alike",
        low=1.0,
        high=1000.0,
    )
    adapt: str = option("full", "what of the trunk learns: full, top:N (N top layers), gradual, llrd", metavar="MODE")
    llrd_decay: float = option(0.9, "with --adapt llrd: each deeper layer learns this much slower", low=0.1, high=1.0)
    alone: bool = option(
        False, "learn each task alone too, for as many updates of as many rows, and compare", not_in_identity=True
    )
    split: str = option("test", "the rows that all are scored on", choices=("test", "validation"), not_in_identity=True)
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000, not_in_identity=True)


@verb(MultitaskSettings)
def multitask(settings: MultitaskSettings, *, say: Say) -> Outcome:
    """Learn several tasks at once: one trunk, a head for each, from the same rows or from files of their own.

    Each task becomes a run in the folder (RUN/<name>), which every other verb takes as it takes any run. The epoch is chosen by the mean of the
    tasks' scores on validation. With --alone each is learned alone beside it, for as many updates, and it is said which is better. Where tasks
    answer the same rows, it is counted how many rows are right in all of them.

    Examples::

        pretune multitask MODEL_DIR intent=atis/,column=label=label slots=atis/ --alone --out runs/atis
        pretune multitask scratch:bert-mini topic=news.csv stars=reviews.tsv,task=text-regression --weights uncertainty
        pretune multitask MODEL_DIR kind=photos.csv,column=label=kind age=photos.csv,column=value=age --set augment=light
    """
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast
    from pretune.training.setup import open_together

    _refuse_resting(settings)
    cluster = join_cluster()
    first = next(iter(parse_tasks(settings.tasks).values()))[0]
    of_tasks = settings_of(settings, settings.tasks, settings.set, settings.out or "RUN")
    refuse_missing_data(*(place for one in of_tasks.values() for place in one.every_place), out=settings.out)
    if settings.dry_run:
        from pretune.study.joint.learning import build_joint

        return forecast(
            settings, lambda run: build_joint(settings, run, read_tasks(of_tasks, say), say, cluster).learning
        )
    with open_together(settings, cluster, begun_from=settings.backbone, named_after=first) as (settings, run, state):
        of_tasks = settings_of(settings, settings.tasks, settings.set, str(run.path))
        if "result" not in run.record:
            _learn(settings, run, of_tasks, say, cluster, resumed=state == "resumed")
        if not cluster.is_first:
            cluster.barrier()
            return _outcome(run, "is finished")
        is_new = _measure(settings, run, of_tasks, say)
        cluster.barrier()
        return _outcome(run, "is finished" if is_new else WAS_FINISHED)


def _refuse_resting(settings: MultitaskSettings) -> None:
    """Raise :class:`UsageError` for ways to learn in which tasks do not meet."""
    from pretune.backbones.adaptation.adapt import LORA

    why = {
        "head": "a trunk that rests learns nothing from several tasks",
        "linear": "a trunk that rests learns nothing from several tasks",
        LORA: "changes of low rank are merged into the model of one task",
    }
    if settings.adapt in why:
        raise UsageError(
            f"--adapt is {settings.adapt}: {why[settings.adapt]}",
            f"learn each alone: pretune finetune {settings.backbone} --adapt {settings.adapt}",
        )


def _learn(
    settings: MultitaskSettings, run: RunFolder, of_tasks: Mapping[str, FinetuneSettings], say: Say, cluster: Any,
    *, resumed: bool,
) -> None:  # fmt: skip
    """From the rows to a run of each task."""
    from pretune.study.joint.learning import build_joint
    from pretune.study.joint.runs import finish_learning, note_beginning

    began = time.monotonic()
    joint = build_joint(settings, run, read_tasks(of_tasks, say), say, cluster)
    if not cluster.agree(json.dumps([[list(part.task.labels), part.fingerprint] for part in joint.parts])):
        raise RunError(
            "the processes of this run read other rows or other classes than the first one",
            "give all of them the same data and the same version of pretune",
        )
    if cluster.is_first:
        note_beginning(run, joint, say, resumed=resumed)
    for note in joint.learning.resume():
        say.warn(note)
    joint.learning.go()
    if cluster.is_first:
        finish_learning(run, settings, joint, say, began=began)
    cluster.barrier()


def _measure(settings: MultitaskSettings, run: RunFolder, of_tasks: Mapping[str, FinetuneSettings], say: Say) -> bool:
    """Score the tasks, learn them alone where that is asked for, and compare; whether anything was left to do."""
    asked = {"alone": settings.alone, "split": settings.split, "resamples": settings.resamples}
    if run.record.get("status") == "finished" and run.has(RESULT) and run.read_object(RESULT).get("asked") == asked:
        return False
    began = time.monotonic()
    run.update_record(status="running", problem=None, settings=settings.to_dict(), command=settings.command())
    arms = _alone(settings, run, of_tasks, say) if settings.alone else {}
    found = measured(run, arms, settings.split, settings.resamples, settings.threads, say)
    write_result(run, {**found, "asked": asked})
    shutil.rmtree(run.checkpoints_dir, ignore_errors=True)  # a crash may have come before it
    run.close_log()
    run.update_record(status="finished", finished=now(), measuring_seconds=round(time.monotonic() - began, 1))
    load_verb("report")(str(run.path), say=say)
    return True


def _alone(
    settings: MultitaskSettings, run: RunFolder, of_tasks: Mapping[str, FinetuneSettings], say: Say
) -> dict[str, RunFolder]:
    """Each task learned alone, for as many updates of as many rows as it had beside the others."""
    finetune, found = load_verb("finetune"), {}
    record = run.record
    for name, one in of_tasks.items():
        place = run.path / "alone" / name
        found[name] = RunFolder(place)
        if is_run(place) and RunFolder(place).record.get("status") == "finished":
            continue
        say.note(f"== {name} alone")
        as_often = {
            "max_steps": record["training"]["steps"], "epochs": None, "minutes": None,
            "batch_size": record["tasks"][name]["batch_size"],
        }  # fmt: skip
        finetune.run(dataclasses.replace(one, out=str(place), adapt=settings.adapt, **as_often), say=say)
    return found


def _outcome(run: RunFolder, said: str) -> Outcome:
    found, record = run.read_object(RESULT), run.record
    page = Path(run.path) / "report.html"
    text = "\n".join([*found["text"], f"{run.path} {said}; the page is {page}"])
    facts = {
        "run": str(run.path),
        "status": record["status"],
        "result": record.get("result"),
        "report": str(page),
        **found,
    }
    return Outcome(text=text, facts=facts)
