"""Linear models on simple features (``linear:tfidf``, ``linear:log-mel``, ``linear:pixels``) in the form of transformers.

Their configs and classes are made known to its Auto classes, so that they are saved, loaded, counted and exported as any model.
Shapes: B rows of a batch, T terms of a text, F features, V terms of the vocabulary, C classes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pretune.errors import ModelError, did_you_mean
from pretune.modalities import Modality

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "LINEAR",
    "LINEAR_FEATURES",
    "MEL_NUMBERS",
    "MODEL_TYPE",
    "PIXEL_NUMBERS",
    "NoFiles",
    "is_linear",
    "linear_config",
    "linear_features",
    "make_known",
    "terms_layer",
]

LINEAR = "linear:"
MEL_NUMBERS, PIXEL_NUMBERS = 81, 496
"""Features of a clip (mean and spread of 40 bands, and the length) and of a picture (12 x 12 pixels, 64 colours)."""

MODEL_TYPE = "pretune_linear"
LINEAR_FEATURES = {one.linear.removeprefix(LINEAR): one for one in Modality}
"""The features by name, and what they are of."""


class NoFiles:
    """In place of a tokenizer or feature extractor, for features that need nothing beside the model."""

    def save_pretrained(self, folder: object) -> None:
        """Nothing is written."""


def linear_features(name: str) -> str | None:
    """The features of a backbone's name, ``tfidf`` of ``linear:tfidf``; None for other names.

    Raises :class:`ModelError` for features that there are not.
    """
    if not name.startswith(LINEAR):
        return None
    found = name.removeprefix(LINEAR)
    if found not in LINEAR_FEATURES:
        named = [LINEAR + one for one in LINEAR_FEATURES]
        raise ModelError(f'"{name}" is no linear model', f"{did_you_mean(name, named)}; there are {', '.join(named)}")
    return found


def linear_config(features: str, num_features: int, **settings: Any) -> PreTrainedConfig:
    """The config of a linear model; ``settings`` say how the features are made, as JSON values."""
    return make_known()(features=features, num_features=num_features, **settings)


def is_linear(config: Any) -> bool:
    """Is this the config of a linear model on simple features? It is computed in fp32 where nothing else is asked for: its features
    are decibels and shares as they are, which bf16 rounds by more than its answers bear, and it costs nothing.
    """
    return getattr(config, "model_type", None) == MODEL_TYPE


def terms_layer(model: nn.Module) -> Any:
    """The weights of terms in a model of theirs; None for any other model."""
    return model if type(model).__name__ == "LinearOfTerms" else None


@functools.cache
def make_known() -> Any:
    """The class of the config, after it and the models are known to transformers' Auto classes."""
    import transformers
    from transformers.modeling_outputs import SequenceClassifierOutput

    class LinearConfig(transformers.PreTrainedConfig):
        model_type = MODEL_TYPE

        def __init__(self, features: str = "", num_features: int = 1, **named: Any) -> None:
            self.features, self.num_features = features, num_features
            super().__init__(**named)

    class Linear(transformers.PreTrainedModel):
        config_class = LinearConfig
        base_model_prefix = "features"
        main_input_name = "features"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.features = nn.Identity()  # what other models have under their head
            self.make(config)
            self.post_init()

        def make(self, config: Any) -> None:
            """What has weights."""

        def _init_weights(self, module: nn.Module) -> None:
            """All weights begin at zero: every class is as probable as another."""
            for weight in module.parameters(recurse=False):
                nn.init.zeros_(weight)

    class LinearOfTerms(Linear):
        def make(self, config: Any) -> None:
            self.table = nn.Embedding(config.num_features + 1, config.num_labels, padding_idx=0)
            self.bias = nn.Parameter(torch.zeros(config.num_labels))

        def forward(self, term_ids: torch.Tensor, term_values: torch.Tensor, **_: Any) -> Any:
            """Logits of texts, each a number of terms (B, T) from 1 on, 0 behind its end, with their values."""
            logits_BC = (self.table(term_ids) * term_values[..., None]).sum(dim=1) + self.bias
            return SequenceClassifierOutput(logits=logits_BC)

    class LinearOfNumbers(Linear):
        def make(self, config: Any) -> None:
            self.classifier = nn.Linear(config.num_features, config.num_labels)

        def forward(self, numbers: torch.Tensor, **_: Any) -> Any:
            """Logits of rows of features (B, F)."""
            return SequenceClassifierOutput(logits=self.classifier(numbers))

    transformers.AutoConfig.register(MODEL_TYPE, LinearConfig, exist_ok=True)
    transformers.AutoModel.register(LinearConfig, Linear, exist_ok=True)
    transformers.AutoModelForSequenceClassification.register(LinearConfig, LinearOfTerms, exist_ok=True)
    transformers.AutoModelForAudioClassification.register(LinearConfig, LinearOfNumbers, exist_ok=True)
    transformers.AutoModelForImageClassification.register(LinearConfig, LinearOfNumbers, exist_ok=True)
    return LinearConfig
