"""What there is to say about the labels of a data passport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pretune.answers import ANSWERS
from pretune.data.checks.finding import finding
from pretune.data.columns.roles import kinds_in
from pretune.modalities import modality_of_columns
from pretune.wording import agree, counted

__all__ = ["conflict_findings", "label_findings"]

_FEW_CLASS_ROWS = 5
_STRONG_IMBALANCE, _STRONG_MAJORITY = 10.0, 0.9


def label_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Labels that are missing, rare, uneven or unseen."""
    for name, split in passport["splits"].items():
        labels = split["labels"]
        if labels is None:
            continue
        if name == "train":
            yield from _train_labels(labels)
        elif name in ("validation", "test"):
            yield from _held_out_labels(name, labels, passport)
        if labels["unlabelled_rows"]:
            message = f"{counted(labels['unlabelled_rows'])} of {name} {agree(labels['unlabelled_rows'], 'have', 'has')} no label."
            yield finding(
                "warning",
                "missing-label",
                message,
                labels["unlabelled_rows"],
                [],
                "label these rows, or put them into a file named unlabelled",
            )


def _train_labels(labels: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if labels["classes"] == 1:
        message = f"All labelled rows of train have the one label “{labels['majority']}”: there is nothing to learn."
        yield finding(
            "error",
            "one-class",
            message,
            1,
            [],
            "give rows of at least two labels, or name the label column with --column label=NAME",
        )
        return
    rare = {label: count for label, count in labels["counts"].items() if count < _FEW_CLASS_ROWS}
    if rare:
        shown = ", ".join(f"“{label}” ({count})" for label, count in list(rare.items())[:5])
        message = f"{counted(len(rare), 'label')} of train {agree(len(rare), 'have', 'has')} fewer than {_FEW_CLASS_ROWS} rows: {shown}."
        yield finding(
            "warning", "rare-label", message, len(rare), [], "give more rows of these labels, or merge them with others"
        )
    if labels["imbalance"] >= _STRONG_IMBALANCE or labels["majority_share"] >= _STRONG_MAJORITY:
        share = f"{labels['majority_share']:.1%}"
        message = f"Labels of train are uneven: “{labels['majority']}” has {share} of the rows, {labels['imbalance']:,.0f} times the rarest."
        yield finding(
            "note",
            "imbalance",
            message,
            labels["classes"],
            [],
            "judge by macro F1 or balanced accuracy; see --class-weights auto",
        )


def _held_out_labels(name: str, labels: Mapping[str, Any], passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    train = (passport["splits"].get("train") or {"labels": None})["labels"]
    if train is None:
        return
    unseen = [label for label in labels["counts"] if label in train["missing"]]
    if unseen:
        shown = ", ".join(f"“{label}”" for label in unseen[:5])
        message = f"{counted(len(unseen), 'label')} of {name} never {agree(len(unseen), 'stand', 'stands')} in train: {shown}."
        yield finding(
            "error",
            "unseen-label",
            message,
            len(unseen),
            [],
            "a model cannot learn them: add rows of these labels to train, or remove them",
        )
    if labels["missing"]:
        message = f"{counted(len(labels['missing']), 'label')} {agree(len(labels['missing']), 'have', 'has')} no row in {name}."
        yield finding(
            "note",
            "absent-label",
            message,
            len(labels["missing"]),
            [],
            f"scores of these labels cannot be measured on {name}",
        )


def conflict_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Texts that stand with more than one label."""
    found = passport["conflicting_labels"]
    if found["texts"]:
        columns = {column for split in passport["splits"].values() for column in split["columns"]}
        what = modality_of_columns(columns).one
        how, remedy = ANSWERS[next(iter(kinds_in(columns)), "label")].conflict
        message = f"{counted(found['texts'], what)} {agree(found['texts'], 'stand', 'stands')} with {how} ({counted(found['rows'])})."
        yield finding(
            "warning",
            "conflicting-labels",
            message,
            found["texts"],
            found["ids"],
            f"decide on {remedy} for each; inside a split --deduplicate keeps the first row",
        )
