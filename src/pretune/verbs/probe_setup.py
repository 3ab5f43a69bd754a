"""The model that ``pretune probe`` asks: as ``finetune --adapt head`` begins with it, on rows that were run through it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.errors import DataError, ModelError, UsageError
from pretune.verbs.finetune import FinetuneSettings
from pretune.verbs.outcome import Say

if TYPE_CHECKING:
    import numpy as np

    from pretune.data.splits import Splits
    from pretune.engine.devices import Device
    from pretune.tasks.base import EncodedRows
    from pretune.tasks.linear.head import LinearHead
    from pretune.verbs.probe import ProbeSettings

__all__ = ["ProbedModel", "held_rows", "set_up"]


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
    from pretune.verbs.labelled import also_in_train

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


def set_up(settings: ProbeSettings, data: Splits, say: Say) -> ProbedModel:
    """Raises :class:`ModelError` for a model whose answers do not come from a linear layer."""
    from pretune.backbones.adapt import plan_adaptation
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.linear import MODEL_TYPE
    from pretune.engine.devices import choose_device
    from pretune.engine.parallel import Cluster
    from pretune.tasks import find_task, task_on
    from pretune.tasks.labelling import Labelling
    from pretune.tasks.linear.head import find_linear_head
    from pretune.verbs.backbone import find_backbone, steady
    from pretune.verbs.frozen import Frozen
    from pretune.verbs.head_pooling import decide_pooling
    from pretune.verbs.labelled import cached_under
    from pretune.verbs.rows import check_ledgers, data_fingerprint

    learner = FinetuneSettings.from_dict(settings.to_dict(), adapt="head", augment="none")
    backbone = find_backbone(learner, data)
    if backbone.config.model_type == MODEL_TYPE:
        raise UsageError(
            f"{settings.backbone} has no features that something would have to be learned on",
            f"train it at once: pretune finetune {settings.backbone} --data {settings.place}",
        )
    device = steady(
        choose_device(settings.device, precision=settings.precision, threads=settings.threads), backbone, learner
    )
    task = task_on(find_task(data), backbone).start(data, backbone, learner)
    assert isinstance(task, Labelling), "a probe tells classes apart"
    names = [name for name in ("train", "validation", settings.split) if len(data.get(name, ()))]
    fingerprint = data_fingerprint(data)
    rows = {
        name: task.encode_rows(data[name], fingerprint=cached_under(fingerprint, data, name)) for name in dict.fromkeys(names)
    }  # fmt: skip
    check_ledgers({name: rows[name].ledger for name in ("train", settings.split)}, say)
    pooling = decide_pooling(task, settings.pooling, backbone, data, rows, device, say)
    model, _ = task.build(backbone, seed=settings.seed)
    if device.device.type == "cpu":
        make_fast(model)
    model.to(device.device)
    frozen = Frozen(task, model, rows, device, fingerprint, Cluster(), say)
    frozen.run_once(plan_adaptation(model, "head", weight_decay=0.0))
    head = find_linear_head(task, frozen.learned, model, frozen.rows["train"], device)
    if head is None:
        raise ModelError(
            f"the features of {settings.backbone} cannot be told from its head",
            "fine-tune it instead: pretune finetune ... --adapt head",
        )
    return ProbedModel(head, frozen.rows, device, pooling)
