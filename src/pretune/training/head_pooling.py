"""The pooling of a run that classifies texts: what was asked for or a folder says, and where nothing does, what rows say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretune.errors import PretuneError
from pretune.interface.outcome import Say

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.backbones.pooling.choice import ChosenPooling
    from pretune.engine.devices import Device
    from pretune.runfolder import RunFolder
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows

__all__ = ["decide_pooling"]


def decide_pooling(
    task: Task, asked: str, backbone: Backbone, data: Mapping[str, Dataset], rows: Mapping[str, EncodedRows],
    device: Device, say: Say, *, run: RunFolder | None = None, by_rows: bool = True,
) -> dict[str, Any] | None:  # fmt: skip
    """Let the task of texts read its tokens so, and say why; what run.json keeps of it. None for other tasks.

    Where nothing speaks for one pooling, a sample of the rows decides (those of validation that do not stand in train too). Where none may (``by_rows``), and where the
    model's own head would begin with a layer of new weights (docs/decisions.md, D260), the mean is read, with the fewest new weights. A run that goes on keeps what it began with.
    """
    from pretune.backbones.pooling.choice import chosen_pooling
    from pretune.tasks.classes.labelling import Labelling
    from pretune.tasks.inputs.texts import OfTexts

    if not isinstance(task, OfTexts):
        return None
    before = _begun_with(run)
    if before is not None:
        task.pooling = tuple(before["modes"])
        return before
    chosen, trial = chosen_pooling(asked, backbone), None
    if chosen.is_open and isinstance(task, Labelling):  # the trial is of classes
        trial, chosen = _tried(task, backbone, data, rows, device, by_rows=by_rows)
    task.pooling = chosen.modes
    named = "+".join(chosen.modes) or "own head"
    if chosen.modes or trial is not None:
        say.note(f"pooling: {named}, {chosen.why}")
    for note in chosen.notes:
        say.warn(note)
    return {"modes": list(chosen.modes), "why": chosen.why, **({} if trial is None else {"trial": trial.facts()})}


def _begun_with(run: RunFolder | None) -> dict[str, Any] | None:
    from pretune.runfolder import is_run

    if run is None or not is_run(run.path):
        return None
    try:
        return (run.record.get("model") or {}).get("pooling")
    except PretuneError:
        return None


def _tried(
    task: Any, backbone: Backbone, data: Mapping[str, Dataset], rows: Mapping[str, EncodedRows], device: Device, *, by_rows: bool
) -> tuple[Any, ChosenPooling]:  # fmt: skip
    """The trial, where there was one, and what follows."""
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.pooling.choice import FRESH, ChosenPooling
    from pretune.tasks.classes.pooling_trial import reads_first, try_pooling
    from pretune.training.labelled import also_in_train
    from pretune.training.linear_start import units_by_id

    if by_rows and "validation" not in rows:
        return None, ChosenPooling((), "as the architecture has it: there are no validation rows to choose by")
    task.pooling = ()
    model, report = task.build(backbone, seed=0)
    if not report.initialised:
        return None, ChosenPooling((), "as the classifier that is taken over reads it")
    if device.device.type == "cpu":
        make_fast(model)
    model.to(device.device)
    if not reads_first(task, model, rows["train"], device):
        return None, ChosenPooling((), "as the architecture has it")
    if sum(name.endswith(".weight") for name in report.initialised) > 1:
        return None, ChosenPooling(
            FRESH, "as its own head would read the first position through a layer of new weights"
        )
    if not by_rows:
        return None, ChosenPooling(FRESH, "as rows may not choose, and this needs the fewest new weights")
    ids, leaked_N = data["validation"]["id"], also_in_train(data, "validation")
    votes = {one for one, leaked in zip(ids, leaked_N, strict=True) if not leaked}
    trial = try_pooling(task, model, rows, votes, units_by_id(data["train"]), device)
    if trial is None:
        return None, ChosenPooling((), "as the architecture has it: too few rows to choose by")
    modes = FRESH if trial.takes_mean else ()
    return trial, ChosenPooling(modes, f"chosen by rows: {trial.sentence()}; --pooling says it yourself")
