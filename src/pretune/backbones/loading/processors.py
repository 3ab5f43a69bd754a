"""What stands beside a model's weights to make its inputs: tokenizer, image processor or feature extractor.

Which of them a folder holds tells the modality of its model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.backbones.linear import LINEAR_FEATURES, MODEL_TYPE, NoFiles
from pretune.backbones.loading.folder import require_tokenizer
from pretune.backbones.loading.library import model_errors, quiet_transformers
from pretune.backbones.own import is_own, own_processor
from pretune.backbones.text.limits import max_length_of
from pretune.errors import ModelError
from pretune.modalities import Modality
from pretune.modalities.text.control import keep_text_plain
from pretune.modalities.text.terms import Terms

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.modalities.text.template import FastTokenizer

__all__ = ["load_processor", "load_tokenizer", "modality_of_folder", "processor_facts"]

_IMAGE_MODELS = ("timm_wrapper", "vit_mae")


def modality_of_folder(config: PreTrainedConfig, folder: Path) -> Modality:
    """By the processor's file, else by the architecture."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    if config.model_type == MODEL_TYPE:
        return _modality_of_linear(config, folder)
    if is_own(config):
        return Modality.AUDIO
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if not path.exists():
            continue
        with model_errors(str(folder), f"is {name} whole?"):
            told = json.loads(path.read_text(encoding="utf-8"))
        told = told.get("feature_extractor") or told.get("image_processor") or told
        if "sampling_rate" in told or "FeatureExtractor" in str(told.get("processor_class", "")):
            return Modality.AUDIO
        if "image_processor_type" in told or "image_mean" in told:
            return Modality.IMAGE
    if config.model_type in (*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *_IMAGE_MODELS):
        return Modality.IMAGE
    return Modality.TEXT


def _modality_of_linear(config: Any, folder: Path) -> Modality:
    """By the features. Raises :class:`ModelError` for such as there are not."""
    if config.features not in LINEAR_FEATURES:
        raise ModelError(
            f"{folder / 'config.json'} says features = {config.features!r}", "copy the model's folder again"
        )
    return LINEAR_FEATURES[config.features]


def load_processor(modality: Modality, config: PreTrainedConfig, folder: Path, trust_remote_code: bool) -> Any:
    """The processor of a folder. Raises :class:`ModelError` for one that is missing or belongs to other weights."""
    if config.model_type == MODEL_TYPE:
        return NoFiles() if modality.is_file else Terms.read(folder)
    if is_own(config):
        return own_processor(config)
    if not modality.is_file:
        found = load_tokenizer(folder, trust_remote_code)
        if found.pad_token_id is not None and config.pad_token_id is None:
            config.pad_token_id = found.pad_token_id
        _check_vocabulary(str(folder), config, found)
        return found
    import transformers

    auto = getattr(transformers, modality.processor)
    with quiet_transformers(), model_errors(str(folder), "is preprocessor_config.json there and whole?"):
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def load_tokenizer(folder: Path, trust_remote_code: bool) -> FastTokenizer:
    """The fast tokenizer of a folder, which makes no control tokens of texts. Raises :class:`ModelError` when there is none."""
    import transformers

    require_tokenizer(folder)
    with (
        quiet_transformers(),
        model_errors(str(folder), "is the tokenizer complete (tokenizer.json, tokenizer_config.json)?"),
    ):
        found = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    if getattr(found, "backend_tokenizer", None) is None:
        raise ModelError(
            f"the tokenizer of {folder} has no fast version", "choose a model whose folder holds tokenizer.json"
        )
    if found.pad_token is None and found.eos_token is not None:
        found.pad_token = found.eos_token
    return keep_text_plain(found)


def _check_vocabulary(name: str, config: PreTrainedConfig, tokenizer: FastTokenizer) -> None:
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise ModelError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, its config.json says vocab_size {size}",
            "the folder mixes files of two models: copy the tokenizer that belongs to these weights",
        )
    last = max(tokenizer.backend_tokenizer.get_vocab().values(), default=0)
    if size is not None and last >= size:
        raise ModelError(
            f"the tokenizer of {name} has a token of number {last}, the model has {size} (vocab_size of config.json)",
            "the folder mixes files of two models, or is damaged: copy the tokenizer that belongs to these weights",
        )


def processor_facts(backbone: Backbone) -> dict[str, Any]:
    """What run.json says of a backbone's inputs, as JSON values."""
    if backbone.config.model_type == MODEL_TYPE:
        told: Any = backbone.config
        return {"features": told.features, "num_features": told.num_features}
    if not backbone.modality.is_file:
        return {
            "vocabulary": len(backbone.tokenizer),
            "max_length": max_length_of(backbone),
            "tokenizer": type(backbone.tokenizer.backend_tokenizer.model).__name__,
        }
    if (rate := getattr(backbone.processor, "sampling_rate", None)) is not None:
        return {"sampling_rate": int(rate)}
    from pretune.modalities.image.transform import image_transform_of

    return {"image_size": list(image_transform_of(backbone.processor).crop)}
