"""How texts that were written are cut into words and counted: BLEU's, chrF's and ROUGE's units, by script.

BLEU's tokenizers are those of sacrebleu (Post 2018, arXiv 1804.08771): ``13a`` (mteval-v13a) for scripts with spaces between words,
``zh`` where most letters are Chinese, ``char`` for other scripts without spaces (Japanese, Thai, ...), where 13a would take a sentence
for a word. Shapes of a row's statistics: BLEU 10 = length of the answer, of the closest reference, matches of 1- to 4-grams, and how
many there are; chrF 18 = for each of 1 to 6 characters the n-grams of the answer, of the reference, and in common.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares

__all__ = [
    "BLEU_ORDER",
    "CHRF_ORDER",
    "TOKENIZERS",
    "bleu_statistics",
    "chrf_of",
    "chrf_statistics",
    "rouge_words",
    "tokenizer_for",
]

BLEU_ORDER, CHRF_ORDER, _BETA = 4, 6, 2
_SCRIPT_TEXTS = 2_000

_RULES = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_CHINESE = re.compile(
    "(["
    "\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\uff00-\uffef\u2e80-\u2eff\u3000-\u303f"
    "\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u2600-\u26ff\u2700-\u27bf"
    "\u3200-\u33ff\u2001-\u2fa1"
    "])"
)
"""The ranges of sacrebleu's ``zh``; the last is what its ``\\u20000`` and ``\\u2f800`` mean to Python."""


def _regexp(line: str) -> list[str]:
    for rule, becomes in _RULES:
        line = rule.sub(becomes, line)
    return line.split()


def _13a(line: str) -> list[str]:
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for name, character in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        line = line.replace(name, character)
    return _regexp(f" {line} ")


def _zh(line: str) -> list[str]:
    return _regexp(_CHINESE.sub(r" \1 ", line.strip()))


def _char(line: str) -> list[str]:
    return list("".join(line.split()))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"13a": _13a, "zh": _zh, "char": _char}


def tokenizer_for(texts: Sequence[str]) -> str:
    """The name of BLEU's tokenizer for texts, by the script of most of their letters."""
    found = shares(count_scripts(list(texts[:_SCRIPT_TEXTS])))
    if not mostly_unspaced(found):
        return "13a"
    return "zh" if max(found, key=found.__getitem__) == "Han" and found.get("Kana", 0.0) < 0.05 else "char"


def _word_ngrams(tokens: Sequence[str], most: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for n in range(1, most + 1) for at in range(len(tokens) - n + 1))


def bleu_statistics(answer: str, references: Sequence[str], tokenizer: str) -> list[int]:
    """The 10 statistics of a row (Papineni et al. 2002, section 2.3): several references clip together, the closest gives the length
    (of equally close ones the shorter)."""
    cut = TOKENIZERS[tokenizer]
    said = cut(answer.rstrip())
    truths = [cut(one.rstrip()) for one in references]
    allowed: Counter[tuple[str, ...]] = Counter()
    for one in truths:
        allowed |= _word_ngrams(one, BLEU_ORDER)
    grams = _word_ngrams(said, BLEU_ORDER)
    matches = [0] * BLEU_ORDER
    for gram, count in (grams & allowed).items():
        matches[len(gram) - 1] += count
    closest = min((abs(len(one) - len(said)), len(one)) for one in truths)[1]
    return [len(said), closest, *matches, *(max(0, len(said) - n) for n in range(BLEU_ORDER))]


def _character_ngrams(text: str) -> list[Counter[str]]:
    line = "".join(text.split())
    return [Counter(line[at : at + n] for at in range(len(line) - n + 1)) for n in range(1, CHRF_ORDER + 1)]


def chrf_statistics(answer: str, references: Sequence[str]) -> list[int]:
    """The 18 statistics of a row against the reference that it is most like (Popović 2015)."""
    said = _character_ngrams(answer)
    best, best_score = [0] * (3 * CHRF_ORDER), -1.0
    for reference in references:
        found: list[int] = []
        for own, truth in zip(said, _character_ngrams(reference), strict=True):
            found += [own.total() if truth else 0, truth.total(), (own & truth).total()]
        score = float(chrf_of(np.array(found, dtype=np.float64)))
        if score > best_score:
            best, best_score = found, score
    return best


def chrf_of(sums_K: np.ndarray) -> np.ndarray:
    """chrF2 in 0..100 of sums (..., 18): precision and recall are means over the orders that both sides have."""
    said, truth, common = (sums_K[..., at::3] for at in range(3))
    both = (said > 0) & (truth > 0)
    orders = np.maximum(both.sum(-1), 1)
    precision = np.where(both, common / np.maximum(said, 1), 0.0).sum(-1) / orders
    recall = np.where(both, common / np.maximum(truth, 1), 0.0).sum(-1) / orders
    below = _BETA**2 * precision + recall
    return (100 * np.where(below > 0, (1 + _BETA**2) * precision * recall / np.where(below > 0, below, 1), 0.0))[()]


_WORD = re.compile(r"[^\W_]+")


def rouge_words(text: str, *, unspaced: bool) -> list[str]:
    """ROUGE's units: words of letters and digits in lower case, or single ones where the script has no spaces between words."""
    words = _WORD.findall(text.lower())
    return [letter for word in words for letter in word] if unspaced else words
