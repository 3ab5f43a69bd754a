"""A record of a run that is not as it was written is a damaged file, named; never an error that nobody foresaw.

The runs here have no sums, as those of an older pretune: then the fields' types are what is left to go by.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_samples import make_run

import pretune
from pretune.errors import PretuneError
from pretune.files import write_json
from pretune.report.card import model_card
from pretune.report.layout import render_page
from pretune.report.page import report_page
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.list import _line, _summary
from unsealed import unsealed

VALUES: tuple[Any, ...] = (None, [], {}, "x", [1], {"a": 1}, -1, True)


def places_in(value: Any, above: tuple[Any, ...] = (), deepest: int = 3) -> Iterator[tuple[Any, ...]]:
    """The way to every field, of lists the first entry."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for step, item in inner:
        yield (*above, step)
        if len(above) + 1 < deepest:
            yield from places_in(item, (*above, step), deepest)


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """With another value at a place; Ellipsis takes it out."""
    value = copy.deepcopy(value)
    inner = value
    for step in place[:-1]:
        inner = inner[step]
    if new is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return value


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(unsealed(make_run(tmp_path / "news").path))


def readers_of(run: RunFolder) -> dict[str, Callable[[], Any]]:
    return {
        "open": lambda: open_run(run.path),
        "report": lambda: render_page(report_page(run)),
        "list": lambda: _line(_summary(run)),
        "card": lambda: model_card(run.record, run.metrics, run.passport),
    }


@pytest.mark.parametrize(
    ("name", "deepest", "values"),
    [("run.json", 3, VALUES[:4]), ("metrics.json", 4, (None, "x", ...)), ("data.json", 2, VALUES[:4]), ("log.jsonl", 2, VALUES)],
)  # fmt: skip
def test_no_value_of_a_record_is_a_defect(run: RunFolder, name: str, deepest: int, values: tuple[Any, ...]):
    path = run.path / name
    first, *others = path.read_text(encoding="utf-8").splitlines() if name.endswith("l") else [path.read_text("utf-8")]
    value = json.loads(first)
    problems = []
    for place in places_in(value, deepest=deepest):
        for new in (*values, ...):
            path.write_text("\n".join([json.dumps(changed(value, place, new)), *others, ""]), encoding="utf-8")
            for reader, read in readers_of(run).items():
                try:
                    read()
                except Exception as error:
                    if not (isinstance(error, PretuneError) and (name in error.problem or reader == "open")):
                        problems.append(f"{reader}: {'.'.join(map(str, place))} = {new!r}: {error!r}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "line", ["[1]", "7", '"x"', "null", "NaN", '{"id": 3}', '{"id": "1", "probabilities": {"a": "b"}}']
)
def test_a_line_that_is_no_record_is_named_by_its_number(run: RunFolder, line: str):
    path = run.path / "predictions" / "test.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{{"id": "0"}}\n{line}\n')
    with pytest.raises(PretuneError, match=rf"{path}:2 "):
        run.read_lines("predictions/test.jsonl")


@pytest.mark.parametrize("told", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_written(run: RunFolder, told: float):
    with pytest.raises(ValueError):
        run.write("metrics.json", {"test": {"scores": {"accuracy": {"value": told}}}})
    with pytest.raises(ValueError):
        run.write_lines("predictions/test.jsonl", [{"id": "1", "probabilities": {"a": told}}])


def test_a_list_of_runs_names_those_that_are_broken(run: RunFolder):
    write_json(run.path / "run.json", {"verb": "finetune", "settings": [], "status": "finished"})
    found = pretune.list(run.path.parent).facts["runs"]
    assert found[0]["status"] == "broken"
    assert "settings is a list, and must be an object" in found[0]["problem"]
