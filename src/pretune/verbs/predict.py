"""``pretune predict``: rows in, labels and probabilities out, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings
from pretune.errors import DataError, UsageError
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.declare import verb
from pretune.verbs.outcome import Outcome, Say
from pretune.verbs.reading import refuse_missing_data
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.data.media import BrokenMedia
    from pretune.verbs.proven import Proven

__all__ = ["PredictSettings", "as_learned", "predict"]


@dataclass(frozen=True, kw_only=True)
class PredictSettings(AnsweringSettings):
    """Settings of ``pretune predict``."""

    verb: ClassVar[str] = "predict"

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    data: str = option(
        "-",
        "file or folder with rows (a picture or a clip too); - reads standard input: a JSON object, a text or a path on each line, or a table (CSV, TSV) with a header",
        positional=True,
        metavar="DATA",
    )
    out: str | None = option(None, "file to write JSON lines to; default: standard output", metavar="FILE")
    column: tuple[str, ...] = option((), "name a column: text=title, text_pair=reply, id=key", metavar="ROLE=NAME")
    header: str = option("auto", "does the first row of a CSV/TSV name the columns", choices=("auto", "yes", "no"))
    delimiter: str | None = option(None, "what separates columns of a text table")
    encoding: str | None = option(None, "encoding of text files, where it is not found by looking")
    calibrated: bool = option(True, "probabilities at the temperature fitted on validation")
    window_rows: int = option(4096, "rows held in memory at a time", low=1, high=1_000_000)


@verb(PredictSettings)
def predict(settings: PredictSettings, *, say: Say) -> Outcome:
    """Labels with probabilities, or transcripts, of new rows, as JSON lines in the rows' order; ids are kept.

    Memory does not grow with the data: a window of rows is read, predicted and written at a time.

    Examples::

        pretune predict runs/news new.csv --out labels.jsonl
        pretune predict runs/news inbox/ --column text=body
        pretune predict runs/ants photo.jpg
        echo '{"id": "1", "text": "a fine film"}' | pretune predict runs/news -
        cat new.csv | pretune predict runs/news - --column text=title
    """
    refuse_missing_data(settings.data)
    from pretune.data.stream import stream_rows
    from pretune.verbs.proven import load_proven

    run = open_run(settings.run)
    proven = load_proven(run, settings)
    left_out: list[str] = []

    def leave_out(broken: BrokenMedia) -> None:
        left_out.append(broken.problem)
        say.warn(f"left out: {broken.problem}")

    rows = stream_rows(
        settings.data,
        columns=settings.column,
        header=settings.header,
        delimiter=settings.delimiter,
        encoding=settings.encoding,
        modality=proven.task.modality,
        on_left_out=leave_out,
    )
    records = _records(settings, proven, as_learned(run, _any_of(rows, left_out)), say)
    if settings.out is None:
        return Outcome(text="", facts={}, rows=records)
    count = _write(Path(settings.out), records)
    return Outcome(text=f"{counted(count)} predicted, in {settings.out}", facts={"rows": count, "out": settings.out})


def _any_of(rows: Iterator[dict[str, Any]], left_out: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows; raises :class:`DataError` where some were left out and none is there to predict."""
    first = next(rows, None)
    if first is not None:
        yield from itertools.chain([first], rows)
    elif left_out:
        raise DataError(f"nothing to predict: {left_out[0]}", "give at least one row that can be read")


def as_learned(run: RunFolder, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows; raises :class:`DataError` when the model learned pairs of texts and the first holds one, or the reverse."""
    columns = run.passport.get("splits", {}).get("train", {}).get("columns", [])
    first = next(rows, None)
    if first is None:
        return
    if "text_pair" in columns and "text_pair" not in first:
        raise DataError(
            f"{run.path} learned from pairs of texts, row {first['id']} holds one text",
            'give both, as {"text": "...", "text_pair": "..."}, or name the column with --column text_pair=NAME',
        )
    if columns and "text_pair" not in columns and "text_pair" in first:
        raise DataError(
            f"{run.path} learned from single texts, row {first['id']} holds two", "name the one with --column text=NAME"
        )
    yield from itertools.chain([first], rows)


def _records(
    settings: PredictSettings, proven: Proven, rows: Iterator[dict[str, Any]], say: Say
) -> Iterator[dict[str, Any]]:
    """One record a row, window by window."""
    from pretune.tasks.predicting import example_of, predict_items

    bar = say.progress(None, "predicting")
    while window := list(itertools.islice(rows, settings.window_rows)):
        # Ids need not be unique here; the place in the window is.
        examples = (example_of(row, str(place)) for place, row in enumerate(window))
        items = [item for example in examples for item in proven.task.encode(example)]
        predictions = predict_items(proven.task, proven.model, items, proven.device)
        records = [proven.task.record(prediction) for prediction in predictions]
        honest = proven.task.calibrated(records) if settings.calibrated else None
        for record in records if honest is None else honest:
            yield {**record, "id": window[int(record["id"])]["id"]}
        bar.update(len(window))
    bar.close()


def _write(path: Path, records: Iterator[dict[str, Any]]) -> int:
    from pretune.files import json_text, translate_disk_errors

    if path.is_dir():
        raise UsageError(f"--out {path} is a folder", "give a file")
    count = 0
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with translate_disk_errors(path), open(aside, "w", encoding="utf-8") as file:
            for record in records:
                file.write(json_text(record) + "\n")
                count += 1
        aside.replace(path)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UsageError(
            f"--out {path} cannot be written: {error.strerror}", "choose a file in a folder that you may write to"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return count
