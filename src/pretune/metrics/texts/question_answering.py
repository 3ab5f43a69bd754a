"""Exact match and F1 of answers in a passage, by the rules of SQuAD's own script (Rajpurkar et al. 2016, 2018).

An answer is compared with each right one, and counts as its best. Writing without spaces is compared letter by letter (as MLQA does for
Chinese, Lewis et al. 2020), each row by the letters that it has. Shapes: N rows, K = 6 columns of statistics: exact match, F1, 1;
exact match, F1, 1 of the rows that have an answer.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np

from pretune.answers import AnswerSpan
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of

__all__ = ["QuestionAnsweringMetric", "answer_scores", "answer_tokens"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)
_UNSPACED = re.compile(
    "[\u3005\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
    "\u0e01-\u0e5b\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]"
)
"""Letters of scripts that put no space between words (Han, Kana, Thai, Lao, Tibetan, Myanmar, Khmer)."""


def answer_tokens(text: str) -> list[str]:
    """What answers are compared by: lower case, without punctuation and the articles a, an, the; words between blanks, and each letter
    of a script without spaces by itself.

    Punctuation is that of ASCII, as in the published script; in a text with such letters it is all that Unicode calls so.
    """
    text = text.lower()
    unspaced = _UNSPACED.search(text) is not None
    text = "".join(sign for sign in text if not _is_punctuation(sign, wide=unspaced))
    text = _ARTICLES.sub(" ", text)
    return (_UNSPACED.sub(lambda found: f" {found.group()} ", text) if unspaced else text).split()


def _is_punctuation(sign: str, *, wide: bool) -> bool:
    return sign in _PUNCTUATION or (wide and unicodedata.category(sign).startswith("P"))


def answer_scores(said: str, truths: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer against the right ones, the best of each; without any, an empty answer is right."""
    found = [answer_tokens(truth) for truth in truths]
    found = [tokens for tokens in found if tokens] or [[]]
    own = answer_tokens(said)
    return max(float(own == tokens) for tokens in found), max(_f1(own, tokens) for tokens in found)


def _f1(said: Sequence[str], truth: Sequence[str]) -> float:
    if not said or not truth:
        return float(said == truth)
    same = (Counter(said) & Counter(truth)).total()
    return 2 * same / (len(said) + len(truth))


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    exact, f1, rows, exact_has, f1_has, has = np.moveaxis(sums_K, -1, 0)
    return {
        "answer_f1": quotient(f1, rows),
        "exact_match": quotient(exact, rows),
        "has_answer_f1": quotient(f1_has, has),
        "has_answer_exact": quotient(exact_has, has),
        "no_answer_accuracy": quotient(exact - exact_has, rows - has),
    }


@final
class QuestionAnsweringMetric(Metric):
    """Scores of answers in a passage. A row is right where its answer is, to the letter after normalising.

    A question without an answer is right where none is given; ``has_answer_...`` and ``no_answer_accuracy`` are of the two kinds of
    rows alone.
    """

    answer: ClassVar[str] = AnswerSpan.kind
    primary: str = "answer_f1"
    tie_breaker: ClassVar[str | None] = "exact_match"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "answer_f1": ScoreSpec(rising=True, title="answer F1", limits=(0.0, 1.0)),
        "exact_match": ScoreSpec(rising=True, limits=(0.0, 1.0), of_right_rows=True),
        "has_answer_f1": ScoreSpec(rising=True, title="F1 where there is an answer", limits=(0.0, 1.0)),
        "has_answer_exact": ScoreSpec(rising=True, title="exact match where there is an answer", limits=(0.0, 1.0)),
        "no_answer_accuracy": ScoreSpec(rising=True, title="right where there is no answer", limits=(0.0, 1.0)),
    }

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        rows = [_statistics(record) for record in records]
        stats_NK = np.array(rows, dtype=np.float64).reshape(-1, 6)
        return Sums(stats_NK, _scores, stats_NK[:, 0] > 0)


def _statistics(record: Record) -> tuple[float, ...]:
    truths = [one["text"] for one in truth_of(record, _is_list_of_answers, "a list of right answers")]
    exact, f1 = answer_scores(_said(record), truths)
    has = float(bool(truths))
    return exact, f1, 1.0, exact * has, f1 * has, has


def _said(record: Record) -> str:
    answer = AnswerSpan.from_json(record[AnswerSpan.kind])
    return answer.references[0].text if answer.references else ""


def _is_list_of_answers(truth: Any) -> bool:
    return isinstance(truth, (list, tuple)) and all(isinstance(one, Mapping) and "text" in one for one in truth)
