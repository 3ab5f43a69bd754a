"""The page of ``pretune drift``: what moved, by how much, what it does to the answers, and which rows are the most typical."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.charts import Whisker, dot_whisker
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Page, Section, Tile, data_table, part, write_page
from pretune.report.pages.drift_words import auc_text, p_text, verdict_sentence
from pretune.report.pages.rows import row_parts
from pretune.report.words import number_text, percent_text, percent_tick, plain, score_text, score_value_text
from pretune.wording import counted

__all__ = ["drift_page", "write_drift_page"]

Facts = Mapping[str, Any]
_MOST_CLASSES = 30


def write_drift_page(facts: Facts, out: Path) -> Path:
    """Write the page of what ``pretune drift`` found to the file ``out`` and return it."""
    return write_page(drift_page(facts), out)


def drift_page(facts: Facts) -> Page:
    """What the page shows."""
    chapters = (
        ("inputs", "What moved in the rows", (_views(facts), _numbers(facts), _words(facts))),
        ("answers", "What it does to the answers", (_answers(facts), _shift(facts), _expected(facts))),
        ("rows", "The most typical new rows", (_rows(facts["typical_rows"]),)),
        ("how", "How it was tested", (_tests(facts), part("sentences", rows=_how(facts)))),
    )
    filled = [(anchor, title, tuple(one for one in parts if one)) for anchor, title, parts in chapters]
    sentence = verdict_sentence(facts)
    return Page(
        title="Drift" if facts["drift"] else "No drift found",
        over_title=f"pretune drift · {plain(PurePath(facts['run']).name)} · {plain(PurePath(facts['data']).name)}",
        lead=(f"{sentence[0].upper()}{sentence[1:]}", _sets(facts)),
        sections=tuple(Section(anchor, title, parts) for anchor, title, parts in filled if parts),
        tiles=_tiles(facts),
        closing="Made by pretune. This page is complete in itself: it holds no script and loads nothing.",
    )


def _sets(facts: Facts) -> str:
    rows = f"{counted(facts['new_rows'], 'new row')} of {plain(PurePath(facts['data']).name)}"
    return (
        f"{rows} were held against {counted(facts['reference_rows'])} of {facts['split']} of the run ({facts['task']})."
    )


def _tiles(facts: Facts) -> tuple[Tile, ...]:
    tiles = [
        Tile(f"AUC, {name}", f"{view['auc']['value']:.3f}", f"[{view['auc']['low']:.3f}, {view['auc']['high']:.3f}]")
        for name, view in facts["features"].items()
    ]
    if expected := facts.get("expected_accuracy"):
        tiles.append(Tile("accuracy to expect", *score_value_text("accuracy", expected["new"])))
        tiles.append(Tile("accuracy on the reference", *score_value_text("accuracy", expected["reference"])))
    return tuple(tiles)


def _views(facts: Facts) -> Markup:
    views = facts["features"]
    if not views:
        return Markup("")
    whiskers = [
        Whisker(name, view["auc"]["value"], view["auc"]["low"], view["auc"]["high"], auc_text(view["auc"]), own=view["auc_adjusted_p"] <= facts["alpha"])
        for name, view in views.items()
    ]  # fmt: skip
    title = "How well new rows are told from reference rows (AUC)"
    note = "0.5: not at all; 1: always. Line: 95 % interval. Coloured: the test says so."
    figure = part("figure", drawing=responsive(lambda width: dot_whisker(whiskers, title=title, width=width)), caption=title, note=note)  # fmt: skip
    rows = [
        [Cell(name), Cell(auc_text(view["auc"]), numeric=True), Cell(f"{view['auc_p']:.2g}", numeric=True), Cell(f"{view['mmd']:.2g}", numeric=True), Cell(f"{view['mmd_p']:.2g}", numeric=True)]
        for name, view in views.items()
    ]  # fmt: skip
    return figure + data_table("By kind of features", ["features", "AUC", "its p", "MMD²", "its p"], rows)


def _numbers(facts: Facts) -> Markup:
    rows = [
        [
            Cell(test["name"]), Cell(number_text(float(test["reference"])), numeric=True), Cell(number_text(float(test["new"])), numeric=True),
            Cell(f"{test['distance']:.2f}", numeric=True), Cell(f"{test['adjusted_p']:.2g}", numeric=True, own=test["adjusted_p"] <= facts["alpha"]),
        ]
        for test in facts["numbers"]
    ]  # fmt: skip
    note = "Medians. The distance is the largest between the two distributions (Kolmogorov-Smirnov); p holds the false discovery rate (Benjamini-Hochberg)."
    return data_table("Single numbers of a row", ["number", "reference", "new", "distance", "p"], rows, note=note)


def _words(facts: Facts) -> Markup:
    found = Markup("")
    for side, words in facts["typical_words"].items():
        rows = [
            [Cell(plain(one["word"])), Cell(number_text(one["reference"]), numeric=True), Cell(number_text(one["new"]), numeric=True), Cell(f"{one['z']:.1f}", numeric=True)]
            for one in words
        ]  # fmt: skip
        note = "Rows that hold the word, and its log odds in standard errors."
        found += data_table(f"Words typical of {side}", ["word", "reference rows", "new rows", "z"], rows, note=note)
    return found


def _answers(facts: Facts) -> Markup:
    answers = facts.get("answers")
    if not answers:
        return Markup("")
    rows = [
        [Cell(plain(name) or "none"), *(Cell(percent_text(answers[side].get(name, 0.0)), numeric=True) for side in ("reference", "new"))]
        for name in [*dict.fromkeys([*answers["reference"], *answers["new"]])][:_MOST_CLASSES]
    ]  # fmt: skip
    return data_table("What the model answers", ["answer", "reference", "new"], rows, note=f"Shares of the rows; {p_text(answers['p'])}.")  # fmt: skip


def _intervals(rows: Sequence[Whisker], title: str, note: str) -> Markup:
    """Shares with their intervals."""
    chart = responsive(lambda width: dot_whisker(rows, title=title, axis_text=percent_tick, width=width))
    return part("figure", drawing=chart, caption=title, note=note)


def _shift(facts: Facts) -> Markup:
    shift = facts.get("label_shift")
    if not shift:
        return Markup("")
    rows = [
        Whisker(plain(name), one["value"], one["low"], one["high"], f"{score_text('share', one)}, was {percent_text(shift['reference'][name])}")
        for name, one in [*shift["estimated"].items()][:_MOST_CLASSES]
    ]  # fmt: skip
    title = "Which classes the new rows are of"
    note = (
        "Estimated without labels by how often each class is answered wrongly on the reference rows. It holds where only the shares of the classes "
        "changed, and rows of a class look as they did."
    )
    return _intervals(rows, title, note)


def _expected(facts: Facts) -> Markup:
    expected = facts.get("expected_accuracy")
    if not expected:
        return Markup("")
    rows = [
        Whisker(name, one["value"], one["low"], one["high"], score_text("accuracy", one), own=name == "new rows, expected")
        for name, one in (("reference rows, measured", expected["reference"]), ("new rows, expected", expected["new"]))
    ]  # fmt: skip
    title = "Accuracy to expect"
    note = (
        "The share of new rows that the model is surer of than a threshold, below which as many reference rows lie as it answered wrongly. It holds "
        "while being sure means what it meant; labelled rows and pretune evaluate --data know better."
    )
    return _intervals(rows, title, note)


def _rows(rows: Sequence[Facts]) -> Markup:
    note = "Those that the classifier, which saw neither, is surest of."
    return row_parts(rows, "New rows unlike any of the reference", note=note)


def _tests(facts: Facts) -> Markup:
    rows = [
        [Cell(test["name"]), Cell(f"{test['p']:.2g}", numeric=True), Cell(f"{test['adjusted_p']:.2g}", numeric=True, own=test["adjusted_p"] <= facts["alpha"])]
        for test in facts["tests"]
    ]  # fmt: skip
    return data_table("The tests that decide", ["test", "p", "p for all together"], rows)


def _how(facts: Facts) -> list[str]:
    return [
        f"There is drift where a test says so at {facts['alpha']:g} after Holm's adjustment for all of them: where nothing moved, one is found no oftener than that.",
        "The classifier is logistic regression, each row scored by a fit without it; its p and that of the kernel two-sample test (MMD, Gretton et al. 2012) come from reshuffling which rows are new.",
        "A small p says that something moved, not that it matters: the AUC says how much, and the accuracy to expect what it may cost.",
        f"Rows, folds and reshuffles follow from the seed {facts['seed']}.",
        *(plain(note) for note in facts["notes"]),
    ]
