"""How a backbone hears, from what its feature extractor and config say."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pretune.errors import ModelError
from pretune.modalities.audio.clips import AudioSpec
from pretune.modalities.audio.filterbank import Filterbank, filterbank_of

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["audio_spec_of", "without_own_masks"]


def audio_spec_of(backbone: Backbone) -> AudioSpec:
    """What the backbone's feature extractor and config say. Raises :class:`ModelError` for a model that reads neither
    samples nor features of a known kind.
    """
    processor, config = backbone.processor, backbone.config
    called = f"{backbone.name} ({config.model_type})"
    if getattr(config, "add_adapter", False):
        raise ModelError(f"{called} shortens its frames by an adapter", f"choose {_EXAMPLES}")
    filterbank = filterbank_of(processor)
    if filterbank is None:
        kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    else:
        kernels, strides = filterbank.kernels, filterbank.strides
        _check_width(called, config, filterbank)
    if not isinstance(kernels, Sequence) or not isinstance(strides, Sequence):
        raise ModelError(
            f"{called} reads neither samples nor log-mel features of a known kind",
            f"choose {_EXAMPLES}",
        )
    return AudioSpec(
        rate=int(processor.sampling_rate),
        normalize=bool(getattr(processor, "do_normalize", True)),
        masked=filterbank is not None or bool(getattr(processor, "return_attention_mask", False)),
        hides=getattr(config, "mask_time_prob", 0.0) > 0 and bool(getattr(config, "apply_spec_augment", True)),
        kernels=tuple(map(int, kernels)),
        strides=tuple(map(int, strides)),
        filterbank=filterbank,
    )


_EXAMPLES = (
    "a model of the wav2vec 2.0 family (wav2vec2, hubert, wavlm, ..., wav2vec2-bert) without an adapter, such as "
    "scratch:wav2vec2-tiny or scratch:w2v-bert-tiny"
)


def _check_width(called: str, config: Any, filterbank: Filterbank) -> None:
    told, made = getattr(config, "feature_projection_input_dim", None), filterbank.bands * filterbank.stack
    if told is None:
        raise ModelError(f"{called} does not read features of this kind", f"choose {_EXAMPLES}")
    if told != made:
        raise ModelError(
            f"{called} reads {told} features a frame, its feature extractor makes {made}",
            "config.json and preprocessor_config.json belong to different models: copy the folder again",
        )


def without_own_masks(backbone: Backbone) -> Backbone:
    """The backbone without masks over features: transformers draws them from NumPy's global state, which no resume brings
    back. Masks in time are drawn by pretune and given to the model.
    """
    if not getattr(backbone.config, "mask_feature_prob", 0.0):
        return backbone
    config = copy.deepcopy(backbone.config)
    config.mask_feature_prob = 0.0
    return dataclasses.replace(backbone, config=config)
