"""A finished run in a program's hands: ``run = pretune.load("runs/news")``, then ``run.predict(texts)``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import AnsweringSettings
from pretune.interface.declare import build_settings, load_verb
from pretune.interface.outcome import Outcome
from pretune.interface.program import PythonSay, as_it_was
from pretune.interface.shown_html import Passport, Shown, html_table
from pretune.notices import telling
from pretune.runfolder import RunFolder, open_run

if TYPE_CHECKING:
    from pretune.modalities import Modality
    from pretune.runs.proven import Proven, TrainedModel
    from pretune.verbs.predict.story import PredictSettings

__all__ = ["LoadedRun", "load"]


def load(folder: str | os.PathLike[str]) -> LoadedRun:
    """The run in ``folder``. Raises :class:`pretune.errors.RunError` where there is none, or it was not finished."""
    from pretune.runs.proven import about_of

    run = open_run(os.fspath(folder))
    about_of(run)
    return LoadedRun(run)


class LoadedRun:
    """A run of which a model came out. Its model is loaded when it first answers, and stays loaded.

    The verbs that take a run are methods; their options go by name, as in ``pretune.evaluate``. A call leaves threads and
    random generators as they were; what must not be missed comes as :class:`pretune.PretuneWarning`.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._loaded: dict[tuple[Any, ...], Proven] = {}

    @property
    def path(self) -> Path:
        """Where the run lies."""
        return self.folder.path

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """``pretune.json`` of the model: task, labels, how rows are read."""
        from pretune.runs.proven import about_of

        return about_of(self.folder)

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.about["task"]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities; none where it does not tell classes apart."""
        return tuple(self.about.get("labels", ()))

    @property
    def record(self) -> Mapping[str, Any]:
        """``run.json``: settings, command, versions, result."""
        return self.folder.record

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged while learning, a line a step or evaluation: ``pandas.DataFrame(run.history)`` is a table."""
        return self.folder.log_lines()

    @property
    def scores(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By split that was evaluated, each score with value, interval and n."""
        return {
            split: evaluation["scores"] for split, evaluation in self.folder.metrics.items() if "scores" in evaluation
        }

    @property
    def passport(self) -> Passport:
        """What was in the data, and what is wrong with it."""
        return Passport(self.folder.passport)

    @property
    def model(self) -> TrainedModel:
        """The torch model, its task and tokenizer (:func:`pretune.open_model`)."""
        from pretune.runs.proven import open_model

        return open_model(self.path)

    def predict(self, data: Any, *, as_frame: bool = False, **options: Any) -> Any:
        """The answers to ``data`` in its order: a text or several, pictures of PIL, arrays, a Series or DataFrame, a
        ``datasets.Dataset``, mappings of a row, or paths of files and folders.

        A list of records (``id``, the answer, probabilities, ...), or with ``as_frame`` a DataFrame, on the index of a frame that was
        given. A row of rows in memory that could not be answered stays in its place without an answer, which is warned of. A string is a
        text where the model reads texts and no file is called so. Options are those of :func:`pretune.predict`.
        Raises :class:`pretune.errors.DataError` for what cannot be read.
        """
        from pretune.verbs.predict.story import PredictSettings

        rows = self._rows_of(data)
        with as_it_was():
            settings = build_settings(PredictSettings, (str(self.path),), {"data": rows, **options})
            records = self._answered(settings)
        if not isinstance(rows, (str, tuple)):
            records = _in_places(records, _count(rows), self._answer_key)
        return _frame(records, getattr(data, "index", None)) if as_frame else records

    @property
    def _answer_key(self) -> str:
        from pretune.tasks import task_named

        return task_named(self.task).answer

    def _rows_of(self, data: Any) -> Any:
        """Places as a string or tuple of strings, anything else as rows in memory whose ids are their places."""
        from pretune.data.cells.given import table_of

        modality = self._modality
        if isinstance(data, (str, os.PathLike)):
            is_text = isinstance(data, str) and not modality.is_file and not os.path.lexists(data)
            return self._as_texts([str(data)]) if is_text else os.fspath(data)
        if isinstance(data, Sequence) and data and all(isinstance(one, (str, os.PathLike)) for one in data):
            texts = [one for one in data if isinstance(one, str)]
            if not modality.is_file and len(texts) == len(data):
                return self._as_texts(texts)
            return tuple(map(os.fspath, data))
        table = self._as_learned(table_of(data))
        places = [str(place) for place in range(table.num_rows)]
        without = [name for name in table.column_names if name != "id"]
        return table.select(without).append_column("id", [places])

    def _as_learned(self, table: Any) -> Any:
        """A table of one nameless column of texts, called as the model's was."""
        learned = self._text_column
        only_text = table.column_names == [_TEXTS] and learned != _TEXTS
        return table.rename_columns([learned]) if only_text else table

    def _as_texts(self, texts: list[str]) -> Any:
        import pyarrow as pa

        ids = [str(place) for place in range(len(texts))]
        return pa.table({self._text_column: pa.array(texts, pa.string()), "id": ids})

    @cached_property
    def _text_column(self) -> str:
        from pretune.runs.reading import learned_by

        reading = learned_by(self.folder)
        name = {**reading.found, **reading.columns}.get(_TEXTS, _TEXTS)
        return name if name and not name.isdigit() else _TEXTS

    @cached_property
    def _modality(self) -> Modality:
        from pretune.tasks import task_named

        return task_named(self.task).modality

    def _answered(self, settings: PredictSettings) -> list[dict[str, Any]]:
        import torch

        from pretune.runs.proven import load_proven
        from pretune.verbs.predict.story import predicted

        key = tuple(getattr(settings, spec.name) for spec in dataclasses.fields(AnsweringSettings))
        if key not in self._loaded:
            self._loaded[key] = load_proven(self.folder, settings)
        torch.set_num_threads(self._loaded[key].device.threads)
        say = PythonSay()
        with telling(say.note, say.warn):
            outcome = predicted(settings, self.folder, self._loaded[key], say)
            records = [dict(row) for row in outcome.rows or ()]
            if outcome.at_end is not None:
                outcome.at_end()
        return records

    def evaluate(self, data: Any = None, **options: Any) -> Outcome:
        """Scores with intervals on the test split, another ``split=``, or other ``data``: :func:`pretune.evaluate`."""
        return load_verb("evaluate")(str(self.path), data=data, **options)

    def explain(self, example: Any = None, **options: Any) -> Shown:
        """What an answer hangs on, as a page: :func:`pretune.explain`."""
        outcome = load_verb("explain")(str(self.path), *([] if example is None else [example]), **options)
        return Shown(Path(outcome.facts["out"]), outcome)

    def drift(self, data: Any, **options: Any) -> Shown:
        """Are these rows like those that the run was held against, as a page: :func:`pretune.drift`."""
        outcome = load_verb("drift")(str(self.path), data, **options)
        return Shown(Path(outcome.facts["out"]), outcome)

    def report(self, **options: Any) -> Shown:
        """The run's page: :func:`pretune.report`."""
        outcome = load_verb("report")(str(self.path), **options)
        return Shown(Path(outcome.facts["report"]), outcome)

    def export(self, **options: Any) -> Outcome:
        """A folder that answers without pretune: :func:`pretune.export`."""
        return load_verb("export")(str(self.path), **options)

    def compare(self, other: LoadedRun | str | os.PathLike[str], **options: Any) -> Outcome:
        """Is the other run better, on the same rows: :func:`pretune.compare`."""
        place = other.path if isinstance(other, LoadedRun) else other
        return load_verb("compare")(str(self.path), str(place), **options)

    def __repr__(self) -> str:
        scored = "; ".join(f"{split}: {name} {score['value']:.4f}" for split, name, score in self._primary())
        return f"<{self.task} {self.path}{f', {scored}' if scored else ''}>"

    def _primary(self) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
        for split, evaluation in self.folder.metrics.items():
            score = evaluation.get("scores", {}).get(evaluation.get("primary"))
            if score and score.get("value") is not None:
                yield split, evaluation["primary"], score

    def _repr_html_(self) -> str:
        from pretune.report.words import score_line, title_of

        rows = [(split, title_of(name), score_line(name, score), score["n"]) for split, name, score in self._primary()]
        head = f"{self.path} · {self.task}" + (f" · {', '.join(self.labels[:8])}" if self.labels else "")
        return html_table(head, ("split", "score", "value", "n"), rows, empty="not evaluated yet: run.evaluate()")


_TEXTS = "text"


def _count(rows: Any) -> int:
    return rows.num_rows


def _in_places(records: Sequence[dict[str, Any]], count: int, answer: str) -> list[dict[str, Any]]:
    """A record for every row that was given, one without an answer where there is none."""
    by_id = {record["id"]: record for record in records}
    return [by_id.get(str(place), {"id": str(place), answer: None}) for place in range(count)]


def _frame(records: Sequence[Mapping[str, Any]], index: Any) -> Any:
    """A DataFrame: a column for each field, probabilities one for each label."""
    import pandas

    flat = [
        {
            **{name: value for name, value in record.items() if name != "probabilities"},
            **{f"probability of {label}": share for label, share in record.get("probabilities", {}).items()},
        }
        for record in records
    ]
    frame = pandas.DataFrame(flat)
    if index is not None and not callable(index) and len(index) == len(frame):
        frame = frame.drop(columns="id").set_index(index)
    return frame
