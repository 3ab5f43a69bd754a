"""``pretune benchmark``: accuracy, latency, throughput, size and memory of several runs, on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.answers import Wave
from pretune.config import OutSettings
from pretune.errors import CheckFailed, DataError, PretuneError, UsageError
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.newrun import create_run, default_out
from pretune.options import option
from pretune.runfolder import RunFolder, machine_facts, now, open_run
from pretune.runs.proven import about_of, refuse_lacking
from pretune.verbs.benchmark.fleet import ROUNDS, STEPS, WARMUP, Bench, Variant
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.metrics.base import ScoreSpec

__all__ = ["BenchmarkSettings", "benchmark", "same_question"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(OutSettings):
    """Settings of ``pretune benchmark``."""

    verb: ClassVar[str] = "benchmark"

    runs: tuple[str, ...] = option(
        help="runs to measure; the first is what the others are compared with", positional=True, metavar="RUN"
    )
    split: str = option(
        "auto", "the split whose rows are answered; auto: test where all runs were evaluated on it, otherwise validation",
        choices=("auto", "validation", "test"),
    )  # fmt: skip
    rows: int = option(256, "rows that are answered, drawn from the split", low=2, high=1_000_000)
    seconds: float = option(2.0, "time for each figure of each run", low=0.01, high=3600)
    precision: str = option(
        "fp32", "number format of torch models; other engines have their own", choices=("auto", "fp32", "bf16")
    )
    threads: int | None = option(None, "what counts as all processor threads; default: all", low=1)
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)


@verb(BenchmarkSettings)
def benchmark(settings: BenchmarkSettings, *, say: Say) -> Outcome:
    """Measure runs side by side on this machine: accuracy with its interval, latency at batch 1 and 32 with one and with all
    threads, rows a second, file size and peak memory.

    Each run is measured in a process of its own, all in turn, so that what else the machine does falls on all alike; one that
    fails is named with its reason. The page of the result (`pretune report`) draws who is beaten by whom.

    Examples::

        pretune benchmark runs/news runs/distill-news-1 runs/quantize-news-1
        pretune benchmark runs/news runs/export-news-1 --split test --threads 4
        pretune benchmark runs/news runs/quantize-news-1 --json
    """
    variants = _opened(settings)
    out = settings.out or str(default_out("benchmark", variants[0].run.path.name))
    if any(Path(out).resolve() == one.run.path.resolve() for one in variants):
        raise UsageError(f"--out {out} is one of the runs to measure", "choose another folder with --out")
    parents = tuple(str(one.run.path) for one in variants)
    with create_run(settings, out, overwrite=settings.overwrite, parents=parents) as (run, state):
        if state == "finished":
            return _outcome(run, "was finished before; nothing was measured")
        same_question(variants)
        if settings.split == "auto":
            settings = dataclasses.replace(settings, split=_split_of(variants))
        rows = _rows(settings, variants)
        with _saved(run, rows) as place:
            bench = _measure(settings, variants, rows, place, say)
            found = _summed_up(settings, bench, len(rows))
        run.write("benchmark.json", found)
        run.update_record(status="finished", finished=now(), machine=machine_facts(), result={"front": found["front"]})
        return _outcome(run, "is finished")


def _opened(settings: BenchmarkSettings) -> list[Variant]:
    """The runs under short names that differ. Raises :class:`UsageError` for one that is given twice."""
    runs = [open_run(place) for place in settings.runs]
    places = [run.path.resolve() for run in runs]
    twice = next((run for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice.path} is given twice", "name each run once")
    names = [place.name for place in places]
    unique = len(set(names)) == len(names)
    return [Variant(run, name if unique else str(run.path)) for run, name in zip(runs, names, strict=True)]


def same_question(variants: list[Variant]) -> None:
    """Runs that answer another question than the first are unusable. One without answers or without a model says so when loaded."""
    from pretune.tasks import TASKS

    first = None
    for one in variants:
        try:
            about = about_of(one.run)
            refuse_lacking(one.run, "benchmark")
        except UsageError as lack:
            one.reason = lack.problem
            continue
        except PretuneError:
            continue
        if about["task"] not in {task.name for task in TASKS}:
            continue
        labels = about.get("labels") or []
        first = first or (one.name, about["task"], labels)
        if (about["task"], labels) != first[1:]:
            count = counted(len(labels), "label") if labels else "no labels"
            one.reason = f"it answers another question than {first[0]}: {about['task']} with {count}"


def _split_of(variants: list[Variant]) -> str:
    """The split that all have been evaluated on, where that is the test split."""
    able = [one for one in variants if not one.reason]
    return "test" if able and all(one.run.has(one.run.predictions_name("test")) for one in able) else "validation"


def _rows(settings: BenchmarkSettings, variants: list[Variant]) -> Dataset:
    """The rows that every run answers, drawn from the data of the first. A run that learned from most of them is unusable."""
    import numpy as np

    from pretune.runs.keys import leaked_rows
    from pretune.runs.reading import own_data

    data = own_data(variants[0].run)
    if settings.split not in data or len(data[settings.split]) == 0:
        raise DataError(
            f"{variants[0].run.path} has no {settings.split} rows", f"--split takes one of: {', '.join(data)}"
        )
    rows = data[settings.split]
    if settings.rows < len(rows):
        rows = rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[: settings.rows]))
    for one in variants:
        known = int(leaked_rows(one.run, rows)[0].sum())
        one.facts["known_rows"] = known
        if 2 * known > len(rows):
            one.reason = f"it learned from {known} of the {counted(len(rows))}: its score on them says nothing"
    return rows


@contextlib.contextmanager
def _saved(run: RunFolder, rows: Dataset) -> Iterator[Path]:
    """The rows on the disk for the workers, gone afterwards."""
    from pretune.files import translate_disk_errors

    place = run.path / ".rows.tmp"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with translate_disk_errors(place):
            rows.save_to_disk(str(place / "rows"))
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _measure(settings: BenchmarkSettings, variants: list[Variant], rows: Dataset, place: Path, say: Say) -> Bench:
    """Measure every variant. Raises :class:`CheckFailed` where none is usable."""
    from pretune.data.splits import Splits
    from pretune.runs.rows import data_fingerprint

    bar = say.progress(len(variants) * STEPS, "measuring")
    bench = Bench(
        variants, place, data_fingerprint(Splits({settings.split: rows}, {})),
        settings.precision, settings.threads, settings.seconds, bar.update,
    )  # fmt: skip
    bench.measure()
    bar.close()
    if all(one.reason for one in variants):
        reasons = "; ".join(f"{one.name} is unusable: {one.reason}" for one in variants)
        raise CheckFailed(reasons, "mend one of the runs, or name others")
    return bench


def _summed_up(settings: BenchmarkSettings, bench: Bench, count: int) -> dict[str, Any]:
    """benchmark.json. Looks at the split are counted in every run that was measured."""
    from pretune.engine.processor import processor_facts
    from pretune.evaluation.benchmark import pareto_front, sound_a_second, standing_of, told
    from pretune.tasks import task_named

    usable = [one for one in bench.variants if not one.reason]
    for one in usable:
        one.facts["looks"] = one.run.count_look(settings.split, "benchmark")
    answers = _evaluated(usable, settings.split, count)
    by = "evaluate" if answers else "benchmark"
    answers = answers or {one.name: bench.records(one) for one in usable}
    sounds = task_named(about_of(usable[0].run)["task"]).answer == Wave.kind
    for one in usable if sounds else ():
        one.facts |= sound_a_second(answers[one.name], one.facts["latency"]["1"]["all"]["p50_ms"])
    metric, spec = _score(settings, usable, answers)
    rising = spec.rising
    variants = [
        {"name": one.name, "run": str(one.run.path), "verb": one.run.record["verb"], **one.facts} for one in usable
    ]
    found: dict[str, Any] = {
        "format": 1,
        "split": settings.split,
        "n": len(answers[usable[0].name]),
        "answered_by": by,
        "timed_rows": count,
        "metric": metric,
        "unit": spec.unit,
        "higher_is_better": rising,
        "front": pareto_front({one["name"]: standing_of(one, rising=rising) for one in variants}),
        "variants": variants,
        "unusable": [
            {"name": one.name, "run": str(one.run.path), "reason": one.reason} for one in bench.variants if one.reason
        ],
        "measured": {
            "rounds": ROUNDS,
            "seconds": settings.seconds,
            "warmup_calls": WARMUP,
            "others_busy": bench.others_busy,
        },
        "machine": {**machine_facts(), "processor": processor_facts()},
    }
    return {**found, "text": told(found)}


def _evaluated(usable: list[Variant], split: str, least: int) -> dict[str, list[dict[str, Any]]] | None:
    """The records that `pretune evaluate` wrote of the split, by variant: where there are as many rows at least as would be answered
    here, the same ones with the same truths in all.
    """
    if not all(one.run.has(one.run.predictions_name(split)) for one in usable):
        return None
    found = {one.name: one.run.read_lines(one.run.predictions_name(split)) for one in usable}
    asked = [[(record["id"], record["truth"]) for record in records] for records in found.values()]
    return found if len(asked[0]) >= least and all(one == asked[0] for one in asked) else None


def _score(
    settings: BenchmarkSettings, usable: list[Variant], answers: Mapping[str, list[dict[str, Any]]]
) -> tuple[str, ScoreSpec]:
    """Put each variant's score with its interval, and the paired comparison with the first, into its facts."""
    from pretune.evaluation.compare import compare_records
    from pretune.evaluation.intervals import bootstrap, groups_of
    from pretune.tasks import task_named

    first = usable[0]
    about = about_of(first.run)
    metric = task_named(about["task"]).metric_type.of(about)
    for one in usable:
        records = answers[one.name]
        scores = bootstrap(
            metric.measure(records), metric.specs, resamples=settings.resamples, groups_N=groups_of(records)
        )
        one.facts["score"] = scores[metric.primary].to_dict()
        if one is not first:
            one.facts["against_first"] = compare_records(
                answers[first.name], records, metric, names=(first.name, one.name), resamples=settings.resamples
            )
    return metric.primary, metric.specs[metric.primary]


def _outcome(run: RunFolder, said: str) -> Outcome:
    from pretune.evaluation.benchmark import table_rows

    found = run.read_object("benchmark.json", "variants")
    table = table_rows(found)
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    head = f"{run.path} {said}: {counted(found['n'], found['split'] + ' row')}"
    text = "\n".join([head, *lines, *found["text"], next_line("report", run=str(run.path))])
    return Outcome(text=text, facts={"run": str(run.path), **found})
