"""Every way to learn without labels, and the one that a backbone asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.errors import UsageError, did_you_mean
from pretune.objectives.audio.contrastive_audio import ContrastiveAudio
from pretune.objectives.audio.contrastive_clips import ContrastiveClips
from pretune.objectives.audio.masked_audio import MaskedAudio
from pretune.objectives.audio.next_sample import NextSample
from pretune.objectives.image.contrastive_image import ContrastiveImage
from pretune.objectives.image.masked_image import MaskedImage
from pretune.objectives.image.self_distil_image import SelfDistilImage
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.text.causal_text import CausalText
from pretune.objectives.text.contrastive_text import ContrastiveText
from pretune.objectives.text.masked_text_pretraining import MaskedTextPretraining
from pretune.objectives.text.permuted_text import PermutedText
from pretune.objectives.text.replaced_text import ReplacedText
from pretune.objectives.text.span_text import SpanText
from pretune.options import Settings, refuse_unread

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["PRETRAININGS", "check_settings", "find_pretraining"]

PRETRAININGS: dict[str, type[Pretraining]] = {
    "masked-text": MaskedTextPretraining,
    "causal-text": CausalText,
    "span-text": SpanText,
    "permuted-text": PermutedText,
    "replaced-text": ReplacedText,
    "contrastive-text": ContrastiveText,
    "masked-image": MaskedImage,
    "contrastive-image": ContrastiveImage,
    "self-distillation-image": SelfDistilImage,
    "contrastive-audio": ContrastiveAudio,
    "masked-audio": MaskedAudio,
    "contrastive-clips": ContrastiveClips,
    "next-sample": NextSample,
}
"""By the word of ``--objective``, in the order in which ``auto`` looks for one that suits the model."""


def check_settings(settings: Settings, *kinds: type[Pretraining]) -> None:
    """Raise :class:`UsageError` for a setting that was given, that other objectives read and that none of these does."""
    chosen = " and ".join(word for word, kind in PRETRAININGS.items() if kind in kinds)
    read = {name for kind in kinds for name in kind.reads}
    refuse_unread(settings, chosen, {**{word: one.reads for word, one in PRETRAININGS.items()}, chosen: [*read]})


def find_pretraining(backbone: Backbone, asked: str = "auto") -> type[Pretraining]:
    """The objective called ``asked``, or with ``auto`` the first that suits the backbone. Raises :class:`UsageError`."""
    fitting = {
        word: kind
        for word, kind in PRETRAININGS.items()
        if backbone.modality in kind.modalities and kind.suits(backbone.config)
    }
    if asked == "auto" and fitting:
        return next(iter(fitting.values()))
    if asked in fitting:
        return fitting[asked]
    named = f"{backbone.name} ({backbone.config.model_type})"
    if not fitting:
        wanted = [kind.models for kind in PRETRAININGS.values() if backbone.modality in kind.modalities]
        raise UsageError(
            f"there is no objective by which {named} learns without labels",
            f"choose {' or '.join(wanted)}; pretune finetune takes this one",
        )
    raise UsageError(
        f"--objective {asked} does not fit {named}, which reads {backbone.modality.mass}",
        did_you_mean(asked, ["auto", *fitting]),
    )
