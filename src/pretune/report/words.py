"""How figures, durations and names are written on a page: one place, so that every part of a report agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeGuard

__all__ = [
    "HOW_TO_LOAD",
    "bytes_text",
    "clean_text",
    "duration_text",
    "heading_of",
    "is_percent",
    "is_score",
    "name_of",
    "number_text",
    "percent_text",
    "percent_tick",
    "plain",
    "score_line",
    "score_text",
    "score_value_text",
    "short_count",
    "tick_text",
    "title_of",
    "unsaid_pooling",
]

# Names whose plain form (dashes to spaces) would be unclear or wrongly written. Any other name is shown as it is.
_TITLES = {
    "majority": "majority class",
    "most-frequent-transcript": "most frequent transcript",
    "most-frequent-tag": "each word's most frequent tag",
    "nearest-sentence": "the sentence with most words of the question",
    "nearest-name": "the name or number with most words of the question around it",
    "mean": "mean of the training rows",
    "tfidf-ridge": "TF-IDF with ridge regression",
    "pixels-ridge": "pixels and colours with ridge regression",
    "mel-ridge": "mel bands with ridge regression",
    "tfidf-logistic": "TF-IDF with logistic regression",
    "pixels-logistic": "pixels and colours with logistic regression",
    "mel-logistic": "mel bands with logistic regression",
    "wer": "word error rate",
    "cer": "character error rate",
    "exact": "rows without a mistake",
    "masked_error": "error of masked patches",
    "twin_accuracy": "accuracy of finding the other view",
    "knn_accuracy": "accuracy of nearest neighbours",
    "spread": "spread of the features",
    "projected_spread": "spread of what the loss compares",
    "effective_rank": "directions in which features differ",
    "contrastive_accuracy": "accuracy of finding the hidden frame",
    "codebook_perplexity": "codes in use",
    "f1": "F1",
    "mcc": "Matthews correlation (MCC)",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "pseudo_perplexity": "pseudo-perplexity",
    "finetune": "fine-tuning",
    "pretrain": "pre-training",
    "distill": "distillation",
    "prune": "pruning",
    "quantize": "quantisation",
    "evaluate": "evaluation",
    "compare": "comparison",
    "run": "a recipe",
    "held-out": "held-out",
    "html": "HTML",
    "p5": "5 % up to",
    "p95": "95 % up to",
}

# A score whose name has one of these words is not a share, even where its value lies between 0 and 1.
_NOT_A_SHARE = (
    "loss",
    "perplexity",
    "brier",
    "mcc",
    "matthews",
    "kappa",
    "correlation",
    "entropy",
    "bits",
    "ratio",
    "error_px",
    "spread",
    "masked_error",
)


# Errors over words are a share of the truth's words, though what was made up can lift them over 1.
_RATES = ("wer", "cer", "substitutions", "insertions", "deletions")


def is_score(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Is this a score of metrics.json: a value with its interval and n?"""
    return isinstance(value, Mapping) and "value" in value


def is_percent(name: str, score: Mapping[str, Any]) -> bool:
    """Is the score a share, to be written as a percentage? Its metric says so; names of no metric are judged by their words."""
    from pretune.metrics.listing import spec_of

    spec = spec_of(name)
    if spec is not None:
        return spec.unit in ("share", "rate")
    if any(word in name.lower() for word in _NOT_A_SHARE):
        return False
    parts = [score.get(key) for key in ("value", "low", "high")]
    most = math.inf if name in _RATES else 1
    return all(part is None or (isinstance(part, (int, float)) and 0 <= part <= most) for part in parts)


def percent_text(value: object, digits: int = 1) -> str:
    """0.9123 as ``91.2 %`` (with a space that does not break)."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f}\u00a0%"


def percent_tick(value: float) -> str:
    """A share on an axis: no more digits than it needs."""
    return f"{100 * value:.4g}\u00a0%"


def tick_text(value: float) -> str:
    """A figure on an axis: no more digits than it needs."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def number_text(value: object) -> str:
    """A figure with as many digits as are worth reading; thousands are grouped."""
    if isinstance(value, bool) or value is None:
        return plain(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return plain(value)
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size and size < 0.001:
        return f"{value:.2g}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def score_value_text(name: str, score: Mapping[str, Any], digits: int = 1) -> tuple[str, str]:
    """The figure and its interval: ``("91.2 %", "[90.6, 91.7]")``; the interval is empty where there is none. ``digits`` are those of a
    percentage behind its point.
    """
    share = is_percent(name, score)
    value, low, high = score.get("value"), score.get("low"), score.get("high")
    text = percent_text(value, digits) if share else number_text(value)
    if low is None or high is None:
        return text, ""
    if share:
        return text, f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]"
    return text, f"[{number_text(low)}, {number_text(high)}]"


def score_text(name: str, score: Mapping[str, Any], digits: int = 1) -> str:
    """One line: ``91.2 % [90.6, 91.7]``."""
    return " ".join(part for part in score_value_text(name, score, digits) if part)


def score_line(name: str, score: Mapping[str, Any]) -> str:
    """The same for a terminal, with a digit more and blanks that break."""
    return score_text(name, score, 2).replace("\u00a0", " ")


def duration_text(seconds: object) -> str:
    """Seconds as people say them: ``45 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def bytes_text(count: object) -> str:
    """Bytes with a decimal unit, as shops and folders count them: ``9.2 MB``."""
    if not isinstance(count, (int, float)) or not math.isfinite(count):
        return "–"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.1f} {unit}" if abs(size) < 100 and unit != "B" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def title_of(name: str) -> str:
    """A name for reading: known ones by their title, others with dashes and underscores as spaces."""
    stem, _, average = name.rpartition("_")
    if stem and average in ("macro", "micro", "weighted", "samples"):
        return f"{title_of(stem)} ({average})"
    from pretune.metrics.listing import spec_of

    spec = spec_of(name)
    return _TITLES.get(name) or (spec.title if spec else "") or name.replace("_", " ").replace("-", " ")


def heading_of(name: str) -> str:
    """The same at the beginning of a line: ``PCK@0.2`` stays as it is."""
    title = title_of(name)
    return f"{title[:1].upper()}{title[1:]}"


def short_count(count: object) -> str:
    """A large number to three digits or so: ``22.6 M``."""
    if not isinstance(count, (int, float)):
        return plain(count)
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e4 else number_text(count)


def name_of(place: str) -> str:
    """The last part of a path, for headings."""
    return PurePath(place.rstrip("/\\")).name or place


def plain(value: object) -> str:
    """Any JSON value as short text for a table cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else "not finite"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or "–"
    return str(value)


def clean_text(text: str) -> str:
    """Text that is valid in a page: lone surrogates and control characters become the replacement sign."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign >= " " or sign in "\n\t" else "\ufffd" for sign in whole)


HOW_TO_LOAD = "Load it with pretune.open_model(FOLDER), or write it as a graph that needs neither: pretune export RUN."


def unsaid_pooling(modes: Sequence[str]) -> str:
    """What transformers' own classes cannot say of a classifier that pools so."""
    return (
        f"Its classifier reads {' and '.join(modes)} of the tokens, which transformers' own classes cannot say: "
        "AutoModelForSequenceClassification would draw a head at random (and warn of it)."
    )
