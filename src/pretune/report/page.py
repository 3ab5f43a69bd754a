"""One page about a run, from the files of its folder and nothing else: the same folder gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretune.report.layout import Page, write_page
from pretune.report.lineage import nodes_of
from pretune.report.parts.benchmark import benchmark_lead, benchmark_of, benchmark_section, benchmark_tiles
from pretune.report.parts.compression import compression_lead, compression_section
from pretune.report.parts.multitask import multitask_lead, multitask_of, multitask_section, multitask_tiles
from pretune.report.parts.privacy import privacy_section
from pretune.report.parts.scores import comparisons_section, scores_section
from pretune.report.parts.sections import (
    curves_section,
    data_section,
    done_section,
    limits_section,
    lineage_section,
    repeat_section,
)
from pretune.report.parts.steps import measured_by_steps, steps_lead, steps_of, steps_section
from pretune.report.parts.study import study_lead, study_of, study_section, study_tiles
from pretune.report.parts.tuning import tuning_section
from pretune.report.shown_run import shown_run
from pretune.report.story import banners, lead, over_title, tiles
from pretune.runfolder import RunFolder

__all__ = ["report_page", "write_report"]


def write_report(run: RunFolder, out: Path | None = None) -> Path:
    """Write the page of ``run`` to ``out`` (default: ``report.html`` in its folder) and return where it is.

    Read are ``run.json``, ``data.json``, ``log.jsonl``, ``metrics.json``, ``comparisons.json``, ``benchmark.json`` and, for the lineage,
    ``run.json`` and ``metrics.json`` of the parents that can be found. What is missing is left out, or said.

    Raises :class:`pretune.errors.RunError` where there is no ``run.json`` and :class:`pretune.errors.CorruptFile` where
    a file is not valid JSON.
    """
    return write_page(report_page(run), out or run.path / "report.html")


def report_page(run: RunFolder) -> Page:
    """What the page of ``run`` shows: places by their names, whole paths stay in ``run.json``."""
    lineage, whole, run = lineage_section(nodes_of(run)), run.record, shown_run(run)
    record, passport, metrics, comparisons = run.record, run.passport, run.metrics, run.comparisons
    name = run.path.resolve().name
    steps, measured = steps_of(run), benchmark_of(run) or measured_by_steps(run)
    of_learning = (
        compression_section(record, is_lead=not metrics),
        scores_section(metrics, name),
        comparisons_section(comparisons),
        curves_section(run.log_lines(), metrics, run.record),
        tuning_section(record),
        data_section(passport, record),
        privacy_section(run, record),
    )
    studied, joint = study_of(run), multitask_of(run)
    own = [
        *([multitask_section(joint), curves_section(run.log_lines(), metrics, run.record)] if joint else []),
        *([study_section(studied)] if studied else []),
        *([steps_section(run)] if steps else []),
        *([benchmark_section(measured)] if measured else []),
    ]
    found = (
        *(own or of_learning),
        limits_section(record, metrics, passport),
        done_section(record),
        lineage,
        repeat_section(record, passport, cut=record.get("command") != whole.get("command")),
    )
    return Page(
        title=name,
        over_title=over_title(record, metrics),
        lead=_lead(run, record, metrics, comparisons, measured),
        sections=tuple(section for section in found if section),
        banners=banners(record, name),
        tiles=study_tiles(studied)
        if studied
        else multitask_tiles(joint)
        if joint
        else benchmark_tiles(measured)
        if measured
        else tiles(record, metrics, passport),
        closing="Made by pretune from the files of the run folder. This page is complete in itself: it holds no script and loads nothing.",
    )


def _lead(
    run: RunFolder, record: dict[str, Any], metrics: dict[str, Any], comparisons: list[dict[str, Any]], measured: Any
) -> tuple[str, ...]:
    """The outcome first: of the study, of the tasks, of the steps, of the benchmark, of the evaluation, or of what the run was made from."""
    if studied := study_of(run):
        return study_lead(studied)
    if joint := multitask_of(run):
        return multitask_lead(joint)
    if steps_of(run):
        return (*benchmark_lead(measured), *steps_lead(run)) if measured else steps_lead(run)
    if measured:
        return benchmark_lead(measured)
    said = lead(record, metrics, comparisons, run.path.resolve().name)
    return (*compression_lead(record), *said) if not metrics else said
