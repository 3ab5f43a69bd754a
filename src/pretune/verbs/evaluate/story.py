"""``pretune evaluate``: score a run on rows it never learned from, with intervals and baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings, AsCleanedSettings, AsReadSettings
from pretune.errors import DataError
from pretune.files import write_text
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.runs.reading import refuse_missing_data
from pretune.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.runs.proven import Proven

__all__ = ["EvaluateSettings", "evaluate", "fingerprint_of"]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(AnsweringSettings, AsReadSettings, AsCleanedSettings):
    """Settings of ``pretune evaluate``."""

    verb: ClassVar[str] = "evaluate"

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    data: str | None = option(
        None, "other data to score, read and cleaned as the run's own; default: the run's data", metavar="DATA"
    )
    split: str = option("test", "which split to score", choices=("test", "validation", "train"))
    baselines: bool = option(
        True, "score simple methods on the same rows: majority, and logistic regression on words or pixels"
    )
    slices: bool = option(
        False,
        "scores by length and script too, and by words that the model is weak at, each slice against the other rows; by a column they always are: --column slice=NAME",
    )
    judge: str | None = option(
        None,
        "text-to-speech: a run of speech-recognition that listens to the clips, and to the true ones beside them",
        metavar="RUN",
    )
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            self.refuse_given(_OF_OTHER_DATA, "does nothing without --data: the run's own rows are read as it learned")


_OF_OTHER_DATA = (
    "column",
    "header",
    "delimiter",
    "encoding",
    "format",
    "files",
    "trust_paths",
    "clean",
    "redact",
    "redact_names",
)


@verb(EvaluateSettings)
def evaluate(settings: EvaluateSettings, *, say: Say) -> Outcome:
    """Score a run on a split it never learned from: intervals, baselines, calibration, mistakes.

    Writes RUN/predictions/SPLIT.jsonl and RUN/metrics.json, for other data under a name of its own (test-other, test-other-2). Every look at the test split is counted. Rows that the run
    learned from are found by content: a few are reported apart, and where most are known the split is not called a test. A voice
    says a text that stands there again in another take; intervals draw texts then.

    Examples::

        pretune evaluate runs/news
        pretune evaluate runs/news --split validation
        pretune evaluate runs/news --data other-site.csv --column text=headline
        pretune evaluate runs/news --data new.csv --column slice=site --slices
        pretune evaluate runs/words --beam-size 10
        pretune evaluate runs/voice --judge runs/words
    """
    refuse_missing_data(settings.data)
    from pretune.report.card import model_card
    from pretune.runs.answer_files import answers_in_files
    from pretune.runs.rows import name_groups

    run = open_run(settings.run)
    data, rows = _rows_to_score(settings, run, say)
    known, seen_as_text = _known_rows(settings, run, rows)
    predicted = _predict_all(settings, run, rows, say)
    name, other = _named(settings, run)
    proven, records_by_seed, seeds = predicted[0][0], [one[1] for one in predicted], [one[2] for one in predicted]
    records = records_by_seed[0]
    groups_N = name_groups(records, rows, proven.task)
    run.write_lines(
        run.predictions_name(name), answers_in_files(records, proven.task.answer, run.path / "predictions", name)
    )
    looks = run.count_look(name, "evaluate")
    evaluation = _evaluation(settings, proven, data, rows, records_by_seed, seeds, known, groups_N, looks=looks)
    if seen_as_text.any():
        evaluation["notes"].append(
            f"{int(seen_as_text.sum())} of {counted(len(rows))} stood in the pre-training corpus, without labels."
        )
    evaluation["split"], evaluation["device"] = name, proven.device.to_dict()
    if other is not None:
        evaluation["data"] = other
    if scaled := proven.task.calibration_on(records):
        evaluation["probabilities"] = {"calibrated": False, **scaled}
        evaluation["notes"].append(_calibration_note(scaled))
    if signature := proven.task.metric.signature(records):
        evaluation["signature"] = signature
        evaluation["notes"].append(f"How it was computed: {signature}.")
    if answering := proven.task.answering():
        evaluation["answering"] = answering
    run.write_metrics(name, evaluation)
    write_text(run.model_dir / "README.md", model_card(run.record, run.metrics, run.passport))
    return _outcome(run, name, evaluation)


def _named(settings: EvaluateSettings, run: RunFolder) -> tuple[str, dict[str, str] | None]:
    """What the split is called among the run's scores, and of other data than the run's, which: data from elsewhere takes no other's name."""
    from pretune.forwarded import shown_place

    if settings.data is None:
        return settings.split, None
    key = hashlib.blake2b(str(Path(settings.data).absolute()).encode(), digest_size=8).hexdigest()
    name, number = f"{settings.split}-other", 1
    while (before := run.metrics.get(name, {}).get("data")) and before["key"] != key:
        number += 1
        name = f"{settings.split}-other-{number}"
    return name, {"place": shown_place(settings.data), "key": key}


def _calibration_note(scaled: Mapping[str, float]) -> str:
    """Which probabilities stand where, and what scaling does to these rows."""
    before, after = scaled["log_loss"], scaled["calibrated_log_loss"]
    told = (
        f"Probabilities here and in the predictions file are as trained; predict, serve and exports give them at temperature "
        f"{scaled['temperature']:.3g} (log loss on these rows {before:.3f} as trained, {after:.3f} scaled)."
    )
    return f"{told} Scaling makes these worse: predict --no-calibrated leaves it out." if after > before else told


def _rows_to_score(settings: EvaluateSettings, run: RunFolder, say: Say) -> tuple[Splits, Dataset]:
    """The run's data (for the baselines) and the labelled rows of the split to score."""
    from pretune.runs.reading import learned_by, own_data, own_settings, read_like
    from pretune.runs.rows import tell_reading_of

    data = own_data(run)
    if settings.data is None:
        tell_reading_of(data, say)
        return data, _require_split(data, settings.split, own_settings(run).place)
    reading = learned_by(run, settings, answers=True)
    say.note(f"scoring {settings.data}, read as {run.path} learned where nothing else is said")
    other = read_like(run, settings.data, settings, reading, say)
    chosen = next((name for name in (settings.split, "train") if name in other), "unlabelled")
    return data, _require_split(other, chosen, settings.data)


def _require_split(data: Splits, split: str, place: str) -> Dataset:
    if split not in data or len(data[split]) == 0:
        raise DataError(f"{place} has no {split} rows", f"--split takes one of: {', '.join(data)}")
    return data[split]


def _known_rows(settings: EvaluateSettings, run: RunFolder, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Which rows were learned from; refuses to call a split of such rows anything but training rows."""
    from pretune.evaluation.leaks import require_held_out
    from pretune.runs.keys import leaked_rows

    known, seen = leaked_rows(run, rows)
    if settings.split != "train":
        require_held_out(known, settings.data or f"the {settings.split} split")
    return known, seen


def _predict_all(
    settings: EvaluateSettings, run: RunFolder, rows: Dataset, say: Say
) -> list[tuple[Proven, list[dict[str, Any]], int]]:
    """Records of the kept model, then of the other seeds' models."""
    from pretune.runs.reading import own_settings

    record = run.record
    places = [run]
    seeds = [record.get("result", {}).get("seed", own_settings(run).seed)]
    for place in record.get("seed_runs", []):
        one = RunFolder(run.path / place)
        if one.record["settings"]["seed"] != seeds[0]:
            places.append(one)
            seeds.append(one.record["settings"]["seed"])
    return [(*_predict(settings, place, rows, say), seed) for place, seed in zip(places, seeds, strict=True)]


def _predict(
    settings: EvaluateSettings, run: RunFolder, rows: Dataset, say: Say
) -> tuple[Proven, list[dict[str, Any]]]:
    from pretune.runs.proven import load_proven
    from pretune.tasks.predicting import predict_rows

    proven = load_proven(run, settings)
    truths = proven.task.truths(rows)
    encoded = proven.task.in_takes(proven.task.encode_rows(rows, fingerprint=fingerprint_of(rows)))
    bar = say.progress(len(encoded), f"predicting with {run.path.name}")
    predictions = predict_rows(proven.task, proven.model, encoded, proven.device, on_batch=bar.update)
    bar.close()
    records = [proven.task.record(p, truth) for p, truth in zip(predictions, truths, strict=True)]
    records = [*proven.task.with_picks(proven.model, records, rows)]
    if settings.judge is None:
        return proven, records
    from pretune.verbs.evaluate.judging import judged

    return proven, judged(proven.task, records, truths, settings.judge, say)


def fingerprint_of(rows: Dataset) -> str:
    """What rows are kept under that are scored alone."""
    from pretune.data.splits import Splits
    from pretune.runs.rows import data_fingerprint

    return data_fingerprint(Splits({"test": rows}, {}))


def _evaluation(
    settings: EvaluateSettings, proven: Proven, data: Splits, rows: Dataset,
    records_by_seed: list[list[dict[str, Any]]], seeds: list[int], known: np.ndarray, groups_N: np.ndarray | None,
    *, looks: int,
) -> dict[str, Any]:  # fmt: skip
    from pretune.evaluation.evaluate import chosen_by, evaluate_rows
    from pretune.evaluation.slices import slices_of

    task, records = proven.task, records_by_seed[0]
    metric = task.metric
    baselines, notes = task.baselines(_learned_rows(data), rows) if settings.baselines else ({}, [])
    notes = [*task.warnings(records), *chosen_by(settings.split if settings.data is None else ""), *notes]
    if settings.split == "train":
        notes = [
            *notes,
            "These are training rows: the scores say how much was learned by heart, not how well new rows are told apart.",
        ]
    return evaluate_rows(
        [metric.measure(one) for one in records_by_seed], metric, task=task.name,
        split=settings.split, seeds=seeds, looks=looks,
        blocks=[*task.blocks(records, rows), *task.explained(proven.model, records, rows)],
        baselines=baselines, leaked_N=known if settings.split != "train" else None, groups_N=groups_N, notes=notes, resamples=settings.resamples,
        slices=slices_of(rows, found=settings.slices),
        texts=list(rows["text"]) if settings.slices and not task.modality.is_file else None,
    )  # fmt: skip


def _learned_rows(data: Splits) -> Dataset:
    """The rows that the run learned from: those of pre-training may have no labels."""
    return data["train" if "train" in data else "unlabelled"]


def _outcome(run: RunFolder, split: str, evaluation: dict[str, Any]) -> Outcome:
    from pretune.report.words import score_line

    name = evaluation["primary"]
    score = evaluation["scores"][name]
    lines = [
        f"{split}: {name} {score_line(name, score)}, n = {evaluation['n']}"
        + (
            f"; macro F1 {score_line('f1_macro', evaluation['scores']['f1_macro'])}"
            if "f1_macro" in evaluation["scores"]
            else ""
        )
    ]
    for baseline, scores in evaluation["baselines"].items():
        lines.append(f"  {baseline}: {score_line(name, scores[name])}")
    if "seed_scores" in evaluation:
        several = evaluation["seed_scores"][name]
        lines.append(f"  {counted(len(several['values']), 'seed')}: mean {several['mean']:.4f}, sd {several['sd']:.4f}")
    lines += [f"  {note}" for note in evaluation["notes"]]
    lines.append(f"look {evaluation['looks']} at this split. {next_line('report', run=str(run.path))}")
    facts = {
        key: evaluation[key]
        for key in (
            "split",
            "n",
            "primary",
            "scores",
            "baselines",
            "against",
            "answering",
            "leaks",
            "slices",
            "looks",
            "notes",
            "probabilities",
        )
        if key in evaluation
    }
    return Outcome(
        text="\n".join(lines), facts={"run": str(run.path), **facts, "seed_scores": evaluation.get("seed_scores")}
    )
