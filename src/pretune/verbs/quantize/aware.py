"""``pretune quantize --method qat``: some hundred updates in which the model computes as its 8-bit graph will."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.runfolder import RunFolder
from pretune.runs.proven import TrainedModel, about_of, open_model
from pretune.training.derived import open_derived, take_over, unchanged_data

if TYPE_CHECKING:
    from pretune.compress.fake_quant import Rounding
    from pretune.data.splits import Splits
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.quantize.story import QuantizeSettings

__all__ = ["learn_rounded"]

_UPDATES = 300
_SHARE_OF_RATE = 0.25
"""Of the rate that fine-tuning takes: the model is almost there."""


@dataclass
class _Rounded:
    """A model that learns with the rounding, and all that learns it."""

    data: Splits
    setup: Setup
    learning: Learning
    rounding: Rounding


def learn_rounded(settings: QuantizeSettings, parent: RunFolder, say: Say) -> Outcome:
    """Learn with rounded weights and activations, then write the graph with the ranges that were learned.

    Raises :class:`UsageError` for a parent that holds a graph, which cannot learn.
    """
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast
    from pretune.training.record import carry_out
    from pretune.verbs.quantize.result import outcome_of

    engine = about_of(parent)["engine"]
    if engine != "torch":
        raise UsageError(
            f"{parent.path} holds a graph ({engine}), which cannot learn",
            f"quantise the run that it was made from: {', '.join(parent.record['parents'])}",
        )
    cluster = join_cluster()
    if settings.dry_run:
        return forecast(settings, lambda run: _build(settings, run, parent, say, cluster).learning)
    with open_derived(settings, parent, cluster) as (settings, run, state):
        if state == "finished":
            return outcome_of(run, WAS_FINISHED)
        began = time.monotonic()
        if cluster.is_first:
            take_over(run, parent)
        rounded = _build(settings, run, parent, say, cluster)
        carry_out(
            run, settings, rounded.data, rounded.setup, rounded.learning, began=began, resumed=state == "resumed",
            close=lambda: _convert(settings, run, parent, rounded, say),
        )  # fmt: skip
        return outcome_of(run, "is finished")


def _build(settings: QuantizeSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Any) -> _Rounded:
    """The parent's model with rounded layers, and the loop that teaches it on the parent's training rows."""
    from pretune.backbones.load import LoadReport
    from pretune.compress.fake_quant import Rounding, convolves
    from pretune.objectives.supervised import Supervised
    from pretune.runs.reading import own_settings
    from pretune.tasks.predicting import predict_rows
    from pretune.training.backbone import steady
    from pretune.training.labelled import choosing_rows, encode_labelled, goal_on_validation
    from pretune.training.pace import default_epochs
    from pretune.training.setup import choose, make_learning

    data, fingerprint = unchanged_data(parent, say)
    stage = _folded(parent, data)
    task, model = stage.task, stage.model
    task.with_training_options(data, own_settings(parent))
    if convolves(model) and cluster.world > 1:
        raise UsageError(
            f"the ranges of a convolutional net are averaged over its rows in their order, and {cluster.world} processes would part them",
            "start one process, without torchrun",
        )
    settings = _with_defaults(settings, stage.backbone)
    device = steady(choose(settings, run, cluster), stage.backbone, settings)
    rows = encode_labelled(task, data, fingerprint, cluster)
    rounding = Rounding(model, static=convolves(model), keep_float=_modules_to_keep(settings, model))
    choosing, batch_size = choosing_rows(task, data, say), settings.batch_size or task.default_batch_size
    goal = goal_on_validation(
        task, None, choosing,
        lambda on_batch: predict_rows(task, model, rows["validation"], device, on_batch=on_batch),
        costs_N=rows["validation"].lengths_N,
    )  # fmt: skip
    setup, learning = make_learning(
        settings, run, stage.backbone, model, LoadReport(), device, cluster, say,
        objective=lambda adaptation: Supervised(task, adaptation),
        streams=lambda objective: objective.streams(rows["train"], batch_size=batch_size, group_by_length=settings.group_by_length),
        goal=goal,
        default_epochs=default_epochs(task, rows["train"].lengths_N, batch_size),
    )  # fmt: skip
    setup.learn_from(rows, fingerprint, task=task, choosing=choosing)
    return _Rounded(data, setup, learning, rounding)


def _folded(parent: RunFolder, data: Splits) -> TrainedModel:
    """The parent's model as its graph will be: batch norms are part of the convolutions before them."""
    from pretune.compress.fake_quant import fold_norms
    from pretune.tasks.predicting import example_of

    stage = open_model(parent.model_dir)
    items = stage.task.encode(example_of(data["train"][0], "0"))
    batch = stage.task.collate(items)
    fold_norms(stage.model, lambda: stage.task.predict(stage.model, batch))
    return stage


def _with_defaults(settings: QuantizeSettings, backbone: Any) -> QuantizeSettings:
    """How long and how fast, where nobody said."""
    from pretune.training.backbone import default_learning_rate

    rate, steps = settings.learning_rate, settings.max_steps
    if rate is None:
        rate = _SHARE_OF_RATE * default_learning_rate(backbone, "full", masked=False)
    if steps is None and settings.epochs is None and settings.minutes is None:
        steps = _UPDATES
    return dataclasses.replace(settings, learning_rate=rate, max_steps=steps)


def _modules_to_keep(settings: QuantizeSettings, model: Any) -> tuple[str, ...]:
    """``--keep-float`` as modules. Raises :class:`UsageError` for a name that is none."""
    from pretune.errors import did_you_mean

    names = [name for name, _ in model.named_modules() if name]
    for name in settings.keep_float:
        if name not in names:
            raise UsageError(f"--keep-float {name} names no module of this model", did_you_mean(name, names))
    return settings.keep_float


def _convert(settings: QuantizeSettings, run: RunFolder, parent: RunFolder, rounded: _Rounded, say: Say) -> None:
    """The learned model as an 8-bit graph: the same rounding, by the ranges that were kept while it learned."""
    from pretune.compress.int8_graph import Recipe
    from pretune.verbs.quantize.result import emptied, finish, open_subject, write_float_graph, write_result

    ranges = rounded.rounding.ranges()
    rounded.rounding.finish()
    stage = _folded(parent, rounded.data)  # what is traced is not arranged for this machine
    stage.model.load_state_dict(rounded.learning.model.state_dict())
    folder = emptied(run.path / ".quantize.tmp")
    try:
        graph = write_float_graph(stage.task, stage.model, parent, folder / "float.onnx")
        subject = open_subject(settings, parent, stage.task, graph, folder, say)
        subject.learned = True
        subject.begin(settings.keep_float)
        recipe = Recipe("dynamic", subject.kept)
        if ranges:
            learned = {layer.reads: ranges[layer.name] for layer in subject.layers if layer.name in ranges}
            every = {**subject.ranges("minmax"), **learned}
            recipe = Recipe("static", subject.kept, calibration="learned", ranges=every)
        chosen = subject.attempt(recipe, "learned")
        write_result(run, parent, subject, chosen, [chosen])
        finish(settings, run, parent, subject, open_model(parent.model_dir).model, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
