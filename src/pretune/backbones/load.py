"""A name to a backbone: config, processor and the means to build any head on it.

A backbone is ``scratch:<preset>`` (fresh weights; a tokenizer is trained on the data), a Hugging Face folder, a run folder
of pretune, or a hub id. Nothing is built until :meth:`Backbone.build` is called.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.detection.model import known_detector
from pretune.backbones.linear import LINEAR_FEATURES, linear_features, make_known
from pretune.backbones.loading.classes import class_axes, join_classes, names_of
from pretune.backbones.loading.folder import check_folder, find_folder
from pretune.backbones.loading.library import model_errors, quiet_transformers, save_model
from pretune.backbones.loading.limits import Weights, within
from pretune.backbones.loading.processors import load_processor, modality_of_folder, processor_facts
from pretune.backbones.loading.scratch import fresh_linear, scratch_audio, scratch_image, scratch_text
from pretune.backbones.own import make_own_known
from pretune.backbones.parts.layers import KeptLayers, keep_layers, whole_config
from pretune.backbones.parts.norms import mend_batch_norms
from pretune.backbones.parts.removed import remove_parts
from pretune.backbones.places.dense import make_dense_known
from pretune.backbones.pooling.embedder import embedder_class
from pretune.backbones.pooling.folder import PooledFolder, pooled_folder
from pretune.backbones.pooling.pool import POOLED, pooled_class
from pretune.backbones.presets.named import SCRATCH, preset_modality
from pretune.backbones.text_kinds import encoder_class
from pretune.errors import ModelError, UsageError, did_you_mean
from pretune.modalities import Modality
from pretune.types import unmapped
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.modalities.text.template import FastTokenizer

_MOST_SECONDS = 30.0
_MOST_OF_WEIGHTS, _ROOM = 2, 10_000_000
"""A head, or layers that are new, may come on top of what a file holds."""

__all__ = ["Backbone", "LoadReport", "load_backbone", "save_model", "without_pooler"]


class LoadReport(NamedTuple):
    """Weights by name: ``missing`` were drawn at random, ``unexpected`` stood in the file and were not used,
    ``mismatched`` had another shape in the file, or told other classes apart, and were drawn at random. ``fresh``: everything
    was drawn at random. ``classes`` says how the file's classifier was joined to other classes ("": there was nothing to join).
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    fresh: bool = False
    classes: str = ""

    @property
    def initialised(self) -> tuple[str, ...]:
        """Names of all weights that were drawn at random."""
        return tuple(sorted({*self.missing, *self.mismatched}))


@dataclass
class Backbone:
    """Config and processor of a model that is not built yet. ``folder`` is None for fresh weights.

    ``processor`` is what transformers saves beside the weights to make inputs: a tokenizer for text, an image processor
    for pictures, a feature extractor for sound. ``kept_layers``: those of the folder's layers that are built (None: all).
    ``weights``: what the headers of the folder's weights say.
    ``pooled``: how a pooled classifier that the folder holds is written there.
    """

    name: str
    kind: str
    config: PreTrainedConfig
    processor: Any
    folder: Path | None = None
    trust_remote_code: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    modality: Modality = Modality.TEXT
    kept_layers: KeptLayers | None = None
    weights: Weights | None = None
    pooled: PooledFolder | None = None

    @property
    def tokenizer(self) -> FastTokenizer:
        """The tokenizer. Raises :class:`ModelError` for a backbone that reads no text."""
        if self.modality.is_file:
            raise ModelError(
                f"{self.name} ({self.config.model_type}) reads {self.modality.mass}, not text",
                f"choose a text model, such as {Modality.TEXT.preset}",
            )
        return self.processor

    @cached_property
    def skeleton(self) -> nn.Module:
        """The bare encoder on the ``meta`` device: shapes and names, no memory."""
        import transformers

        limited = within(_MOST_SECONDS, self.name) if self.folder else contextlib.nullcontext()
        alone = encoder_class(self.config) if self.pooled is not None else None
        with quiet_transformers(), limited, torch.device("meta"), model_errors(self.name):
            if alone is not None:
                return alone._from_config(copy.deepcopy(self.config), dtype=torch.float32)
            return transformers.AutoModel.from_config(
                copy.deepcopy(self.config), trust_remote_code=self.trust_remote_code, dtype=torch.float32
            )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What run.json says of the backbone, as JSON values. ``parameters`` counts the bare encoder."""
        return {
            "name": self.name,
            "kind": self.kind,
            "architecture": self.config.model_type,
            "parameters": sum(parameter.numel() for parameter in self.skeleton.parameters()),
            "modality": self.modality,
            **processor_facts(self),
            **self.notes,
        }

    @property
    def uses_segments(self) -> bool:
        """Whether the model takes ``token_type_ids`` (and its tokenizer makes them)."""
        takes = "token_type_ids" in inspect.signature(self.skeleton.forward).parameters
        told = "token_type_ids" in self.tokenizer.model_input_names
        return takes and told and getattr(self.config, "type_vocab_size", 2) > 1

    def build(
        self, auto_class: str, *, seed: int, pooling: Sequence[str] = (), embeds: bool = False, **config_changes: Any
    ) -> tuple[nn.Module, LoadReport]:
        """The model with a head, float32, on the CPU: ``build("AutoModelForMaskedLM", seed=0)``.

        ``config_changes`` (``num_labels=4``, ``id2label=...``, dropouts) are set on a copy of the config. With ``pooling`` (its
        modes) the head is a linear one on the pooled states, whatever ``auto_class``, and with ``embeds`` there is none: what is pooled is given
        as a vector of length 1. Weights that are
        not in the folder are drawn from ``seed`` and named in the report. A classifier of the folder is joined to ``id2label`` by
        name (:mod:`pretune.backbones.loading.classes`). What config.json says was pruned is taken out. Raises :class:`ModelError`.
        """
        config = head_config(self._changed_config(config_changes), auto_class)
        if self.kept_layers is not None:
            config = whole_config(config, self.kept_layers)
        setattr(config, POOLED, {"modes": list(pooling)} if pooling and not embeds else None)
        with quiet_transformers(), torch.random.fork_rng(devices=[]), model_errors(self.name):
            kind = self._class(auto_class, config, pooling, embeds=embeds)
            torch.manual_seed(_weights_seed(seed))
            self._refuse_larger_than_its_weights()
            if self.folder is None:
                model = kind._from_config(config, attn_implementation=self._attention(), dtype=torch.float32)
                model.tie_weights()
                mend_batch_norms(model, fresh=True)
                return model, LoadReport(tuple(name for name, _ in model.named_parameters()), (), (), fresh=True)
            model, info = self._load(kind, config, pooling)
            report = self._with_classes(model, kind, _report(info), config_changes, seed)
        _refuse_broken_body(
            self.name, model, report, is_bare=auto_class == "AutoModel", classes=len(config_changes.get("id2label", ()))
        )
        for held in (*model.parameters(), *model.buffers()):
            held.data = unmapped(held.data)
        mend_batch_norms(model)
        _refuse_not_finite(self.name, model)
        if self.kept_layers is not None:
            keep_layers(model, self.kept_layers)
        remove_parts(model, model.config)
        return model, report

    def _with_classes(
        self, model: nn.Module, kind: Any, report: LoadReport, changes: Mapping[str, Any], seed: int
    ) -> LoadReport:
        """Join the classifier that was loaded to the classes that were asked for, and note it."""
        if "id2label" not in changes:
            return report
        before, after = names_of(self.config), tuple(str(name) for name in changes["id2label"].values())
        if before == after:
            return report
        config: Any = model.config
        axes = class_axes(kind, config, len(after))
        if axes.keys() <= {*report.missing}:
            return report  # the folder holds no classifier
        drawn, told = join_classes(model, before, after, axes, seed=_weights_seed(seed))
        return report._replace(mismatched=tuple(sorted({*report.mismatched, *drawn})), classes=f"{self.name}: {told}")

    def _refuse_larger_than_its_weights(self) -> None:
        """Raise :class:`ModelError` where config.json asks for far more than the file of weights holds: it would be drawn at random."""
        if self.weights is None:
            return
        asked = sum(parameter.numel() for parameter in self.skeleton.parameters())
        if asked > _MOST_OF_WEIGHTS * self.weights.values + _ROOM:
            raise ModelError(
                f"{self.name}: config.json asks for {asked} weights, the file holds {self.weights.values}",
                "config.json and model.safetensors belong to different models: copy the folder again",
            )

    def _class(self, auto_class: str, config: PreTrainedConfig, pooling: Sequence[str], *, embeds: bool) -> Any:
        """What makes the model: transformers' class that looks it up, or where that cannot be asked the model's own."""
        import transformers

        if pooling:
            encoder: Any = encoder_class(config) or type(self.skeleton)
            return embedder_class(encoder, tuple(pooling)) if embeds else pooled_class(encoder)
        auto = getattr(transformers, auto_class)
        if self.pooled is None and self.folder is not None:
            return auto
        with torch.device("meta"):
            return type(auto.from_config(copy.deepcopy(config)))

    def _load(self, kind: Any, config: PreTrainedConfig, pooling: Sequence[str]) -> tuple[Any, Any]:
        """The model with the folder's weights, and what transformers says of them."""
        assert self.folder is not None, "fresh weights are in no folder"
        given: dict[str, Any] = {
            "config": config, "attn_implementation": self._attention(), "dtype": torch.float32, "local_files_only": True,
            "ignore_mismatched_sizes": True, "output_loading_info": True,
        }  # fmt: skip
        if self.pooled is not None:
            return kind.from_pretrained(None, state_dict=self.pooled.weights(self.folder, pooling), **given)
        given |= {} if pooling else {"trust_remote_code": self.trust_remote_code}
        return kind.from_pretrained(self.folder, use_safetensors=True, **given)

    def _changed_config(self, changes: dict[str, Any]) -> PreTrainedConfig:
        config = copy.deepcopy(self.config)
        for key, value in changes.items():
            if not hasattr(config, key) and key not in ("num_labels", "id2label", "label2id", "problem_type"):
                raise ModelError(
                    f"{self.name} ({config.model_type}) has no setting {key}", did_you_mean(key, config.to_dict())
                )
            setattr(config, key, value)
        return config

    def _attention(self) -> Any:
        """The fused one where the encoder has it; by the name of a part's config where a part (a convolutional trunk) has not."""
        own = "sdpa" if getattr(self.skeleton, "_supports_sdpa", False) else "eager"
        parts = [module for module in self.skeleton.modules() if hasattr(module, "_supports_sdpa")]
        if all(part._supports_sdpa for part in parts):
            return own
        return {"": own, **dict.fromkeys(self.config.sub_configs, "eager")} if self.config.sub_configs else own


def load_backbone(
    name: str,
    *,
    texts: Callable[[], Iterable[str]] | None = None,
    tokenizer: str = "auto",
    vocab_size: int | None = None,
    image_size: int | None = None,
    sampling_rate: int | None = None,
    unspaced: bool = False,
    trust_remote_code: bool = False,
    weights: bool = True,
) -> Backbone:
    """Find a backbone by name. ``texts`` gives the texts a new tokenizer is trained on (or whose terms are counted, ``unspaced`` where
    their script has no spaces between words), ``image_size`` the side in pixels of
    new image models, ``sampling_rate`` the samples a second of new sound models (``scratch:`` and ``linear:`` names only).

    ``tokenizer``: ``auto``, ``wordpiece``, ``bpe``, or a folder that holds one. ``weights`` False: the folder's model is in another
    form than safetensors, only its config and processor are asked for. Raises :class:`ModelError` when there is
    no such model, its files are broken or unsafe, and :class:`UsageError` for options that do not fit together.
    """
    features = linear_features(name)
    fresh = preset_modality(name.removeprefix(SCRATCH)) if name.startswith(SCRATCH) else None
    fresh = LINEAR_FEATURES[features] if features else fresh
    _refuse_misplaced(
        name,
        fresh,
        {
            "--tokenizer": (Modality.TEXT, tokenizer != "auto" and features is None),
            "--vocab-size": (Modality.TEXT, vocab_size is not None),
            "--sampling-rate": (Modality.AUDIO, sampling_rate is not None),
        },
    )
    if features is not None:
        config, found, notes = fresh_linear(features, texts, vocab_size, sampling_rate, unspaced=unspaced)
        return Backbone(name, "linear", config, found, notes=notes, modality=LINEAR_FEATURES[features])
    if fresh is not None:
        started = {
            Modality.TEXT: lambda: scratch_text(name, texts, tokenizer, vocab_size),
            Modality.IMAGE: lambda: scratch_image(name, image_size),
            Modality.AUDIO: lambda: scratch_audio(name, sampling_rate),
        }
        config, found, notes = started[fresh]()
        return Backbone(name, "scratch", config, found, notes=notes, modality=fresh)
    folder = find_folder(name, trust_remote_code=trust_remote_code)
    held = check_folder(folder, trust_remote_code=trust_remote_code, weights=weights)
    with within(_MOST_SECONDS, str(folder)):
        config = _load_config(name, folder, trust_remote_code)
        pooled = pooled_folder(folder, config) if weights else None
        modality = modality_of_folder(config, folder)
        found = load_processor(modality, config, folder, trust_remote_code)
    return Backbone(
        name, "pretrained", config, found, folder, trust_remote_code, modality=modality, weights=held, pooled=pooled
    )  # fmt: skip


def without_pooler(model: nn.Module, report: LoadReport) -> tuple[nn.Module, LoadReport]:
    """A bare encoder without the layer that a classifier of the paper's kind reads, where nothing of it is learned."""
    if hasattr(getattr(model, "pooler", None), "dense"):
        model.register_module("pooler", None)
        missing, unexpected, mismatched = (
            tuple(name for name in names if not name.startswith("pooler.")) for names in report[:3]
        )
        report = LoadReport(missing, unexpected, mismatched, report.fresh)
    return model, report


def _refuse_misplaced(name: str, fresh: Modality | None, given: Mapping[str, tuple[Modality, bool]]) -> None:
    """Raise :class:`UsageError` for an option of fresh models that was given for another kind of model. ``fresh`` is what the
    preset reads, None for a trained model; ``given`` maps a flag to what it is about and whether it was given."""
    for flag, (modality, is_given) in given.items():
        if is_given and modality != fresh:
            raise UsageError(
                f"{flag} does not fit {name}: {f'it reads no {modality.mass}' if fresh else f'a trained model keeps its own {modality.kept}'}",
                f"leave {flag} out" + ("" if fresh else f", or start from {SCRATCH}..."),
            )


def _load_config(name: str, folder: Path, trust_remote_code: bool) -> PreTrainedConfig:
    import transformers

    make_known()
    make_dense_known()
    known_detector()
    make_own_known()
    with quiet_transformers(), model_errors(name):
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )


def head_config(config: PreTrainedConfig, auto_class: str) -> PreTrainedConfig:
    """The config for a head: a masked autoencoder's encoder becomes the plain vision transformer that it is.

    He et al. 2021 (arXiv 2111.06377, section 4) drop the decoder in the same way; names and shapes of the weights agree.
    """
    if config.model_type != "vit_mae" or auto_class == "AutoModelForPreTraining":
        return config
    from transformers import ViTConfig

    kept = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "architectures")}
    return ViTConfig(
        **{key: value for key, value in kept.items() if not key.startswith(("decoder_", "mask_", "norm_pix"))}
    )


def _report(info: Any) -> LoadReport:
    def names(key: str) -> tuple[str, ...]:
        found = info.get(key, ()) if isinstance(info, dict) else getattr(info, key)
        return tuple(sorted(item if isinstance(item, str) else item[0] for item in found))

    return LoadReport(names("missing_keys"), names("unexpected_keys"), names("mismatched_keys"))


def _refuse_broken_body(name: str, model: Any, report: LoadReport, *, is_bare: bool, classes: int) -> None:
    """A head (a pooler) may be new; an encoder whose weights are not in the file is not the model that was asked for.

    ``is_bare``: the model is the encoder itself, whose weights have no prefix. ``classes``: so many were asked for, 0 for none; a decoder may
    have class heads inside.
    """
    prefix = "" if is_bare else getattr(model, "base_model_prefix", "") + "."
    head = _timm_head(model)
    body = {name for name, _ in model.named_parameters() if name.startswith(prefix) and not name.startswith(head)}
    wrong = sorted(body & set(report.mismatched))
    if wrong and classes:
        wrong = sorted({*wrong} - class_axes(type(model), model.config, classes).keys())
    if wrong:
        raise ModelError(
            f"{name}: {counted(len(wrong), 'weight')} {agree(len(wrong), 'have', 'has')} another shape in the file than config.json says, the first is {wrong[0]}",
            "config.json and model.safetensors belong to different models: copy the folder again",
        )
    absent = sorted(body & set(report.missing))
    if body and len(absent) > len(body) / 2:
        raise ModelError(
            f"{name}: {len(absent)} of {len(body)} encoder weights are not in the file, the first is {absent[0]}",
            "the weights are of another architecture than config.json says: copy the folder again",
        )


def _refuse_not_finite(name: str, model: nn.Module) -> None:
    """Raise :class:`ModelError` naming the first weight that is NaN or infinite. Constants of a layer may be infinite (masks)."""
    weights = {key for key, _ in model.named_parameters()}
    for key, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or bool(
            tensor.sum().isfinite()
        ):  # a sum costs little, and tells of nearly all
            continue
        is_odd = ~tensor.isfinite() if key in weights else tensor.isnan()
        if count := int(is_odd.sum()):
            raise ModelError(
                f"{name}: {count} of the {tensor.numel()} numbers of {key} are NaN or infinite",
                "the file is damaged, or its training went wrong: copy it again, or take another checkpoint",
            )


def _timm_head(model: nn.Module) -> tuple[str, ...]:
    """Where the classifier of a wrapped timm model lies: inside what transformers calls the encoder."""
    told = getattr(getattr(model, "timm_model", None), "pretrained_cfg", {}).get("classifier") or ()
    return tuple(f"timm_model.{name}." for name in ((told,) if isinstance(told, str) else told))


def _weights_seed(seed: int) -> int:
    """The draws of new weights are a function of the run's seed and of nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}:weights".encode()).digest()[:7], "big")
