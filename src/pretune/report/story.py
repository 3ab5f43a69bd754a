"""The outcome in plain words: what was reached, whether it beats the simple ways, and what the figures do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.evaluation.compare import as_sentence
from pretune.evaluation.evaluate import chosen_by
from pretune.report.layout import Banner, Tile
from pretune.report.passport.parts import total_rows
from pretune.report.words import (
    duration_text,
    heading_of,
    is_percent,
    is_score,
    number_text,
    plain,
    score_text,
    score_value_text,
    short_count,
    title_of,
)
from pretune.wording import agree, counted

__all__ = [
    "Baseline",
    "banners",
    "best_baseline",
    "caveats",
    "comparison_sentence",
    "lead",
    "main_split",
    "ordered_splits",
    "over_title",
    "primary_of",
    "tiles",
]

_VERDICTS = {"model": "better", "baseline": "worse", None: "open"}
_FIRST_SPLITS = ("test", "cross-validation", "held-out", "validation")
_ENDED = ("finished", "evaluated", "done")


@dataclass(frozen=True)
class Baseline:
    """A baseline's score of the primary metric. ``verdict`` is ``better``, ``worse`` or ``open`` for the model against it, row by
    row, and ``unpaired`` in evaluations that are older than this comparison; ``against`` is the difference with its interval.
    """

    name: str
    score: Mapping[str, Any]
    verdict: str
    against: Mapping[str, Any]


def ordered_splits(metrics: Mapping[str, Any]) -> list[str]:
    """The splits that were evaluated, the most telling first."""
    names = [name for name, value in metrics.items() if isinstance(value, Mapping) and value.get("scores")]
    return sorted(
        names, key=lambda name: (_FIRST_SPLITS.index(name) if name in _FIRST_SPLITS else len(_FIRST_SPLITS), name)
    )


def main_split(metrics: Mapping[str, Any]) -> str | None:
    """The split the outcome is told of."""
    names = ordered_splits(metrics)
    return names[0] if names else None


def primary_of(evaluation: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The primary metric's name and score."""
    scores = evaluation.get("scores") or {}
    name = evaluation.get("primary") if evaluation.get("primary") in scores else next(iter(scores), None)
    return (str(name), scores[name]) if name is not None and is_score(scores[name]) else None


def best_baseline(evaluation: Mapping[str, Any]) -> Baseline | None:
    """The baseline with the best primary score, and the verdict of the paired comparison with it (``against``)."""
    primary = primary_of(evaluation)
    if primary is None:
        return None
    name = primary[0]
    rising = evaluation.get("higher_is_better", True)
    found = [
        (key, scores[name])
        for key, scores in (evaluation.get("baselines") or {}).items()
        if isinstance(scores, Mapping) and is_score(scores.get(name)) and scores[name]["value"] is not None
    ]
    if not found:
        return None
    key, best = max(found, key=lambda item: item[1]["value"] if rising else -item[1]["value"])
    against = (evaluation.get("against") or {}).get(key)
    if against is None:
        return Baseline(key, best, "unpaired", {})
    return Baseline(key, best, _VERDICTS[against.get("better")], against)


def lead(
    record: Mapping[str, Any], metrics: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]], run_name: str
) -> tuple[str, ...]:
    """The outcome in a few sentences."""
    split = main_split(metrics)
    primary = primary_of(metrics[split]) if split else None
    if split is None or primary is None:
        return (f"Not evaluated yet: pretune evaluate {run_name}",)
    evaluation, (name, score) = metrics[split], primary
    n = score.get("n", evaluation.get("n"))
    where = f"On {counted(n, 'row')} of the {split} split" if n is not None else f"On the {split} split"
    said = [f"{where}, {_article(title_of(name))} is {score_text(name, score)}.{_seed_words(evaluation, name)}"]
    baseline = best_baseline(evaluation)
    if baseline:
        said.append(_baseline_sentence(name, baseline))
    said += [sentence for one in comparisons[-3:] if (sentence := comparison_sentence(one))]
    return tuple(said)


def _article(title: str) -> str:
    return (
        title
        if title in ("accuracy", "pseudo-perplexity", "masked accuracy")
        else f"the {title}"
        if title[:1].islower()
        else title
    )


def _seed_words(evaluation: Mapping[str, Any], name: str) -> str:
    several = (evaluation.get("seed_scores") or {}).get(name)
    if not several or len(several.get("values", [])) < 2:
        return ""
    value = score_text(name, {"value": several.get("mean")})
    spread = score_text(name, {"value": several.get("sd")})
    return f" Over {counted(len(several['values']), 'seed')} the mean is {value} with a standard deviation of {spread}."


def _baseline_sentence(name: str, baseline: Baseline) -> str:
    who = f"the best simple way, {title_of(baseline.name)}, reaches {score_text(name, baseline.score)}"
    if baseline.verdict == "unpaired":
        return f"{who[0].upper()}{who[1:]}; whether the model is better was not compared row by row: evaluate it again."
    apart = f"on the same rows the model differs from it by {_difference_text(name, baseline)}"
    if baseline.verdict == "better":
        return f"It was worth it: {who}, and {apart}."
    if baseline.verdict == "worse":
        return f"It was not worth it: {who}, which is better; {apart}."
    return f"Not shown to be worth it: {who}, and {apart}, so there may be no difference."


def _difference_text(name: str, baseline: Baseline) -> str:
    facts = baseline.against
    value, low, high = (facts.get(key) for key in ("difference", "low", "high"))
    if value is None or low is None or high is None:
        return "an amount that could not be measured"
    if is_percent(name, baseline.score):
        return f"{100 * value:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{value:+.3g} [{low:.3g}, {high:.3g}]"


def comparison_sentence(comparison: Mapping[str, Any]) -> str:
    """The verdict of one paired comparison, as a sentence."""
    verdict = plain(comparison["verdict"]) if comparison.get("verdict") else ""
    if " " in verdict or not verdict:
        names = [plain(name) for name in comparison.get("names") or []]
        who = "" if all(name in verdict for name in names) else f"{' and '.join(names)}, on the same rows: "
        return (who + as_sentence(verdict)).replace(" = ", "\u00a0=\u00a0") if verdict else ""
    return f"Compared on the same rows, {plain(comparison.get('a'))} against {plain(comparison.get('b'))}: {verdict}."


def over_title(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The line over the title: what kind of run this is."""
    split = main_split(metrics)
    task = (record.get("model") or {}).get("task") or (metrics[split].get("task") if split else None)
    words = [heading_of(str(record.get("verb") or "run"))]
    return " · ".join([*words, title_of(str(task))] if task else words)


def banners(record: Mapping[str, Any], run_name: str) -> tuple[Banner, ...]:
    """What must be known before anything else is read: the run did not end, or ended badly."""
    status = str(record.get("status", "unknown"))
    if status in _ENDED:
        return _lost_best(record)
    error = record.get("error") or record.get("problem") or ""
    said = plain(error.get("problem", error) if isinstance(error, Mapping) else error).rstrip()
    reason = f" {said}{'' if said.endswith(('.', '!', '?')) else '.'}" if error else ""
    if status == "failed":
        return (Banner("error", "This run failed.", f"{reason.strip()} What stands below is what it left.".strip()),)
    if status == "running":
        return (
            Banner(
                "warning",
                "This run has not ended.",
                f"It was still going on, or was killed, when this page was written.{reason} The same command goes on from the last checkpoint.",
            ),
        )
    if status in ("interrupted", "stopped"):
        return (
            Banner(
                "warning",
                "This run was interrupted.",
                f"Its state was saved.{reason} The same command goes on from there.",
            ),
        )
    return (Banner("warning", f"The status of this run is “{status}”.", reason.strip()),)


def _lost_best(record: Mapping[str, Any]) -> tuple[Banner, ...]:
    """The best model's checkpoint was damaged, so that another was kept."""
    result = record.get("result") or {}
    if "lost" not in result:
        return ()
    lost, name = result["lost"], title_of(str(result["metric"]))
    said = (
        f"The checkpoint of the best model (step {lost['step']}, {name} {lost['value']:.4f}) was damaged on the disk before the run ended. "
        f"What is kept is the last one (step {result['step']}, {name} {result['value']:.4f})."
    )
    return (Banner("warning", "The best model of this run was lost.", said),)


def tiles(record: Mapping[str, Any], metrics: Mapping[str, Any], passport: Mapping[str, Any]) -> tuple[Tile, ...]:
    """The key figures: score, best baseline, rows learnt from, size, time."""
    found: list[Tile] = []
    split = main_split(metrics)
    primary = primary_of(metrics[split]) if split else None
    if split and primary:
        name, score = primary
        found.append(Tile(f"{title_of(name)}, {split}", *score_value_text(name, score)))
        baseline = best_baseline(metrics[split])
        if baseline:
            found.append(Tile("best baseline", *score_value_text(name, baseline.score)))
    streamed = record.get("streamed") or {}
    if streamed.get("rows_learned"):
        found.append(
            Tile("rows", number_text(streamed["rows_learned"]), f"in {counted(streamed['files_learned'], 'file')}")
        )
    elif total_rows(passport):
        found.append(Tile("rows", number_text(total_rows(passport)), "all splits"))
    parameters = (record.get("model") or {}).get("parameters")
    if parameters:
        found.append(Tile("parameters", short_count(parameters)))
    if record.get("seconds") is not None:
        found.append(Tile("time", duration_text(record["seconds"])))
    return tuple(found)


def caveats(record: Mapping[str, Any], metrics: Mapping[str, Any], passport: Mapping[str, Any]) -> list[str]:
    """What the figures do not say, each in a sentence."""
    said: list[str] = []
    for split in ordered_splits(metrics):
        said += _evaluation_caveats(split, metrics[split])
    if ordered_splits(metrics):
        said.insert(
            0,
            "Intervals are 95 % and come from drawing the evaluated rows again. They hold for new rows like these, not for data from other sources or times.",
        )
        if len({seed for split in ordered_splits(metrics) for seed in metrics[split].get("seeds") or []}) < 2:
            hint = " (--seeds 3 shows it)" if "seeds" in (record.get("settings") or {}) else ""
            said.append(f"There is one seed. How much another seed changes the result is not known{hint}.")
    errors = sum(
        1 for one in passport.get("findings") or [] if isinstance(one, Mapping) and one.get("severity") == "error"
    )
    if errors:
        said.append(f"The check of the data found {counted(errors, 'error')}; see “Data”.")
    fresh = (record.get("model") or {}).get("initialised") or []
    if fresh and record.get("status") not in _ENDED:
        said.append(
            f"{counted(len(fresh), 'weight')} {agree(len(fresh), 'are', 'is')} newly initialised and may not be trained yet."
        )
    return said


def _evaluation_caveats(split: str, evaluation: Mapping[str, Any]) -> list[str]:
    primary = primary_of(evaluation)
    n = evaluation.get("n")
    said = []
    said += chosen_by(split)
    if isinstance(n, int) and n < 500:
        said.append(f"The {split} split has only {counted(n, 'row')}, so its intervals are wide.")
    leaks = evaluation.get("leaks") or {}
    if leaks.get("n"):
        without = (leaks.get("without") or {}).get(primary[0]) if primary else None
        tail = (
            f" Without them, {_article(title_of(primary[0]))} is {score_text(primary[0], without)}."
            if primary and is_score(without)
            else ""
        )
        said.append(
            f"{counted(leaks['n'], 'row')} of the {split} split also {agree(leaks['n'], 'stand', 'stands')} in the training data.{tail}"
        )
    if (evaluation.get("looks") or 0) > 1:
        said.append(
            f"The {split} split was looked at {number_text(evaluation['looks'])} times. The more often choices are made by it, the more its scores flatter."
        )
    if not evaluation.get("baselines") and split != "held-out":
        said.append(f"No baseline was scored on the {split} split.")
    return said
