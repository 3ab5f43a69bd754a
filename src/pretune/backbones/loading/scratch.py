"""Fresh backbones: the config of a named size, and the tokenizer, image processor or feature extractor that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.backbones.linear import MEL_NUMBERS, PIXEL_NUMBERS, NoFiles, linear_config
from pretune.backbones.loading.folder import check_folder
from pretune.backbones.loading.processors import load_tokenizer
from pretune.backbones.presets.audio import audio_config, feature_extractor
from pretune.backbones.presets.image import image_config, image_processor
from pretune.backbones.presets.named import SCRATCH, preset_config, preset_tokenizer
from pretune.backbones.presets.seq2seq import SEQ2SEQ_PRESETS, num_sentinels
from pretune.errors import UsageError, did_you_mean
from pretune.modalities.text.terms import count_terms
from pretune.modalities.text.tokenizers.train import as_writer, count_texts, default_vocab_size, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.modalities.text.template import FastTokenizer

__all__ = ["fresh_linear", "scratch_audio", "scratch_image", "scratch_text"]

TOKENIZER_KINDS = ("auto", "wordpiece", "bpe")
DEFAULT_IMAGE_SIZE = 224
DEFAULT_SAMPLING_RATE = 16_000


def scratch_text(
    name: str, texts: Callable[[], Iterable[str]] | None, tokenizer: str, vocab_size: int | None
) -> tuple[PreTrainedConfig, FastTokenizer, dict[str, Any]]:
    """Config and tokenizer of ``scratch:bert-mini``, and where the tokenizer came from. Raises :class:`UsageError`."""
    preset = name.removeprefix(SCRATCH)
    own_kind, writes = preset_tokenizer(preset), preset in SEQ2SEQ_PRESETS
    if tokenizer == "wordpiece" and writes:
        raise UsageError(
            f"--tokenizer is wordpiece, whose texts are lower-cased, and {name} writes texts", "leave --tokenizer out"
        )
    if tokenizer not in TOKENIZER_KINDS:
        folder = Path(tokenizer).expanduser()
        if not folder.is_dir():
            raise UsageError(
                f"--tokenizer is {tokenizer!r}",
                f"{did_you_mean(tokenizer, TOKENIZER_KINDS)}, or a folder with tokenizer.json",
            )
        folder = folder / "model" if (folder / "run.json").exists() else folder
        check_folder(folder, trust_remote_code=False, weights=False)
        found, notes = load_tokenizer(folder, False), {"tokenizer_source": f"read from {tokenizer}"}
    elif texts is None:
        raise UsageError(f"{name} has no tokenizer yet", "give texts to train one on, or --tokenizer FOLDER")
    else:
        kind = own_kind if tokenizer == "auto" else tokenizer
        count = count_texts(texts())
        if writes and vocab_size is None:  # what is written costs as much for each token as the vocabulary is long
            vocab_size = default_vocab_size(count.total) // 2
        found = train_tokenizer(texts, kind=kind, vocab_size=vocab_size, count=count)
        found = as_writer(found, num_sentinels(preset)) if writes else found
        notes = {"tokenizer_source": f"trained on {count.texts} texts"}
    return preset_config(preset, found), found, notes


def fresh_linear(
    features: str,
    texts: Callable[[], Iterable[str]] | None,
    most_terms: int | None,
    rate: int | None,
    *,
    unspaced: bool,
) -> tuple[PreTrainedConfig, Any, dict[str, Any]]:
    """Config of ``linear:tfidf`` and what makes its features: the vocabulary that is counted in the texts, for other features nothing.

    Raises :class:`UsageError` without texts.
    """
    if features == "tfidf":
        if texts is None:
            raise UsageError("linear:tfidf has no vocabulary yet", "give texts to count one in")
        terms, count = count_terms(texts(), unspaced=unspaced, most=most_terms)
        notes = {"terms_source": f"counted in {count} texts"}
        return linear_config(features, len(terms.names)), terms, notes
    if features == "log-mel":
        return linear_config(features, MEL_NUMBERS, rate=rate or DEFAULT_SAMPLING_RATE), NoFiles(), {}
    return linear_config(features, PIXEL_NUMBERS), NoFiles(), {}


def scratch_image(name: str, image_size: int | None) -> tuple[PreTrainedConfig, Any, dict[str, Any]]:
    """Config and image processor of ``scratch:vit-tiny`` for pictures of ``image_size`` pixels (224 when not told)."""
    size = image_size or DEFAULT_IMAGE_SIZE
    return image_config(name.removeprefix(SCRATCH), size), image_processor(size), {"image_size_source": "--image-size"}


def scratch_audio(name: str, sampling_rate: int | None) -> tuple[PreTrainedConfig, Any, dict[str, Any]]:
    """Config and feature extractor of ``scratch:wav2vec2-tiny`` for sound of ``sampling_rate`` Hz (16,000 when not told)."""
    preset, rate = name.removeprefix(SCRATCH), sampling_rate or DEFAULT_SAMPLING_RATE
    return audio_config(preset, rate), feature_extractor(preset, rate), {}
