"""Models that transformers does not have, in its form: their configs and classes are made known to its Auto classes, so that they are
saved, loaded, counted and pruned as any model.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.backbones.linear import NoFiles
from pretune.errors import CorruptFile
from pretune.modalities.audio.filterbank import Filterbank
from pretune.modalities.audio.mel import MelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "FASTSPEECH",
    "FASTSPEECH_SIZES",
    "MEL_RESNET",
    "MEL_RESNET_SIZES",
    "TACOTRON",
    "TACOTRON_SIZES",
    "WAVENET",
    "WAVENET_SIZES",
    "MelProcessor",
    "fastspeech_config",
    "is_own",
    "make_own_known",
    "mel_of",
    "mel_resnet_config",
    "own_processor",
    "tacotron_config",
    "wavenet_config",
]

TACOTRON, FASTSPEECH = "pretune_tacotron2", "pretune_fastspeech"
WAVENET, MEL_RESNET = "pretune_wavenet", "pretune_mel_resnet"


class _Size(NamedTuple):
    hidden: int
    decoder: int
    attention: int
    prenet: int
    step: int
    bands: int
    postnet: int
    layers: int


TACOTRON_SIZES = {
    "tacotron-tiny": _Size(128, 256, 64, 96, step=3, bands=40, postnet=128, layers=4),
    "tacotron-mini": _Size(192, 384, 96, 128, step=3, bands=40, postnet=192, layers=4),
    "tacotron-small": _Size(256, 512, 128, 192, step=2, bands=80, postnet=256, layers=5),
    "tacotron-base": _Size(512, 1024, 128, 256, step=1, bands=80, postnet=512, layers=5),
}
"""``base`` is the published size (Shen et al. 2018, section 2.2); small ones say several frames a step, which aligns sooner
(Wang et al. 2017, arXiv 1703.10135, section 3.3)."""

FASTSPEECH_SIZES = {
    "fastspeech-tiny": (128, 256, 5, 3, 4),
    "fastspeech-mini": (192, 384, 5, 4, 5),
    "fastspeech-small": (256, 768, 5, 4, 6),
    "fastspeech-base": (384, 1024, 9, 6, 6),
}
"""Channels of a state and inside a layer, frames that a layer sees, layers before and behind the lengths."""


WAVENET_SIZES = {
    "wavenet-tiny": (2, 8, 48, 64),
    "wavenet-mini": (2, 9, 64, 128),
    "wavenet-small": (3, 10, 64, 256),
    "wavenet-base": (3, 10, 128, 512),
}
"""Stacks of so many layers, channels inside and of the skip sum. ``tiny`` sees 511 samples, ``base`` 3,070."""


MEL_RESNET_SIZES = {
    "mel-resnet-tiny": ((24, 48, 96, 192), (1, 1, 1, 1)),
    "mel-resnet-mini": ((32, 64, 128, 256), (2, 2, 2, 2)),
    "mel-resnet-base": ((64, 128, 256, 512), (2, 2, 2, 2)),
}
"""Channels and blocks of the stages; ``base`` has those of ResNet-18."""


class BandsProcessor(NoFiles):
    """In place of a feature extractor: the model's config says how many bands are heard."""

    def __init__(self, config: Any) -> None:
        self.filterbank = Filterbank(config.sampling_rate, config.bands, 1, even="clip")
        self.sampling_rate = config.sampling_rate


class MelProcessor(NoFiles):
    """In place of a feature extractor: the model's config says how spectra are made."""

    def __init__(self, mel: MelSpec) -> None:
        self.mel = mel
        self.sampling_rate = mel.rate


def is_own(config: Any) -> bool:
    """Is this the config of such a model?"""
    return getattr(config, "model_type", None) in (TACOTRON, FASTSPEECH, WAVENET, MEL_RESNET)


def own_processor(config: Any) -> Any:
    """What stands for the feature extractor of such a model: of one that hears samples an extractor that leaves them as they are."""
    import transformers

    if config.model_type == MEL_RESNET:
        return BandsProcessor(config)
    mel = mel_of(config)
    if config.model_type != WAVENET:
        return MelProcessor(mel)
    return transformers.Wav2Vec2FeatureExtractor(sampling_rate=mel.rate, do_normalize=False, return_attention_mask=True)


def mel_of(config: Any) -> MelSpec:
    """How the model's spectra are made. Raises :class:`CorruptFile` where its config does not say that."""
    try:
        spec = MelSpec(**config.mel)
        whole = [spec.rate, spec.window, spec.hop, spec.bands]
        if not all(isinstance(number, int) and number > 0 for number in whole) or spec.window > spec.rate:
            raise ValueError(f"mel is {config.mel}")
    except (TypeError, ValueError) as error:
        raise CorruptFile(f"config.json does not say how spectra are made: {error}", "copy the model's folder again") from None  # fmt: skip
    return spec


def tacotron_config(preset: str, rate: int) -> PreTrainedConfig:
    """The config of a preset for sound of ``rate`` Hz; letters and voices are those that the task finds."""
    size = TACOTRON_SIZES[preset]
    spec = MelSpec.of_rate(rate, size.bands)
    return make_own_known()[TACOTRON](
        hidden_size=size.hidden, decoder_size=size.decoder, attention_size=size.attention, prenet_size=size.prenet,
        frames_per_step=size.step, postnet_size=size.postnet, num_postnet_layers=size.layers, mel=spec.to_dict(),
    )  # fmt: skip


def fastspeech_config(preset: str, rate: int) -> PreTrainedConfig:
    """The config of a preset for sound of ``rate`` Hz; letters, voices and spectra are those of the voice that teaches it."""
    size, inner, width, encoder, decoder = FASTSPEECH_SIZES[preset]
    return make_own_known()[FASTSPEECH](
        hidden_size=size, intermediate_size=inner, conv_width=width, num_encoder_layers=encoder, num_decoder_layers=decoder,
        mel=MelSpec.of_rate(rate, 40).to_dict(),
    )  # fmt: skip


def wavenet_config(preset: str, rate: int) -> PreTrainedConfig:
    """The config of a preset for sound of ``rate`` Hz."""
    stacks, depth, inner, skip = WAVENET_SIZES[preset]
    return make_own_known()[WAVENET](
        hidden_size=skip,
        residual_size=inner,
        num_stacks=stacks,
        stack_depth=depth,
        mel=MelSpec.of_rate(rate, 40).to_dict(),
    )


def mel_resnet_config(preset: str, rate: int) -> PreTrainedConfig:
    """The config of a preset for sound of ``rate`` Hz."""
    sizes, depths = MEL_RESNET_SIZES[preset]
    return make_own_known()[MEL_RESNET](hidden_sizes=sizes, depths=depths, sampling_rate=rate)


@functools.cache
def make_own_known() -> dict[str, Any]:
    """The classes of the configs by model type, after they and the models are known to transformers' Auto classes."""
    import transformers

    from pretune.backbones.audio.fastspeech_model import FastSpeechConfig, FastSpeechForTextToSpectrogram
    from pretune.backbones.audio.mel_resnet import (
        MelResNetConfig,
        MelResNetForSequenceClassification,
        MelResNetModel,
    )
    from pretune.backbones.audio.tacotron_model import TacotronConfig, TacotronForTextToSpectrogram
    from pretune.backbones.audio.wavenet_model import (
        WaveNetConfig,
        WaveNetForCTC,
        WaveNetForSequenceClassification,
        WaveNetModel,
    )

    transformers.AutoConfig.register(TACOTRON, TacotronConfig, exist_ok=True)
    transformers.AutoModel.register(TacotronConfig, TacotronForTextToSpectrogram, exist_ok=True)
    transformers.AutoModelForTextToSpectrogram.register(TacotronConfig, TacotronForTextToSpectrogram, exist_ok=True)
    transformers.AutoConfig.register(FASTSPEECH, FastSpeechConfig, exist_ok=True)
    transformers.AutoModel.register(FastSpeechConfig, FastSpeechForTextToSpectrogram, exist_ok=True)
    transformers.AutoModelForTextToSpectrogram.register(FastSpeechConfig, FastSpeechForTextToSpectrogram, exist_ok=True)
    transformers.AutoConfig.register(WAVENET, WaveNetConfig, exist_ok=True)
    transformers.AutoModel.register(WaveNetConfig, WaveNetModel, exist_ok=True)
    transformers.AutoModelForCTC.register(WaveNetConfig, WaveNetForCTC, exist_ok=True)
    transformers.AutoModelForAudioClassification.register(
        WaveNetConfig, WaveNetForSequenceClassification, exist_ok=True
    )
    transformers.AutoConfig.register(MEL_RESNET, MelResNetConfig, exist_ok=True)
    transformers.AutoModel.register(MelResNetConfig, MelResNetModel, exist_ok=True)
    transformers.AutoModelForAudioClassification.register(
        MelResNetConfig, MelResNetForSequenceClassification, exist_ok=True
    )
    return {MEL_RESNET: MelResNetConfig, TACOTRON: TacotronConfig, FASTSPEECH: FastSpeechConfig, WAVENET: WaveNetConfig}
