"""What the files of a model's folder may ask for, seen before any library opens one of them.

A folder comes from anywhere. Its numbers decide how much is built (layers, labels, pixels), its tokenizer how long a text
becomes; a pipe in the place of a file is waited for, a device never ends. What can be bounded by looking is bounded here;
patterns of a tokenizer, whose time cannot be read off them, are tried (:mod:`pretune.trial`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import math
import os
import re
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from pretune.errors import ModelError
from pretune.files import MAX_JSON_VALUES, parse_json, values_of_json
from pretune.machine import free_memory_bytes
from pretune.modalities.text.tokenizers.patterns import OWN_PATTERNS
from pretune.trial import TrialFailed, tried

__all__ = [
    "MOST_SIDE",
    "Weights",
    "check_config",
    "check_files",
    "check_preprocessor",
    "check_tokenizer",
    "read_json_file",
    "refuse_too_large",
    "within",
]

MOST_SIDE = 8192
"""Pixels: no model reads larger pictures."""

_MEGABYTE = 1 << 20
_MOST_BYTES = {
    ".json": 64 * _MEGABYTE, ".txt": 16 * _MEGABYTE, ".model": 32 * _MEGABYTE, ".jinja": _MEGABYTE, ".py": _MEGABYTE, ".xml": 256 * _MEGABYTE,
}  # fmt: skip
_OPENED = (*_MOST_BYTES, ".safetensors", ".onnx", ".bin", ".data", ".pt2")
_MOST_ENTRIES, _DEEPEST, _MOST_LINES = 10_000, 2, 2_000_000
_NO_FILES = ("/dev/", "/proc/", "/sys/")

_LAYERS = re.compile(r"(layers?|depths?|blocks?|stages?|experts?|modules?|repeats?)$")
_COUNTS = re.compile(r"^(num|n)_|(heads?|groups?|levels?|codebooks?|labels)$")
_FREE = re.compile(r"(ids?|seed|theta|version|length|base|timestamps?|tokens?)$|^(bos|eos|pad|sep|cls|mask)_")
"""Of a config: numbers that name a token or a frequency, and make nothing large."""
_NAMES = ("label2id.",)
"""Of a config: what is called by people, "baseball player" too."""
_FEWEST_LAYERS, _MOST_COUNTED, _MOST_SIZE, _MOST_LISTED = 512, 200_000, 10**8, 200_000
"""A file's weights bound its layers; a folder whose weights are in another form may have so many."""

_SIDES = ("height", "width", "shortest_edge", "longest_edge", "size", "crop_size", "image_size", "patch_size")
_LEAST_RATE, _MOST_RATE, _MOST_OF_A_PROCESSOR = 100, 1_000_000, 10_000_000

_MOST_GROWTH, _MOST_LETTERS, _MOST_ADDED, _MOST_PIECES, _LONGEST_WORD = 1000.0, 1000, 50_000, 1000, 100_000
_TRIAL_SECONDS, _TRIAL_MEGABYTES = 4.0, 600.0


class Weights(NamedTuple):
    """What the headers of a folder's weights say: so many tensors, numbers and bytes."""

    tensors: int
    values: int
    bytes: int


def check_files(folder: Path) -> None:
    """Raise :class:`ModelError` for what is no regular file in the place of one that a library would open, and for one too large."""
    count = 0
    for here, folders, names in os.walk(folder):
        if len(Path(here).relative_to(folder).parts) >= _DEEPEST:
            folders.clear()
        count += len(names) + len(folders)
        if count > _MOST_ENTRIES:
            raise ModelError(f"{folder} holds more than {_MOST_ENTRIES} files", "give the folder of one model")
        for name in [*names, *folders]:
            if Path(name).suffix.lower() in _OPENED:
                _check_file(Path(here, name))


def _check_file(path: Path) -> None:
    try:
        info = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "copy the file itself into the folder") from None
    if not stat.S_ISREG(info.st_mode) or os.path.realpath(path).startswith(_NO_FILES):
        raise ModelError(
            f"{path} is not a regular file (a folder, pipe, socket or device)", "copy the file itself into the folder"
        )
    suffix = path.suffix.lower()
    if info.st_size > _MOST_BYTES.get(suffix, info.st_size):
        raise ModelError(
            f"{path} has {info.st_size} bytes, {_MOST_BYTES[suffix]} are the most that such a file may have",
            "copy the file again",
        )
    if suffix == ".json" and values_of_json(path.read_bytes()) > MAX_JSON_VALUES:
        raise ModelError(f"{path} holds more than {MAX_JSON_VALUES} values", "copy the file again")
    if suffix == ".txt" and path.read_bytes().count(b"\n") > _MOST_LINES:
        raise ModelError(f"{path} has more than {_MOST_LINES} lines", "copy the file again")


def read_json_file(path: Path) -> dict[str, Any]:
    """An object of JSON that any program may have written: NaN and infinity are let pass. Raises :class:`ModelError`."""
    _check_file(path)
    try:
        value = parse_json(path.read_bytes(), allow_nan=True)
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}", "copy the file again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, not an object", "copy the file again")
    return value


def refuse_too_large(what: Path | str, needed_bytes: int) -> None:
    """Raise :class:`ModelError` for weights that do not fit into the memory that is free."""
    free = free_memory_bytes()
    if needed_bytes > free:
        raise ModelError(
            f"{what} needs {needed_bytes / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free",
            "take a smaller model, or a machine with more memory",
        )


def check_config(told: dict[str, Any], path: Path, weights: Weights | None) -> None:
    """Raise :class:`ModelError` for a config whose numbers ask for more than the weights hold, or than any model has."""
    layers = max(_FEWEST_LAYERS, weights.tensors) if weights else _FEWEST_LAYERS
    for place, key, number in _numbers(told):
        if _FREE.search(key) or place.startswith(_NAMES):
            continue
        if key in ("image_size", "patch_size"):
            low, most = 0, MOST_SIDE
        elif _LAYERS.search(key):
            low, most = 0, layers
        elif _COUNTS.search(key):
            low, most = 0, _MOST_COUNTED
        else:
            low, most = -_MOST_SIZE, _MOST_SIZE
        if not low <= number <= most:
            held = f" (the file of weights holds {weights.tensors})" if weights and most == layers else ""
            raise _absurd(path, place, number, f"{low} to {most}{held}")


def check_preprocessor(told: dict[str, Any], path: Path) -> None:
    """Raise :class:`ModelError` for an image processor or feature extractor that asks for absurd pictures or sound."""
    for place, key, number in _numbers(told):
        low, most = -_MOST_OF_A_PROCESSOR, _MOST_OF_A_PROCESSOR
        if key in _SIDES:
            low, most = 1, MOST_SIDE
        elif key == "sampling_rate":
            low, most = _LEAST_RATE, _MOST_RATE
        if not low <= number <= most:
            raise _absurd(path, place, number, f"{low} to {most}")


def _absurd(path: Path, place: str, number: float, allowed: str) -> ModelError:
    return ModelError(
        f"{path} says {place} = {number}, allowed: {allowed}",
        "the file is damaged, or belongs to no model that this is: copy the folder again",
    )


def _numbers(value: Any, place: str = "", key: str = "") -> Iterator[tuple[str, str, float]]:
    """Every number with the way to it and the name of its field; numbers of a list have the list's."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{place}.{name}" if place else name, name)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_MOST_LISTED]):
            yield from _numbers(item, f"{place}[{number}]", key)
    elif (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value) and value == math.floor(value) and abs(value) > _MOST_SIZE
    ):
        yield place, key, value


def check_tokenizer(folder: Path) -> None:
    """Raise :class:`ModelError` for a tokenizer that makes a long text of a short one, takes its time with it, or has absurd tokens."""
    for name, key in (("added_tokens.json", ""), ("tokenizer_config.json", "added_tokens_decoder")):
        if (path := folder / name).exists():
            told = read_json_file(path)
            added = told.get(key) if key else told
            if isinstance(added, dict) and len(added) > _MOST_ADDED:
                raise ModelError(
                    f"{path} has {len(added)} added tokens, {_MOST_ADDED} are the most", "copy the file again"
                )
    path = folder / "tokenizer.json"
    if path.exists():
        _check_backend(read_json_file(path), path)


def _check_backend(told: dict[str, Any], path: Path) -> None:
    for name in ("normalizer", "decoder"):
        growth = _growth(told.get(name))
        if growth > _MOST_GROWTH:
            raise ModelError(
                f"{path} makes {growth:.0f} letters of one ({name})", "choose a model with another tokenizer"
            )
    _check_words(told, path)
    patterns = set(_patterns([told.get("normalizer"), told.get("pre_tokenizer")])) - OWN_PATTERNS
    if patterns:
        _try(path)


def _check_words(told: dict[str, Any], path: Path) -> None:
    """The vocabulary's own settings, the tokens beside it and those around each row."""
    model, added = told.get("model"), told.get("added_tokens")
    model, added = model if isinstance(model, dict) else {}, added if isinstance(added, list) else []
    parts = [model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token")]
    parts += [token.get("content") for token in added if isinstance(token, dict)]
    longest = max((len(part) for part in parts if isinstance(part, str)), default=0)
    padding = (told.get("padding") or {}) if isinstance(told.get("padding"), dict | None) else {}
    fixed = padding.get("strategy", {}).get("Fixed", 0) if isinstance(padding.get("strategy"), dict) else 0
    counts = {
        "letters of a token": (longest, _MOST_LETTERS),
        "added tokens": (len(added), _MOST_ADDED),
        "pieces around a row": (_pieces(told.get("post_processor")), _MOST_PIECES),
        "letters of a word (max_input_chars_per_word)": (model.get("max_input_chars_per_word") or 0, _LONGEST_WORD),
        "tokens that rows are filled up to": (fixed, _MOST_COUNTED),
    }
    for what, (count, most) in counts.items():
        if isinstance(count, int | float) and count > most:
            raise ModelError(f"{path} has {count} {what}, {most} are the most", "choose a model with another tokenizer")


def _growth(node: Any) -> float:
    """The most letters that a normaliser makes of one; Unicode's own forms make 18 at most and are not counted."""
    if isinstance(node, list):
        return math.prod(_growth(one) for one in node[:_MOST_PIECES])
    if not isinstance(node, dict):
        return 1.0
    inner = math.prod(_growth(node[key]) for key in ("normalizers", "decoders", "pretokenizers") if key in node)
    if node.get("type") == "Replace":
        content, pattern = node.get("content"), node.get("pattern")
        letters = len(content) if isinstance(content, str) else 0
        found = pattern.get("String") if isinstance(pattern, dict) else None
        return max(1.0, letters / len(found)) if isinstance(found, str) and found else letters + 1.0
    if node.get("type") == "Prepend":
        letters = len(node["prepend"]) if isinstance(node.get("prepend"), str) else 0
        return math.inf if letters > _MOST_LETTERS else 1.0
    if node.get("type") == "Precompiled":
        return _longest_of_charsmap(node.get("precompiled_charsmap"))
    return inner


def _longest_of_charsmap(told: Any) -> float:
    """The longest text in SentencePiece's table of characters: a trie of so many bytes, then texts that end in zero bytes."""
    if not isinstance(told, str):
        return 1.0
    with contextlib.suppress(binascii.Error, ValueError):
        table = base64.b64decode(told)
        start = 4 + int.from_bytes(table[:4], "little")
        return float(max((len(part) for part in table[start:].split(b"\0")), default=1))
    return 1.0


def _pieces(node: Any) -> int:
    """The tokens that a post-processor puts around a row, at most."""
    if isinstance(node, dict):
        lists = [len(item) for item in node.values() if isinstance(item, list)]
        return sum(lists) + sum(_pieces(item) for item in node.values())
    return sum(_pieces(item) for item in node[:_MOST_PIECES]) if isinstance(node, list) else 0


def _patterns(node: Any) -> Iterator[str]:
    """The regular expressions of normalisers and of what cuts a text into words."""
    if isinstance(node, dict):
        if isinstance(node.get("Regex"), str):
            yield node["Regex"]
        for item in node.values():
            yield from _patterns(item)
    elif isinstance(node, list):
        for item in node:
            yield from _patterns(item)


def _try(path: Path) -> None:
    name = hashlib.sha256(path.read_bytes()).hexdigest()
    module = "pretune.modalities.text.tokenizers.trial"
    try:
        tried(module, [str(path)], name=name, seconds=_TRIAL_SECONDS, megabytes=_TRIAL_MEGABYTES)
    except TrialFailed as error:
        raise ModelError(f"{path} cannot be used: {error}", "choose a model with another tokenizer") from None


@contextlib.contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raise :class:`ModelError` where the block takes longer, in processor time of this process. Only the main thread can be held
    to that, and only while it runs Python; Windows has no such alarm.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise ModelError(
            f"{what} takes longer than {seconds:g} seconds of the processor to be prepared",
            "no model is that large: check the numbers in config.json, or copy the folder again",
        )

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
