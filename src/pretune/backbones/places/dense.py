"""A trunk with a decoder, which answers for each place of a picture, as a folder of transformers' form.

transformers has no such class for most trunks (its ``MobileNetV2ForSemanticSegmentation`` is pooling and one convolution), so config and
model are pretune's own, made known to its Auto classes; the trunk's own config lies in it.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from pretune.backbones.loading.library import quiet_transformers
from pretune.backbones.places.decoders import decoder_of
from pretune.backbones.places.stages import StagedTrunk, find_stages, stages_of_dicts
from pretune.errors import ModelError

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["AUTO_CLASS", "DENSE", "build_dense", "is_dense", "make_dense_known", "own_head"]

DENSE = "pretune_dense"
AUTO_CLASS = "AutoModelForSemanticSegmentation"
_OF_CLASSES = ("id2label", "label2id", "architectures", "problem_type", "transformers_version")
"""Of a trunk's config: what is about a classifier that it had."""


def is_dense(config: Any) -> bool:
    """Is this the config of a trunk with a decoder?"""
    return getattr(config, "model_type", None) == DENSE


def own_head(config: Any) -> bool:
    """Is this a model of transformers that was made to segment (SegFormer, UPerNet, ...), head and all?"""
    told = getattr(config, "architectures", None) or ()
    return not is_dense(config) and any(str(name).endswith("ForSemanticSegmentation") for name in told)


@functools.cache
def make_dense_known() -> Any:
    """The class of the model, after it and its config are known to transformers' Auto classes."""
    import transformers
    from transformers.modeling_outputs import SemanticSegmenterOutput

    class DenseConfig(transformers.PreTrainedConfig):
        model_type = DENSE

        def __init__(
            self, trunk: dict[str, Any] | None = None, head: str = "unet", stages: list[dict[str, int]] | None = None, **named: Any
        ) -> None:  # fmt: skip
            self.trunk, self.head, self.stages = trunk or {}, head, stages or []
            super().__init__(**named)

        @property
        def trunk_config(self) -> Any:
            """The config of the trunk."""
            told = dict(self.trunk)
            kind = told.pop("model_type", "")
            try:
                return transformers.AutoConfig.for_model(kind, **told)
            except (ValueError, TypeError) as error:
                raise ModelError(
                    f"config.json tells of a trunk that there is not: {str(error).splitlines()[0][:200]}",
                    "copy the model's folder again",
                ) from None

    class DenseModel(transformers.PreTrainedModel):
        config_class = DenseConfig
        base_model_prefix = "trunk"
        main_input_name = "pixel_values"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            stages = stages_of_dicts(config.stages)
            self.trunk = transformers.AutoModel.from_config(config.trunk_config)
            self.maps = StagedTrunk(stages)
            decoder: Any = decoder_of(config.head).make(self.maps.channels, self.maps.strides)
            self.decoder = decoder
            self.classifier = nn.Conv2d(decoder.channels, config.num_labels, 1)
            self.post_init()

        def _init_weights(self, module: nn.Module) -> None:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        def forward(self, pixel_values: torch.Tensor, **_: Any) -> Any:
            """Logits (B, C, h, w) at the decoder's stride."""
            found = self.decoder(self.maps(self.trunk, pixel_values))
            return SemanticSegmenterOutput(logits=self.classifier(found))

    transformers.AutoConfig.register(DENSE, DenseConfig, exist_ok=True)
    transformers.AutoModel.register(DenseConfig, DenseModel, exist_ok=True)
    transformers.AutoModelForSemanticSegmentation.register(DenseConfig, DenseModel, exist_ok=True)
    return DenseModel


def build_dense(backbone: Backbone, head: str, *, seed: int, **outputs: Any) -> tuple[nn.Module, LoadReport]:
    """The backbone with the decoder ``head`` and ``outputs`` (``num_labels``, ``id2label``, ``label2id``); one that has such a decoder
    keeps it.

    Raises :class:`ModelError` for a trunk that shows no maps.
    """
    if is_dense(backbone.config) or own_head(backbone.config):
        return backbone.build(AUTO_CLASS, seed=seed, **outputs)
    decoder = decoder_of(head)
    backbone = copy.copy(backbone)
    backbone.config = copy.deepcopy(backbone.config)
    if decoder.dilated is not None and hasattr(backbone.config, "output_stride"):
        backbone.config.output_stride = decoder.dilated
    built = backbone.build("AutoModel", seed=seed)
    trunk, report = cast(Any, built[0]), built[1]
    stages = decoder.stages(find_stages(trunk), backbone.name)
    kind = make_dense_known()
    config = kind.config_class(
        trunk={key: value for key, value in trunk.config.to_dict().items() if key not in _OF_CLASSES}, head=head, stages=[stage.to_dict() for stage in stages], **outputs,
    )  # fmt: skip
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind._from_config(config, dtype=torch.float32)
    model.trunk = trunk
    own = tuple(name for name, _ in model.named_parameters() if not name.startswith("trunk."))
    inner = tuple(f"trunk.{name}" for name in report.missing)
    return model, report._replace(
        missing=(*inner, *own), mismatched=tuple(f"trunk.{name}" for name in report.mismatched)
    )
