"""What ``pretune drift`` looks at: the run's held-out rows, the new rows, and what the model says of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError
from pretune.evaluation.drift.answers import expected_accuracy, label_shift
from pretune.evaluation.drift.find import LEAST_ROWS, Drift, find_drift
from pretune.evaluation.drift.plain import PlainLook, look_at, shown
from pretune.evaluation.evaluate import chosen_by
from pretune.evaluation.intervals import bootstrap
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.runs.proven import Proven
    from pretune.tasks.protocols import EncodedRows
    from pretune.verbs.drift.story import DriftSettings

__all__ = ["OWN", "Answered", "answered", "compared", "held_out", "inputs_of", "looked_at", "sureness_of"]

OWN = "features of the run"
_TYPICAL = 8
_TOO_MANY_WORDS = 200
"""Answers with more different words than this have no shares to test."""


@dataclass(frozen=True)
class _Sides:
    """The rows of both sets, ``split`` the reference's name; ``learned`` are the training rows where there are any."""

    reference: Dataset
    new: Dataset
    learned: Dataset | None
    split: str
    notes: list[str]

    def is_new(self) -> np.ndarray:
        """Bool (N,), the reference rows first."""
        import numpy as np

        return np.repeat([False, True], [len(self.reference), len(self.new)])


def looked_at(settings: DriftSettings, run: RunFolder, say: Say) -> dict[str, Any]:
    """Everything that is told of the new rows, as JSON values. Raises :class:`DataError` where either set has too few rows."""
    from pretune.runs.proven import load_proven

    proven = load_proven(run, settings)
    sides = _sides(settings, run, say)
    say.note("looking at the rows")
    looks = look_at(sides.reference, sides.new, sides.learned, inputs_of(proven))
    answers = answered(proven, (sides.reference, sides.new), say)
    found = compared(looks, answers, sides.is_new(), settings)
    return {
        "run": str(run.path), "data": settings.data, "task": proven.task.name, "split": sides.split,
        "reference_rows": len(sides.reference), "new_rows": len(sides.new), "seed": settings.seed, **found.facts(),
        **_answer_facts(answers.words, sides, found), **_class_facts(settings, proven, sides, answers),
        "typical_words": _words(looks), "typical_rows": _typical(found, sides),
        "notes": [*sides.notes, *answers.notes],
    }  # fmt: skip


def compared(looks: Sequence[PlainLook], answers: Answered, is_new_N: np.ndarray, settings: DriftSettings) -> Drift:
    """Every test of rows that were looked at and answered, the reference first."""
    features = {look.title: look.features for look in looks}
    if answers.features is not None:
        features = {OWN: answers.features, **features}
    numbers = {name: values for look in looks for name, values in look.numbers.items()}
    return find_drift(
        features, {**numbers, **answers.numbers}, is_new_N, answers.words, alpha=settings.alpha, permutations=settings.permutations,
        resamples=settings.resamples, seed=settings.seed,
    )  # fmt: skip


def inputs_of(proven: Proven) -> tuple[str, ...]:
    """The columns that the model answers to."""
    return (*proven.task.columns[:-1], "text_pair") if len(proven.task.columns) > 1 else proven.task.columns


def _sides(settings: DriftSettings, run: RunFolder, say: Say) -> _Sides:
    from datasets import concatenate_datasets

    from pretune.runs.reading import learned_by, own_data, read_like

    data = own_data(run)
    split = settings.split
    if split == "auto":
        split = next((name for name in ("validation", "test", "train") if len(data.get(name, ()))), "validation")
    if not len(data.get(split, ())):
        raise DataError(f"the data of {run.path} has no {split} rows", f"--split takes one of: {', '.join(data)}")
    notes = chosen_by(split)
    if split == "train":
        notes.append(
            "These reference rows were learned from: a model's features and its sureness differ on any new rows, drift or none."
        )
    if split == "test":
        run.count_look("test", "drift")
    reading = learned_by(run, settings)
    found = read_like(run, settings.data, settings, reading, say)
    common = [name for name in next(iter(found.values())).column_names if all(name in rows.column_names for rows in found.values())]  # fmt: skip
    new = concatenate_datasets([rows.select_columns(common) for rows in found.values()])
    reference = data[split] if split == "train" else held_out(run, data[split], f"rows of {split}", notes)
    new = held_out(run, new, "new rows", notes)
    return _Sides(
        _drawn(reference, settings, f"the {split} rows of {run.path.name}", notes), _drawn(new, settings, PurePath(settings.data).name, notes),
        data.get("train"), split, notes,
    )  # fmt: skip


def held_out(run: RunFolder, rows: Dataset, what: str, notes: list[str]) -> Dataset:
    """The rows that the run did not learn from; how many it did is noted."""
    import numpy as np

    from pretune.runs.keys import leaked_rows

    known_N = leaked_rows(run, rows)[0]
    if known := int(known_N.sum()):
        notes.append(f"{known} of {counted(len(rows))} ({what}) {agree(known, 'were', 'was')} learned from and {agree(known, 'are', 'is')} left out.")  # fmt: skip
    return rows.select(np.flatnonzero(~known_N)) if known else rows


def _drawn(rows: Dataset, settings: DriftSettings, place: str, notes: list[str]) -> Dataset:
    """At most ``max_rows`` of the rows, one of each group. Raises :class:`DataError` where too few are left."""
    import numpy as np

    from pretune.runs.rows import row_groups

    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(rows))
    if (groups_N := row_groups(rows)) is not None:
        _, first = np.unique(groups_N[order], return_index=True)
        order = order[np.sort(first)]
        if len(order) < len(rows):
            notes.append(f"One row of each of {counted(len(order), 'group')} of {place} is looked at, as rows of a group are alike.")  # fmt: skip
    if len(order) < LEAST_ROWS:
        raise DataError(
            f"{place}: {counted(len(order))} can be looked at, and a test of drift needs {LEAST_ROWS}",
            "give more rows; pretune predict answers single ones",
        )
    if len(order) > settings.max_rows:
        notes.append(f"{settings.max_rows} of the {len(order)} rows of {place} were drawn at random (--max-rows).")
    return rows.select(np.sort(order[: settings.max_rows]))


@dataclass(frozen=True)
class Answered:
    """What the model says of rows: records, a word a row, numbers, what its last layer reads."""

    records: Sequence[Mapping[str, Any]]
    words: Sequence[str]
    numbers: Mapping[str, np.ndarray]
    features: np.ndarray | None
    notes: Sequence[str]

    def of(self, places: np.ndarray) -> Answered:
        """The same of some of the rows."""
        return Answered(
            [self.records[place] for place in places],
            [self.words[int(place)] for place in places] if self.words else (),
            {name: values_N[places] for name, values_N in self.numbers.items()},
            None if self.features is None else self.features[places],
            self.notes,
        )


def answered(proven: Proven, sets: Sequence[Dataset], say: Say) -> Answered:
    """The model's answers to the rows of all ``sets``, one after another."""
    import numpy as np

    from pretune.answers import ANSWERS, answer_of
    from pretune.tasks.classes.labelling import Labelling

    task = proven.task
    if task.metric.watch:
        why = "Answers of this task are written piece by piece; the rows were looked at without the model."
        return Answered((), (), {}, None, (why,))
    encoded = [task.encode_rows(rows, fingerprint=_fingerprint(rows)) for rows in sets]
    features = _own_features(proven, encoded)
    notes = (
        []
        if features is not None
        else ["What the model makes of a row cannot be read out of it: its words or graph alone are looked at."]
    )
    records = [record for rows in encoded for record in _records(proven, rows, say)]
    answers = [answer_of(task.answer, record[task.answer]) for record in records]
    words = ANSWERS[task.answer].strata(answers)
    numbers = {}
    if isinstance(task, Labelling):
        numbers["sureness of the answer"] = np.abs(task.matrix(records) - 0.5).mean(axis=1)
    if not 1 < len({*words}) <= _TOO_MANY_WORDS:
        words = []
    return Answered(records, words, numbers, features, notes)


def _fingerprint(rows: Dataset) -> str:
    from pretune.data.splits import Splits
    from pretune.runs.rows import data_fingerprint

    return data_fingerprint(Splits({"test": rows}, {}))


def _own_features(proven: Proven, encoded: Sequence[EncodedRows]) -> np.ndarray | None:
    import numpy as np

    from pretune.evaluation.drift.own import own_features

    found = [own_features(proven.task, proven.model, rows, proven.device) for rows in encoded]
    return None if any(one is None for one in found) else np.concatenate([one for one in found if one is not None])


def _records(proven: Proven, rows: EncodedRows, say: Say) -> list[Mapping[str, Any]]:
    from pretune.tasks.predicting import predict_rows

    bar = say.progress(len(rows), "answering")
    predictions = predict_rows(proven.task, proven.model, rows, proven.device, on_batch=bar.update)
    bar.close()
    return [proven.task.record(prediction) for prediction in predictions]


def _answer_facts(words: Sequence[str], sides: _Sides, found: Drift) -> dict[str, Any]:
    """The shares of what is answered, the most frequent first."""
    from collections import Counter

    if not words:
        return {}
    olds, news = words[: len(sides.reference)], words[len(sides.reference) :]
    p = next(test.p for test in found.tests if test.name == "shares of the answers")
    return {
        "answers": {
            "reference": {name: count / len(olds) for name, count in Counter(olds).most_common()},
            "new": {name: count / len(news) for name, count in Counter(news).most_common()},
            "p": p,
        }
    }


def _class_facts(settings: DriftSettings, proven: Proven, sides: _Sides, answers: Answered) -> dict[str, Any]:
    """Label shift and expected accuracy, where the model tells classes apart and the reference rows have labels."""
    import numpy as np

    from pretune.tasks.classes.classification import Classification

    task = proven.task
    if not isinstance(task, Classification) or task.answer not in sides.reference.column_names:
        return {}
    truths = task.truths(sides.reference)
    has_N = np.array([truth is not None for truth in truths])
    if has_N.sum() < LEAST_ROWS:
        return {}
    answers_N = np.array([task.index[record[task.answer]] for record in answers.records])
    sure_N = sureness_of(task.matrix(answers.records))
    olds = len(sides.reference)
    truths_n = np.array([task.index[truth] for truth in truths if truth is not None])
    own_n, sure_n = answers_N[:olds][has_N], sure_N[:olds][has_N]
    shift = label_shift(own_n, truths_n, answers_N[olds:], task.labels, seed=settings.seed)
    records = [
        {**record, "truth": truth} for record, truth in zip(answers.records[:olds], truths, strict=True) if truth is not None
    ]  # fmt: skip
    scores = bootstrap(task.metric.measure(records), task.metric.specs, resamples=settings.resamples)
    expected = expected_accuracy(
        sure_n, own_n == truths_n, sure_N[olds:], resamples=settings.resamples, seed=settings.seed
    )
    found: dict[str, Any] = {
        "expected_accuracy": {"new": expected.to_dict(), "reference": scores["accuracy"].to_dict()}
    }
    if shift.is_known:
        found["label_shift"] = {
            "reference": shift.reference, "answered": shift.answered, "told_apart": shift.told_apart,
            "estimated": {name: one.to_dict() for name, one in shift.estimated.items()},
        }  # fmt: skip
    return found


def sureness_of(probabilities_NC: np.ndarray) -> np.ndarray:
    """How sure the model is of each row, (N,): the entropy of its answer, negative."""
    import numpy as np

    held_NC = np.maximum(probabilities_NC, 1e-30)
    return (held_NC * np.log(held_NC)).sum(axis=1)


def _words(looks: Sequence[PlainLook]) -> dict[str, list[dict[str, Any]]]:
    """Words typical of either set, of texts."""
    found = next((look.typical for look in looks if any(look.typical)), None)
    return (
        {}
        if found is None
        else dict(
            zip(("the new rows", "the reference"), ([one._asdict() for one in words] for words in found), strict=True)
        )
    )


def _typical(found: Drift, sides: _Sides) -> list[dict[str, Any]]:
    """The new rows that the first classifier is surest of, as a page can show them."""
    import numpy as np

    typical_M = next(iter(found.domains.values())).typical_N[len(sides.reference) :]
    places = np.argsort(-typical_M, kind="stable")[:_TYPICAL]
    return [{**shown(sides.new[int(place)]), "typical": float(typical_M[place])} for place in places]
