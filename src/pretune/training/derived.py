"""Runs made from runs: where they go, what they keep of their parent, and what they are worth beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pretune.config import AnsweringSettings, OutSettings
from pretune.errors import RunError
from pretune.files import weight_bytes
from pretune.interface.outcome import Outcome, Say
from pretune.machine import Neighbours
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.runs.keys import key_files
from pretune.runs.proven import about_of, refuse_lacking
from pretune.runs.reading import own_data, own_settings, reading_of
from pretune.training.setup import open_together

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.engine.parallel import Cluster
    from pretune.runs.proven import Proven

__all__ = [
    "DerivedSettings",
    "against_parent",
    "compared_on_validation",
    "compression_text",
    "finished_parent",
    "open_derived",
    "outcome_of",
    "own_data",
    "take_over",
    "unchanged_data",
]

_MOST_ROWS = 2000
_TIMED_ROWS = 64
_SAME_SPEED = 1.05
_SAME_SIZE = 0.95

D = TypeVar("D", bound="DerivedSettings")


@dataclass(frozen=True, kw_only=True)
class DerivedSettings(OutSettings):
    """Settings of every verb that makes a run from a run."""

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    threads: int | None = option(None, "processor threads; default: all", low=1, not_in_identity=True)


def finished_parent(settings: DerivedSettings, verb: str) -> RunFolder:
    """The run that ``verb`` is to make another from. Raises :class:`RunError` where it has no model yet, and as
    :func:`pretune.runs.proven.refuse_lacking`.
    """
    run = open_run(settings.run)
    refuse_lacking(run, verb)
    return run


def open_derived(settings: D, parent: RunFolder, cluster: Cluster) -> AbstractContextManager[tuple[D, RunFolder, str]]:
    """The settings with ``out`` found, the new run's folder, locked, and its state: ``new``, ``resumed`` or ``finished``."""
    return open_together(settings, cluster, begun_from=str(parent.path), named_after=parent.path.name)


def take_over(run: RunFolder, parent: RunFolder) -> None:
    """Let the new run know what its parent knew of the data: the passport, how rows are read, which were learned from."""
    for name in ("data.json", *key_files(parent)):
        run.take_over(name, parent)
    before = parent.record
    kept = {key: before[key] for key in ("data_fingerprint", "backbone", "model") if key in before}
    run.update_record(reading=reading_of(parent), **kept)


def unchanged_data(parent: RunFolder, say: Say) -> tuple[Splits, str]:
    """The parent's rows and their fingerprint; what was left out of them is told. Raises :class:`RunError` where they are other rows than it learned from."""
    from pretune.data.corpus import corpus_of
    from pretune.runs.rows import data_fingerprint, tell_reading_of

    data = own_data(parent)
    tell_reading_of(data, say)
    fingerprint = data_fingerprint(data)
    known = parent.record.get("data_fingerprint", fingerprint)
    if known != fingerprint and known != data_fingerprint(
        corpus_of(data, own_settings(parent).seed)
    ):  # pre-trained on them
        raise RunError(
            f"the data of {parent.path} is not what it was when that run learned from it",
            "bring the old data back, or fine-tune again on the new",
        )
    return data, fingerprint


def against_parent(run: RunFolder, parent: RunFolder, settings: Any, say: Say) -> dict[str, Any]:
    """What the run's model is worth beside its parent's, on the same validation rows and this machine.

    Test rows are not looked at. Both compute in fp32 (an int8 model in its own format). Written to run.json as
    ``compression``: ``before`` and ``after`` (score with interval, bytes, parameters, latency), the paired ``comparison``,
    the ratios ``faster``, ``faster_32`` and ``smaller``, and the sentences ``text``.
    """
    from pretune.evaluation.compare import compare_records
    from pretune.evaluation.latency import crowded

    rows = _validation_rows(parent)
    asked = AnsweringSettings(precision="fp32", threads=settings.threads)
    sides = {name: _load(one, asked) for name, one in (("before", parent), ("after", run))}
    bar = say.progress(len(rows) * 2, "comparing with the run it was made from")
    records = {name: _records(proven, rows, bar.update) for name, proven in sides.items()}
    bar.close()
    task = sides["before"].task
    metric = task.metric
    comparison = compare_records(records["before"], records["after"], metric, names=(parent.path.name, run.path.name))
    neighbours = Neighbours()
    latency = _latencies(sides, rows)
    others_busy = neighbours.in_the_way(sides["before"].device.threads)
    found: dict[str, Any] = {
        name: {**_facts(one, sides[name]), "score": _score(sides[name].task, records[name]), **latency[name]}
        for name, one in (("before", parent), ("after", run))
    }
    found |= _ratios(found["before"], found["after"])
    found |= {
        "parent": str(parent.path),
        "metric": metric.primary,
        "n": len(rows),
        "comparison": comparison,
        "others_busy": others_busy,
    }
    worth = compression_text(found, rising=metric.specs[metric.primary].rising)
    found["text"] = "\n".join([worth, *crowded(others_busy, neighbours.processors)])
    run.update_record(compression=found)
    return found


def compared_on_validation(run: RunFolder, parent: RunFolder, settings: Any, say: Say) -> dict[str, Any]:
    """The paired comparison of the run's model (B) with its parent's (A) on validation rows."""
    from pretune.evaluation.compare import compare_records

    rows, asked = _validation_rows(parent), AnsweringSettings(precision="fp32", threads=settings.threads)
    bar = say.progress(len(rows) * 2, "comparing with the run it was made from")
    sides = [_load(one, asked) for one in (parent, run)]
    before, after = (_records(side, rows, bar.update) for side in sides)
    bar.close()
    return compare_records(before, after, sides[0].task.metric, names=(parent.path.name, run.path.name))


def outcome_of(run: RunFolder, said: str, kind: str, told: Sequence[str], *, next_step: str) -> Outcome:
    """The end of a verb, from the run's record: what was done (its part ``kind`` of run.json, ``told`` in lines) and its worth."""
    record = run.record
    compression = record["compression"]
    return Outcome(
        text="\n".join([f"{run.path} {said}.", compression["text"], *told, next_step]),
        facts={
            "run": str(run.path), "status": record["status"], "model": str(run.model_dir), "result": record["result"],
            kind: record[kind], "compression": compression,
        },
    )  # fmt: skip


def _validation_rows(parent: RunFolder) -> Dataset:
    rows = own_data(parent)["validation"]
    return rows.select(range(min(len(rows), _MOST_ROWS)))


def _load(run: RunFolder, asked: AnsweringSettings) -> Proven:
    from pretune.runs.proven import load_proven

    return load_proven(run, asked)


def _records(proven: Proven, rows: Dataset, on_batch: Callable[[int], None]) -> list[dict[str, Any]]:
    from pretune.data.splits import Splits
    from pretune.runs.rows import data_fingerprint, name_groups
    from pretune.tasks.predicting import predict_rows

    encoded = proven.task.in_takes(
        proven.task.encode_rows(rows, fingerprint=data_fingerprint(Splits({"validation": rows}, {})))
    )
    predictions = predict_rows(proven.task, proven.model, encoded, proven.device, on_batch=on_batch)
    truths = proven.task.truths(rows)
    records = [proven.task.record(p, truth) for p, truth in zip(predictions, truths, strict=True)]
    name_groups(records, rows, proven.task)
    return records


def _score(task: Any, records: list[dict[str, Any]]) -> dict[str, float | int]:
    from pretune.evaluation.intervals import bootstrap, groups_of

    metric = task.metric
    return bootstrap(metric.measure(records), metric.specs, groups_N=groups_of(records))[metric.primary].to_dict()


def _facts(run: RunFolder, proven: Proven) -> dict[str, Any]:
    return {
        "engine": about_of(run)["engine"],
        "bytes": weight_bytes(run.model_dir),
        "parameters": sum(parameter.numel() for parameter in proven.model.parameters()) or None,
    }


def _latencies(sides: dict[str, Proven], rows: Dataset) -> dict[str, dict[str, Any]]:
    """Latency of one row and of 32, encoding left out, both sides in turn."""
    from pretune.evaluation.latency import latency_by_size
    from pretune.tasks.predicting import answering, items_of

    some: Any = rows.select(range(min(len(rows), _TIMED_ROWS)))
    items = {name: items_of(one.task, some) for name, one in sides.items()}
    return latency_by_size(
        lambda size: {
            name: answering(one.task, one.model, items[name], size, one.device) for name, one in sides.items()
        }
    )


def _ratios(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    return {
        "faster": before["latency_1"]["p50_ms"] / after["latency_1"]["p50_ms"],
        "faster_32": before["latency_32"]["p50_ms"] / after["latency_32"]["p50_ms"],
        "smaller": before["bytes"] / max(1, after["bytes"]),
    }


def compression_text(found: dict[str, Any], *, rising: bool) -> str:
    """What was lost and what was gained; and where there is a loss without a gain, or no gain at all, that."""
    from pretune.evaluation.compare import as_sentence
    from pretune.report.words import is_percent, number_text, score_line

    before, after = found["before"], found["after"]
    metric = found["metric"]
    verdict = found["comparison"]["verdict"]
    small = ["the smaller file"] if found["smaller"] >= 1 / _SAME_SIZE else []
    other = (["32 rows at a time"] if found["faster_32"] >= _SAME_SPEED else []) + small
    lines = [
        f"{metric} {score_line(metric, after['score'])}, before {score_line(metric, before['score'])}, n = {found['n']} validation rows, "
        f"by which both were chosen. {as_sentence(verdict)}",
        f"{_times(found['faster'])} for one row ({after['latency_1']['p50_ms']:.2f} ms, before {before['latency_1']['p50_ms']:.2f}), "
        f"{_times(found['faster_32'])} for 32; {after['bytes'] / 1e6:.1f} MB on the disk, before {before['bytes'] / 1e6:.1f}.",
    ]
    if not other and found["faster"] < _SAME_SPEED:
        return "\n".join([*lines, "Not worth it: it is neither faster here nor smaller than what it was made from."])
    if found["faster"] < 1 / _SAME_SPEED:
        speaks = f"{' and '.join(other)} {'speak' if len(other) > 1 or not small else 'speaks'}"
        lines.append(f"It is slower for one row on this machine: only {speaks} for it.")
    if found["comparison"]["better"] == "a":
        lost = abs(after["score"]["value"] - before["score"]["value"])
        size = f"{100 * lost:.2f} points" if is_percent(found["metric"], after["score"]) else number_text(lost)
        lines.append(f"It paid for that: {found['metric']} {'fell' if rising else 'rose'} by {size}.")
    return "\n".join(lines)


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times as fast"
