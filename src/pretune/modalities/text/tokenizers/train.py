"""Train a tokenizer on a person's own texts, in any script.

WordPiece (BERT) lower-cases unless told not to, keeps accents and vowel signs (BERT's own stripping of accents would
delete them from Thai, Hindi or Vietnamese), and cuts scripts that are written without spaces into single characters.
Byte-level BPE (GPT-2, RoBERTa) takes any bytes and needs no such rules. The same texts give the same tokenizer.

Default vocabulary: 8 times the square root of the number of characters, between 1,000 and 30,000 tokens (vocabulary
grows about with the square root of a text: Heaps 1978, section 7.5), and never less than the texts' own characters need.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.errors import DataError, UsageError
from pretune.modalities.text.control import keep_text_plain
from pretune.modalities.text.tokenizers.patterns import LONG_WORD, MAX_WORD_CHARACTERS, UNSPACED_CHARACTER
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from pretune.modalities.text.template import FastTokenizer
    from tokenizers import Tokenizer

__all__ = ["TextCount", "as_writer", "count_texts", "default_vocab_size", "train_tokenizer"]

WORDPIECE_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BPE_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MIN_CHARACTERS = 200
MIN_FREQUENCY = 2
MAX_ALPHABET = 12_000
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 1_000, 30_000


class TextCount(NamedTuple):
    """What one pass over the texts found."""

    texts: int
    characters: Counter[str]

    @property
    def total(self) -> int:
        """All characters."""
        return self.characters.total()


def count_texts(texts: Iterable[str]) -> TextCount:
    """Count texts and characters (in composed form, NFC) in one pass."""
    number, characters = 0, Counter[str]()
    for text in texts:
        number += 1
        characters.update(unicodedata.normalize("NFC", text))
    return TextCount(number, characters)


def default_vocab_size(num_characters: int) -> int:
    """The default number of tokens for texts of this many characters (rule: head of this file)."""
    return min(LARGEST_VOCABULARY, max(SMALLEST_VOCABULARY, round(8 * math.sqrt(num_characters))))


def train_tokenizer(
    texts: Callable[[], Iterable[str]],
    *,
    kind: str,
    vocab_size: int | None = None,
    count: TextCount | None = None,
) -> FastTokenizer:
    """Train ``wordpiece`` or ``bpe`` on ``texts()``, which is called once or twice (``count`` given: once).

    Raises :class:`DataError` when there is hardly any text, :class:`UsageError` for an unknown kind or a vocabulary too
    small to hold even the special tokens and single bytes.
    """
    count = count_texts(texts()) if count is None else count
    if count.total < MIN_CHARACTERS:
        raise DataError(
            f"a tokenizer needs at least {MIN_CHARACTERS} characters of text, {counted(count.texts, 'text')} with {count.total} {agree(count.texts, 'were', 'was')} given",
            "give more text, or use the tokenizer of another model: --tokenizer FOLDER",
        )
    if kind == "wordpiece":
        return _wordpiece(texts, count, vocab_size)
    if kind == "bpe":
        return _bpe(texts, vocab_size or default_vocab_size(count.total))
    raise UsageError(f"--tokenizer is {kind!r}", "allowed: wordpiece, bpe, or a folder with tokenizer.json")


def _wordpiece(texts: Callable[[], Iterable[str]], count: TextCount, vocab_size: int | None) -> FastTokenizer:
    from tokenizers import Tokenizer, decoders, models, processors, trainers

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    _wordpiece_rules(tokenizer)
    room = None if vocab_size is None else vocab_size - len(WORDPIECE_SPECIALS)
    if room is not None and room < 26:
        raise UsageError(f"--vocab-size is {vocab_size}", f"at least {26 + len(WORDPIECE_SPECIALS)} for WordPiece")
    alphabet, continued = _alphabet(_normalised(count.characters, tokenizer), room)
    given = [*WORDPIECE_SPECIALS, *(f"##{character}" for character in continued)]
    # The trainer numbers "##x" forms in the order of a hash table; given as fixed tokens their order, and with it every
    # tie between merges, is the same in each process, and no letter lacks the form it needs inside a word.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size or max(default_vocab_size(count.total), len(given) + len(alphabet)),
        min_frequency=MIN_FREQUENCY,
        special_tokens=given,  # type: ignore[arg-type]
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(texts()), trainer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS)
    trained = Tokenizer(model)
    _wordpiece_rules(trained)
    trained.add_special_tokens(list(WORDPIECE_SPECIALS))
    trained.decoder = decoders.WordPiece()
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return _wrap(trained, WORDPIECE_SPECIALS, segments=True)


def _wordpiece_rules(tokenizer: Tokenizer) -> None:
    """How text is normalised and cut into words; no word is longer than the model reads."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    bert = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), bert])  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(UNSPACED_CHARACTER), "isolated"),
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(Regex(LONG_WORD), "isolated"),
        ]
    )


def _normalised(characters: Counter[str], tokenizer: Tokenizer) -> Counter[str]:
    """Counts of the characters as the tokenizer's normaliser leaves them, without spaces; visible ASCII is always there."""
    found = Counter[str]()
    for character, number in {**dict.fromkeys(map(chr, range(33, 127)), 0), **characters}.items():
        for result in tokenizer.normalizer.normalize_str(character):  # type: ignore[union-attr]
            if not result.isspace():
                found[result] += number
    return found


def _alphabet(characters: Counter[str], room: int | None) -> tuple[list[str], list[str]]:
    """The most frequent characters whose tokens fit in ``room``, and those of them that can stand inside a word."""
    from tokenizers import Regex, pre_tokenizers

    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(UNSPACED_CHARACTER), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    alphabet: list[str] = []
    continued: list[str] = []
    for character in sorted(characters, key=lambda item: (-characters[item], item))[:MAX_ALPHABET]:
        inside = len(splitter.pre_tokenize_str("x" + character)) == 1
        if room is not None and len(alphabet) + len(continued) + 1 + inside > room:
            break
        alphabet.append(character)
        if inside:
            continued.append(character)
    return sorted(alphabet), sorted(continued)


def _bpe(texts: Callable[[], Iterable[str]], vocab_size: int) -> FastTokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + len(BPE_SPECIALS):
        raise UsageError(
            f"--vocab-size is {vocab_size}", f"at least {len(alphabet) + len(BPE_SPECIALS)} for byte-level BPE"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(BPE_SPECIALS),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(texts()), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)  # type: ignore[assignment]
    return _wrap(tokenizer, BPE_SPECIALS, segments=False)


def as_writer(tokenizer: FastTokenizer, sentinels: int = 0) -> FastTokenizer:
    """A byte-level tokenizer as encoder-decoders take it: a row has no mark before it and ``</s>`` behind it, and there are so many
    sentinels ``<extra_id_0>``, ... (Raffel et al. 2020, arXiv 1910.10683, section 3.1.4), numbered behind all other tokens.
    """
    from pretune.modalities.text.template import plain_backend
    from tokenizers import AddedToken, processors

    backend = plain_backend(tokenizer)
    marks = [f"<extra_id_{number}>" for number in range(sentinels)]
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    end = (BPE_SPECIALS[2], backend.token_to_id(BPE_SPECIALS[2]))
    backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"$A {end[0]}", pair=f"$A {end[0]} $B {end[0]}", special_tokens=[end]
    )
    return _wrap(backend, BPE_SPECIALS, segments=False, extra=marks)


def _batches(texts: Iterable[str], size: int = 1000) -> Iterator[list[str]]:
    """Lists of texts: the trainer takes them faster than one by one."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _wrap(
    tokenizer: Tokenizer, specials: tuple[str, ...], *, segments: bool, extra: Sequence[str] = ()
) -> FastTokenizer:
    """As a transformers tokenizer. Not as BertTokenizer: loading that class rebuilds BERT's own rules over ours."""
    from transformers import PreTrainedTokenizerFast

    pad, unknown, start, end, mask = specials if segments else (specials[k] for k in (1, 3, 0, 2, 4))
    names = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
    roles = {"pad_token": pad, "unk_token": unknown, "cls_token": start, "sep_token": end, "mask_token": mask}
    ends: dict[str, Any] = {} if segments else {"bos_token": start, "eos_token": end}
    ends |= {"extra_special_tokens": list(extra)} if extra else {}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **roles, **ends)
    return keep_text_plain(made)  # type: ignore[arg-type]
