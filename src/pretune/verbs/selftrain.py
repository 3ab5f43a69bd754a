"""``pretune selftrain``: a classifier goes on learning from rows without labels, where that can be shown to help."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings, AsReadSettings, LabelledTrainSettings, RunSettings, TaskSettings
from pretune.errors import DataError, UsageError
from pretune.files import translate_disk_errors
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, now
from pretune.runs.proven import about_of, load_proven
from pretune.runs.reading import refuse_missing_data
from pretune.sums import sealed_folder
from pretune.training.derived import DerivedSettings, compared_on_validation, finished_parent, open_derived, take_over

if TYPE_CHECKING:
    import numpy as np

    from pretune.backbones.load import Backbone
    from pretune.engine.parallel import Cluster
    from pretune.runs.proven import Proven
    from pretune.tasks.classes.classification import Classification
    from pretune.tasks.protocols import EncodedRows
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.distill.rows import LearnedRows

__all__ = ["SelftrainSettings", "kept_text", "selftrain"]

LEAST_RIGHT = 0.8
"""Where accepted answers were right less often than this, learning from them did harm or nothing in every trial (docs/decisions.md, D155)."""

_FEWEST_ACCEPTED = 10
_TEACHER_DECAY = 0.99
"""Of a mean teacher, while learning is young (Tarvainen & Valpola 2017, section 3: 0.99 in the ramp-up, 0.999 after); runs here end there."""


@dataclass(frozen=True, kw_only=True)
class SelftrainSettings(DerivedSettings, LabelledTrainSettings, RunSettings, AsReadSettings):
    """Settings of ``pretune selftrain``."""

    verb: ClassVar[str] = "selftrain"

    unlabelled: str | None = option(
        None,
        "rows without labels to learn from beside the run's own; those that stand in its validation or test are dropped",
        metavar="DATA",
    )
    method: str = option(
        "fixmatch",
        "pseudo-labels: sure answers become labels; fixmatch: those of rows as they are for the same rows varied, with a threshold that follows how sure the model is of labelled rows; mean-teacher: the same, but an average of the weights answers (--ema, else 0.99), and its probabilities are learned",
        choices=("fixmatch", "pseudo-labels", "mean-teacher"),
    )
    threshold: float = option(0.95, "how sure an answer has to be to be learned from", low=0.5, high=1.0)
    unlabelled_weight: float = option(
        1.0, "what the rows without labels count for beside those with", low=0.0, high=100.0
    )
    unlabelled_ratio: int = option(4, "rows without labels in an update, for each with one", low=1, high=64)
    metric: str | None = option(
        None, "score that decides which model is best; default: the task's own (accuracy, ...)", metavar="SCORE"
    )


@verb(SelftrainSettings)
def selftrain(settings: SelftrainSettings, *, say: Say) -> Outcome:
    """Let a fine-tuned classifier learn on from rows without labels (semi-supervised): from its own sure answers to them.

    Before a pass is spent, the answers that would be accepted are looked at on validation rows: where fewer than 80 % of them are
    right nothing is learned from them, as that does harm. At the end the model is kept only if it is better on validation than the run it
    began from; else the result is that run's model. Either way it is said, with the paired comparison.

    Examples::

        pretune selftrain runs/news --unlabelled more-news.txt
        pretune selftrain runs/photos --unlabelled folder/ --method pseudo-labels --out runs/photos-more
        pretune selftrain runs/news --unlabelled more-news.txt --method mean-teacher
    """
    refuse_missing_data(settings.unlabelled, out=settings.out)
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast

    cluster = join_cluster()
    parent = finished_parent(settings, "selftrain")
    _refuse_others(parent)
    if settings.dry_run:
        return forecast(
            settings, lambda run: _build(settings, run, parent, _rows(settings, parent, say), say, cluster)[1]
        )
    with open_derived(settings, parent, cluster) as (settings, run, state):
        if state != "finished":
            _go_on(settings, run, parent, say, cluster, resumed=state == "resumed")
        return _outcome(run, "is finished" if state != "finished" else WAS_FINISHED)


def _refuse_others(parent: RunFolder) -> None:
    """Raise :class:`UsageError` where nothing can be learned on."""
    about = about_of(parent)
    if about["engine"] != "torch" or "features" in about:
        raise UsageError(
            f"{parent.path} is no neural network that can learn on (a graph of another engine, or a linear model)",
            "use the run that it was made from",
        )


def _rows(settings: SelftrainSettings, parent: RunFolder, say: Say) -> LearnedRows:
    from pretune.verbs.distill.rows import rows_to_learn

    rows = rows_to_learn(settings, parent, say, unlabelled=settings.unlabelled)
    if len(rows.data.get("unlabelled", ())) == 0:
        raise DataError(
            f"there are no rows without labels: {parent.path} kept none, and none were given",
            "give some: --unlabelled DATA",
        )
    return rows


def _go_on(
    settings: SelftrainSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Cluster, *, resumed: bool
) -> None:
    """From the rows to a model that is better, or the parent's."""
    from pretune.training.labelled import calibrate
    from pretune.training.record import carry_out, write_model
    from pretune.verbs.distill.rows import note_rows

    began = time.monotonic()
    rows = _rows(settings, parent, say)
    guard = _guard(settings, parent, rows, say)
    if not guard["tried"]:
        take_over(run, parent)
        note_rows(run, parent, rows, [guard["text"]], kind="selftraining")
        _keep_parent(run, parent, guard, seconds=time.monotonic() - began)
        return
    setup, learning = _build(settings, run, parent, rows, say, cluster)
    if cluster.is_first:
        note_rows(run, parent, rows, [guard["text"]], kind="selftraining")

    def close() -> None:
        assert setup.task is not None, "a fine-tuned run has a task"
        assert setup.choosing is not None, "models are chosen by validation rows"
        calibrate(setup.task, learning.model, setup.rows["validation"], setup.choosing, learning.device, say)
        write_model(run, learning.model, setup.task.processor_to_save(setup.backbone), setup.task.to_dict())
        _choose(run, parent, compared_on_validation(run, parent, settings, say), guard)

    carry_out(run, settings, rows.data, setup, learning, began=began, resumed=resumed, close=close)


def _guard(settings: SelftrainSettings, parent: RunFolder, rows: LearnedRows, say: Say) -> dict[str, Any]:
    """How often the answers that would be accepted are right, on validation rows that do not stand in train."""
    import numpy as np
    import torch

    from pretune.objectives.consistency import METHODS, accepted
    from pretune.training.labelled import choosing_rows

    proven = load_proven(parent, AnsweringSettings(precision="fp32", threads=settings.threads))
    choosing = choosing_rows(proven.task, rows.data, say)
    kept = np.flatnonzero(choosing.votes_N)
    sides = {
        name: _probabilities(proven, _encoded(proven.task, rows, name))
        for name in ("train", "validation", "unlabelled")
    }
    threshold = settings.threshold
    if METHODS[settings.method].is_relative:
        threshold *= float(sides["train"].max(axis=1).mean())
    class_N, is_sure_N = (found.numpy() for found in accepted(torch.from_numpy(sides["validation"][kept]), threshold))
    right_N = np.array(
        [proven.task.labels[one] == choosing.truths[row] for one, row in zip(class_N, kept, strict=True)]
    )
    share = float((sides["unlabelled"].max(axis=1) >= threshold).mean())
    count, right = int(is_sure_N.sum()), int((right_N & is_sure_N).sum())
    tried = count >= _FEWEST_ACCEPTED and right >= LEAST_RIGHT * count
    told = f"answers sure enough to learn from: {count:,} of {len(kept):,} validation rows, {right:,} of them right; {100 * share:.0f} % of the rows without labels"
    if not tried:
        why = (
            "too few to say what they are worth"
            if count < _FEWEST_ACCEPTED
            else f"fewer than {100 * LEAST_RIGHT:.0f} % right"
        )
        told = f"{told}. Nothing was learned from them: {why}"
    say.note(told)
    return {
        "tried": tried,
        "accepted": count,
        "right": right,
        "of": len(kept),
        "share_unlabelled": share,
        "threshold": threshold,
        "text": f"{told}.",
    }


def _encoded(task: Any, rows: LearnedRows, name: str) -> EncodedRows:
    from pretune.training.labelled import cached_under

    fingerprint = rows.own_fingerprint if name in rows.untouched else rows.fingerprint
    return task.encode_rows(rows.data[name], fingerprint=cached_under(fingerprint, rows.data, name))


def _probabilities(proven: Proven, rows: EncodedRows) -> np.ndarray:
    """(N, C) float32 of a split's rows, as trained."""
    import numpy as np

    from pretune.tasks.predicting import predict_rows

    found = predict_rows(proven.task, proven.model, rows, proven.device)
    return np.array([prediction.outputs_C for prediction in found], dtype=np.float32)


def _build(
    settings: SelftrainSettings, run: RunFolder, parent: RunFolder, learned: LearnedRows, say: Say, cluster: Cluster
) -> tuple[Setup, Learning]:
    """The parent's model with the objective of rows without labels."""
    import numpy as np

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.load import load_backbone
    from pretune.objectives.consistency import METHODS, Consistency
    from pretune.tasks.predicting import predict_rows
    from pretune.training.backbone import steady
    from pretune.training.labelled import choosing_rows, goal_on_validation
    from pretune.training.pace import default_epochs
    from pretune.training.setup import choose, make_learning

    method = METHODS[settings.method]
    if method.averages and not settings.ema:
        settings = replace(settings, ema=_TEACHER_DECAY)
    device = choose(settings, run, cluster)
    with cluster.first_before_others():
        backbone = load_backbone(str(parent.model_dir))
    device = steady(device, backbone, settings)
    plain, weak, strong = _tasks(parent, backbone, learned, varies=method.varies)
    with cluster.first_before_others():
        rows = {name: _encoded(plain, learned, name) for name in ("train", "validation", "unlabelled")}
    model, report = plain.build(backbone, seed=settings.seed)
    choosing = choosing_rows(plain, learned.data, say)
    goal = goal_on_validation(
        plain, settings.metric, choosing,
        lambda on_batch: predict_rows(plain, model, rows["validation"], device, on_batch=on_batch),
        costs_N=rows["validation"].lengths_N,
    )  # fmt: skip
    batch_size = settings.batch_size or plain.default_batch_size
    counts_C = np.bincount([plain.index[name] for name in learned.data["train"]["label"]], minlength=len(plain.labels))

    def objective(adaptation: Adaptation) -> Consistency:
        return Consistency(
            plain, weak, strong, adaptation, method=method, threshold=settings.threshold,
            weight=settings.unlabelled_weight, ratio=settings.unlabelled_ratio, shares_C=counts_C / counts_C.sum(),
        )  # fmt: skip

    setup, learning = make_learning(
        settings, run, backbone, model, report, device, cluster, say,
        objective=objective,
        streams=lambda one: one.streams(rows["train"], rows["unlabelled"], batch_size=batch_size, group_by_length=settings.group_by_length),
        goal=goal,
        default_epochs=default_epochs(plain, rows["train"].lengths_N, batch_size),
        parts_pace=plain.parts_pace(model, backbone),
    )  # fmt: skip
    if method.averages:
        setup.objective.teacher = learning.average
    setup.learn_from(rows, learned.own_fingerprint, task=plain, choosing=choosing)
    return setup, learning


def _tasks(
    parent: RunFolder, backbone: Backbone, learned: LearnedRows, *, varies: bool
) -> tuple[Classification, Classification, Classification]:
    """The parent's task as it answers, and as rows without labels are varied a little and strongly."""
    from pretune.tasks import task_restored
    from pretune.tasks.classes.classification import Classification

    about = about_of(parent)
    plain = task_restored({**about, **({"augment": "none"} if "augment" in about else {})}, backbone)
    assert isinstance(plain, Classification), "others are refused"
    plain.with_training_options(learned.data, TaskSettings.from_dict(parent.record["settings"]))
    if not varies or "augment" not in type(plain).reads:
        return plain, plain, plain
    weak, strong = (
        task_restored({**about, "augment": level}, backbone) for level in (plain.taught_variation, "strong")
    )
    assert isinstance(weak, Classification)
    assert isinstance(strong, Classification)
    return plain, weak, strong


def _choose(run: RunFolder, parent: RunFolder, comparison: dict[str, Any], guard: dict[str, Any]) -> None:
    """Keep the new model where it is better on validation; else the parent's takes its place."""
    from pretune.evaluation.compare import as_sentence

    pair = comparison["primary"]
    is_better = (
        pair["difference"] is not None and (pair["difference"] > 0) == pair["rising"] and pair["difference"] != 0
    )
    told = {**run.record["selftraining"], **guard, "kept": "own" if is_better else "parent", "comparison": comparison}
    told["notes"] = [*told["notes"], f"On validation, by which both were chosen: {as_sentence(comparison['verdict'])}"]
    run.update_record(selftraining=told)
    if not is_better:
        _copy_model(run, parent)


def _keep_parent(run: RunFolder, parent: RunFolder, guard: dict[str, Any], *, seconds: float) -> None:
    """The end of a run that learned nothing: its model is its parent's."""
    _copy_model(run, parent)
    told = {**run.record["selftraining"], **guard, "kept": "parent"}
    run.update_record(
        selftraining=told, result=parent.record["result"], status="finished", finished=now(), seconds=round(seconds, 1)
    )


def _copy_model(run: RunFolder, parent: RunFolder) -> None:
    with sealed_folder(run.model_dir) as folder, translate_disk_errors(folder):
        shutil.copytree(parent.model_dir, folder, dirs_exist_ok=True)


def _outcome(run: RunFolder, said: str) -> Outcome:
    told = run.record["selftraining"]
    text = "\n".join(
        [f"{run.path} {said}. {kept_text(told)}", *told["notes"], next_line("evaluate", run=str(run.path))]
    )
    facts = {
        "run": str(run.path), "status": run.record["status"], "result": run.record["result"], "selftraining": told,
        "model": str(run.model_dir),
    }  # fmt: skip
    return Outcome(text=text, facts=facts)


def kept_text(told: dict[str, Any]) -> str:
    """Which model it is, and no more of a gain than the paired comparison shows."""
    if told["kept"] == "parent":
        return "The model is that of the run it began from: learning from rows without labels was not shown to help."
    if told["comparison"]["better"] == "b":
        return "The model is better on validation than the one it began from, and was kept."
    return "More validation rows are right than before, and the model was kept; that it is better was not shown."
