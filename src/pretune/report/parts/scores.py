"""The chapters of scores: every evaluated split with its intervals, and comparisons with other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.options import flag_of
from pretune.report.blocks import render_block
from pretune.report.drawing.charts import Whisker, dot_whisker
from pretune.report.drawing.svg import finite, responsive
from pretune.report.layout import Cell, Section, cell_of, data_table, part
from pretune.report.story import comparison_sentence, ordered_splits, primary_of
from pretune.report.words import (
    heading_of,
    is_percent,
    is_score,
    number_text,
    percent_tick,
    plain,
    score_text,
    score_value_text,
    tick_text,
    title_of,
)
from pretune.wording import counted

__all__ = ["comparisons_section", "scores_section"]

Record = Mapping[str, Any]


def scores_section(metrics: Record, run_name: str) -> Section:
    """Every evaluated split: the primary score beside the baselines, all scores, and the task's own blocks."""
    splits = ordered_splits(metrics)
    if not splits:
        return Section("scores", "Scores", (part("paragraph", text=f"Not evaluated yet: pretune evaluate {run_name}"),))
    parts: list[Markup] = []
    for split in splits:
        evaluation = metrics[split]
        if len(splits) > 1:
            place = (evaluation.get("data") or {}).get("place")
            parts.append(part("heading", text=f"On the {split} split" if place is None else f"On {place} ({split})"))
        parts += [_forest(split, evaluation), _score_table(split, evaluation), _seeds(evaluation)]
        if evaluation.get("notes"):
            parts.append(part("sentences", rows=[plain(note) for note in evaluation["notes"]]))
        parts += [render_block(block) for block in evaluation.get("blocks") or []]
    return Section("scores", "Scores", tuple(piece for piece in parts if piece))


def _forest(split: str, evaluation: Record) -> Markup:
    primary = primary_of(evaluation)
    if primary is None:
        return Markup("")
    name, score = primary
    rows = [_whisker("this model", name, score, own=True)]
    leaks = evaluation.get("leaks") or {}
    without = (leaks.get("without") or {}).get(name)
    if leaks.get("n") and is_score(without):
        rows.append(_whisker(f"without {number_text(leaks['n'])} leaked rows", name, without))
    for key, scores in (evaluation.get("baselines") or {}).items():
        if is_score(scores.get(name)):
            rows.append(_whisker(title_of(key), name, scores[name]))
    axis = (
        percent_tick
        if all(is_percent(name, {"value": row.value, "low": row.low, "high": row.high}) for row in rows)
        else tick_text
    )
    title = f"{heading_of(name)} on {split}, n = {number_text(score.get('n', evaluation.get('n')))}"
    better = "Further right is better." if evaluation.get("higher_is_better", True) else "Further left is better."
    chart = responsive(lambda width: dot_whisker(rows, title=title, axis_text=axis, width=width))
    return part("figure", drawing=chart, caption=title, note=f"Dot: score. Line: its 95 % interval. {better}")


def _whisker(label: str, name: str, score: Record, own: bool = False) -> Whisker:
    value = score["value"]
    low, high = (value if score.get(end) is None else score[end] for end in ("low", "high"))
    return Whisker(label, value, low, high, score_text(name, score), own)


def _score_table(split: str, evaluation: Record) -> Markup:
    baselines = {
        key: scores for key, scores in (evaluation.get("baselines") or {}).items() if isinstance(scores, Mapping)
    }
    rows = []
    every = [evaluation.get("scores") or {}, *baselines.values()]
    for name, score in every[0].items():
        if name.endswith("_micro") and all(one.get(name) == one.get("accuracy") for one in every):
            continue  # with one label a row it is the accuracy by another name
        others = [scores.get(name) for scores in baselines.values()]
        cells = [
            Cell(*score_value_text(name, one), numeric=True) if is_score(one) else Cell("–", numeric=True)
            for one in (score, *others)
        ]
        own = Cell(cells[0].text, cells[0].extra, numeric=True, own=True)
        rows.append([Cell(title_of(name)), own, *cells[1:]])
    columns = ["score", "this model", *(title_of(key) for key in baselines)]
    how = [f"{flag_of(key)} {plain(value)}" for key, value in (evaluation.get("answering") or {}).items()]
    note = f"n = {number_text(evaluation.get('n'))}; 95 % intervals in brackets." + (
        f" Answered with {', '.join(how)}." if how else ""
    )
    return data_table(f"All scores on {split}", columns, rows, note=note, numeric=[False, *[True] * (len(columns) - 1)])


def _seeds(evaluation: Record) -> Markup:
    several = evaluation.get("seed_scores") or {}
    rows = []
    for name, facts in several.items():
        cells = [Cell(score_text(name, {"value": facts.get(key)}), numeric=True) for key in ("mean", "sd")]
        values = ", ".join(score_text(name, {"value": value}) for value in facts.get("values", []))
        rows.append([Cell(title_of(name)), *cells, Cell(values)])
    return data_table(
        "Scores of each seed",
        ["score", "mean", "standard deviation", "seeds"],
        rows,
        numeric=[False, True, True, False],
    )


def comparisons_section(comparisons: Sequence[Record]) -> Section | None:
    """Paired comparisons with other runs: the verdict, the scores of both sides and on which rows they differ."""
    parts: list[Markup] = []
    for one in comparisons:
        sentence = comparison_sentence(one)
        parts.append(part("paragraph", text=sentence) if sentence else Markup(""))
        parts += [_sides(one), _discordance(one)]
    parts = [piece for piece in parts if piece]
    return Section("compared", "Comparisons", tuple(parts)) if parts else None


def _names(comparison: Record) -> tuple[str, str]:
    names = comparison.get("names") or [comparison.get("a", "A"), comparison.get("b", "B")]
    return plain(names[0]), plain(names[-1])


def _sides(comparison: Record) -> Markup:
    facts = comparison.get("primary") or {"name": "accuracy", **(comparison.get("accuracy") or {})}
    name = plain(facts.get("name"))
    sides = zip(_names(comparison), (facts.get("a"), facts.get("b")), strict=True)
    rows = [
        Whisker(
            run,
            side["value"],
            side.get("low", side["value"]),
            side.get("high", side["value"]),
            score_text(name, side),
        )
        for run, side in sides
        if is_score(side) and finite(side["value"])
    ]
    if not rows:
        return Markup("")
    title = f"{heading_of(name)} on the same {counted(comparison.get('n'))}"
    shares = all(is_percent(name, {"value": row.value, "low": row.low, "high": row.high}) for row in rows)
    axis = percent_tick if shares else tick_text
    chart = responsive(lambda width: dot_whisker(rows, title=title, axis_text=axis, width=width))
    return part("figure", drawing=chart, caption=title)


def _discordance(comparison: Record) -> Markup:
    table = comparison.get("mcnemar") or {}
    a, b = _names(comparison)
    named = (
        ("both right", table.get("both_right")),
        (f"only {a} right", table.get("only_a")),
        (f"only {b} right", table.get("only_b")),
        ("both wrong", table.get("both_wrong")),
    )
    rows = [[Cell(name), cell_of("number", value)] for name, value in named if finite(value)]
    said = [f"Exact McNemar test: p = {number_text(table['p'])}."] if finite(table.get("p")) else []
    if finite(comparison.get("n_needed")):
        said.append(f"About {number_text(comparison['n_needed'])} rows would show a difference as large as this one.")
    return data_table("Which of the two was right", ["", "rows"], rows, note=" ".join(said))
