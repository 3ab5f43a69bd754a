"""How a run read its data, and the same rows read again: for verbs that take a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import (
    AsCleanedSettings,
    AsReadSettings,
    CleanSettings,
    DataSettings,
    cleaning_settings,
    cleaning_steps,
)
from pretune.errors import DataError, RunError, UsageError
from pretune.interface.outcome import Say
from pretune.options import option
from pretune.runfolder import RunFolder, is_run

if TYPE_CHECKING:
    from pretune.data.changes.redact import NameFinder
    from pretune.data.reading import Reading
    from pretune.data.splits import Splits

__all__ = [
    "NO_NAMES",
    "ReadSettings",
    "as_learned",
    "learned_by",
    "own_data",
    "own_settings",
    "read_like",
    "reading_of",
    "refuse_missing_data",
    "refuse_other_key",
    "tagger_like",
    "tell_reading",
    "uncleaned",
    "with_reading",
]

_SHOWN = 3
NO_NAMES = {"redact_names": None, "redact_types": ()}
"""Settings by which rows are read without a tagger, or with one that is opened already."""


@dataclass(frozen=True, kw_only=True)
class ReadSettings(CleanSettings, DataSettings):
    """How a run read its data, and what its rows and classes weighed. A run made from another run keeps its parent's under
    ``reading`` in run.json.
    """

    max_train_samples: int | None = option(None, "learn from this many training rows only, each class by its share")
    seed: int = option(0, "seed of the rows taken")
    class_weights: str = option("none", "what classes weighed by their rarity")
    label_smoothing: float | None = option(None, "share of the target spread over all classes or tokens")


def refuse_missing_data(*places: str | None, out: str | None = None) -> None:
    """Raise :class:`DataError` for data that is not there (files, folders or patterns), before heavy libraries are loaded and a
    folder is made.

    A run that was begun in ``out`` is opened first: it may be finished, and need no data.
    """
    from pretune.data.places.patterns import expanded

    given = () if out is not None and is_run(out) else places
    for path in (path for place in given if place is not None for path in expanded(place)):
        if path != "-" and not os.path.lexists(Path(path).expanduser()):
            from pretune.data.places.folder import refuse_missing

            refuse_missing(path)


def own_settings(run: RunFolder) -> ReadSettings:
    """How the run read its data. Raises :class:`RunError` for a run without labelled rows."""
    record = run.record
    saved = record.get("reading") or record["settings"]
    if "column" not in saved:
        from pretune.runs.proven import refuse_joint

        refuse_joint(run)
        raise RunError(
            f"{run.path} was made by `{record['verb']}`, which has no labels to score",
            "take a run of pretune finetune, or one made from it",
        )
    return ReadSettings.from_dict(saved)


def reading_of(run: RunFolder) -> dict[str, Any]:
    """:func:`own_settings` as JSON values, for a child's run.json."""
    return own_settings(run).to_dict()


def learned_by(run: RunFolder, asked: AsCleanedSettings | None = None, *, answers: bool = False) -> Reading:
    """How the run's model read its rows (``reading`` of pretune.json; of an older run, as its record tells). What ``asked`` says
    of cleaning goes before that. Rows that are read again need what the task takes, and with ``answers`` right answers too.
    """
    from pretune.data.reading import Reading
    from pretune.runs.proven import about_in

    about = about_in(run.model_dir) if (run.model_dir / "pretune.json").exists() else {}
    saved = about.get("reading")
    if saved is None:
        has_data = "column" in (run.record.get("reading") or run.record.get("settings", {}))
        found = Reading.of(own_settings(run), run.passport) if has_data else Reading()
    else:
        found = Reading.from_dict(saved)
    told = cleaning_settings(found.clean)
    if asked is not None and asked.clean is not None:
        told["clean"] = tuple(step for step in asked.clean if step != "none")
    if asked is not None and asked.redact is not None:
        told["redact"] = asked.redact
    if asked is not None and asked.redact_names is not None and told["redact"] == "no":
        raise UsageError("--redact-names does nothing without --redact", "give --redact too, or --redact pseudonym")
    if _answers_alone(about.get("task", "")):
        found = replace(found, pairs=None)
    needed = _needed(about.get("task", ""), found, answers=answers)
    place = None if asked is None else asked.redact_names
    opens = tagger_like(run, found, place) if found.tagger or place is not None else None
    return replace(found, clean=cleaning_steps(**told), needed=needed, open_tagger=opens)


def tagger_like(run: RunFolder, learned: Reading, place: str | None = None) -> Callable[[], NameFinder]:
    """What opens the tagger whose names were taken out of what ``run`` learned from: in ``place``, or where it lay then."""
    from pretune.runs.tagger import open_tagger

    def opened() -> NameFinder:
        has_data = is_run(run.path) and "column" in (run.record.get("reading") or run.record.get("settings", {}))
        found = place or (own_settings(run).redact_names if has_data else None)
        if found is None or not Path(found).is_dir():
            raise UsageError(
                f"names were taken out of the texts that {run.path} learned from, and the tagger that finds them is not there"
                + (f": {found}" if found else ""),
                "say where it lies now: --redact-names RUN; where the verb has no such option, bring it back",
            )
        return open_tagger(found, learned.tagger.get("types", ()), fingerprint=learned.tagger.get("fingerprint", ""))

    return opened


def _answers_alone(task: str) -> bool:
    from pretune.tasks import TASKS

    return any(one.answers_alone for one in TASKS if one.name == task)


def with_reading(run: RunFolder, about: Mapping[str, Any]) -> dict[str, Any]:
    """``pretune.json`` with how the rows were read that the run, or the first of its line, learned from."""
    from pretune.data.reading import Reading

    record = run.record if is_run(run.path) else {}
    if "column" not in (record.get("reading") or record.get("settings", {})):
        return dict(about)
    return {**about, "reading": Reading.of(own_settings(run), run.passport).to_dict()}


def _needed(task: str, reading: Reading, *, answers: bool) -> tuple[str, ...]:
    from pretune.tasks import TASKS, task_named

    if task not in {one.name for one in TASKS}:
        return ()
    *inputs, answer = task_named(task).columns
    return (*inputs, *(("text_pair",) if reading.pairs else ()), *((answer,) if answers else ()))


@contextlib.contextmanager
def as_learned(run: RunFolder, reading: Reading, given: AsReadSettings) -> Iterator[None]:
    """What cannot be read with an option that the run was told, and this call was not, says so."""
    try:
        yield
    except (DataError, UsageError) as error:
        flags = {f"--{name}": value for name, value in reading.how.items() if getattr(given, name) is None}
        if named := [flag for flag in flags if flag in error.problem]:
            error.fix = f"{run.path} learned from data with {named[0]} {flags[named[0]]}, and so this is read; {named[0]} auto has it found by looking"
        raise


def read_like(run: RunFolder, place: str, given: AsReadSettings, reading: Reading, say: Say, **changes: Any) -> Splits:
    """The rows of another place, read and cleaned as ``run`` learned where ``given`` does not say otherwise; none is split off."""
    from pretune.data.load import load_splits
    from pretune.data.losses import notes_of
    from pretune.runs.rows import tell_reading_of

    options = {"header": "auto", "delimiter": None, "encoding": None, "format": "auto"}
    told = {name: getattr(given, name) for name in options}
    other = own_settings(run).elsewhere(
        place,
        **{"column": given.column, "group": None, "validation_fraction": 0.0, "test_fraction": 0.0},
        **{"drop_leaks": False, "drop_near_leaks": False, "relabel": None},
        **{"files": given.files, "trust_paths": given.trust_paths, "group_from": None, "test_fold": None},
        **cleaning_settings(reading.clean),
        **NO_NAMES,
        **{**options, **reading.options(**told), **changes},
    )
    reading.refuse_other_key()
    with as_learned(run, reading, given):
        found = load_splits(other, reading, names=reading.name_finder)
    for file in found.facts["read"]["files"][:_SHOWN]:
        tell_reading(reading, file["name"], file["columns"], say)
    for note in notes_of(found.facts)[:_SHOWN]:
        say.note(note)
    tell_reading_of(found, say)
    return found


def refuse_other_key(run: RunFolder) -> None:
    """Raise :class:`UsageError` where the run learned pseudonyms, and the key that they were made with is not at hand."""
    from pretune.data.reading import Reading

    Reading.of(own_settings(run), run.passport).refuse_other_key()


def tell_reading(reading: Reading, name: str, columns: Mapping[str, str], say: Say) -> None:
    """One line on what is read of a table: a warning where its texts come from another column than the model learned from."""
    for difference in reading.differences(columns):
        say.warn(f"{name}: {difference}")
    if told := reading.sentence(columns):
        say.note(f"reading {name}: {told}")


def own_data(run: RunFolder) -> Splits:
    """The rows that the run was made from, the training rows those that it learned from. Rows without labels are cut as pre-training cuts them:
    the validation rows are those that it held out.

    Raises :class:`DataError`, naming the run, where they are gone.
    """
    from pretune.data.corpus import corpus_of
    from pretune.data.load import load_splits
    from pretune.data.reading import Reading
    from pretune.data.remote.addresses import is_address
    from pretune.runs.rows import fewer_rows

    own = own_settings(run)
    learned = Reading.of(own, run.passport)
    learned.refuse_other_key()
    names = tagger_like(run, learned)() if own.redact_names is not None else None
    try:
        data = load_splits(own, names=names)
    except DataError as error:
        error.problem = f"the data that {run.path} learned from cannot be read: {error.problem}"
        if not is_address(own.place) and not Path(own.place).exists():
            error.fix = f"bring {own.place} back, or work in the folder from which that path leads to it"
        raise
    if "train" not in data and "unlabelled" in data:
        data = data.replace(
            {**{name: data[name] for name in data if name != "unlabelled"}, **corpus_of(data, own.seed)}
        )
    if own.max_train_samples is None:
        return data
    return data.replace({**data, "train": fewer_rows(data["train"], own.max_train_samples, seed=own.seed)})


def uncleaned(run: RunFolder, split: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a split of :func:`own_data` that have these ids, in their order, as they were before texts were cleaned."""
    from pretune.data.load import load_splits

    own = own_settings(run)
    cleans = bool(cleaning_steps(own.clean, own.redact))
    raw = {**cleaning_settings(()), **NO_NAMES, "deduplicate": False, "drop_leaks": False, "drop_near_leaks": False}
    data = load_splits(replace(own, **raw)) if cleans else own_data(run)
    held = [data[split]] if split in data else [*data.values()]
    places = {name: (rows, place) for rows in held for place, name in enumerate(rows["id"])}
    return [dict(rows[place]) for rows, place in map(places.__getitem__, ids)]
