"""Named sizes of image models that start from fresh weights: ``scratch:vit-tiny``, ``scratch:resnet-18``, ``scratch:vgg-11``.

Sizes: ViT-Tiny and ViT-Small of Touvron et al. 2021 (arXiv 2012.12877, table 1), ViT-Base of Dosovitskiy et al. 2021 (arXiv
2010.11929, table 1), ``mini`` and ``micro`` are narrower for one ordinary machine; ResNet of He et al. 2016 (arXiv 1512.03385,
table 1); VGG of Simonyan & Zisserman 2015 (arXiv 1409.1556, table 1), with batch norm; MobileNetV2 of Sandler et al. 2018
(arXiv 1801.04381, table 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["IMAGE_PRESETS", "image_config", "image_processor"]

_VIT = {"micro": (4, 128, 4), "mini": (6, 192, 3), "tiny": (12, 192, 3), "small": (12, 384, 6), "base": (12, 768, 12)}
_RESNET: dict[str, tuple[tuple[int, ...], str]] = {
    "10": ((1, 1, 1, 1), "basic"),
    "18": ((2, 2, 2, 2), "basic"),
    "34": ((3, 4, 6, 3), "basic"),
    "50": ((3, 4, 6, 3), "bottleneck"),
    "101": ((3, 4, 23, 3), "bottleneck"),
}
_VGG = ("11", "13", "16", "19")
_SMALL_PICTURES = 64

IMAGE_PRESETS: tuple[str, ...] = (
    *(f"vit-{size}" for size in _VIT),
    *(f"resnet-{size}" for size in _RESNET),
    *(f"vgg-{size}" for size in _VGG),
    "mobilenet-v2",
)


def image_config(preset: str, image_size: int) -> PreTrainedConfig:
    """The config of a preset among :data:`IMAGE_PRESETS` for pictures of ``image_size`` x ``image_size`` pixels.

    Small pictures (64 pixels or less) get small patches: a sixteenth to an eighth of the side, so that a ViT has 64 of them at least.
    """
    import transformers

    family, _, size = preset.partition("-")
    if family == "vit":
        layers, hidden, heads = _VIT[size]
        return transformers.ViTConfig(
            image_size=image_size, patch_size=patch_of(image_size), num_hidden_layers=layers, hidden_size=hidden,
            num_attention_heads=heads, intermediate_size=4 * hidden,
        )  # fmt: skip
    if family == "resnet":
        depths, kind = _RESNET[size]
        widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
        return transformers.ResNetConfig(
            embedding_size=64, hidden_sizes=widths, depths=list(depths), layer_type=kind, hidden_act="relu"
        )
    if family == "mobilenet":
        return transformers.MobileNetV2Config(image_size=image_size, classifier_dropout_prob=0.2)
    return transformers.TimmWrapperConfig(
        architecture=f"vgg{size}_bn", do_pooling=True, model_args={"global_pool": "avg"}
    )


def patch_of(image_size: int) -> int:
    """The side of a ViT's patches in pixels: 16 for pictures of 128 pixels and more, 4 or 8 for smaller ones."""
    if image_size >= 2 * _SMALL_PICTURES:
        return 16
    return 8 if image_size >= _SMALL_PICTURES else 4


def image_processor(image_size: int) -> Any:
    """A processor that scales the shorter side, cuts the middle out and maps 0..255 to -1..1."""
    from transformers import ViTImageProcessor

    return ViTImageProcessor(
        size={"shortest_edge": image_size if image_size <= _SMALL_PICTURES else round(image_size * 256 / 224)},
        do_center_crop=True, crop_size={"height": image_size, "width": image_size},
        image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5],
    )  # fmt: skip
