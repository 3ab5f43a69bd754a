"""The model that ``pretune probe`` asks: as ``finetune --adapt head`` begins with it, on rows that were run through it once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pretune.config import (
    AsCleanedSettings,
    AudioSettings,
    BackboneSettings,
    CleanSettings,
    DataSettings,
    ImageSettings,
    PoolingSettings,
    TextSettings,
    cleaning_settings,
)
from pretune.errors import DataError, ModelError, UsageError
from pretune.interface.outcome import Say
from pretune.options import option
from pretune.runfolder import RunFolder, is_run
from pretune.runs.reading import learned_by
from pretune.training.settings import FinetuneSettings

if TYPE_CHECKING:
    import numpy as np

    from pretune.data.reading import Reading
    from pretune.data.splits import Splits
    from pretune.engine.devices import Device
    from pretune.tasks.linear.head import LinearHead
    from pretune.tasks.protocols import EncodedRows

__all__ = ["FrozenSettings", "ProbedModel", "as_the_backbone_reads", "data_with_classes", "held_rows", "set_up"]

AnyFrozen = TypeVar("AnyFrozen", bound="FrozenSettings")


@dataclass(frozen=True, kw_only=True)
class FrozenSettings(  # pyright: ignore[reportIncompatibleVariableOverride]
    AsCleanedSettings,
    BackboneSettings,
    TextSettings,
    PoolingSettings,
    ImageSettings,
    AudioSettings,
    CleanSettings,
    DataSettings,
):
    """What a model that does not learn is asked about, and how."""

    seed: int = option(0, "seed of the rows taken and of new weights", low=0, high=2**32 - 1)
    precision: str = option("auto", "number format of matrix products", choices=("auto", "fp32", "bf16"))
    device: str = option(
        "auto", "where to compute: auto takes a GPU of CUDA where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int | None = option(None, "processor threads; default: all", low=1)


def as_the_backbone_reads(settings: AnyFrozen, say: Say) -> tuple[AnyFrozen, Reading | None]:
    """The settings with texts cleaned as the backbone learned, where it is a run and nothing else is said; and its reading."""
    if not is_run(settings.backbone):
        return dataclasses.replace(settings, clean=settings.clean or (), redact=settings.redact or "no"), None
    reading = dataclasses.replace(learned_by(RunFolder(Path(settings.backbone)), settings), needed=())
    if reading.clean:
        say.note(f"texts are cleaned as {settings.backbone} learned: {', '.join(reading.clean)}")
    reading.refuse_other_key()
    return dataclasses.replace(settings, **cleaning_settings(reading.clean)), reading


def data_with_classes(settings: FrozenSettings, reading: Reading | None, verb: str, say: Say) -> Splits:
    """The rows. Raises :class:`UsageError` where they are of a task that lacks ``verb``, :class:`DataError` where nothing can be learned."""
    from pretune.data.load import load_splits
    from pretune.runs.rows import tell_reading_of
    from pretune.runs.tagger import tagger_of
    from pretune.tasks import check_settings, find_task

    names = reading.name_finder if reading is not None else tagger_of(settings)
    data = load_splits(settings, reading, names=names)
    tell_reading_of(data, say, settings=settings)
    kind = find_task(data)
    if verb in kind.lacks:
        raise UsageError(
            f"the rows of {settings.place} are for {kind.name}, and {kind.lacks[verb]}",
            "give rows with classes: --column label=NAME, or labels=NAME where a row has several",
        )
    check_settings(settings, kind)
    kind.check(data)
    return data


class ProbedModel(NamedTuple):
    """The model's last layer, the encoded rows by split as it reads them, where it runs, and how its tokens are pooled."""

    head: LinearHead
    rows: dict[str, EncodedRows]
    device: Device
    pooling: dict[str, Any] | None


def held_rows(data: Splits, split: str, say: Say) -> np.ndarray:
    """Which rows of a split are scored, bool (N,): labelled ones that do not stand in train too; what is left out is said.

    Raises :class:`DataError` where none is left.
    """
    import numpy as np

    from pretune.tasks import find_task
    from pretune.training.labelled import also_in_train

    answer = find_task(data).answer
    leaked_N = also_in_train(data, split)
    has_N = np.array([cell is not None for cell in data[split][answer]], dtype=bool)
    if lacking := int((~has_N).sum()):
        say.warn(f"{lacking} rows of {split} have no label and are left out")
    held_N = has_N & ~leaked_N
    if not held_N.any():
        raise DataError(
            f"all {len(held_N)} rows of {split} also stand in train{' or have no label' if lacking else ''}: none is left to score",
            "drop them from train with --drop-leaks, or give other rows",
        )
    if leaked_N.any():
        say.warn(
            f"{int(leaked_N.sum())} of {len(leaked_N)} rows of {split} also stand in train and are left out (--drop-leaks drops them "
            "from train)"
        )
    return held_N


def set_up(
    settings: FrozenSettings, data: Splits, splits: Sequence[str], say: Say, *, takes_linear: bool = False
) -> ProbedModel:
    """The model, with the rows of train, of validation and of these splits. Raises :class:`UsageError` for a linear model unless it
    ``takes_linear`` ones, :class:`ModelError` for a model whose answers do not come from a linear layer."""
    from pretune.backbones.adaptation.adapt import plan_adaptation
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.linear import MODEL_TYPE
    from pretune.engine.devices import choose_device
    from pretune.engine.parallel import Cluster
    from pretune.runs.rows import check_ledgers, data_fingerprint
    from pretune.tasks import find_task, task_on
    from pretune.tasks.classes.labelling import Labelling
    from pretune.tasks.linear.head import find_linear_head
    from pretune.training.backbone import find_backbone, steady
    from pretune.training.frozen import Frozen
    from pretune.training.head_pooling import decide_pooling
    from pretune.training.labelled import cached_under

    learner = FinetuneSettings.from_dict(settings.to_dict(), adapt="head", augment="none")
    backbone = find_backbone(learner, data)
    is_linear = backbone.config.model_type == MODEL_TYPE
    if is_linear and not takes_linear:
        raise UsageError(
            f"{settings.backbone} has no features that something would have to be learned on",
            f"train it at once: pretune finetune {settings.backbone} --data {settings.place}",
        )
    device = steady(
        choose_device(settings.device, precision=settings.precision, threads=settings.threads), backbone, learner
    )
    task = task_on(find_task(data), backbone).start(data, backbone, learner)
    assert isinstance(task, Labelling), "a probe tells classes apart"
    names = [name for name in ("train", "validation", *splits) if len(data.get(name, ()))]
    fingerprint = data_fingerprint(data)
    rows = {
        name: task.encode_rows(data[name], fingerprint=cached_under(fingerprint, data, name)) for name in dict.fromkeys(names)
    }  # fmt: skip
    check_ledgers({name: rows[name].ledger for name in ("train", *splits)}, say)
    pooling = decide_pooling(task, settings.pooling, backbone, data, rows, device, say)
    model, _ = task.build(backbone, seed=settings.seed)
    if device.device.type == "cpu":
        make_fast(model)
    model.to(device.device)
    frozen = Frozen(task, model, rows, device, fingerprint, Cluster(), say)
    if not is_linear:  # of a linear model there is nothing but the head
        frozen.run_once(plan_adaptation(model, "head", weight_decay=0.0))
    head = find_linear_head(task, frozen.learned, model, frozen.rows["train"], device)
    if head is None:
        raise ModelError(
            f"the features of {settings.backbone} cannot be told from its head",
            "fine-tune it instead: pretune finetune ... --adapt head",
        )
    return ProbedModel(head, frozen.rows, device, pooling)
