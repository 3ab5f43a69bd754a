"""Transcripts to the characters that a CTC model writes, and back.

The vocabulary is made from the training transcripts, or is that of a folder whose model writes all their characters.
"""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.backbones.loading.library import model_errors, quiet_transformers
from pretune.errors import DataError
from pretune.schema import Misfit, listed, record, text

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["CharVocabulary", "find_vocabulary", "new_vocabulary", "tidy"]

BLANK, UNKNOWN = "<pad>", "<unk>"
_DELIMITERS = ("|", "▁", "\u241f")
MAX_CHARACTERS = 20_000
_FIELDS = record(
    {
        "tokens": listed(text(), least=3, unique=True),
        "blank": text(),
        "unknown": text(),
        "delimiter": text(),
        "case?": text("", "upper", "lower"),
    }
)


def tidy(text: str) -> str:
    """A transcript as it is learned and scored: Unicode NFC, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class CharVocabulary:
    """Tokens of one character each; the blank of CTC, the token of unknown characters and the one that stands for a space.

    ``case`` (``""``, ``"upper"`` or ``"lower"``) is what is done to transcripts first, for a vocabulary that knows one case only.
    """

    tokens: tuple[str, ...]
    blank: str = BLANK
    unknown: str = UNKNOWN
    delimiter: str = "|"
    case: str = ""

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens)}

    @cached_property
    def _spelled(self) -> dict[str, int]:
        written = {token: place for token, place in self._numbers.items() if token != self.delimiter}
        return {**written, " ": self._numbers[self.delimiter]}

    @property
    def blank_id(self) -> int:
        """The number of CTC's blank."""
        return self._numbers[self.blank]

    @property
    def unknown_id(self) -> int:
        """The number of the token for characters that are not in the vocabulary."""
        return self._numbers[self.unknown]

    def tidied(self, text: str) -> str:
        """See :func:`tidy`; in the vocabulary's case."""
        found = tidy(text)
        return found.upper() if self.case == "upper" else found.lower() if self.case == "lower" else found

    def encode(self, text: str) -> tuple[int, ...]:
        """Numbers of the characters of a transcript; those that are not in the vocabulary, and the character that stands for a
        space where it was written itself, become the unknown token.
        """
        return tuple(self._spelled.get(c, self.unknown_id) for c in self.tidied(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of characters without blanks and repeats. Special tokens are left out."""
        words = [self.tokens[i] for i in ids]
        return tidy("".join(" " if word == self.delimiter else word for word in words if _is_written(word)))

    def tokenizer(self) -> Any:
        """The same as a ``Wav2Vec2CTCTokenizer``, to be saved beside a model."""
        import transformers

        tokenizer_class: Any = transformers.Wav2Vec2CTCTokenizer
        with tempfile.TemporaryDirectory() as folder, quiet_transformers():
            path = Path(folder) / "vocab.json"
            path.write_text(json.dumps(self._numbers, ensure_ascii=False), encoding="utf-8")
            return tokenizer_class(
                str(path), unk_token=self.unknown, pad_token=self.blank, word_delimiter_token=self.delimiter,
                bos_token=None, eos_token=None,
            )  # fmt: skip

    def processor(self, extractor: Any, *, features: bool) -> Any:
        """Feature extractor and tokenizer as one processor, of the kind that the model's folder is loaded with. ``features``: it
        makes log-mel features.
        """
        import transformers

        kind = transformers.Wav2Vec2BertProcessor if features else transformers.Wav2Vec2Processor
        return kind(extractor, self.tokenizer())

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for ``CharVocabulary(**...)``."""
        return {
            "tokens": list(self.tokens), "blank": self.blank, "unknown": self.unknown, "delimiter": self.delimiter, "case": self.case,
        }  # fmt: skip

    @staticmethod
    def fits(told: Any) -> None:
        """Is it what :meth:`to_dict` gave? Raises :class:`pretune.schema.Misfit`."""
        _FIELDS(told)
        for name in ("blank", "unknown", "delimiter"):
            if told[name] not in told["tokens"]:
                raise Misfit(f"is {told[name]!r}, which is none of the tokens", name)

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> CharVocabulary:
        """The spelling that :meth:`to_dict` kept."""
        return cls(**{**told, "tokens": tuple(told["tokens"])})


def _is_written(token: str) -> bool:
    return len(token) == 1


def new_vocabulary(texts: Iterable[str]) -> CharVocabulary:
    """A vocabulary of every character of the transcripts, in order of code point. Raises :class:`DataError` for too many."""
    characters = sorted({c for text in texts for c in tidy(text)} - {" "})
    if not characters:
        raise DataError(
            "all training transcripts are empty",
            "name their column: --column text=NAME; pretune inspect DATA shows rows",
        )
    if len(characters) > MAX_CHARACTERS:
        raise DataError(
            f"the training transcripts have {len(characters)} different characters",
            "is --column text=... the right column?",
        )
    delimiter = next(mark for mark in _DELIMITERS if mark not in characters)
    return CharVocabulary((BLANK, UNKNOWN, delimiter, *characters), delimiter=delimiter)


def find_vocabulary(backbone: Backbone, texts: Iterable[str]) -> CharVocabulary:
    """The vocabulary of the backbone's folder where it has all characters of the transcripts (in one case at least), else a new one."""
    characters = {c for text in texts for c in tidy(text)} - {" "}
    told = _folder_vocabulary(backbone)
    if told is not None:
        for case in ("", "upper", "lower"):
            changed = {c.upper() if case == "upper" else c.lower() if case == "lower" else c for c in characters}
            if changed and changed <= set(told.tokens) - {told.delimiter}:
                return CharVocabulary(told.tokens, told.blank, told.unknown, told.delimiter, case)
    return new_vocabulary([*characters])


def _folder_vocabulary(backbone: Backbone) -> CharVocabulary | None:
    """The vocabulary beside a CTC model, where it is a plain list of characters."""
    folder = backbone.folder
    if folder is None or not (folder / "vocab.json").exists():
        return None
    import transformers

    with quiet_transformers(), model_errors(str(folder), "are vocab.json and tokenizer_config.json whole?"):
        found: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(found, transformers.Wav2Vec2CTCTokenizer):
        return None
    numbers: dict[str, int] = found.get_vocab()
    tokens = tuple(sorted(numbers, key=numbers.__getitem__))
    special = tuple(map(str, (found.pad_token, found.unk_token, found.word_delimiter_token)))
    is_plain = all(len(token) == 1 or token.startswith(("<", "[")) for token in tokens)
    if not is_plain or sorted(numbers.values()) != [*range(len(tokens))] or not {*special} <= {*tokens}:
        return None
    return CharVocabulary(tokens, *special)
