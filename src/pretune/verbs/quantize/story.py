"""``pretune quantize``: a run as a graph with 8-bit weights and arithmetic, and what that is worth here."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pretune.config import AnsweringSettings, TrainSettings
from pretune.errors import UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, now
from pretune.runs.proven import about_of, load_plain, load_proven
from pretune.training.derived import DerivedSettings, finished_parent, open_derived, take_over, unchanged_data

if TYPE_CHECKING:
    import torch

    from pretune.tasks.base import Task
    from pretune.verbs.quantize.trials import Subject, Trial

__all__ = ["QuantizeSettings", "quantize"]


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings(DerivedSettings, TrainSettings):
    """Settings of ``pretune quantize``."""

    verb: ClassVar[str] = "quantize"

    to: str = option("int8", "number format of weights and arithmetic", choices=("int8",))
    method: str = option(
        "auto",
        "dynamic (ranges of activations found while it answers), static (fixed beforehand on training rows), qat (learns with the rounding), auto: the fastest of the first two that keeps the score",
        choices=("auto", "dynamic", "static", "qat"),
    )
    calibration_rows: int = option(256, "training rows that give the ranges of activations", low=8, high=100_000)
    calibration: str = option(
        "auto",
        "static: how ranges are found; auto: minmax, and the others where it loses too much",
        choices=("auto", "minmax", "percentile", "entropy"),
    )
    keep_float: tuple[str, ...] = option(
        (),
        "layer (or module, with all its layers) that stays in float; give it several times for several",
        metavar="NAME",
    )
    most_loss: float = option(
        0.5,
        "points of the score (percent, of an error in a unit of its own) that may be lost before layers go back to float",
        low=0.0,
        high=100.0,
    )
    max_steps: int | None = option(None, "qat: optimizer updates; default: 300, or as --epochs says", low=1)
    batch_size: int | None = option(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, "qat: rows per optimizer update, over all processes; default: 32, and 8 for sound", low=1, high=1_000_000
    )
    eval_every: str = option(
        "20%", "qat: how often to evaluate and save: 500 (steps), 0.5epoch or 10%", metavar="DURATION"
    )
    dry_run: bool = option(False, "qat: run a few steps, forecast time and memory, write nothing", not_in_identity=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "qat":
            self.refuse_given({"calibration", "most_loss"}, "does nothing with --method qat: ranges are learned")
        else:
            of_learning = {spec.name for spec in dataclasses.fields(TrainSettings)} - {"threads", "seed"}
            self.refuse_given(of_learning | {"dry_run"}, "does nothing without --method qat: nothing learns")
        if self.method == "dynamic":
            self.refuse_given({"calibration"}, "does nothing with --method dynamic: ranges are found while it answers")

    @property
    def is_shared(self) -> bool:
        """Rounding and measuring are work for one process."""
        return self.method == "qat"


@verb(QuantizeSettings)
def quantize(settings: QuantizeSettings, *, say: Say) -> Outcome:
    """Write a run's model as a graph with 8-bit weights and arithmetic for ONNX Runtime, and say what that is worth here.

    Ways to round are tried on validation rows and timed; layers that lose too much stay in float. Where rounding alone loses
    too much, --method qat trains a few hundred updates with it. RUN/model holds the graph and what makes its inputs: evaluate,
    predict, benchmark, explain and serve take the run as any other. The end compares it with the run it was made from.

    Examples::

        pretune quantize runs/news
        pretune quantize runs/news --method static --calibration-rows 512 --out runs/news-int8
        pretune quantize runs/photos --keep-float mobilenet_v2.conv_stem --keep-float classifier
        pretune quantize runs/news --method qat --max-steps 300 --learning-rate 1e-5
    """
    parent = finished_parent(settings, "quantize")
    if settings.method == "qat":
        from pretune.verbs.quantize.aware import learn_rounded

        return learn_rounded(settings, parent, say)
    from pretune.engine.parallel import Cluster
    from pretune.verbs.quantize.result import emptied, finish, open_subject, outcome_of, write_result

    with open_derived(settings, parent, Cluster()) as (settings, run, state):
        if state == "finished":
            return outcome_of(run, WAS_FINISHED)
        unchanged_data(parent, say)
        began = time.monotonic()
        take_over(run, parent)
        aside = emptied(run.path / ".quantize.tmp")
        try:
            task, model, graph = _float_graph(settings, parent, aside)
            subject = open_subject(settings, parent, task, graph, aside, say)
            subject.begin(settings.keep_float)
            chosen, trials = _choose(settings, subject)
            write_result(run, parent, subject, chosen, trials)
            finish(settings, run, parent, subject, model, say)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        run.update_record(status="finished", finished=now(), seconds=round(time.monotonic() - began, 1))
        return outcome_of(run, "is finished")


def _float_graph(
    settings: QuantizeSettings, parent: RunFolder, folder: Path
) -> tuple[Task, torch.nn.Module | None, Path]:
    """The parent's task, its torch model (None where it is a graph already) and its graph in float."""
    from pretune.export.onnx_model import GRAPH_FILE
    from pretune.verbs.quantize.result import write_float_graph

    asked = AnsweringSettings(precision="fp32", threads=settings.threads)
    engine = about_of(parent)["engine"]
    if engine == "onnxruntime":
        if "quantization" in parent.record:
            raise UsageError(
                f"{parent.path} is in 8 bits already",
                f"quantise the run that it was made from: {', '.join(parent.record['parents'])}",
            )
        return load_proven(parent, asked).task, None, parent.model_dir / GRAPH_FILE
    if engine != "torch":
        raise UsageError(
            f"{parent.path} was exported for {engine}",
            f"quantise the run that it was made from: {', '.join(parent.record['parents'])}",
        )
    task, model = load_plain(parent, asked)
    return task, model, write_float_graph(task, model, parent, folder / "float.onnx")


def _choose(settings: QuantizeSettings, subject: Subject) -> tuple[Trial, list[Trial]]:
    """The way to round that is taken, and all that were tried."""
    from pretune.verbs.quantize.trials import best_of, keep_what_loses, try_methods

    trials = try_methods(subject, settings.method, settings.calibration, settings.most_loss)
    chosen = best_of(subject, trials, settings.most_loss)
    if chosen.lost <= subject.allowed(settings.most_loss):
        return chosen, trials
    more = keep_what_loses(subject, chosen, settings.most_loss)
    trials += more
    return best_of(subject, [chosen, *more], settings.most_loss), trials
