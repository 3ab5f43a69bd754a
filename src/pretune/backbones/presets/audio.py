"""Named sizes of sound models that start from fresh weights: ``scratch:wav2vec2-tiny``, ``scratch:w2v-bert-tiny``.

wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477) reads samples: ``base`` is the paper's (section 4.2) with the frame-wise
norm of its large model; ``mini`` and ``tiny`` are narrower for short clips on one ordinary machine.

``w2v-bert`` (Chung et al. 2021, arXiv 2108.06209; the second version's layers, as transformers has them) is a conformer on
log-mel features: convolutions between attention and feed-forward parts (Gulati et al. 2020, arXiv 2005.08100). With labels
alone it learns short clips in fewer updates than a model that has to find its own bands. Its feature extractor gives every band
mean 0 over a clip: a voice keeps its words, a steady hum vanishes.

A frame is 20 ms at every size of both.

``mel-resnet`` (:mod:`pretune.backbones.audio.mel_resnet`) tells which sound is heard, and not which words: it keeps a hum that the
conformers' features take away.

``tacotron`` (:mod:`pretune.backbones.own`) says texts, ``fastspeech`` says them all at once as a ``tacotron`` taught it, ``wavenet`` tells each sample from those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.backbones.own import (
    FASTSPEECH_SIZES,
    MEL_RESNET_SIZES,
    TACOTRON_SIZES,
    WAVENET_SIZES,
    fastspeech_config,
    mel_resnet_config,
    own_processor,
    tacotron_config,
    wavenet_config,
)
from pretune.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["AUDIO_PRESETS", "audio_config", "feature_extractor", "only_rate_of"]

_NARROW_BAND_HZ = 12_000


class _Size(NamedTuple):
    layers: int
    hidden: int
    heads: int
    stem: int
    near_frames: int
    codes: int
    negatives: int


class _Conformer(NamedTuple):
    layers: int
    hidden: int
    heads: int
    near_frames: int


_SIZES = {
    "tiny": _Size(layers=4, hidden=128, heads=4, stem=64, near_frames=32, codes=32, negatives=20),
    "mini": _Size(layers=6, hidden=256, heads=4, stem=128, near_frames=64, codes=64, negatives=50),
    "base": _Size(layers=12, hidden=768, heads=12, stem=512, near_frames=128, codes=320, negatives=100),
}
_PAPER_KERNELS, _PAPER_STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
_FIRST_SECONDS, _STEP_SECONDS = 0.004, 0.00125
_SHORT_KERNELS, _SHORT_STRIDES = (8, 4, 4), (4, 2, 2)

_CONFORMERS = {
    "w2v-bert-tiny": _Conformer(layers=4, hidden=128, heads=4, near_frames=15),
    "w2v-bert-mini": _Conformer(layers=6, hidden=256, heads=4, near_frames=31),
}
_CONFORMER_HZ = 16_000
_BANDS, _STACK = 80, 2

AUDIO_PRESETS: tuple[str, ...] = (
    *(f"wav2vec2-{size}" for size in _SIZES),
    *_CONFORMERS,
    *MEL_RESNET_SIZES,
    *TACOTRON_SIZES,
    *FASTSPEECH_SIZES,
    *WAVENET_SIZES,
)


def only_rate_of(preset: str) -> int | None:
    """The one sampling rate in Hz that a preset hears; None where it may be chosen.

    The windows of log-mel features are 400 samples every 160, which is 25 ms every 10 ms at 16,000 Hz alone.
    """
    return _CONFORMER_HZ if preset in {*_CONFORMERS, *MEL_RESNET_SIZES} else None


def audio_config(preset: str, sampling_rate: int) -> PreTrainedConfig:
    """The config of a preset among :data:`AUDIO_PRESETS` for sound of ``sampling_rate`` Hz (8,000 or 16,000).

    Raises :class:`UsageError` for a rate that the preset cannot hear.
    """
    if preset in TACOTRON_SIZES:
        return tacotron_config(preset, sampling_rate)
    if preset in FASTSPEECH_SIZES:
        return fastspeech_config(preset, sampling_rate)
    if preset in WAVENET_SIZES:
        return wavenet_config(preset, sampling_rate)
    only = only_rate_of(preset)
    if only is None:
        return _wav2vec2(preset.partition("-")[2], sampling_rate)
    if sampling_rate != only:
        raise UsageError(
            f"--sampling-rate is {sampling_rate}, scratch:{preset} hears {only} samples a second",
            "leave --sampling-rate out: clips of other rates are resampled",
        )
    return mel_resnet_config(preset, only) if preset in MEL_RESNET_SIZES else _conformer(_CONFORMERS[preset])


def _wav2vec2(name: str, sampling_rate: int) -> PreTrainedConfig:
    """A frame is 20 ms long at any rate: the paper's stem has a halving less at 8,000 Hz. That of the small sizes begins with
    windows of 4 ms every 1.25 ms, which halves its work.
    """
    from transformers import Wav2Vec2Config

    size = _SIZES[name]
    if name == "base":
        halvings = 7 if sampling_rate > _NARROW_BAND_HZ else 6
        kernels, strides = _PAPER_KERNELS[:halvings], _PAPER_STRIDES[:halvings]
    else:
        kernels = (round(_FIRST_SECONDS * sampling_rate), *_SHORT_KERNELS)
        strides = (round(_STEP_SECONDS * sampling_rate), *_SHORT_STRIDES)
    return Wav2Vec2Config(
        num_hidden_layers=size.layers, hidden_size=size.hidden, num_attention_heads=size.heads, intermediate_size=4 * size.hidden,
        conv_dim=(size.stem,) * len(kernels), conv_kernel=kernels, conv_stride=strides,
        # Norms frame by frame: with the norm over time of the paper's base model, padding would change every frame.
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
        num_conv_pos_embeddings=size.near_frames, num_conv_pos_embedding_groups=16,
        num_codevectors_per_group=size.codes, codevector_dim=min(256, size.hidden), proj_codevector_dim=min(256, size.hidden),
        num_negatives=size.negatives, classifier_proj_size=min(256, size.hidden),
        layerdrop=0.0, hidden_dropout=0.05, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.05,
        mask_time_prob=0.1, mask_time_length=5, mask_feature_prob=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip


def _conformer(size: _Conformer) -> PreTrainedConfig:
    """Positions are told by learned distances up to ``near_frames`` away on both sides (``relative_key``)."""
    from transformers import Wav2Vec2BertConfig

    return Wav2Vec2BertConfig(
        num_hidden_layers=size.layers, hidden_size=size.hidden, num_attention_heads=size.heads, intermediate_size=4 * size.hidden,
        feature_projection_input_dim=_BANDS * _STACK, conv_depthwise_kernel_size=size.near_frames,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=size.near_frames, right_max_position_embeddings=size.near_frames,
        # transformers' 0.02 is for layers 1,024 wide: narrow ones began so faint that they learned half as fast.
        initializer_range=0.05,
        classifier_proj_size=size.hidden, layerdrop=0.0, hidden_dropout=0.05, attention_dropout=0.0, activation_dropout=0.0,
        feat_proj_dropout=0.0, final_dropout=0.05, conformer_conv_dropout=0.05,
        mask_time_prob=0.1, mask_time_length=5, mask_feature_prob=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip


def feature_extractor(preset: str, sampling_rate: int) -> Any:
    """The feature extractor of a preset: samples with mean 0 and variance 1, or log-mel features whose bands have them; both
    tell the model what is padding.
    """
    import transformers

    if preset in {*MEL_RESNET_SIZES, *TACOTRON_SIZES, *FASTSPEECH_SIZES, *WAVENET_SIZES}:
        return own_processor(audio_config(preset, sampling_rate))
    if preset in _CONFORMERS:
        return transformers.SeamlessM4TFeatureExtractor(
            feature_size=_BANDS, num_mel_bins=_BANDS, sampling_rate=sampling_rate, stride=_STACK
        )
    return transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=sampling_rate, do_normalize=True, return_attention_mask=True
    )
