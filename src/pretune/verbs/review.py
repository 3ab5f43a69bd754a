"""``pretune review``: which labels look wrong."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.data.changes.relabel import COLUMNS
from pretune.errors import DataError, UsageError
from pretune.files import write_text
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runs.reading import refuse_missing_data
from pretune.verbs.probe.setup import FrozenSettings, ProbedModel, as_the_backbone_reads, data_with_classes, set_up
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.evaluation.label_errors import LabelErrors
    from pretune.tasks.protocols import EncodedRows

__all__ = ["ReviewSettings", "review"]

_FIELDS = (*COLUMNS, "suggested", "probability_of_label", "probability_of_suggested", "split", "row")
_SHOWN_TEXT, _SHOWN_PAIRS = 200, 5
_FEWEST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class ReviewSettings(FrozenSettings):
    """Settings of ``pretune review``."""

    verb: ClassVar[str] = "review"

    split: str = option("train", "whose labels are looked at", choices=("train", "validation", "test"))
    most: int | None = option(
        None, "rows in the table and on the page; default: twice as many as are estimated to be wrong", low=1
    )
    accept: int = option(
        0, "fill in the suggestion of so many rows, the most suspicious first, as if a person agreed with each", low=0
    )
    plant: float = option(
        0.0,
        "measure the check itself: give so large a share of the rows another label first, and tell how many are found",
        low=0.0,
        high=0.5,
    )
    out: str = option("review.csv", "table to write; the page lies beside it", metavar="FILE")


@verb(ReviewSettings)
def review(settings: ReviewSettings, *, say: Say) -> Outcome:
    """Rank the rows whose label looks wrong, and estimate how many are, by class.

    Logistic regression on a model's features, which do not learn, is fitted on four fifths of the rows at a time and asked about the rest,
    so that no row's own label speaks for it. Rows for which another class is much likelier than their label come first (confident
    learning). They are written as a table and a page: fill in new_label where you agree ("-" leaves a row out), and give the table to any
    verb that reads the data, with --relabel.

    Examples::

        pretune review MODEL_DIR --data photos/
        pretune review linear:tfidf --data news.csv --out news-review.csv
        pretune review linear:tfidf --data news.csv --plant 0.05
    """
    refuse_missing_data(*settings.every_place)
    out = Path(settings.out)
    if out.is_dir() or out.suffix.lower() != ".csv":
        raise UsageError(f"--out {settings.out} is no name of a table", "give a file that ends in .csv")
    from pretune.report.pages.review import write_review_page

    settings, reading = as_the_backbone_reads(settings, say)
    data = data_with_classes(settings, reading, "review", say)
    if len(data.get(settings.split, ())) == 0:
        raise DataError(f"{settings.place} has no {settings.split} rows", f"--split takes one of: {', '.join(data)}")
    planted: dict[str, str] = {}
    if settings.plant:
        if settings.accept:
            raise UsageError("--plant makes labels wrong, and --accept takes suggestions for them", "give one of them")
        data, planted = _with_wrong_labels(data, settings)
    facts, listed = _looked_at(settings, data, planted, say)
    lines = io.StringIO()
    table: csv.DictWriter[str] = csv.DictWriter(lines, _FIELDS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(listed)
    write_text(out, lines.getvalue())
    page = write_review_page({**facts, "rows": listed}, out.with_suffix(".html"))
    facts |= {"out": str(out), "page": str(page)}
    return Outcome(text=_text(settings, facts), facts={**facts, "rows": [_without_media(row) for row in listed]})


def _with_wrong_labels(data: Splits, settings: ReviewSettings) -> tuple[Splits, dict[str, str]]:
    """The data with labels of the split drawn anew among the others, and by id the right ones of these rows."""
    import numpy as np

    split = data[settings.split]
    labels = list(split["label"])
    names = sorted({label for label in labels if label is not None})
    known = [place for place, label in enumerate(labels) if label is not None]
    rng = np.random.default_rng(settings.seed)
    right = {}
    for place in rng.permutation(known)[: round(settings.plant * len(known))].tolist():
        right[split["id"][place]] = labels[place]
        labels[place] = str(rng.choice([name for name in names if name != labels[place]]))
    wrong: Any = split.remove_columns("label").add_column("label", labels, feature=split.features["label"])  # pyright: ignore[reportArgumentType, reportCallIssue]
    return data.replace({**data, settings.split: wrong}), right


def _found(planted: dict[str, str], rows: Dataset, labels: tuple[str, ...], found: LabelErrors) -> dict[str, Any]:
    """Of as many rows as have a planted label, the most suspicious first: how many these are, and how often the right one is suggested."""
    from pretune.metrics.classification import wilson

    first = [(rows[place]["id"], labels[found.suggested_N[place]]) for place in found.order[: len(planted)].tolist()]
    hits = [planted[row] == suggested for row, suggested in first if row in planted]
    interval = wilson(len(hits), len(planted))
    precision = {"value": len(hits) / len(planted), "low": interval.low, "high": interval.high, "n": len(planted)}
    return {"rows": len(planted), "precision": precision, "right_suggestions": sum(hits) / max(1, len(hits))}  # fmt: skip


def _looked_at(
    settings: ReviewSettings, data: Splits, planted: dict[str, str], say: Say
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is told, and the most suspicious rows."""
    import numpy as np

    from pretune.evaluation.label_errors import label_errors

    labels, rows, probabilities_NC, how = _rotated(settings, data, say)
    class_of = {name: number for number, name in enumerate(labels)}
    labels_N = np.array([class_of[label] for label in rows["label"]])
    found = label_errors(probabilities_NC, labels_N)
    suspects = int((found.margin_N > 0).sum())
    estimated = found.estimated
    most = settings.most or min(suspects, max(_FEWEST_LISTED, round(2 * estimated)))
    facts = {
        "backbone": settings.backbone, "data": settings.place, "split": settings.split, "n": len(rows), "linear": how,
        "accuracy": float((probabilities_NC.argmax(axis=1) == labels_N).mean()), "estimated_wrong": round(estimated, 1),
        "suspects": suspects, "accepted": min(settings.accept, most, len(rows)), "pairs": _pairs(found, labels),
    }  # fmt: skip
    if planted:
        facts["planted"] = _found(planted, rows, labels, found)
    listed = [
        _line(settings, rows, labels, probabilities_NC, found, place, place_in_list < settings.accept)
        for place_in_list, place in enumerate(found.order[:most].tolist())
    ]
    return facts, listed


def _rotated(settings: ReviewSettings, data: Splits, say: Say) -> tuple[tuple[str, ...], Dataset, Any, dict[str, Any]]:
    """Classes, the labelled rows, the probability of each class by fits that had not seen the row, and how these were made."""
    import numpy as np

    from pretune.tasks.linear.fit import rotated_logits
    from pretune.tasks.linear.head import read, solvable
    from pretune.tasks.probes import by_row
    from pretune.training.linear_start import units_by_id

    made = set_up(settings, data, (settings.split,), say, takes_linear=True)
    rows, split = made.rows[settings.split], data[settings.split]
    known = [place for place, label in enumerate(split["label"]) if label in made.head.task.labels]
    if left_out := len(split) - len(known):
        say.warn(f"{counted(left_out)} of {settings.split} {agree(left_out, 'have', 'has')} no label that train has and {agree(left_out, 'are', 'is')} left out")  # fmt: skip
    units = units_by_id(split)
    bar = say.progress(len(rows), f"reading {settings.split} with {settings.backbone}")
    features_MF = read(made.head, rows, made.device, bar.update)
    bar.close()
    told = solvable(made.head, rows, units, features_MF)
    how = _strength(made, rows, units, features_MF, say)
    bar = say.progress(len(told.labels), "asking about each row by a fit on others")
    logits_MC = rotated_logits(
        told.features, told.labels, told.weights, told.units, len(made.head.task.labels), how["strength"], bar.update
    )
    bar.close()
    if logits_MC is None:
        raise DataError(
            f"the rows of {settings.split} are too few, or of too few classes, to hold some out in turn",
            "a class needs two rows at least",
        )
    shares_MC = np.exp(logits_MC - np.logaddexp.reduce(logits_MC, axis=1, keepdims=True))
    whole_MC = np.zeros((len(rows), shares_MC.shape[1]), dtype=np.float32)
    whole_MC[told.has_M] = shares_MC
    return made.head.task.labels, split.select(known), by_row(whole_MC, rows)[known], how


def _strength(
    made: ProbedModel, rows: EncodedRows, units: dict[str, int], features_MF: Any, say: Say
) -> dict[str, Any]:
    """How much logistic regression may trust its features: chosen inside the rows, and one for all texts as terms."""
    import numpy as np

    from pretune.tasks.linear.fit import SPARSE_STRENGTH
    from pretune.tasks.linear.head import solve

    if not isinstance(features_MF, np.ndarray):
        return {"strength": SPARSE_STRENGTH}
    fit = solve(made.head, rows, units, made.device, features_MF)
    say.note(f"logistic regression: {fit.sentence()}")
    return fit.facts()


def _pairs(found: LabelErrors, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Which labels are estimated to stand for which classes, the most frequent first."""
    pairs = [
        {"label": labels[i], "is": labels[j], "estimated": round(float(count), 1)}
        for i, row in enumerate(found.joint_CC)
        for j, count in enumerate(row)
        if i != j and count >= 0.5
    ]
    return sorted(pairs, key=lambda pair: -pair["estimated"])


def _line(
    settings: ReviewSettings, rows: Dataset, labels: tuple[str, ...], probabilities_NC: Any, found: LabelErrors, place: int, accepted: bool
) -> dict[str, Any]:  # fmt: skip
    """A row of the table, with what the page shows of it."""
    from pretune.evaluation.drift.plain import shown

    cells: Any = rows[place]
    suggested = labels[found.suggested_N[place]]
    text = " / ".join(cells[name] for name in ("text", "text_pair") if cells.get(name))
    media = next((cells[name] for name in ("image", "audio") if cells.get(name)), None)
    return {
        "id": cells["id"], "label": cells["label"], "new_label": suggested if accepted else "", "suggested": suggested,
        "probability_of_label": round(float(probabilities_NC[place, labels.index(cells["label"])]), 4),
        "probability_of_suggested": round(float(probabilities_NC[place, found.suggested_N[place]]), 4), "split": settings.split,
        "row": text[:_SHOWN_TEXT] if media is None else str(media.get("path") or ""), "shown": shown(cells),
    }  # fmt: skip


def _without_media(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _FIELDS}


def _text(settings: ReviewSettings, facts: dict[str, Any]) -> str:
    wrong, rows = round(facts["estimated_wrong"]), facts["n"]
    lines = [
        f"{settings.split}: about {wrong:,} of {counted(rows)} {agree(wrong, 'are', 'is')} estimated to have a wrong label ({wrong / rows:.1%}); "
        f"rows held out in turn are told right {facts['accuracy']:.1%} of the time"
    ]
    lines += [f"  {pair['label']} that {agree(round(pair['estimated']), 'are', 'is')} {pair['is']}: about {pair['estimated']:.0f}" for pair in facts["pairs"][:_SHOWN_PAIRS]]  # fmt: skip
    if planted := facts.get("planted"):
        precision = planted["precision"]
        lines.append(
            f"{planted['rows']:,} labels were made wrong to measure this: of the {planted['rows']:,} most suspicious rows {precision['value']:.1%} "
            f"[{precision['low']:.1%}, {precision['high']:.1%}] are theirs, and the right label is suggested for {planted['right_suggestions']:.1%} of these"
        )
        return "\n".join(
            [*lines, f"written: {facts['out']} and {facts['page']}. They hold wrong labels: do not learn from them"]
        )
    if facts["accepted"]:
        lines.append(
            f"new_label is filled in for the first {facts['accepted']}: look at them before you learn from them"
        )
    else:
        lines.append("fill in new_label where you agree, - to leave a row out")
    learner = "scratch:bert-mini" if settings.backbone.startswith("linear:") else settings.backbone
    following = next_line("finetune", settings, backbone=learner, data=settings.place, relabel=facts["out"])
    return "\n".join([*lines, f"written: {facts['out']} and {facts['page']}. {following}"])
