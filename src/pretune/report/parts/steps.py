"""The chapter of a recipe's page: its steps, what each reached, and what each made faster or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.errors import PretuneError
from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.parts.benchmark import benchmark_of
from pretune.report.shown_run import shown_run
from pretune.report.story import comparison_sentence, lead, main_split, primary_of
from pretune.report.words import bytes_text, duration_text, number_text, plain, score_value_text, short_count, title_of
from pretune.runfolder import RunFolder, is_run
from pretune.wording import counted

__all__ = ["measured_by_steps", "steps_lead", "steps_of", "steps_section"]

_COLUMNS = ("step", "what", "score", "value", "split", "weights", "one row", "took")
_SCORE = _COLUMNS.index("score")


def steps_of(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The steps that a recipe's folder remembers, by name in order; none for another run."""
    return run.read_object("recipe.json", "steps")["steps"] if run.has("recipe.json") else {}


def measured_by_steps(run: RunFolder) -> dict[str, Any]:
    """What the last step found that measured runs side by side; empty where none did."""
    for step in reversed(list(steps_of(run).values())):
        if found := benchmark_of(shown_run(RunFolder(run.path / str(step.get("run") or "-")))):
            return found
    return {}


def steps_section(run: RunFolder) -> Section | None:
    """A table of the steps that made a run (or have not ended well), and the commands of all. Figures of a step made from another are those it
    was compared with its parent by: the same validation rows, one after the other on one machine."""
    steps = steps_of(run)
    if not steps:
        return None
    found = {name: _facts(run, facts) for name, facts in steps.items()}
    others = [name for name, facts in steps.items() if not found[name] and facts.get("status") == "finished"]
    rows = [
        [
            Cell(name),
            Cell(title_of(str(facts.get("verb", "")))),
            *_score(found[name]),
            _bytes(found[name]),
            _latency(found[name]),
            Cell(duration_text(facts["seconds"]) if "seconds" in facts else plain(facts.get("status")), numeric=True),
        ]
        for name, facts in steps.items()
        if name not in others
    ]
    note = "Faster and smaller are against the step that a step was made from, on the same rows, in turn."
    sentences = [
        f"{name}: {line}"
        for name in steps
        for line in str((found[name].get("compression") or {}).get("text", "")).splitlines()
    ]
    commands = "\n".join(str(facts.get("command", "")) for facts in steps.values())
    columns: list[str] = list(_COLUMNS)
    if len(scores := {row[_SCORE].text for row in rows} - {""}) == 1:  # one score needs no column
        columns[_SCORE + 1] = scores.pop()
        columns, rows = _without_score(columns), [_without_score(row) for row in rows]
    parts = [data_table("The steps", columns, rows, note=note)]
    if others:
        sentences.append(f"{', '.join(others)}: what they found stands with the runs above, and in the first lines")
    if sentences:
        parts.append(part("sentences", rows=sentences))
    parts.append(part("details", summary="The command of each step", body=part("code", text=commands, name="commands")))
    return Section("steps", "Steps", tuple(parts))


def _without_score(cells: list[Any]) -> list[Any]:
    return [*cells[:_SCORE], *cells[_SCORE + 1 :]]


def steps_lead(run: RunFolder) -> tuple[str, ...]:
    """What was reached: the outcome of the last step whose run was scored, what was compared, and how many steps it took."""
    steps = steps_of(run)
    said = [
        *_compared(run),
        f"{counted(len(steps), 'step')}; those that made a run have a folder of their own in this one.",
    ]
    for name in reversed(steps):
        facts = _facts(run, steps[name])
        if facts and main_split(facts["metrics"]):
            return (*(f"{name}: {line}" for line in lead(facts, facts["metrics"], (), name)[:2]), *said)
    return tuple(said)


def _compared(run: RunFolder) -> list[str]:
    """The verdict of each comparison that stands with one of the runs, once."""
    found = {}
    for step in steps_of(run).values():
        place = run.path / str(step.get("run") or "-")
        if is_run(place):
            for one in shown_run(RunFolder(place)).comparisons:
                found.setdefault((plain(one.get("a")), plain(one.get("b"))), comparison_sentence(one))
    return [sentence for sentence in found.values() if sentence]


def _facts(run: RunFolder, step: Mapping[str, Any]) -> dict[str, Any]:
    """What the step's run says of itself; empty where it made none or is gone."""
    place = run.path / str(step.get("run") or "-")
    if not is_run(place):
        return {}
    try:
        one = shown_run(RunFolder(place))
        return {**one.record, "metrics": one.metrics}
    except PretuneError:
        return {}


def _score(facts: Mapping[str, Any]) -> tuple[Cell, Cell, Cell]:
    """Which score, its value with the interval, and of which split: the one that counts most, test where it was looked at."""
    metrics = facts.get("metrics") or {}
    split = main_split(metrics)
    primary = primary_of(metrics[split]) if split else None
    if split and primary:
        return _scored(primary[0], primary[1], split)
    after = (facts.get("compression") or {}).get("after") or {}
    result = facts.get("result") or {}
    if after.get("score"):
        return _scored(str(facts["compression"].get("metric")), after["score"], "validation")
    if result.get("value") is not None:
        return _scored(str(result.get("metric")), {"value": result["value"]}, "validation")
    return Cell(""), Cell("", numeric=True), Cell("")


def _scored(name: str, score: Mapping[str, Any], split: str) -> tuple[Cell, Cell, Cell]:
    value, interval = score_value_text(name, score)
    n = f"n = {number_text(score['n'])}" if score.get("n") is not None else ""
    return Cell(title_of(name)), Cell(value, interval, numeric=True), Cell(split, n)


def _bytes(facts: Mapping[str, Any]) -> Cell:
    compression = facts.get("compression") or {}
    after = compression.get("after") or {}
    if after.get("bytes"):
        return Cell(bytes_text(after["bytes"]), f"{compression.get('smaller', 0):.2f} × smaller", numeric=True)
    parameters = (facts.get("model") or {}).get("parameters")
    return Cell(short_count(parameters) if parameters else "", "parameters" if parameters else "", numeric=True)


def _latency(facts: Mapping[str, Any]) -> Cell:
    compression = facts.get("compression") or {}
    after = (compression.get("after") or {}).get("latency_1") or {}
    if not after.get("p50_ms"):
        return Cell("", numeric=True)
    return Cell(f"{after['p50_ms']:.2f} ms", f"{compression.get('faster', 0):.2f} × as fast", numeric=True)
