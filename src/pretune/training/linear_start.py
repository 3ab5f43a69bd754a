"""The linear model that a head on frozen features begins with, and that is all there is with ``--adapt linear``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pretune.errors import ModelError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.tasks.classes.labelling import Labelling
    from pretune.tasks.protocols import EncodedRows, Learnable

__all__ = ["linear_start", "told_of", "units_by_id"]


def units_by_id(rows: Dataset) -> dict[str, int]:
    """By id the number of the unit that a row belongs to: rows of equal content or of one group stay together."""
    from pretune.data.split import row_units

    return dict(zip(rows["id"], row_units(rows).tolist(), strict=True))


def linear_start(
    task: Labelling, learned: Learnable, model: Any, rows: EncodedRows, train: Dataset, device: Device,
    *, run: RunFolder, cluster: Cluster, say: Say, is_all: bool,
) -> Callable[[], None]:  # fmt: skip
    """What puts logistic regression on the frozen features into the model's last layer, the same in all processes.

    ``is_all``: the run is that and nothing else; a model without such a layer then raises :class:`ModelError`.
    """
    from pretune.tasks.linear.head import find_linear_head, place, solve

    def begin() -> None:
        head = find_linear_head(task, learned, model, rows, device)
        if head is None:
            if is_all:
                raise ModelError(
                    f"the answers of {type(model).__name__} do not come from a linear layer",
                    "use --adapt head in its place",
                )
            say.note("the head's last layer is no linear one: it begins at random weights, not at logistic regression")
            return
        if cluster.is_first:
            say.note("solving logistic regression on the frozen features")
            fit = solve(head, rows, units_by_id(train), device)
            place(head, fit)
            run.update_record(linear_model=fit.facts())
            say.note(f"logistic regression on {fit.rows} rows: {fit.sentence()}")
        cluster.spread(parameter.data for parameter in head.layer.parameters())

    return begin


def told_of(record: Mapping[str, Any]) -> str:
    """What a finished run's result says of where its best model came from; nothing where updates made it."""
    result, linear = record.get("result", {}), record.get("linear_model")
    if not linear or result.get("step") != 0:
        return ""
    only = record.get("training", {}).get("adapt") == "linear"
    return f"logistic regression, C = {linear['strength']:.2g}" + ("" if only else ", which no update bettered")
