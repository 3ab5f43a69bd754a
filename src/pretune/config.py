"""The options that several verbs share, in groups: a verb's settings class inherits those it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pretune.errors import UsageError
from pretune.options import Settings, name_of, option

__all__ = [
    "READ_BY_MODALITY",
    "AnsweringSettings",
    "AsCleanedSettings",
    "AsReadSettings",
    "AudioSettings",
    "AugmentSettings",
    "BackboneSettings",
    "CleanSettings",
    "DataSettings",
    "DecodingSettings",
    "ImageSettings",
    "LabelledTrainSettings",
    "OutSettings",
    "PoolingSettings",
    "PretrainingSettings",
    "RunSettings",
    "TaskSettings",
    "TextSettings",
    "TrainSettings",
]

CLEAN_STEPS = ("html", "whitespace", "unicode", "stopwords")

READ_BY_MODALITY: Mapping[str, tuple[str, ...]] = {
    "text": ("max_length", "long_text", "tokenizer", "vocab_size", "group_by_length"),
    "image": ("image_size",),
    "audio": ("sampling_rate", "group_by_length"),
}
"""The settings that say how rows of a kind are read; a task or objective adds its own and calls them ``reads``."""


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Where the rows are and which columns mean what."""

    reads_input: ClassVar[bool] = False
    """Whether rows may come from standard input: not where they are needed again."""

    data: str | None = option(
        None,
        "file, folder, archive, hub id or pattern in quotes ('news/*.csv') with the data",
        metavar="DATA",
    )
    train: tuple[str, ...] = option(
        (),
        "file, folder or pattern of the training rows, in place of --data or beside it; may be given several times",
        metavar="DATA",
    )
    validation: tuple[str, ...] = option((), "the same for the validation rows", metavar="DATA")
    test: tuple[str, ...] = option((), "the same for the test rows", metavar="DATA")
    column: tuple[str, ...] = option(
        (),
        "name a column: text=title, text_pair=reply, label=category, labels=tags (several a row; or columns of 0 and 1: labels=rude,loud), id=key, group=patient, split=set, fold=fold; a number is a position (from 0); of files: label=folder:2 is the second folder of their path",
        metavar="ROLE=NAME",
    )
    label_type: str = option(
        "auto",
        "what labels are: class takes each number as a class; auto: also, but refuses numbers that are scores to estimate",
        choices=("auto", "class"),
    )
    group: str | None = option(
        None,
        "column whose equal values stay on one side of every split (a patient, a speaker); folder:1 is the first folder of a file's path",
        metavar="COLUMN",
    )
    group_from: str | None = option(
        None,
        "as --group, from the names of the files: what this regular expression finds in each (its first group, if it has one); with a / in it, in the path",
        metavar="REGEX",
    )
    splits: str = option(
        "auto",
        "do folders and files called train, val, test, ... stand for splits; none: they are classes or tables like others",
        choices=("auto", "none"),
    )
    files: str | None = option(
        None,
        "folder or archive of the pictures or clips that a table names; default: the table's folder and below",
        metavar="FOLDER",
    )
    trust_paths: bool = option(
        False,
        "open files wherever the paths and links in the data lead, outside its folder too; only for data that you trust",
    )
    header: str = option("auto", "does the first row of a CSV/TSV name the columns", choices=("auto", "yes", "no"))
    delimiter: str | None = option(
        None, "what separates columns of a text table, where it is not found by looking (\\t for a tab)"
    )
    encoding: str | None = option(
        None, "encoding of text files, where it is not found by looking (utf-8, latin-1, gb18030, ...)"
    )
    format: str = option(
        "auto",
        "what stands on the lines of a text file: a table, one text each (lines), a label before (label-first) or behind (label-last) its text, one word each with its tag last (conll); auto: by name and by looking",
        choices=("auto", "table", "lines", "label-first", "label-last", "conll"),
    )
    test_fold: str | None = option(
        None, "where a column says in which fold a row stands: the fold that is the test split", metavar="FOLD"
    )
    validation_fraction: float = option(
        0.1, "share of rows split off for validation where no such split is given", low=0.0, high=0.9
    )
    test_fraction: float = option(
        0.1, "share of rows split off for the test where no such split is given", low=0.0, high=0.9
    )
    split_seed: int = option(0, "another number makes another split; the same number the same split, for ever", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.places and not self.train:
            spec = next(spec for spec in dataclasses.fields(self) if spec.name == "data")
            missing = (
                "--train is missing beside --validation or --test"
                if self.validation or self.test
                else f"{name_of(spec)} is missing: {spec.metadata['help']}"
            )
            raise UsageError(
                missing,
                f"give --data, or --train FILE (--validation FILE, --test FILE); pretune {self.verb} --help shows an example",
            )

    @property
    def places(self) -> tuple[str, ...]:
        """What was given as the data, but for the files of a told split."""
        return () if self.data is None else (self.data,)

    @property
    def every_place(self) -> tuple[str, ...]:
        """All that was given as data, files of told splits too."""
        return (*self.places, *self.train, *self.validation, *self.test)

    @property
    def place(self) -> str:
        """What the data is called: the first that was given."""
        return next(iter((*self.places, *self.train)), "")

    def elsewhere(self, data: str, **changes: Any) -> Self:
        """The same reading of other data."""
        return dataclasses.replace(self, data=data, train=(), validation=(), test=(), **changes)


@dataclass(frozen=True, kw_only=True)
class CleanSettings(Settings):
    """What is changed in the rows: asked for, counted, recorded."""

    clean: tuple[str, ...] = option(
        (),
        "clean the text: html, whitespace, unicode, stopwords (several with commas)",
        choices=CLEAN_STEPS,
        metavar="STEPS",
    )
    deduplicate: bool = option(False, "drop later copies of a row inside each split")
    drop_leaks: bool = option(False, "drop rows of train and unlabelled that also stand in validation or test")
    drop_near_leaks: bool = option(
        False, "as --drop-leaks, and drop also rows that are near duplicates of one in validation or test"
    )
    redact: bool = option(False, "replace e-mail addresses, phone, card and id numbers by [EMAIL], [PHONE], ...")


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
        "text: what the classifier reads of the tokens: first, mean, max, last, weighted-mean, several with + (first+mean), or own (the architecture's own head); auto: what a sentence encoder's 1_Pooling/config.json says, the mean for fresh models, and else what tells validation rows apart better",
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
        "vary rows while learning: none, light (pictures: crop, flip; clips: shift, gain, noise, hidden frames; texts: hidden words), strong (also turn, colour, erase; speed; a few words of a text alone); auto: light, and none for text and with --adapt head or top:N",
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
        "speech recognition: prefixes kept while a transcript is searched; 1 takes the best letter of each frame",
        low=1,
        high=1000,
    )


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings(Settings):
    """How a finished model answers."""

    precision: str = option("auto", "number format of matrix products", choices=("auto", "fp32", "bf16"))
    threads: int | None = option(None, "processor threads; default: all", low=1)
    beam_size: int | None = option(
        None,
        "speech recognition: prefixes kept while a transcript is searched; default: as many as it was fine-tuned with",
        low=1,
        high=1000,
    )


@dataclass(frozen=True, kw_only=True)
class AsReadSettings(Settings):
    """How files of rows are read; what is not said is as the model learned."""

    column: tuple[str, ...] = option(
        (),
        "name a column: text=title, text_pair=reply, label=category, id=key; default: those that the model learned from",
        metavar="ROLE=NAME",
    )
    header: str | None = option(
        None,
        "does the first row of a CSV/TSV name the columns; default: as the model learned",
        choices=("auto", "yes", "no"),
    )
    delimiter: str | None = option(
        None, "what separates columns of a text table (auto: found by looking); default: as the model learned"
    )
    encoding: str | None = option(
        None, "encoding of text files (auto: found by looking); default: as the model learned"
    )
    format: str | None = option(
        None,
        "what stands on the lines of a text file; default: as the model learned",
        choices=("auto", "table", "lines", "label-first", "label-last", "conll"),
    )
    files: str | None = option(
        None,
        "folder or archive of the pictures or clips that a table names; default: the table's folder and below",
        metavar="FOLDER",
    )
    trust_paths: bool = option(
        False,
        "open files wherever the paths and links in the data lead, outside its folder too; only for data that you trust",
    )


@dataclass(frozen=True, kw_only=True)
class AsCleanedSettings(Settings):
    """How texts are cleaned; what is not said is as the model learned."""

    clean: tuple[str, ...] | None = option(
        None,
        "clean the text: html, whitespace, unicode, stopwords (several with commas), or none; default: as the model learned",
        choices=(*CLEAN_STEPS, "none"),
        metavar="STEPS",
    )
    redact: bool | None = option(
        None, "replace e-mail addresses, phone, card and id numbers; default: as the model learned"
    )


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TextSettings, PoolingSettings, ImageSettings, AudioSettings, AugmentSettings, DecodingSettings):
    """What labels mean and how they are learned."""

    task: str = option(
        "auto",
        "text-classification, image-multilabel-classification (several labels a row), text-regression (numbers), token-classification (tags), speech-recognition, ...: pretune list --tasks shows all; auto: found from the columns",
        metavar="TASK",
    )
    adapt: str = option(
        "full",
        "what learns: full, head, linear (logistic regression on the features, nothing else), top:N (head and N top layers), gradual (layer by layer), llrd (deeper layers slower)",
        metavar="MODE",
    )
    llrd_decay: float = option(0.9, "with --adapt llrd: each deeper layer learns this much slower", low=0.1, high=1.0)
    cache_trunk: bool = option(
        True,
        "with --adapt head, linear or top:N: compute what does not learn once, keep it on disk and learn on the rest",
    )
    class_weights: str = option(
        "none",
        "weigh classes by rarity; where rows have several labels: having one as much as not having it",
        choices=("none", "auto"),
    )
    label_smoothing: float = option(
        0.0,
        "share of the target spread over all classes; where rows have several labels: over yes and no",
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
        "what to learn: masked-text, masked-image, contrastive-image, self-distillation-image, contrastive-audio; auto: by the backbone",
        choices=(
            "auto",
            "masked-text",
            "masked-image",
            "contrastive-image",
            "self-distillation-image",
            "contrastive-audio",
        ),
    )
    mask_fraction: float | None = option(
        None,
        "share to mask; default: 0.15 of the tokens of a text, 0.75 of a picture, 0.65 of a clip (in spans that overlap)",
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


@dataclass(frozen=True, kw_only=True)
class OutSettings(Settings):
    """Where the result goes."""

    out: str | None = option(None, "run folder to write; default: runs/<verb>-<data or run>-<number>", metavar="FOLDER")
    overwrite: bool = option(False, "delete what the run folder holds and start again", not_in_identity=True)


@dataclass(frozen=True, kw_only=True)
class RunSettings(OutSettings):
    """Where the result goes, or what it would take."""

    dry_run: bool = option(False, "run a few steps, forecast time and memory, write nothing", not_in_identity=True)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """How long, how fast and how exactly to learn."""

    epochs: float | None = option(
        None,
        "passes over the training rows; default to fine-tune: 3, and up to 50 where rows are few; of sound as many as make about 8,000 updates, until 8 hours are heard",
        low=0.001,
        high=100_000,
    )
    max_steps: int | None = option(None, "optimizer updates at most", low=1)
    minutes: float | None = option(None, "wall-clock minutes at most; the schedule is bent to end there", low=0.01)
    batch_size: int = option(32, "rows per optimizer update, over all processes", low=1, high=1_000_000)
    micro_batch_size: int | None = option(
        None, "rows per forward pass at most; the update stays the same (gradient accumulation)", low=1
    )
    max_tokens: int = option(16_384, "padded tokens per forward pass at most; the update stays the same", low=64)
    learning_rate: float | None = option(
        None, "peak learning rate; default: by the size of the model and how much of it learns", low=0.0, high=10.0
    )
    weight_decay: float = option(0.01, "AdamW weight decay on matrices", low=0.0, high=10.0)
    schedule: str = option(
        "linear", "shape of the learning rate after the warm-up", choices=("linear", "cosine", "constant")
    )
    warmup: str = option("6%", "length of the warm-up: 500 (steps), 0.5epoch or 6%", metavar="DURATION")
    clip: float = option(1.0, "largest gradient norm", low=1e-6)
    ema: float = option(
        0.0,
        "decay of a moving average of the weights, such as 0.999, which is evaluated and kept in place of the last ones; 0: none",
        low=0.0,
        high=0.999999,
    )
    eval_every: str = option(
        "1epoch", "how often to evaluate and save: 500 (steps), 0.5epoch or 10%", metavar="DURATION"
    )
    save_every: str | None = option(
        None,
        "how often to save between evaluations: 500 (steps), 0.5epoch or 10%; default: every 5 minutes",
        metavar="DURATION",
        not_in_identity=True,
    )
    early_stopping_patience: int | None = option(
        None, "stop after this many evaluations without a better result; the best model is kept either way", low=1
    )
    precision: str = option(
        "auto",
        "number format of matrix products; auto measures bf16 against fp32 here and takes the faster",
        choices=("auto", "fp32", "bf16"),
    )
    activation_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, about a fifth slower"
    )
    group_by_length: bool = option(True, "put rows of like length in one batch (less padding); batches stay shuffled")
    seed: int = option(0, "seed of every draw (initialisation, order, masks, dropout)", low=0, high=2**32 - 1)
    threads: int | None = option(None, "processor threads; default: all", low=1, not_in_identity=True)

    @property
    def is_shared(self) -> bool:
        """See :class:`~pretune.options.Settings`."""
        return True


@dataclass(frozen=True, kw_only=True)
class LabelledTrainSettings(TrainSettings):
    """The same where right answers are learned: how many rows make an update is the task's to say."""

    batch_size: int | None = option(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, "rows per optimizer update, over all processes; default: 32, and 8 for sound", low=1, high=1_000_000
    )
