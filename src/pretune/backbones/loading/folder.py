"""Find a model's folder and see, before anything of it is loaded, that its files are whole and safe."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pretune import hub
from pretune.backbones.loading.limits import (
    Weights,
    check_config,
    check_files,
    check_preprocessor,
    check_tokenizer,
    read_json_file,
    refuse_too_large,
)
from pretune.backbones.presets.named import SCRATCH, preset_names
from pretune.errors import ModelError, did_you_mean
from pretune.files import parse_json
from pretune.sums import Sums

__all__ = ["check_folder", "find_folder", "require_tokenizer"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
HUB_LEFT_OUT = ["onnx/*", "openvino/*", "*/*.safetensors"]
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
EXPORTED = ("model.onnx", "model.xml", "model.pt2")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tekken.json")
MAX_HEADER_BYTES = 25_000_000
_SETTINGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_BYTES_IN_MEMORY = 5
"""Of a weight: four, and a little for what is made around it."""


def find_folder(name: str, *, trust_remote_code: bool = False) -> Path:
    """The folder of a backbone's name: a folder, a run folder's ``model/``, or a download from the hub.

    Raises :class:`ModelError` when there is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _run_model(path) if (path / "run.json").exists() else path
    if path.exists():
        raise ModelError(f"{name} is a file", "give the folder that holds config.json and model.safetensors")
    if name.startswith(hub.PREFIX):
        return _download(name.removeprefix(hub.PREFIX), trust_remote_code)
    _refuse_mistyped(name)
    return _download(name, trust_remote_code)


def _refuse_mistyped(name: str) -> None:
    """Raise :class:`ModelError` for what is no id of the hub, or looks like a path or a preset that was meant."""
    presets = {preset: SCRATCH + preset for preset in preset_names()}
    if HUB_ID.fullmatch(name) is None or name.startswith(("runs/", "scratch")):
        raise ModelError(
            f"there is no folder {name}",
            f"give a model folder, a run folder, a hub id, or a preset; {did_you_mean(name, presets.values())}",
        )
    meant = f"did you mean {presets[name]}?" if name in presets else hub.taken_for_a_path(name, presets)
    for preset, whole in presets.items():
        meant = meant.replace(f"did you mean {preset}?", f"did you mean {whole}?")
    if meant:
        raise ModelError(
            f"there is no folder or preset {name}", f"{meant} The model of that name on the hub is {hub.PREFIX}{name}"
        )


def _run_model(run: Path) -> Path:
    if not (run / "model" / "config.json").exists():
        raise ModelError(
            f"the run {run} has no finished model (no {run / 'model'})",
            "run its command again: it goes on from the last checkpoint",
        )
    return run / "model"


def _download(name: str, trust_remote_code: bool) -> Path:
    import huggingface_hub

    patterns = [*HUB_FILES, "*.py"] if trust_remote_code else HUB_FILES
    answer, why = hub.ask(name, "model")
    try:
        if answer is hub.Answer.ABSENT:
            raise FileNotFoundError(why)
        with hub.quiet_hub():
            place = huggingface_hub.snapshot_download(
                name, allow_patterns=patterns, ignore_patterns=HUB_LEFT_OUT, local_files_only=answer is hub.Answer.UNREACHABLE,
            )  # fmt: skip
        return Path(place)
    except Exception as error:
        near = did_you_mean(name, [SCRATCH + preset for preset in preset_names()])
        raise ModelError(
            f"{name} is no folder here, and the hub did not give it: {why or type(error).__name__}",
            f"without a network: download the model to a folder on another machine and give that folder; or start fresh; {near}",
        ) from error


def check_folder(folder: Path, *, trust_remote_code: bool, weights: bool = True) -> Weights | None:
    """See that the folder's files are what was written (where it has sums) and ask for no more than a model needs, that its JSON is
    safe and its weights are whole safetensors files, of which it returns what their headers say.

    ``weights`` False checks a folder that is only asked for its config and processor. Raises :class:`ModelError` and
    :class:`pretune.errors.CorruptFile`, naming the file.
    """
    check_files(folder)
    found = _weights_of(folder) if weights else None
    if found:
        refuse_too_large(folder, _BYTES_IN_MEMORY * found.values)
    Sums(folder).check()
    for name in _SETTINGS:
        path = folder / name
        if path.exists():
            told = read_json_file(path)
            _check_json(path, told, trust_remote_code)
            if name == "config.json":
                check_config(told, path, found)
            elif name != "tokenizer_config.json":
                check_preprocessor(told, path)
    check_tokenizer(folder)
    return found


def _weights_of(folder: Path) -> Weights:
    """What the headers of a folder's safetensors files say. Raises :class:`ModelError` where it holds no such model."""
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{folder} holds no config.json",
            "give the folder of a model: config.json, model.safetensors, and its tokenizer or image processor",
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter, not a whole model",
            "merge it into its base model first (peft: merge_and_unload) and save that",
        )
    found = [_check_safetensors(path) for path in _weight_files(folder)]
    return Weights(*(sum(numbers) for numbers in zip(*found, strict=True)))


def require_tokenizer(folder: Path) -> None:
    """Raise :class:`ModelError` where a folder holds no tokenizer: transformers would make an empty one and say nothing."""
    if not any(next(folder.glob(pattern), None) for pattern in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer", "copy tokenizer.json and tokenizer_config.json of the model into it"
        )


def _check_json(path: Path, value: Any, trust_remote_code: bool) -> None:
    """Refuse keys through which a model folder can have code run, at any depth."""
    if isinstance(value, list):
        for item in value:
            _check_json(path, item, trust_remote_code)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in ("auto_map", "custom_pipelines") and item and not trust_remote_code:
            raise ModelError(
                f"{path} asks to run Python code that came with the model ({key})",
                "read that code first; if you trust it, use --trust-remote-code",
            )
        if _is_suspicious(key, item):
            raise ModelError(
                f"{path} holds {key} = {item!r}: a model folder may not set this",
                "delete the key from the file if you trust the rest",
            )
        _check_json(path, item, trust_remote_code)


def _is_suspicious(key: str, item: Any) -> bool:
    """Keys that choose what code runs: hub kernels, attention that is none of transformers' own, trust in itself."""
    if key in ("trust_remote_code", "use_kernels"):
        return bool(item)
    name = key.lstrip("_")
    if name == "attn_implementation_autoset":
        return False
    if name.startswith(("attn_implementation", "experts_implementation", "kernel")):
        return item is not None and (key.startswith("_") or item not in ATTENTION)
    return False


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not index.exists():
        raise _no_safetensors(folder)
    shards = read_json_file(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{index} has no weight_map", "copy the file again")
    for name in sorted(set(shards.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(f"{index} names {name}, which is not in {folder}", "copy all files of the model")
    return [folder / name for name in sorted(set(shards.values()))]


def _no_safetensors(folder: Path) -> ModelError:
    exported = next((name for name in EXPORTED if (folder / name).exists()), None)
    if exported is not None:
        return ModelError(
            f"{folder} holds its model as {exported}, which answers but cannot learn or be changed",
            "give the run that it was made from (`pretune list` shows them)",
        )
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not pickles:
        return ModelError(f"{folder} holds no model.safetensors", "copy the weights into the folder")
    return ModelError(
        f"{folder} holds its weights only as {pickles[0]}, a pickle: loading one can run any code",
        "convert it where you trust it: load it with transformers there and call save_pretrained, which writes model.safetensors",
    )


def _check_safetensors(path: Path) -> Weights:
    """Read the header and compare it with the file's size; no weight is loaded."""
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"):
            raise ModelError(f"{path} is a pickle with another name", "do not load it; get the model as safetensors")
        header_bytes = int.from_bytes(start, "little") if len(start) == 8 else size
        try:
            if header_bytes > min(size, MAX_HEADER_BYTES):
                raise ValueError(f"its header would be {header_bytes} bytes of {size}")
            header = parse_json(file.read(header_bytes))
            with safe_open(path, framework="numpy") as tensors:
                if not tensors.keys():
                    raise ValueError("it holds no weights")
        except (SafetensorError, ValueError, OSError, RecursionError) as error:
            raise ModelError(f"{path} ({size} bytes) is damaged or cut short: {error}", "copy the file again") from None
    shapes = [told["shape"] for name, told in header.items() if name != "__metadata__"]
    return Weights(len(shapes), sum(math.prod(shape) for shape in shapes), size)
