"""Every way to learn without labels, and the one that a backbone asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.errors import UsageError
from pretune.objectives.masked_text_pretraining import MaskedTextPretraining
from pretune.objectives.pretraining import Pretraining

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["PRETRAININGS", "find_pretraining"]

PRETRAININGS: dict[str, type[Pretraining]] = {"masked-text": MaskedTextPretraining}
"""By the word of ``--objective``."""

_BY_MODALITY = {"text": "masked-text"}


def find_pretraining(backbone: Backbone, asked: str = "auto") -> type[Pretraining]:
    """The objective called ``asked``, or with ``auto`` the usual one of the backbone. Raises :class:`UsageError`."""
    name = _BY_MODALITY[backbone.modality] if asked == "auto" else asked
    found = PRETRAININGS[name]
    if found.modality != backbone.modality:
        fitting = [word for word, one in PRETRAININGS.items() if one.modality == backbone.modality]
        raise UsageError(
            f"--objective {asked} does not fit {backbone.name}, which reads {backbone.modality} data",
            f"allowed here: auto, {', '.join(fitting)}",
        )
    return found
