"""``pretune predict``: rows in, answers out (labels and probabilities, transcripts, texts that go on), in bounded memory."""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.answers import ANSWERS
from pretune.config import AnsweringSettings, AsCleanedSettings, AsReadSettings, WritingSettings
from pretune.errors import DataError, UsageError
from pretune.files import translate_disk_errors, write_bytes
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.runs.reading import refuse_missing_data
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from pretune.data.reading import Reading
    from pretune.runs.proven import Proven
    from pretune.tasks.base import Task
    from pretune.types import Encoded

__all__ = ["PredictSettings", "predict", "predicted", "with_its_texts"]

_SHOWN = 5
_CHANGED = {
    "texts_from_lists": ("are lists; their parts were joined by line ends", "is a list; its parts were joined by line ends"),
    "texts_from_numbers": ("are numbers; they were read as they are written", "is a number; it was read as it is written"),
    "texts_with_broken_characters": (
        "hold broken characters, which were replaced", "holds broken characters, which were replaced",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PredictSettings(AnsweringSettings, WritingSettings, AsReadSettings, AsCleanedSettings):
    """Settings of ``pretune predict``."""

    verb: ClassVar[str] = "predict"

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    data: tuple[str, ...] = option(
        ("-",),
        "files or folders with rows (pictures and clips too); - reads standard input: a JSON object, a text or a path on each line, or a table (CSV, TSV) with a header",
        positional=True,
        metavar="DATA",
    )
    prompt: tuple[str, ...] = option(
        (), "a text to answer, or to go on from, in place of DATA; may be given several times", metavar="TEXT"
    )
    chat: bool = option(
        False,
        "conversation: answer each line of standard input (or --prompt) in the light of those before it; an empty line begins anew",
    )
    system: str | None = option(None, "with --chat: what the conversation stands under", metavar="TEXT")
    speaker: str | None = option(None, "text-to-speech: whose voice says rows that name none", metavar="NAME")
    out: str | None = option(
        None, "file to write to: a table where its name ends in .csv or .tsv, else JSON lines; default: standard output. Answers that are files (WAV) go into a folder of its name, with manifest.jsonl where --out is a folder",
        metavar="FILE",
    )  # fmt: skip
    save_files: str | None = option(
        None, "write each answer that can be files into this folder too (a mask: PNG of class numbers, 255 for none; boxes: what each holds, cut out of the picture with a margin)",
        metavar="FOLDER",
    )  # fmt: skip
    calibrated: bool = option(True, "probabilities at the temperature fitted on validation")
    window_rows: int = option(4096, "rows held in memory at a time", low=1, high=1_000_000)
    part: str | None = option(
        None,
        "K/N: answer the K-th of every N rows, so that N processes, on one machine or many, share the rows",
        metavar="K/N",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part is not None:
            _share_of(self.part)
            if self.prompt or self.chat:
                raise UsageError("--part is of rows in files", "leave it out with --prompt and --chat")


@verb(PredictSettings)
def predict(settings: PredictSettings, *, say: Say) -> Outcome:
    """Labels with probabilities, or transcripts, of new rows, as JSON lines or a table in the rows' order; ids are kept.

    Rows are read and cleaned as those that the model learned from, where nothing else is said. A row without a text, or whose
    file cannot be read, is named and counted, the others are answered, and the exit code is 1. Memory does not grow with the
    data: a window of rows is read, predicted and written at a time.

    Examples::

        pretune predict runs/news new.csv --out labels.csv
        pretune predict runs/news inbox/ --column text=body
        pretune predict runs/stories --prompt "Once upon a time" --temperature 0.7
        pretune predict runs/talk --chat
        pretune predict runs/ants photo.jpg another.jpg
        pretune predict runs/streets photos/ --save-files masks/
        pretune predict runs/people photos/ --save-files persons/
        pretune predict runs/news million.csv --part 2/8 --out part-2.jsonl
        pretune predict runs/voice --prompt "seven" --speaker theo --out said/
        echo '{"id": "1", "text": "a fine film"}' | pretune predict runs/news -
        cat new.csv | pretune predict runs/news - --column text=title
    """
    if settings.prompt and settings.data != ("-",):
        raise UsageError("--prompt and DATA were given", "give one of them")
    if settings.chat and (settings.data != ("-",) or settings.out is not None):
        raise UsageError(
            "--chat reads lines and answers each at once",
            "leave DATA and --out out; --json writes a line of JSON an answer",
        )
    if settings.system is not None and not settings.chat:
        raise UsageError(
            "--system is what a conversation stands under", "give --chat too, or rows with a turn of the system"
        )
    if len(settings.data) == 1:
        refuse_missing_data(settings.data[0])
    from pretune.runs.proven import load_proven

    run = open_run(settings.run)
    return predicted(settings, run, load_proven(run, settings), say)


def predicted(settings: PredictSettings, run: RunFolder, proven: Proven, say: Say) -> Outcome:
    """What ``predict`` does with the loaded model of ``run``."""
    from pretune.runs.answer_files import MANIFEST, answers_in_files
    from pretune.runs.reading import learned_by
    from pretune.verbs.predict.tables import checked_place, write_records

    reading = learned_by(run, settings)
    if settings.chat:
        return _chat(settings, proven, reading, say)
    place = None if settings.out is None else checked_place(Path(settings.out), proven.task)
    _tell_probabilities(settings, proven, say)
    left_out = _LeftOut(say)
    share = _shared(_rows(settings, run, proven, reading, left_out), settings.part)
    rows = _any_of(_cleaned(share, reading, left_out), left_out)
    if settings.save_files is not None and not ANSWERS[proven.task.answer].suffix:
        raise UsageError(
            f"--save-files: {proven.task.name} answers with no files", "leave it out: answers stand in the lines"
        )
    answered = _records(settings, proven, with_its_texts(run, reading, rows), say, left_out)
    if settings.save_files is None:
        records = (record for _, record in answered)
    else:
        records = _saved(answered, proven.task, Path(settings.save_files))
    if place is None:
        return Outcome(text="", facts={}, rows=records, at_end=lambda: _ending("", {}, left_out))
    kept = answers_in_files(
        records, proven.task.answer, place.parent, place.stem if place.name != MANIFEST else "", fresh=False
    )
    count = write_records(place, kept, proven.task)
    return _ending(f"{counted(count)} predicted, in {settings.out}", {"rows": count, "out": settings.out}, left_out)


def _chat(settings: PredictSettings, proven: Proven, reading: Reading, say: Say) -> Outcome:
    from pretune.verbs.predict.chatting import hold_conversation

    if not settings.prompt:
        say.note("type a line; an empty one begins anew, Ctrl-D ends")
    return hold_conversation(settings.prompt or sys.stdin, proven, reading, say, system=settings.system)


def _saved(
    answered: Iterator[tuple[Mapping[str, Any], dict[str, Any]]], task: Task, folder: Path
) -> Iterator[dict[str, Any]]:
    """The records, the answer of each written as files called after its row."""
    from pretune.data.media.image import decode_image

    kind, names = ANSWERS[task.answer], Counter[str]()
    with translate_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for row, record in answered:
        stem, written = PurePath(record["id"]).stem or "row", []
        answer = kind.from_json(record[task.answer])
        for held in answer.as_files(task.labels, functools.partial(decode_image, row.get("image") or {})):
            names[stem] += 1
            written.append(f"{stem}{f'-{names[stem]}' if names[stem] > 1 else ''}{kind.suffix}")
            write_bytes(folder / written[-1], held)
        yield {**record, "files": written}


@dataclass
class _LeftOut:
    """Rows that get no answer: the first are named, all are counted."""

    say: Say
    count: int = 0
    first: str = ""
    answered: int = 0
    changed: Counter[str] = field(default_factory=Counter)

    def __call__(self, error: DataError) -> None:
        """Count a row, and say what is wrong with it."""
        self.first = self.first or error.problem
        self.count += 1
        if self.count <= _SHOWN:
            self.say.warn(f"not answered: {error.problem}")


def _ending(text: str, facts: Mapping[str, Any], left_out: _LeftOut) -> Outcome:
    """What is said when all rows are through. A row without an answer makes the exit code 1."""
    for change, words in _CHANGED.items():
        if count := left_out.changed[change]:
            left_out.say.warn(f"{counted(count, 'text')} {agree(count, *words)}")
    if not left_out.count:
        return Outcome(text=text, facts=facts)
    whole = left_out.count + left_out.answered
    left_out.say.warn(f"{left_out.count} of {counted(whole)} {agree(left_out.count, 'were', 'was')} not answered")
    return Outcome(text=text, facts={**facts, "not_answered": left_out.count}, exit_code=1)


def _rows(
    settings: PredictSettings, run: RunFolder, proven: Proven, reading: Reading, left_out: _LeftOut
) -> Iterator[dict[str, Any]]:
    """The rows of all places, one after the other. Of several, one that cannot be read is left out."""
    from pretune.data.reading import HOW
    from pretune.data.remote.copies import tell_by_address
    from pretune.data.stream import stream_rows
    from pretune.runs.reading import as_learned, tell_reading

    if settings.prompt:
        yield from ({"id": str(number), "text": text} for number, text in enumerate(settings.prompt, 1))
        return
    several = len(settings.data) > 1
    for place in settings.data:
        try:
            with as_learned(run, reading, settings):
                yield from stream_rows(
                    place, columns=settings.column, modality=proven.task.modality, learned=reading,
                    on_left_out=left_out, on_read=lambda name, columns: tell_reading(reading, name, columns, left_out.say),
                    counts=left_out.changed, by_path=several, files=settings.files,
                    trust_paths=settings.trust_paths, **{name: getattr(settings, name) for name in HOW},
                )  # fmt: skip
        except DataError as error:
            tell_by_address(error)
            if not several:
                raise
            left_out(error)


def _share_of(part: str) -> tuple[int, int]:
    """``(K, N)``. Raises :class:`UsageError`."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part)
    place, parts = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= place <= parts:
        raise UsageError(f"--part {part} is no part", "give K/N with K from 1 to N, as --part 2/8")
    return place, parts


def _shared(rows: Iterator[dict[str, Any]], part: str | None) -> Iterator[dict[str, Any]]:
    """Those rows that are this process's to answer."""
    if part is None:
        return rows
    place, parts = _share_of(part)
    return itertools.islice(rows, place - 1, None, parts)


def _cleaned(rows: Iterator[dict[str, Any]], reading: Reading, left_out: _LeftOut) -> Iterator[dict[str, Any]]:
    """The rows as the model learned to read them; those of whose text nothing is left are left out."""
    for row in rows:
        clean = reading.cleaned(row)
        if any(not clean[key].strip() for key in ("text", "text_pair") if key in clean) and reading.clean:
            left_out(DataError(f"row {row['id']} has no text after cleaning ({', '.join(reading.clean)})"))
        else:
            yield clean


def _tell_probabilities(settings: PredictSettings, proven: Proven, say: Say) -> None:
    """Which probabilities are given, where two kinds are to be had."""
    scale = proven.task.to_dict().get("temperature", 1.0)
    if scale != 1.0:
        how = f"calibrated (temperature {scale:.3g}, fitted on validation); --no-calibrated gives them as trained"
        say.note(f"probabilities are {how if settings.calibrated else 'as trained, not calibrated'}")


def _any_of(rows: Iterator[dict[str, Any]], left_out: _LeftOut) -> Iterator[dict[str, Any]]:
    """The rows; raises :class:`DataError` where some were left out and none is there to predict."""
    first = next(rows, None)
    if first is not None:
        yield from itertools.chain([first], rows)
    elif left_out.count:
        raise DataError(f"nothing to predict: {left_out.first}", "give at least one row that can be read")


def with_its_texts(run: RunFolder, reading: Reading, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows; raises :class:`DataError` when the model learned pairs of texts and the first holds one, or the reverse."""
    first = next(rows, None)
    if first is None:
        return
    if reading.pairs and "text_pair" not in first:
        raise DataError(
            f"{run.path} learned from pairs of texts, row {first['id']} holds one text",
            'give both, as {"text": "...", "text_pair": "..."}, or name the column with --column text_pair=NAME',
        )
    if reading.pairs is False and "text_pair" in first:
        raise DataError(
            f"{run.path} learned from single texts, row {first['id']} holds two", "name the one with --column text=NAME"
        )
    yield from itertools.chain([first], rows)


def _records(
    settings: PredictSettings, proven: Proven, rows: Iterator[dict[str, Any]], say: Say, left_out: _LeftOut
) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each row with its record, window by window."""
    from pretune.answers import ANSWERS
    from pretune.tasks.predicting import predict_items

    bar = say.progress(None, "predicting")
    of_files = ANSWERS[proven.task.answer].in_files
    while window := list(itertools.islice(rows, settings.window_rows)):
        if settings.speaker is not None:
            window = [{"speaker": settings.speaker, **row} for row in window]
        # Ids need not be unique here; the place in the window is.
        items = _items(proven.task, window, left_out)
        predictions = predict_items(proven.task, proven.model, items, proven.device)
        records = [proven.task.record(prediction) for prediction in predictions]
        honest = proven.task.calibrated(records) if settings.calibrated else None
        for record in records if honest is None else honest:
            row = window[int(record["id"])]
            said = {key: row[key] for key in ("text", "speaker") if key in row} if of_files else {}
            yield row, {**said, **record, "id": row["id"]}
            left_out.answered += 1
        bar.update(len(window))
    bar.close()


def _items(task: Task, window: Sequence[Mapping[str, Any]], left_out: _LeftOut) -> list[Encoded]:
    """The items of rows, called by their places; none of those that the model cannot read (a prompt that is too long)."""
    from pretune.tasks.predicting import example_of

    found: list[Encoded] = []
    for place, read in enumerate(task.encode_each([example_of(row, str(at)) for at, row in enumerate(window)])):
        if isinstance(read, DataError):
            named = read.problem.replace(f"row {place} ", f"row {window[place]['id']} ")
            left_out(DataError(named, read.fix))
        else:
            found += read
    return found
