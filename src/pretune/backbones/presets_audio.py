"""Named sizes of sound models that start from fresh weights: ``scratch:wav2vec2-tiny``.

wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477): ``base`` is the paper's (section 4.2) with the frame-wise norm of its
large model; ``mini`` and ``tiny`` are narrower for short clips on one ordinary machine. A frame is 20 ms at every size.
transformers has no purely convolutional model of sound with a CTC head, so none is listed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["AUDIO_PRESETS", "audio_config", "feature_extractor"]

_NARROW_BAND_HZ = 12_000


class _Size(NamedTuple):
    layers: int
    hidden: int
    heads: int
    stem: int
    near_frames: int
    codes: int
    negatives: int


_SIZES = {
    "tiny": _Size(layers=4, hidden=128, heads=4, stem=64, near_frames=32, codes=32, negatives=20),
    "mini": _Size(layers=6, hidden=256, heads=4, stem=128, near_frames=64, codes=64, negatives=50),
    "base": _Size(layers=12, hidden=768, heads=12, stem=512, near_frames=128, codes=320, negatives=100),
}
_PAPER_KERNELS, _PAPER_STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
_FIRST_SECONDS, _STEP_SECONDS = 0.004, 0.00125
_SHORT_KERNELS, _SHORT_STRIDES = (8, 4, 4), (4, 2, 2)

AUDIO_PRESETS: tuple[str, ...] = tuple(f"wav2vec2-{size}" for size in _SIZES)


def audio_config(preset: str, sampling_rate: int) -> PreTrainedConfig:
    """The config of a preset among :data:`AUDIO_PRESETS` for sound of ``sampling_rate`` Hz (8,000 or 16,000).

    A frame is 20 ms long at any rate: the paper's stem has a halving less at 8,000 Hz. That of the small sizes begins with windows of
    4 ms every 1.25 ms, which halves its work.
    """
    from transformers import Wav2Vec2Config

    name = preset.partition("-")[2]
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


def feature_extractor(sampling_rate: int) -> Any:
    """A feature extractor that gives each clip mean 0 and variance 1 and tells the model what is padding."""
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(sampling_rate=sampling_rate, do_normalize=True, return_attention_mask=True)
