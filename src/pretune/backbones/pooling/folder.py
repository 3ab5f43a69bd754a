"""A pooled classifier as a folder that plain transformers loads: what its own classes compute, made to compute the same.

``AutoModelForSequenceClassification`` of BERT and RoBERTa reads the first position through a linear map and tanh. One more layer
before it that learned nothing brings the mean there: its queries are zero, so that it attends to all real positions alike; its
values are the states, so much larger (2^20) than what they are added to that the layer's norm leaves the normed mean alone (to
about 1e-6); its feed-forward part is zero. The linear map then scales by 2^-12, where tanh is a line, and the classifier's
weights are as much larger. Powers of two change no digit, so pretune gets its own weights back exactly, without that layer.
``pooled`` in config.json says so. It holds in float32 and bfloat16; float16 does not reach so far.

Other ways to pool, and other architectures, cannot be said so: the folder then holds the encoder and ``pooled_classifier``,
which pretune loads. Each folder is tried before it is left: its answers, by transformers' own class, are compared.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import encoder_layers
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.parts.removed import full_weights
from pretune.backbones.pooling.pool import HEAD, MODES, POOLED, modes_of
from pretune.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["PooledFolder", "plain_form", "pooled_folder"]

_LARGE, _SMALL = 2.0**10, 2.0**-12
"""The values and the map behind them are scaled by the first (2^20 together), the classifier's input by the second."""

_CLOSE = 1e-3
"""Largest difference of a logit, over their spread, on the rows that are tried."""

_QUERY_KEY = ("attention.self.query", "attention.self.key")
_VALUE, _MIXED, _FIRST_NORM = "attention.self.value", "attention.output.dense", "attention.output.LayerNorm"
_FEED_FORWARD, _LAST_NORM = ("intermediate.dense", "output.dense"), "output.LayerNorm"
_PARTS = (*_QUERY_KEY, _VALUE, _MIXED, _FIRST_NORM, *_FEED_FORWARD, _LAST_NORM)


class PooledFolder(NamedTuple):
    """What config.json says of a folder that a pooled classifier was written to: its ``modes``; and where transformers loads it too,
    the path of the ``layer`` that only pools (else empty), the ``scaled`` linear map and the ``classifier`` behind it.
    """

    modes: tuple[str, ...]
    layer: str = ""
    scaled: str = ""
    classifier: str = HEAD

    @property
    def is_plain(self) -> bool:
        """Does transformers' own class load it?"""
        return bool(self.layer)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self._asdict(), "modes": list(self.modes)}

    def weights(self, folder: Path, modes: Sequence[str]) -> dict[str, torch.Tensor]:
        """The folder's weights by name, without those that only stand for the pooling. The classifier is among them for a model
        that pools by the same ``modes``, as that one has it: to another it means nothing.
        """
        aside = tuple(f"{name}." for name in (self.layer, self.scaled, self.classifier) if name)
        tensors = _tensors(folder)
        found = {name: value for name, value in tensors.items() if not name.startswith(aside)}
        head = {kind: tensors.get(f"{self.classifier}.{kind}") for kind in ("weight", "bias")}
        if self.modes == tuple(modes) and head["weight"] is not None and head["bias"] is not None:
            scale = _SMALL if self.is_plain else 1.0
            found |= {f"{HEAD}.weight": scale * head["weight"], f"{HEAD}.bias": head["bias"]}
        return found


def pooled_folder(folder: Path, config: PreTrainedConfig) -> PooledFolder | None:
    """What the config says, with the layer that only pools taken out of ``config``; None where it says nothing of pooling.

    Raises :class:`ModelError` where it says what cannot be, or the weights of that layer are others: the folder was trained on by
    another program.
    """
    told = getattr(config, POOLED, None)
    if told is None:
        return None
    wrong = _wrong(told)
    if wrong:
        raise ModelError(f"{folder / 'config.json'} says {POOLED} = {wrong}", "copy the file again")
    found = PooledFolder(**{**told, "modes": tuple(told["modes"])})
    setattr(config, POOLED, {"modes": list(found.modes)})
    if found.is_plain:
        _check_layer(folder, found, config)
        config.num_hidden_layers -= 1
    return found


def _wrong(told: Any) -> str:
    is_known = isinstance(told, dict) and set(told) <= {*PooledFolder._fields} and isinstance(told.get("modes"), list)
    if not is_known or not told["modes"] or not set(map(str, told["modes"])) <= set(MODES):
        return repr(told)[:200]
    return "" if all(isinstance(value, str) for key, value in told.items() if key != "modes") else repr(told)[:200]


def _check_layer(folder: Path, found: PooledFolder, config: PreTrainedConfig) -> None:
    tensors = _tensors(folder, [f"{found.layer}.{part}.weight" for part in _PARTS])
    wanted = _layer_weights(
        {name.removeprefix(f"{found.layer}."): one for name, one in tensors.items()}, found.modes, config
    )
    if len(tensors) != len(_PARTS) or any(
        not torch.equal(wanted[name.removeprefix(f"{found.layer}.")], one) for name, one in tensors.items()
    ):
        raise ModelError(
            f"{folder}: the weights of {found.layer} are not those of a layer that only pools, as config.json says",
            f"the folder was changed after pretune wrote it; delete {POOLED} from config.json to take it as it is",
        )


def _tensors(folder: Path, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
    """A folder's tensors; of ``names`` those that it holds."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as held:
            wanted = held.keys() if names is None else set(held.keys()) & set(names)
            found.update({name: held.get_tensor(name) for name in wanted})
    return found


def plain_form(model: Any) -> nn.Module | None:
    """The pooled ``model`` as the classifier that transformers has for its architecture, answering alike; None where it cannot.

    Its config says how the folder is to be read (:func:`pooled_folder`).
    """
    import transformers

    modes = modes_of(model.config)
    if modes not in (("mean",), ("first",)):
        return None
    config = copy.deepcopy(model.config)
    config.num_hidden_layers += 1
    with torch.device("meta"):
        try:
            plain = transformers.AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, attn_implementation="eager"
            )
        except (ValueError, KeyError):
            return None  # no such head, or an architecture that brings its own code
    layers = encoder_layers(plain)
    where = _head_of(plain)
    if not layers or where is None or any(not hasattr(_at(layers[-1], part), "weight") for part in _PARTS):
        return None
    layer = next(name for name, module in plain.named_modules() if module is layers[-1])
    found = PooledFolder(modes, layer, *where)
    plain.load_state_dict(_weights(model, plain, found), assign=True, strict=False)
    _take_buffers(model, plain)
    setattr(plain.config, POOLED, found.to_dict())
    return plain if _answers_alike(model, plain) else None


def _at(module: Any, path: str) -> Any:
    for step in path.split("."):
        module = getattr(module, step, None)
    return module


def _head_of(plain: nn.Module) -> tuple[str, str] | None:
    """Where the linear map before tanh and the classifier are, by name."""
    prefix = str(getattr(plain, "base_model_prefix", ""))
    for scaled, classifier in ((f"{prefix}.pooler.dense", "classifier"), ("classifier.dense", "classifier.out_proj")):
        if all(isinstance(_at(plain, name), nn.Linear) for name in (scaled, classifier)):
            return scaled, classifier
    return None


def _weights(model: Any, plain: nn.Module, found: PooledFolder) -> dict[str, torch.Tensor]:
    """The weights of the plain form by name."""
    head: nn.Linear = getattr(model, HEAD)
    own = {name: value.detach().cpu() for name, value in (full_weights(model) or model.state_dict()).items()}
    shapes = {name: value for name, value in plain.state_dict().items() if name.startswith(f"{found.layer}.")}
    named = {name.removeprefix(f"{found.layer}."): value for name, value in shapes.items()}
    added = _layer_weights(named, found.modes, plain.config)
    width = model.config.hidden_size
    return {
        **{name: value for name, value in own.items() if not name.startswith(f"{HEAD}.")},
        **{f"{found.layer}.{name}": value for name, value in added.items()},
        f"{found.scaled}.weight": _SMALL * torch.eye(width),
        f"{found.scaled}.bias": torch.zeros(width),
        f"{found.classifier}.weight": head.weight.detach().cpu() / _SMALL,
        f"{found.classifier}.bias": head.bias.detach().cpu(),
    }


def _layer_weights(named: Mapping[str, torch.Tensor], modes: tuple[str, ...], config: Any) -> dict[str, torch.Tensor]:
    """The weights of the layer that only pools, of the shapes of ``named``."""
    norm = math.sqrt(1.0 + float(getattr(config, "layer_norm_eps", 1e-12)))
    diagonal = {f"{_VALUE}.weight": _LARGE, f"{_MIXED}.weight": _LARGE if modes == ("mean",) else 0.0}
    filled = {f"{_FIRST_NORM}.weight": 1.0, f"{_LAST_NORM}.weight": norm}
    return {
        name: diagonal[name] * torch.eye(*value.shape) if name in diagonal else torch.full(value.shape, filled.get(name, 0.0))
        for name, value in named.items()
    }  # fmt: skip


def _take_buffers(model: nn.Module, plain: nn.Module) -> None:
    """What is no weight (numbers of positions) stands nowhere in a file: as the model has it."""
    own = dict(model.named_buffers())
    for name, buffer in list(plain.named_buffers()):
        if buffer.is_meta and name in own:
            owner, _, last = name.rpartition(".")
            plain.get_submodule(owner).register_buffer(last, own[name].detach().cpu(), persistent=False)


def _answers_alike(model: Any, plain: Any) -> bool:
    """Do both say the same of rows of random tokens, some of them padded?"""
    if any(value.is_meta for value in (*plain.state_dict().values(), *plain.buffers())):
        return False
    draw = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, int(model.config.vocab_size), (3, 12), generator=draw)
    mask_BT = torch.arange(12)[None] < torch.tensor([12, 7, 3])[:, None]
    ids_BT = torch.where(mask_BT, ids_BT, int(getattr(model.config, "pad_token_id", None) or 0))
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT.long()}
    device = next(model.parameters()).device
    with evaluating(model), evaluating(plain), torch.inference_mode():
        own = model(**{name: value.to(device) for name, value in inputs.items()}).logits.cpu()
        other = plain(**inputs).logits
    spread = max(1.0, float(own.abs().max()))
    return bool(torch.isfinite(other).all()) and float((own - other).abs().max()) / spread < _CLOSE
