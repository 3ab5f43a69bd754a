"""Detectors with queries, of every family in a few thousand weights, for pictures of 64 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from pretune.backbones.load import Backbone
from pretune.modalities import Modality

FAMILIES = (
    "rt_detr", "rt_detr_v2", "d_fine", "deformable_detr", "conditional_detr", "dab-detr", "detr", "table-transformer", "yolos",
)  # fmt: skip
"""Those that the losses of sets are learned with."""
_STAGES = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
_RT = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [16, 16, 32], "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "d_model": 32,
    "num_queries": 12, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_attention_heads": 2,
    "num_denoising": 4, "dropout": 0.0,
}  # fmt: skip
_DETR = {
    "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "num_queries": 12, "dropout": 0.0, "use_timm_backbone": False,
}  # fmt: skip


def tiny_detector_config(family: str, **changes: Any) -> Any:
    """The config of a tiny model of the family."""
    kind = type(transformers.AutoConfig.for_model(family))
    if family == "yolos":
        return kind(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=[64, 64],
            num_detection_tokens=12, **changes,
        )  # fmt: skip
    if family in ("rt_detr", "rt_detr_v2", "d_fine"):
        trunk = transformers.RTDetrResNetConfig(**_STAGES, out_features=["stage2", "stage3", "stage4"])
        return kind(backbone_config=trunk, **{**_RT, **changes})
    levels = {"num_feature_levels": 3} if family == "deformable_detr" else {}
    trunk = transformers.ResNetConfig(**_STAGES, out_features=["stage2", "stage3", "stage4"] if levels else ["stage4"])
    width = {"hidden_size" if family == "dab-detr" else "d_model": 32}
    return kind(backbone_config=trunk, **{**_DETR, **width, **levels, **changes})


def tiny_detector_processor(family: str) -> Any:
    """The image processor that such folders have."""
    if family in ("rt_detr", "rt_detr_v2", "d_fine"):
        return transformers.RTDetrImageProcessor(size={"height": 64, "width": 64})
    return transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})


def tiny_query_backbone(family: str = "rt_detr", **changes: Any) -> Backbone:
    """With fresh weights."""
    config, processor = tiny_detector_config(family, **changes), tiny_detector_processor(family)
    return Backbone(f"tiny {family}", "scratch", config, processor, modality=Modality.IMAGE)


def save_tiny_detector(folder: Path, family: str = "rt_detr", *, labels: tuple[str, ...] = ("person", "car")) -> Path:
    """A folder of transformers, whose model tells ``labels``."""
    config = tiny_detector_config(family)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: place for place, label in enumerate(labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
    tiny_detector_processor(family).save_pretrained(folder)
    return folder
