"""What training means: one file a paradigm. Those that learn without labels stand in :data:`PRETRAININGS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.errors import UsageError, did_you_mean
from pretune.objectives.contrastive_image import ContrastiveImage
from pretune.objectives.masked_image import MaskedImage
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.self_distil_image import SelfDistilImage

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["PRETRAININGS", "find_pretraining"]

PRETRAININGS: tuple[type[Pretraining], ...] = (
    MaskedImage,
    ContrastiveImage,
    SelfDistilImage,
)
"""In the order in which ``--objective auto`` looks: the first of the modality that suits the model."""


def find_pretraining(modality: str, config: PreTrainedConfig, asked: str = "auto") -> type[Pretraining]:
    """The paradigm for a model of this config. Raises :class:`UsageError` for one that does not fit it."""
    kinds = [kind for kind in PRETRAININGS if kind.modality == modality]
    fitting = [kind for kind in kinds if kind.suits(config)]
    names = [kind.name for kind in fitting]
    if asked == "auto" and fitting:
        return fitting[0]
    for kind in fitting:
        if kind.name == asked:
            return kind
    known = [kind.name for kind in PRETRAININGS]
    problem = f"--objective {asked} is not known" if asked not in known else f"--objective {asked} does not fit"
    raise UsageError(
        f"{problem} for a model of the type {config.model_type} that reads {modality} data",
        f"{did_you_mean(asked, names)}; or leave it at auto",
    )
