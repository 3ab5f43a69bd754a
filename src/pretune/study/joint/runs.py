"""What a joint run leaves: a record of its own, and for each task a run folder as ``pretune finetune`` leaves one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretune.errors import RunError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, is_run, machine_facts, now
from pretune.study.joint.learning import MEAN, JointLearning, TaskPart, told_groups
from pretune.sums import SEALED

if TYPE_CHECKING:
    import torch

    from pretune.options import Settings

__all__ = ["finish_learning", "note_beginning"]


def note_beginning(run: RunFolder, joint: JointLearning, say: Say, *, resumed: bool) -> None:
    """Write what is known before the first update. Raises :class:`RunError` where a run goes on with other data."""
    from pretune.runs.keys import save_train_keys
    from pretune.runs.rows import check_ledgers

    say.note(told_groups(joint))
    before = run.record.get("data_fingerprint")
    if resumed and before is not None:
        if before != joint.setup.fingerprint:
            raise RunError(
                f"{run.path} was begun with other data than its tasks have now",
                "bring the old data back, or start again with --overwrite",
            )
        run.update_record(status="running", problem=None)
        return
    for part in joint.parts:
        check_ledgers({f"{part.name}, {split}": ledger for split, ledger in _ledgers(joint, part).items()}, say)
    save_train_keys(run, *(part.of.data["train"] for part in joint.parts))
    reports = [part.report for part in joint.parts]
    run.update_record(
        status="running", problem=None, data_fingerprint=joint.setup.fingerprint, device=joint.learning.device.to_dict(),
        backbone=joint.backbone.facts, machine=machine_facts(),
        tasks={part.name: {**part.facts(), "task": part.task.name, "rows": len(part.of.data["train"])} for part in joint.parts},
        model={
            "parameters": sum(parameter.numel() for parameter in joint.model.parameters()),
            "initialised": ["all weights"] if reports[0].fresh else sorted({name for one in reports for name in one.initialised}),
            "unexpected": sorted({name for one in reports for name in one.unexpected}),
        },
        training={
            "learning_rate": joint.setup.learning_rate, "total_steps": joint.learning.pace.total_steps,
            "groups": joint.groups, "shares": joint.shares, **joint.setup.adaptation.facts(),
        },
    )  # fmt: skip


def _ledgers(joint: JointLearning, part: TaskPart) -> dict[str, dict[str, Any]]:
    """The token ledger of each split, with the positions of padding in one pass over it."""
    from pretune.engine.batching import cut_by_budget, padding_of

    most = joint.learning.feeds.max_tokens
    return {
        name: {**rows.ledger, "padded": padding_of(rows.lengths_N, cut_by_budget(rows.lengths_N, max_cost=most, max_rows=2**31))}
        for name, rows in part.rows.items()
    }  # fmt: skip


def finish_learning(run: RunFolder, settings: Settings, joint: JointLearning, say: Say, *, began: float) -> None:
    """Write the run of each task, then what the whole reached. The best weights are in the model; checkpoints go last."""
    from pretune.training.labelled import calibrate

    learning = joint.learning
    reached = {part.name: part.goal["evaluate"](lambda _rows: None) for part in joint.parts}
    for part in joint.parts:
        calibrate(part.task, part.model, part.rows["validation"], part.choosing, learning.device, say)
    weights = (
        {name: float((-joint.model.log_variance(name)).exp().detach()) for name in joint.model.names}
        if joint.model.log_variances_T is not None
        else {}
    )
    models = joint.model.apart()
    seconds = time.monotonic() - began
    for part in joint.parts:
        _write_task_run(run, settings, joint, part, models[part.name], reached[part.name], seconds)
    training = {**run.record.get("training", {}), **_training_facts(joint, run)}
    run.update_record(
        training={**training, **({"learned_weights": weights} if weights else {})},
        result={"metric": MEAN, **learning.best}, seconds=round(seconds, 1),
    )  # fmt: skip
    run.close_log()
    shutil.rmtree(run.checkpoints_dir, ignore_errors=True)


def _training_facts(joint: JointLearning, run: RunFolder) -> dict[str, Any]:
    from pretune.machine import peak_memory_bytes

    learning = joint.learning
    rates = sorted(line["tokens_per_second"] for line in run.log_lines() if line.get("kind") == "step")
    return {
        **learning.device.to_dict(),
        "steps": learning.step,
        "epochs": round(learning.feeds.updates / learning.feeds.updates_per_epoch, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "median_tokens_per_second": rates[len(rates) // 2] if rates else None,
        "training_seconds": round(learning.budget.used_seconds, 2),
    }


def _write_task_run(
    run: RunFolder, settings: Settings, joint: JointLearning, part: TaskPart, model: torch.nn.Module,
    scores: Mapping[str, float], seconds: float,
) -> None:  # fmt: skip
    """``RUN/<task>``: a run folder with the model, whose trunk the other tasks' have too."""
    from pretune.data.checks.passport import passport
    from pretune.report.card import write_card
    from pretune.runs.keys import save_train_keys
    from pretune.training.record import loading_facts, write_model

    own = RunFolder(run.path / part.name)
    if is_run(own.path):
        shutil.rmtree(own.path)
    own.path.mkdir(exist_ok=True)
    data = part.of.data
    record = run.record
    own.write("run.json", {
        "format": SEALED, "verb": settings.verb, "command": settings.command(),
        "settings": {**part.of.settings.to_dict(), "out": str(own.path)},
        "parents": [str(run.path)], "status": "running", "started": record["started"], "machine": machine_facts(),
        "data_fingerprint": part.fingerprint, "device": joint.learning.device.to_dict(), "backbone": joint.backbone.facts,
        "choosing": part.choosing.facts(), "joint": {"with": [one.name for one in joint.parts if one is not part]},
    })  # fmt: skip
    found = passport(data)
    own.write_passport({**found, "tokens": _ledgers(joint, part), "fingerprint": part.fingerprint})
    save_train_keys(own, data["train"])
    own.write_lines("log.jsonl", _own_lines(run, part))
    write_model(own, model, part.task.processor_to_save(joint.backbone), part.task.to_dict())
    metric = part.goal["metric"]
    own.update_record(
        model={
            "parameters": sum(parameter.numel() for parameter in model.parameters()), "task": part.task.name,
            "labels": list(part.task.labels),
            "initialised": ["all weights"] if part.report.fresh else list(part.report.initialised),
            "unexpected": list(part.report.unexpected), **loading_facts(own.model_dir),
            **({} if part.pooling is None else {"pooling": part.pooling}),
        },
        training={**record.get("training", {}), **_training_facts(joint, run)},
        result={"metric": metric, "value": scores[metric], **{key: joint.learning.best[key] for key in ("epoch", "step")}},
        seconds=round(seconds, 1), finished=now(),
    )  # fmt: skip
    write_card(own, own.model_dir)
    own.update_record(status="finished")


def _own_lines(run: RunFolder, part: TaskPart) -> list[dict[str, Any]]:
    """The run's log as far as it is about this task."""
    found = []
    before = f"{part.name}."
    for line in run.log_lines():
        if line.get("kind") == "step":
            loss = line["parts"].get(f"{before}loss", line["parts"].get(part.name))
            parts = {
                name.removeprefix(before): value for name, value in line["parts"].items() if name.startswith(before)
            }
            found.append({**line, "loss": loss, "parts": parts})
        elif line.get("kind") == "eval":
            scores = {
                name.removeprefix(before): value for name, value in line["scores"].items() if name.startswith(before)
            }
            found.append({**line, "scores": scores})
    return [line for line in found if line.get("loss", 0.0) is not None]
