"""What a run that learns writes about itself: at the beginning, its model, and at the end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import RunError
from pretune.files import read_json, write_json
from pretune.interface.outcome import Say
from pretune.options import Settings
from pretune.runfolder import RunFolder, machine_facts, now
from pretune.sums import SEALED, sealed_folder
from pretune.training.forecasting import foretold
from pretune.training.learning import Learning
from pretune.training.merging import merge

if TYPE_CHECKING:
    import torch

    from pretune.data.splits import Splits
    from pretune.training.setup import Setup

__all__ = ["carry_out", "finish_model", "loading_facts", "prepare_run", "write_model"]


def carry_out(
    run: RunFolder, settings: Settings, data: Splits, setup: Setup, learning: Learning,
    *, began: float, resumed: bool, close: Callable[[], None],
) -> None:  # fmt: skip
    """Learn from the run's last state to its end. The first process writes what is known before and after; in between
    ``close`` writes the model. ``began`` is when the verb did (``time.monotonic``).
    """
    cluster, say = learning.cluster, learning.say
    labels = list(setup.task.labels) if setup.task else []
    if not cluster.agree(json.dumps([labels, setup.fingerprint])):
        raise RunError(
            "the processes of this run read other rows or other classes than the first one",
            "give all of them the same data and the same version of pretune",
        )
    if cluster.is_first:
        prepare_run(run, settings, data, setup, learning, resumed=resumed, say=say)
    for note in learning.resume():
        say.warn(note)
    learning.go()
    if cluster.is_first:
        merged = merge(setup, learning)
        close()
        seconds = time.monotonic() - began
        if not resumed and (told := foretold(settings, run, seconds)):
            run.update_record(forecast=told)
        if merged is not None:
            run.update_record(training={**run.record["training"], "merged": merged.check(run, learning)})
        finish_model(run, learning, seconds=seconds, result={"metric": learning.goal.metric, **learning.best})
    cluster.barrier()


def prepare_run(
    run: RunFolder, settings: Settings, data: Splits, setup: Setup, learning: Learning, *, resumed: bool, say: Say
) -> None:
    """Write what is known before the first update: the passport, the keys of the training rows, the run's record."""
    from pretune.data.checks.passport import passport
    from pretune.runs.keys import save_train_keys
    from pretune.runs.reading import refuse_other_key
    from pretune.runs.rows import check_ledgers, tell_findings

    ledgers = _ledgers(setup, learning)
    check_ledgers(ledgers, say)
    if resumed:
        before = run.record.get("data_fingerprint")
        if before is not None and before != setup.fingerprint:
            refuse_other_key(run)
            raise RunError(
                f"{run.path} was begun with other data than {getattr(settings, 'data', 'this')} holds now",
                "bring the old data back, or start again with --overwrite",
            )
        if before is not None:
            _refuse_other_classes(run, setup)
            run.update_record(status="running", problem=None)
            return
    found = passport(data)
    tell_findings(found, say)
    run.write_passport({**found, "tokens": ledgers, "fingerprint": setup.fingerprint})
    save_train_keys(run, *(data[name] for name in setup.encoded if name in ("train", "unlabelled")))
    if setup.report.initialised and not setup.report.fresh:
        names = setup.report.initialised
        say.note(
            f"newly initialised weights: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"
        )
    if setup.report.classes:
        (say.warn if setup.report.initialised else say.note)(setup.report.classes)
    run.update_record(
        status="running",
        problem=None,
        data_fingerprint=setup.fingerprint,
        **({"data_copied": remote} if (remote := data.facts.get("read", {}).get("remote")) else {}),
        device=learning.device.to_dict(),
        backbone=setup.backbone.facts,
        model={
            "parameters": sum(p.numel() for p in (setup.kept or learning.model).parameters()) - setup.adaptation.added,
            "task": setup.task.name if setup.task else setup.objective.title,
            "labels": list(setup.task.labels) if setup.task else [],
            "initialised": ["all weights"] if setup.report.fresh else list(setup.report.initialised),
            "unexpected": list(setup.report.unexpected),
            **({"classes": setup.report.classes} if setup.report.classes else {}),
            **({} if setup.pooling is None else {"pooling": setup.pooling}),
        },
        **({} if setup.choosing is None else {"choosing": setup.choosing.facts()}),
        training={
            "learning_rate": setup.learning_rate,
            "total_steps": learning.pace.total_steps,
            **setup.adaptation.facts(),
        },
        machine=machine_facts(),
    )


def _refuse_other_classes(run: RunFolder, setup: Setup) -> None:
    """Raise :class:`RunError` where the weights that were saved mean other classes, or the same in another order."""
    begun, now_C = run.record.get("model", {}).get("labels"), setup.task.labels if setup.task else ()
    if begun is not None and list(begun) != list(now_C):
        raise RunError(
            f"{run.path} was begun with the classes {', '.join(begun[:10])}; now they are {', '.join(now_C[:10])}",
            "bring the old data back, or start again with --overwrite",
        )


def _ledgers(setup: Setup, learning: Learning) -> dict[str, dict[str, Any]]:
    """The token ledger of each split, with the positions of padding in one pass over it."""
    from pretune.engine.batching import cut_by_budget, padding_of

    found = {}
    for name, (lengths_N, ledger) in setup.encoded.items():
        if name == "train":
            padding = learning.feeds.padding()
        else:
            padding = padding_of(
                lengths_N, cut_by_budget(lengths_N, max_cost=learning.feeds.max_tokens, max_rows=2**31)
            )
        found[name] = {**ledger, "padded": padding}
    return found


def write_model(
    run: RunFolder, model: torch.nn.Module, processor: Any, about: dict[str, Any], read_by: tuple[str, ...] = ()
) -> None:
    """``model/``: a Hugging Face folder with ``pretune.json``, whole or not at all. ``read_by``: the pooling by which a trunk of texts is read."""
    from pretune.backbones.load import save_model
    from pretune.backbones.pooling.embedder import write_sentence_files
    from pretune.runs.reading import with_reading

    with sealed_folder(run.model_dir) as folder:
        save_model(model, processor, folder)
        if read_by:
            config: Any = model.config
            write_sentence_files(folder, read_by, width=config.hidden_size, longest=None)
        write_json(folder / "pretune.json", with_reading(run, {**about, "format": SEALED}))


def loading_facts(folder: Path) -> dict[str, Any]:
    """What run.json says of how a model folder is loaded: of pooled classifiers their modes, and whether transformers' own class
    reads them (:mod:`pretune.backbones.pooling.folder`).
    """
    from pretune.backbones.pooling.pool import POOLED

    told = read_json(folder / "config.json").get(POOLED) if (folder / "config.json").exists() else None
    return {} if not told else {"pooled": {"modes": told["modes"], "plain": bool(told.get("layer"))}}


def finish_model(run: RunFolder, learning: Learning, *, seconds: float, result: dict[str, Any]) -> None:
    """Close the run: what it took, the model card, status ``finished``; then the checkpoints go."""
    from pretune.machine import peak_memory_bytes
    from pretune.report.card import write_card

    steps = [line for line in run.log_lines() if line.get("kind") == "step"]
    rates = sorted(line["tokens_per_second"] for line in steps)
    before = run.record
    run.update_record(
        model={**before.get("model", {}), **loading_facts(run.model_dir)},
        training={
            **before.get("training", {}),
            **learning.device.to_dict(),
            "steps": learning.step,
            "epochs": round(learning.feeds.updates / learning.feeds.updates_per_epoch, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            "median_tokens_per_second": rates[len(rates) // 2] if rates else None,
            "training_seconds": round(learning.budget.used_seconds, 2),
        },
        result=result,
        seconds=round(seconds, 1),
        finished=now(),
    )
    write_card(run, run.model_dir)
    run.close_log()
    run.update_record(status="finished")
    shutil.rmtree(run.checkpoints_dir, ignore_errors=True)
