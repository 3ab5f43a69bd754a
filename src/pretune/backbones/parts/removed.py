"""Parts that were taken out and that an architecture's config cannot say: attention heads of BERT, channels of VGG.

The folder stays one that transformers loads unedited. Its weights have their full shapes, with zeros where a part was, which
computes the same; ``removed_parts`` in config.json names those parts. What pretune loads has them taken out: smaller and
faster, and so is what it exports. Zeros learn nothing: their gradients are zero on both sides of a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pretune.backbones.parts.units import Reader, Unit, features_of, keep_parts, units_of
from pretune.errors import ModelError

__all__ = ["REMOVED", "full_weights", "remove_parts", "removed_of", "renamed"]

REMOVED = "removed_parts"


def removed_of(config: Any) -> dict[str, list[int]]:
    """What config.json says of parts taken out: names of units to the numbers that their parts had."""
    return {name: sorted(parts) for name, parts in (getattr(config, REMOVED, None) or {}).items()}


def remove_parts(model: nn.Module, config: Any) -> None:
    """Take out of a model of full shapes, in place, what its config says was removed.

    Units of layers that the model does not have are passed over. Raises :class:`ModelError` for parts whose weights are not
    zero or that never were.
    """
    removed = removed_of(config)
    for unit in units_of(model) if removed else ():
        gone = removed.get(unit.name, [])
        if not gone:
            continue
        if gone[-1] >= unit.count or len(gone) >= unit.count or not _are_zero(unit, gone):
            raise ModelError(
                f"config.json says that parts {gone[:5]} of {unit.name} were removed, and the weights do not agree",
                f"the folder was changed: copy it again, or delete {REMOVED} from config.json to keep the weights as they are",
            )
        keep_parts(unit, [part for part in range(unit.count) if part not in set(gone)])


def _are_zero(unit: Unit, gone: Sequence[int]) -> bool:
    made = [module.weight[features_of(gone, size)] for module, size in unit.makers]
    read = [module.weight[:, features_of(gone, size)] for module, size in unit.readers]
    return not any(bool(weight.detach().any()) for weight in [*made, *read])


def full_weights(model: nn.Module) -> dict[str, torch.Tensor] | None:
    """The model's weights in their full shapes, zeros where parts were removed; None where none were."""
    removed = removed_of(getattr(model, "config", None))
    if not removed:
        return None
    weights = dict(model.state_dict())
    name_of = {id(module): name for name, module in model.named_modules()}
    for unit in units_of(model):
        if gone := removed.get(unit.name):
            full = unit.count + len(gone)
            kept = [part for part in range(full) if part not in set(gone)]
            for reader in unit.makers:
                _widen(weights, name_of[id(reader.module)], reader, kept, full, dim=0)
            for reader in unit.readers:
                _widen(weights, name_of[id(reader.module)], reader, kept, full, dim=1)
    return weights


def _widen(
    weights: dict[str, torch.Tensor], name: str, reader: Reader, kept: Sequence[int], full: int, *, dim: int
) -> None:
    """Spread the values of a module along ``dim`` (0: what it makes, 1: what it reads) over ``full`` parts."""
    affected = ("weight", "bias", "running_mean", "running_var") if dim == 0 else ("weight",)
    for key in (f"{name}.{one}" for one in affected):
        if key in weights:
            values = weights[key]
            shape = list(values.shape)
            shape[dim] = full * reader.size
            wide = torch.zeros(shape, dtype=values.dtype, device=values.device)
            weights[key] = wide.index_copy(dim, features_of(kept, reader.size).to(values.device), values)


def renamed(removed: Mapping[str, Sequence[int]], unit: Unit, kept: Sequence[int]) -> list[int]:
    """The numbers, as in the full model, of all parts of a unit that are gone when ``kept`` of the present ones stay."""
    gone = set(removed.get(unit.name, ()))
    present = [part for part in range(unit.count + len(gone)) if part not in gone]
    stay = {present[part] for part in kept}
    return [part for part in range(unit.count + len(gone)) if part not in stay]
