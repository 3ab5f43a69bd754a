"""A name to a backbone: config, tokenizer and the means to build any head on it.

A backbone is ``scratch:<preset>`` (fresh weights, tokenizer trained on the data), a Hugging Face folder, a run folder of
pretune, or a hub id. Nothing is built until :meth:`Backbone.build` is called.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.folder import check_folder, find_folder
from pretune.backbones.library import model_errors, quiet_transformers, save_model
from pretune.backbones.presets import SCRATCH, preset_config, preset_family
from pretune.backbones.tokenizer import count_texts, train_tokenizer
from pretune.errors import ModelError, UsageError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.template import FastTokenizer

__all__ = ["Backbone", "LoadReport", "load_backbone", "max_length_of", "position_offset", "save_model"]

TOKENIZER_KINDS = ("auto", "wordpiece", "bpe")
SANE_MAX_LENGTH = 1_000_000
FALLBACK_MAX_LENGTH = 512


class LoadReport(NamedTuple):
    """Weights by name: ``missing`` were drawn at random, ``unexpected`` stood in the file and were not used,
    ``mismatched`` had another shape in the file and were drawn at random. ``fresh``: everything was drawn at random.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    fresh: bool = False

    @property
    def initialised(self) -> tuple[str, ...]:
        """Names of all weights that were drawn at random."""
        return tuple(sorted({*self.missing, *self.mismatched}))


@dataclass
class Backbone:
    """Config and tokenizer of a model that is not built yet. ``folder`` is None for fresh weights."""

    name: str
    kind: str
    config: PreTrainedConfig
    tokenizer: FastTokenizer
    folder: Path | None = None
    trust_remote_code: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def skeleton(self) -> nn.Module:
        """The bare encoder on the ``meta`` device: shapes and names, no memory."""
        import transformers

        with quiet_transformers(), torch.device("meta"), model_errors(self.name):
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
            "vocabulary": len(self.tokenizer),
            "max_length": max_length_of(self),
            "tokenizer": type(self.tokenizer.backend_tokenizer.model).__name__,
            **self.notes,
        }

    @property
    def uses_segments(self) -> bool:
        """Whether the model takes ``token_type_ids`` (and its tokenizer makes them)."""
        takes = "token_type_ids" in inspect.signature(self.skeleton.forward).parameters
        told = "token_type_ids" in self.tokenizer.model_input_names
        return takes and told and getattr(self.config, "type_vocab_size", 2) > 1

    def build(self, auto_class: str, *, seed: int, **config_changes: Any) -> tuple[nn.Module, LoadReport]:
        """The model with a head, float32, on the CPU: ``build("AutoModelForMaskedLM", seed=0)``.

        ``config_changes`` (``num_labels=4``, ``id2label=...``, dropouts) are set on a copy of the config. Weights that are
        not in the folder are drawn from ``seed`` and named in the report. Raises :class:`ModelError`.
        """
        import transformers

        auto = getattr(transformers, auto_class)
        config = self._changed_config(config_changes)
        with quiet_transformers(), torch.random.fork_rng(devices=[]), model_errors(self.name):
            torch.manual_seed(_weights_seed(seed))
            if self.folder is None:
                model = auto.from_config(config, attn_implementation=self._attention(), dtype=torch.float32)
                model.tie_weights()
                return model, LoadReport(tuple(name for name, _ in model.named_parameters()), (), (), fresh=True)
            model, info = auto.from_pretrained(
                self.folder,
                config=config,
                attn_implementation=self._attention(),
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=self.trust_remote_code,
            )
        report = _report(info)
        _refuse_broken_body(self.name, model, report)
        return model, report

    def _changed_config(self, changes: dict[str, Any]) -> PreTrainedConfig:
        config = copy.deepcopy(self.config)
        for key, value in changes.items():
            if not hasattr(config, key) and key not in ("num_labels", "id2label", "label2id", "problem_type"):
                raise ModelError(
                    f"{self.name} ({config.model_type}) has no setting {key}", did_you_mean(key, config.to_dict())
                )
            setattr(config, key, value)
        return config

    def _attention(self) -> str:
        return "sdpa" if getattr(self.skeleton, "_supports_sdpa", False) else "eager"


def load_backbone(
    name: str,
    *,
    texts: Callable[[], Iterable[str]] | None = None,
    tokenizer: str = "auto",
    vocab_size: int | None = None,
    lowercase: bool | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Find a backbone by name. ``texts`` gives the texts a new tokenizer is trained on (``scratch:`` names only).

    ``tokenizer``: ``auto``, ``wordpiece``, ``bpe``, or a folder that holds one. Raises :class:`ModelError` when there is
    no such model, its files are broken or unsafe, and :class:`UsageError` for options that do not fit together.
    """
    if name.startswith(SCRATCH):
        return _scratch(name, texts, tokenizer, vocab_size, lowercase)
    given = {
        "--tokenizer": tokenizer != "auto",
        "--vocab-size": vocab_size is not None,
        "--lowercase": lowercase is not None,
    }
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise UsageError(
            f"{flag} does not fit {name}: a trained model keeps its own tokenizer",
            f"leave {flag} out, or start from {SCRATCH}...",
        )
    folder = find_folder(name, trust_remote_code=trust_remote_code)
    check_folder(folder, trust_remote_code=trust_remote_code)
    config = _load_config(name, folder, trust_remote_code)
    found = _load_tokenizer(folder, trust_remote_code)
    if found.pad_token_id is not None and config.pad_token_id is None:
        config.pad_token_id = found.pad_token_id
    _check_vocabulary(name, config, found)
    return Backbone(name, "pretrained", config, found, folder, trust_remote_code)


def _scratch(
    name: str, texts: Callable[[], Iterable[str]] | None, tokenizer: str, vocab_size: int | None, lowercase: bool | None
) -> Backbone:
    preset = name.removeprefix(SCRATCH)
    family = preset_family(preset)
    if tokenizer not in TOKENIZER_KINDS:
        folder = Path(tokenizer).expanduser()
        if not folder.is_dir():
            raise UsageError(
                f"--tokenizer is {tokenizer!r}",
                f"{did_you_mean(tokenizer, TOKENIZER_KINDS)}, or a folder with tokenizer.json",
            )
        folder = folder / "model" if (folder / "run.json").exists() else folder
        check_folder(folder, trust_remote_code=False, weights=False)
        found, notes = _load_tokenizer(folder, False), {"tokenizer_source": f"read from {tokenizer}"}
    elif texts is None:
        raise UsageError(f"{name} has no tokenizer yet", "give texts to train one on, or --tokenizer FOLDER")
    else:
        kind = family.tokenizer if tokenizer == "auto" else tokenizer
        count = count_texts(texts())
        found = train_tokenizer(texts, kind=kind, vocab_size=vocab_size, lowercase=lowercase, count=count)
        notes = {"tokenizer_source": f"trained on {count.texts} texts"}
    return Backbone(name, "scratch", preset_config(preset, found), found, notes=notes)


def _load_config(name: str, folder: Path, trust_remote_code: bool) -> PreTrainedConfig:
    import transformers

    with quiet_transformers(), model_errors(name):
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )


def _load_tokenizer(folder: Path, trust_remote_code: bool) -> FastTokenizer:
    import transformers

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
    return found


def _check_vocabulary(name: str, config: PreTrainedConfig, tokenizer: FastTokenizer) -> None:
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise ModelError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, its config.json says vocab_size {size}",
            "the folder mixes files of two models: copy the tokenizer that belongs to these weights",
        )


def _report(info: Any) -> LoadReport:
    def names(key: str) -> tuple[str, ...]:
        found = info.get(key, ()) if isinstance(info, dict) else getattr(info, key)
        return tuple(sorted(item if isinstance(item, str) else item[0] for item in found))

    return LoadReport(names("missing_keys"), names("unexpected_keys"), names("mismatched_keys"))


def _refuse_broken_body(name: str, model: nn.Module, report: LoadReport) -> None:
    """A head may be new; an encoder whose weights are not in the file is not the model that was asked for."""
    prefix = getattr(model, "base_model_prefix", "") + "."
    body = {parameter for parameter, _ in model.named_parameters() if parameter.startswith(prefix)}
    wrong = sorted(body & set(report.mismatched))
    if wrong:
        raise ModelError(
            f"{name}: {len(wrong)} weights have another shape in the file than config.json says, the first is {wrong[0]}",
            "config.json and model.safetensors belong to different models: copy the folder again",
        )
    absent = sorted(body & set(report.missing))
    if body and len(absent) > len(body) / 2:
        raise ModelError(
            f"{name}: {len(absent)} of {len(body)} encoder weights are not in the file, the first is {absent[0]}",
            "the weights are of another architecture than config.json says: copy the folder again",
        )


def _weights_seed(seed: int) -> int:
    """The draws of new weights are a function of the run's seed and of nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}:weights".encode()).digest()[:7], "big")


def max_length_of(backbone: Backbone) -> int:
    """The longest row the model takes, in tokens, special tokens included."""
    limits = [FALLBACK_MAX_LENGTH] if not hasattr(backbone.config, "max_position_embeddings") else []
    told = backbone.tokenizer.model_max_length
    if told and 0 < told < SANE_MAX_LENGTH:
        limits = [told]
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - position_offset(backbone.skeleton))
    return min(limits) if limits else FALLBACK_MAX_LENGTH


def position_offset(model: nn.Module) -> int:
    """The position id of a row's first token: 0, or padding id + 1 for RoBERTa and its kin."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
