"""One object for each thing that a row can be made of. What follows from that alone is asked of it, and compared nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Self

__all__ = ["FILES", "Modality", "modality_of_columns"]


class _Told:
    """What a modality tells, once."""

    one: str
    many: str
    mass: str
    part: str
    parts: str
    columns: tuple[str, ...]
    is_file: bool
    given: str
    processor: str
    kept: str
    preset: str
    linear: str
    own_bytes: str


class Modality(_Told, StrEnum):
    """``Modality("image")`` is the word of columns, records and files; in JSON it is that word.

    ``one`` and ``many`` are what people call a row, ``mass`` what a model reads; ``part`` and ``parts`` what attention runs between.
    ``columns`` hold what a row is read from. ``is_file``: a row is a file (a picture, a clip), not words. ``given`` says how a person hands one
    over. ``processor`` is the class of transformers that makes a model's inputs, ``kept`` what of these a trained model keeps as it learned.
    ``preset`` is a backbone of fresh weights to name in advice, ``linear`` the linear model on simple features. ``own_bytes`` is the content type
    of a row that is sent as it is.
    """

    TEXT = (
        "text",
        {
            "one": "text", "many": "texts", "mass": "text", "part": "token", "parts": "tokens", "columns": ("text", "text_pair", "words"), "is_file": False,
            "given": '"a text in quotes"', "processor": "AutoTokenizer", "kept": "tokenizer", "preset": "scratch:bert-mini", "linear": "linear:tfidf",
            "own_bytes": "text/plain",
        },
    )  # fmt: skip
    IMAGE = (
        "image",
        {
            "one": "picture", "many": "pictures", "mass": "pictures", "part": "patch", "parts": "patches", "columns": ("image",), "is_file": True,
            "given": "a picture's file", "processor": "AutoImageProcessor", "kept": "image size", "preset": "scratch:resnet-18", "linear": "linear:pixels",
            "own_bytes": "image/...",
        },
    )  # fmt: skip
    AUDIO = (
        "audio",
        {
            "one": "clip", "many": "clips", "mass": "sound", "part": "frame", "parts": "frames", "columns": ("audio",), "is_file": True, "given": "a clip's file",
            "processor": "AutoFeatureExtractor", "kept": "sampling rate", "preset": "scratch:w2v-bert-tiny", "linear": "linear:log-mel",
            "own_bytes": "audio/...",
        },
    )  # fmt: skip

    def __new__(cls, word: str, told: Mapping[str, Any]) -> Self:
        """The word, with what it tells as attributes."""
        assert told.keys() == _Told.__annotations__.keys(), f"{word} tells all there is to tell, and no more"
        made = str.__new__(cls, word)
        made._value_ = word
        for name, value in told.items():
            setattr(made, name, value)
        return made


FILES = tuple(one for one in Modality if one.is_file)
"""Those whose rows are files."""


def modality_of_columns(columns: Iterable[str]) -> Modality:
    """What rows with these columns are made of: files where there is a column of them, else texts."""
    held = {*columns}
    return next((one for one in FILES if one in held), Modality.TEXT)
