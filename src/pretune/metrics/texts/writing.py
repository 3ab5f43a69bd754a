"""Scores of texts that were written: BLEU, chrF and ROUGE, as functions of sums over rows.

They equal sacrebleu's (``BLEU``, ``CHRF`` with their defaults, and the tokenizer that the signature names) and, on English,
rouge-score's. Shapes: N rows, K = 36 statistics of a row: 10 of BLEU, 18 of chrF (:mod:`pretune.metrics.texts.ngrams`), F of ROUGE-1, ROUGE-2
and ROUGE-L, characters of the answer and of its first reference, whether it equals a reference, whether it was cut off, 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, final

import numpy as np

from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of
from pretune.metrics.texts.ngrams import (
    BLEU_ORDER,
    CHRF_ORDER,
    bleu_statistics,
    chrf_of,
    chrf_statistics,
    rouge_words,
    tokenizer_for,
)

__all__ = ["WritingMetric", "bleu_of", "references_of", "rouge_f", "rouge_l"]

_CHRF = 2 + 2 * BLEU_ORDER
_REST = _CHRF + 3 * CHRF_ORDER
_EXACT = _REST + 5


def references_of(record: Record) -> list[str]:
    """The right texts of a record. Raises :class:`pretune.errors.DataError` where it has none."""

    def fits(truth: Any) -> bool:
        return isinstance(truth, str) or (
            isinstance(truth, list) and bool(truth) and all(isinstance(one, str) for one in truth)
        )

    truth = truth_of(record, fits, "a text, or a list of texts")
    return [truth] if isinstance(truth, str) else truth


def bleu_of(sums_K: np.ndarray) -> np.ndarray:
    """BLEU in 0..100 of sums (..., 10), with sacrebleu's ``exp`` smoothing: the k-th order without a match counts as 1 / 2^k matches."""
    said, truth = sums_K[..., 0], sums_K[..., 1]
    matches, totals = sums_K[..., 2 : 2 + BLEU_ORDER], sums_K[..., 2 + BLEU_ORDER : _CHRF]
    none = matches <= 0
    smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=-1), matches)
    usable = (totals > 0).all(-1) & (matches > 0).any(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(smoothed / totals).mean(-1))
        brevity = np.where(said < truth, np.exp(1 - truth / said), 1.0)
        return np.where(usable, 100 * precision * brevity, 0.0)[()]


def rouge_f(answer: Sequence[str], reference: Sequence[str], order: int) -> float:
    """F1 of the n-grams of two texts (Lin 2004, section 2)."""
    said, truth = (
        Counter(tuple(words[at : at + order]) for at in range(len(words) - order + 1)) for words in (answer, reference)
    )
    return _f1((said & truth).total(), said.total(), truth.total())


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence (Lin 2004, section 3.1)."""
    from rapidfuzz.distance import LCSseq

    return _f1(LCSseq.similarity(answer, reference), len(answer), len(reference))


def _f1(common: int, said: int, truth: int) -> float:
    return 2 * common / (said + truth) if common else 0.0


def _row(record: Record, tokenizer: str) -> list[float]:
    answer, references = record["target"], references_of(record)
    cut = [rouge_words(text, unspaced=tokenizer != "13a") for text in (answer, *references)]
    rouge = [
        max(rouge_f(cut[0], one, 1) for one in cut[1:]),
        max(rouge_f(cut[0], one, 2) for one in cut[1:]),
        max(rouge_l(cut[0], one) for one in cut[1:]),
    ]
    is_exact, is_cut = float(answer in references), float(bool(record.get("cut_off")))
    sizes = (len(answer), len(references[0]))
    return [*bleu_statistics(answer, references, tokenizer), *chrf_statistics(answer, references), *rouge, *sizes, is_exact, is_cut, 1.0]  # fmt: skip


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    one, two, longest, said, truth, exact, cut, rows = np.moveaxis(sums_K[..., _REST:], -1, 0)
    return {
        "bleu": bleu_of(sums_K[..., :_CHRF]),
        "chrf": chrf_of(sums_K[..., _CHRF:_REST]),
        "rouge_1": quotient(one, rows),
        "rouge_2": quotient(two, rows),
        "rouge_l": quotient(longest, rows),
        "length_ratio": quotient(said, truth),
        "cut_off": quotient(cut, rows),
        "exact": quotient(exact, rows),
    }


@final
class WritingMetric(Metric):
    """Scores of written texts; ``scored_as`` of ``pretune.json`` says whether BLEU (translations) or ROUGE-L (summaries) decides.

    Several references are scored as sacrebleu does; of ROUGE the best counts, row by row. Texts are cut by the script of the right ones.
    """

    answer: ClassVar[str] = "target"
    primary: str = "bleu"
    tie_breaker: ClassVar[str | None] = "chrf"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "bleu": ScoreSpec(rising=True, unit="points", title="BLEU"),
        "chrf": ScoreSpec(rising=True, unit="points", title="chrF2"),
        "rouge_1": ScoreSpec(rising=True, title="ROUGE-1"),
        "rouge_2": ScoreSpec(rising=True, title="ROUGE-2"),
        "rouge_l": ScoreSpec(rising=True, title="ROUGE-L"),
        "length_ratio": ScoreSpec(rising=True, unit="number", title="length of the answers over the right ones"),
        "cut_off": ScoreSpec(rising=False, title="answers cut off at their limit"),
        "exact": ScoreSpec(rising=True, limits=(0.0, 1.0), of_right_rows=True),
    }

    watch: ClassVar[Mapping[str, ScoreSpec]] = {
        "token_loss": ScoreSpec(rising=False, unit="nats", title="loss of a token, told those before it")
    }

    def __init__(self, primary: str = "bleu") -> None:
        self.primary = primary

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """ROUGE-L decides about summaries."""
        return cls("rouge_l" if about.get("scored_as") == "summarization" else "bleu")

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        listed = list(records)
        tokenizer = tokenizer_for([references_of(record)[0] for record in listed])
        stats_NK = np.array([_row(record, tokenizer) for record in listed], dtype=np.float64).reshape(-1, _EXACT + 3)
        return Sums(stats_NK, _scores, stats_NK[:, _EXACT] > 0)

    def signature(self, records: Iterable[Record]) -> str:
        """How BLEU and chrF were computed, in sacrebleu's words."""
        truths = [references_of(record) for record in records]
        counts = {len(one) for one in truths}
        references = str(counts.pop()) if len(counts) == 1 else "var"
        tokenizer = tokenizer_for([one[0] for one in truths])
        return (
            f"BLEU|nrefs:{references}|case:mixed|eff:no|tok:{tokenizer}|smooth:exp; "
            f"chrF2|nrefs:{references}|case:mixed|eff:yes|nc:{CHRF_ORDER}|nw:0|space:no (as sacrebleu 2.6 computes them)"
        )
