"""What learning starts from, what is learned, how rows become inputs and how a model answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pretune.options import Settings, option

__all__ = [
    "READ_BY_MODALITY",
    "AnsweringSettings",
    "AudioSettings",
    "AugmentSettings",
    "BackboneSettings",
    "DecodingSettings",
    "ImageSettings",
    "PoolingSettings",
    "PretrainingSettings",
    "TaskSettings",
    "TextSettings",
    "WritingSettings",
]

READ_BY_MODALITY: Mapping[str, tuple[str, ...]] = {
    "text": ("max_length", "long_text", "tokenizer", "vocab_size", "group_by_length"),
    "image": ("image_size",),
    "audio": ("sampling_rate", "group_by_length"),
}
"""The settings that say how rows of a kind are read; a task or objective adds its own and calls them ``reads``."""


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """How text becomes tokens."""

    max_length: int | None = option(
        None, "longest row in tokens; default: the model's own limit, or less if no row needs it", low=8, high=1_000_000
    )
    long_text: str = option(
        "truncate",
        "rows over the limit: keep the start, keep start and end, or cut into windows whose predictions are averaged",
        choices=("truncate", "head-tail", "windows"),
    )


@dataclass(frozen=True, kw_only=True)
class PoolingSettings(Settings):
    """How the states of a text's tokens become what a classifier reads."""

    pooling: str = option(
        "auto",
        "text: what the classifier reads of the tokens: first, mean, max, last, weighted-mean, several with + (first+mean), or own (the architecture's own head); auto: what a sentence encoder's 1_Pooling/config.json says, the mean where the architecture's own head would be new too, and else what tells validation rows apart better",
        metavar="MODE",
    )


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """How pictures become pixels."""

    image_size: int | None = option(
        None,
        "side of the pictures in pixels; default: what the model was made for, and for scratch:... 224 or less if the pictures are smaller",
        low=16,
        high=1024,
    )


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(Settings):
    """How rows are varied while they are learned from."""

    augment: str = option(
        "auto",
        "vary rows while learning: none, light (pictures: crop, flip; clips: shift, gain, noise, hidden frames; texts: hidden words), strong (also turn, colour, erase; with boxes four pictures as one; speed; a few words of a text alone); auto: light, and none for text and with --adapt head or top:N",
        choices=("auto", "none", "light", "strong"),
    )


@dataclass(frozen=True, kw_only=True)
class AudioSettings(Settings):
    """How sound becomes samples."""

    sampling_rate: int | None = option(
        None,
        "with scratch:wav2vec2-... samples a second that the model hears; default: 8000 for telephone-quality data, else 16000",
        low=8000,
        high=16_000,
    )


@dataclass(frozen=True, kw_only=True)
class DecodingSettings(Settings):
    """How answers of several letters are searched for."""

    beam_size: int = option(
        1,
        "answers kept while a text is searched: translations (usually 4), transcripts; 1 takes what is likeliest each time",
        low=1,
        high=1000,
    )
    max_new_tokens: int | None = option(
        None,
        "text-to-text: longest answer in tokens; default: by the length of what is read, as in the training rows",
        low=1,
    )
    length_penalty: float | None = option(
        None, "text-to-text with beams: power of the length that a score is divided by, more for longer answers; default: 1", low=-10, high=10
    )  # fmt: skip
    no_repeat_ngram: int | None = option(
        None, "text-to-text: so many tokens in a row come only once in an answer; default: 0, they may", low=0
    )


@dataclass(frozen=True, kw_only=True)
class WritingSettings(Settings):
    """How a model that writes goes on."""

    temperature: float | None = option(
        None,
        "models that write: 0 takes the likeliest token, more draws more freely; default: 0.8",
        low=0.0,
        high=100.0,
    )
    top_p: float | None = option(
        None,
        "models that write: draw among the likeliest tokens that have this probability together; default: 0.95",
        low=0.01,
        high=1.0,
    )
    top_k: int | None = option(
        None, "models that write: draw among so many of the likeliest tokens; default: all", low=1
    )
    stop: tuple[str, ...] = option(
        (), "models that write: a word before which a text ends; may be given several times", metavar="WORD"
    )
    sampling_seed: int | None = option(
        None, "models that write: another number draws another text; default: 0", low=0, high=2**32 - 1
    )


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings(Settings):
    """How a finished model answers."""

    precision: str = option("auto", "number format of matrix products", choices=("auto", "fp32", "bf16"))
    device: str = option(
        "auto", "where to compute: auto takes a GPU of CUDA where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int | None = option(None, "processor threads; default: all", low=1)
    beam_size: int | None = option(
        None,
        "answers kept while a text is searched (translations, transcripts); default: as many as it was fine-tuned with",
        low=1,
        high=1000,
    )
    max_new_tokens: int | None = option(
        None,
        "text-to-text, text-generation: longest answer in tokens; default: as it was fine-tuned, text-generation 128",
        low=1,
    )
    length_penalty: float | None = option(
        None, "text-to-text with beams: power of the length that a score is divided by; default: as it was fine-tuned", low=-10, high=10
    )  # fmt: skip
    no_repeat_ngram: int | None = option(
        None, "text-to-text: so many tokens in a row come only once in an answer; default: as it was fine-tuned", low=0
    )
    take: int | None = option(
        None,
        "text-to-speech: which of the ways of saying a text; another number, another take; default: 0 (a fastspeech has one way only)",
        low=0,
    )
    vocoder: str | None = option(
        None,
        "text-to-speech: a run of pretune pretrain scratch:wavenet-... that makes the sound; default: Griffin-Lim",
        metavar="RUN",
    )


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TextSettings, PoolingSettings, ImageSettings, AudioSettings, AugmentSettings, DecodingSettings):
    """What labels mean and how they are learned."""

    task: str = option(
        "auto",
        "text-classification, image-multilabel-classification (several labels a row), text-regression (numbers), token-classification (tags), text-to-text (translations, summaries), speech-recognition, text-to-speech, ...: pretune list --tasks shows all; auto: found from the columns",
        metavar="TASK",
    )
    head: str = option(
        "auto",
        "what stands on the trunk where a task has several: unet or deeplabv3plus for semantic-segmentation, ssd, ssd-fpn or faster-rcnn for object-detection (queries: a DETR's own), heatmap for keypoint-detection; auto: the first, or the backbone's own",
        metavar="HEAD",
    )
    adapt: str = option(
        "full",
        "what learns: full, head, linear (logistic regression on the features, nothing else), top:N (head and N top layers), gradual (layer by layer), llrd (deeper layers slower), lora (head and a change of low rank to each matrix, merged at the end), contrastive (few labels: features of a class become alike, of others apart, and logistic regression tells them)",
        metavar="MODE",
    )
    llrd_decay: float = option(0.9, "with --adapt llrd: each deeper layer learns this much slower", low=0.1, high=1.0)
    lora_rank: int = option(8, "with --adapt lora: rank of the changes", low=1, high=4096)
    lora_alpha: float | None = option(
        None, "with --adapt lora: changes count alpha/rank times; default: twice the rank", low=1e-3, high=1e6
    )
    lora_targets: str = option(
        "all",
        "with --adapt lora: the matrices that change, by the last word of their names, as in query,value; all: those of all layers",
        metavar="NAMES",
    )
    cache_trunk: bool = option(
        True,
        "with --adapt head, linear or top:N: compute what does not learn once, keep it on disk and learn on the rest",
    )
    class_weights: str = option(
        "none",
        "weigh classes by rarity; where rows have several labels: having one as much as not having it",
        choices=("none", "auto"),
    )
    label_smoothing: float | None = option(
        None,
        "share of the target spread over all classes or tokens; where rows have several labels: over yes and no; default: 0, text-to-text 0.1",
        low=0.0,
        high=0.9,
    )

    @property
    def rests(self) -> bool:
        """Does what lies under the head rest, or most of it? Rows can be run through it once then, and are not varied."""
        return self.adapt in ("head", "linear") or self.adapt.startswith("top:")


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(TextSettings, ImageSettings, AudioSettings, AugmentSettings):
    """What is learned from rows without labels."""

    objective: str = option(
        "auto",
        "what to learn: masked-text, causal-text (each token from those before it), span-text (T5: hidden stretches), permuted-text (XLNet: hidden tokens in a random order), replaced-text (ELECTRA: which tokens a small generator put there), contrastive-text (SimCSE: which views are of one text), masked-image, contrastive-image, self-distillation-image, contrastive-audio (wav2vec 2.0), masked-audio (HuBERT: clusters of hidden frames), contrastive-clips (COLA: which pieces are of one clip), next-sample; auto: by the backbone",
        choices=(
            "auto",
            "masked-text",
            "causal-text",
            "span-text",
            "permuted-text",
            "replaced-text",
            "contrastive-text",
            "masked-image",
            "contrastive-image",
            "self-distillation-image",
            "contrastive-audio",
            "masked-audio",
            "contrastive-clips",
            "next-sample",
        ),
    )
    mix: str = option(
        "",
        "several objectives at once on one trunk, each with its share of the loss: masked-text=0.7,contrastive-text=0.3; the first one's model is kept",
        metavar="WORD=SHARE,...",
    )
    mask_fraction: float | None = option(
        None,
        "share to mask; default: 0.15 of the tokens of a text (permuted-text: a sixth), 0.75 of a picture, 0.65 of a clip (in spans that overlap)",
        low=0.01,
        high=0.95,
    )
    mask_whole_words: bool = option(False, "text: mask all tokens of a word together")
    bag_of_words: float = option(
        0.0,
        "text: weight of telling a row's masked tokens from its first position alone, which classifiers read",
        low=0,
    )
    embeddings: str = option(
        "auto",
        "text: what fresh token embeddings begin from: cooccurrence (which tokens stand together in the rows; seconds), random; auto: cooccurrence",
        choices=("auto", "cooccurrence", "random"),
    )
    pack: str = option(
        "auto",
        "text: put several short rows into one sequence (they do not see each other); auto: where rows are short and padding would be computed",
        choices=("auto", "yes", "no"),
    )


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(Settings):
    """What learning starts from."""

    backbone: str = option(
        help="hub id, model folder, run folder, scratch:<preset> (scratch:bert-mini), or to fine-tune a linear model on simple features: linear:tfidf, linear:log-mel, linear:pixels",
        positional=True,
        metavar="BACKBONE",
    )
    tokenizer: str = option(
        "auto", "with scratch:... the tokenizer to train (wordpiece, bpe) or a folder that holds one", metavar="KIND"
    )
    vocab_size: int | None = option(
        None,
        "with scratch:... tokens in the vocabulary, with linear:tfidf terms; default: by the size of the data",
        low=100,
        high=1_000_000,
    )
    trust_remote_code: bool = option(False, "run Python code that comes with the backbone; only for sources you trust")
