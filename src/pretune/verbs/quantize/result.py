"""What the ways of ``pretune quantize`` share: the rows, the folder that is written, and what the result is worth here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.runfolder import RunFolder, machine_facts
from pretune.runs.proven import about_of, graph_device
from pretune.runs.reading import learned_by
from pretune.sums import sealed_folder
from pretune.training import derived
from pretune.training.derived import against_parent, own_data
from pretune.verbs.quantize.trials import Subject, Trial

if TYPE_CHECKING:
    import torch

    from pretune.tasks.base import Task
    from pretune.verbs.quantize.story import QuantizeSettings

__all__ = ["emptied", "finish", "open_subject", "outcome_of", "write_float_graph", "write_result"]

_SLOWER = 0.95
_SECONDS = 2.0


def emptied(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_float_graph(task: Task, model: torch.nn.Module, parent: RunFolder, path: Path) -> Path:
    """Export ``model`` to ``path``, traced with a few of the parent's training rows."""
    from pretune.export.writing_graphs import write_graphs

    rows = own_data(parent)["train"]
    write_graphs(task, model, task.collate(_items(task, rows, 3)[:3]), path)
    return path


def open_subject(
    settings: QuantizeSettings, parent: RunFolder, task: Task, graph: Path, folder: Path, say: Say
) -> Subject:
    """The float graph with the rows that calibrate and judge it."""
    import numpy as np

    from pretune.engine.processor import processor_facts, saturates
    from pretune.training.labelled import choosing_rows

    data = own_data(parent)
    choosing = choosing_rows(task, data, say)
    narrow = saturates(processor_facts())
    if narrow:
        say.note("this processor has no 8-bit dot products: weights take 7 bits, so that sums cannot overflow")
    device = graph_device(settings.threads)
    items = _items(task, data["train"], settings.calibration_rows, seed=settings.seed)
    validation = data["validation"].select(np.flatnonzero(choosing.votes_N))
    return Subject(
        task=task, device=device, folder=folder, source=graph, items=items, validation=validation,
        narrow=narrow, threads=device.threads, say=say,
    )  # fmt: skip


def _items(task: Task, rows: Any, count: int, *, seed: int = 0) -> list[Any]:
    """Training rows drawn by ``seed``, encoded as they are answered (not varied)."""
    import numpy as np

    from pretune.tasks.predicting import items_of

    return items_of(task, rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])))


def write_result(run: RunFolder, parent: RunFolder, subject: Subject, chosen: Trial, trials: list[Trial]) -> None:
    """``model/``: the chosen graph with the parent's tokenizer or processor and predict.py; what was tried goes to run.json."""
    from pretune.backbones.graph_parts import part_beside, parts_of
    from pretune.export.graphs.limits import trust_graph
    from pretune.export.onnx_graph import take_graph
    from pretune.export.onnx_model import GRAPH_FILE
    from pretune.export.program import add_program, carry_files

    ready = subject.folder / GRAPH_FILE
    for part, place in parts_of(chosen.path).items():
        place.replace(part_beside(ready, part))
    chosen.path = ready
    subject.calibrate(ready)
    about = {**about_of(parent), "reading": learned_by(parent).to_dict(), **subject.task.to_dict()}
    if chosen.recipe.method == "dynamic":
        about["rows_alone"] = True
    told = {
        "to": "int8", **chosen.facts(), "layers": len(subject.layers), "rounded": len(chosen.recipe.rounded(subject.layers)), "float_score": subject.score, "lost_in": subject.lost_in,
        "calibration_rows": len(subject.items), "narrow": subject.narrow, "learned": subject.learned,
    }  # fmt: skip
    run.update_record(quantization={**told, "trials": [trial.facts() for trial in trials]}, machine=machine_facts())
    with sealed_folder(run.model_dir) as folder:
        carry_files(parent.model_dir, folder)
        signature = take_graph(ready, folder / GRAPH_FILE)
        for place in parts_of(folder / GRAPH_FILE).values():
            trust_graph(place)
        add_program(
            folder, subject.task, about,
            engine="onnxruntime", graph=signature, reads_pairs="text_pair" in subject.validation.column_names,
        )  # fmt: skip


def finish(
    settings: QuantizeSettings, run: RunFolder, parent: RunFolder, subject: Subject, model: torch.nn.Module | None, say: Say
) -> None:  # fmt: skip
    """What the result is worth: beside the parent, beside the same graph in float and beside PyTorch; then the model card."""
    from pretune.report.card import write_card

    compression = against_parent(run, parent, settings, say)
    told = run.record["quantization"]
    told["latency"] = _latencies(subject, model)
    told["text"] = _sentences(told, settings.most_loss)
    run.update_record(
        quantization=told,
        result={"metric": compression["metric"], "value": compression["after"]["score"]["value"]},
    )
    write_card(run, run.model_dir)


def _latencies(subject: Subject, model: torch.nn.Module | None) -> dict[str, dict[str, Any]]:
    """Latency of one row and of 32: the 8-bit graph, the float graph, and PyTorch in fp32 as transformers has the model."""
    from pretune.evaluation.latency import latency_by_size
    from pretune.export.onnx_model import GRAPH_FILE
    from pretune.tasks.predicting import answering

    models = {"int8": subject.open(subject.folder / GRAPH_FILE), "onnx-fp32": subject.open(subject.prepared)}
    if model is not None:
        models["torch-fp32"] = model.eval()
    task, items, device = subject.task, subject.items, subject.device
    return latency_by_size(
        lambda size: {name: answering(task, one, items, size, device) for name, one in models.items()}, seconds=_SECONDS
    )


def _sentences(told: dict[str, Any], most_loss: float) -> str:
    """How it was rounded and what the engine itself gains by it; and where it does not, that."""
    all_of_them = told["rounded"] == told["layers"]
    where = f"all {told['layers']} layers" if all_of_them else f"{told['rounded']} of {told['layers']} layers"
    lines = [f"int8: {told['title']}, {where} in 8 bits."]
    int8 = told["latency"]["int8"]
    for name, title in (("onnx-fp32", "the same graph in fp32"), ("torch-fp32", "PyTorch in fp32")):
        if name in told["latency"]:
            one, many = (
                told["latency"][name][key]["p50_ms"] / int8[key]["p50_ms"] for key in ("latency_1", "latency_32")
            )
            lines.append(f"Against {title}: {one:.2f} times as fast for one row, {many:.2f} for 32.")
            if one < _SLOWER:
                lines.append(
                    f"int8 is slower here: {int8['latency_1']['p50_ms']:.2f} ms for one row, {title} "
                    f"{told['latency'][name]['latency_1']['p50_ms']:.2f} ms. Only the size speaks for it."
                )
    lines.append(
        f"{'The best state' if told['learned'] else 'The way to round'} was chosen on these validation rows: score it on others with pretune evaluate."
    )
    if told["lost_points"] > most_loss and not told["learned"]:
        lines.append(
            f"It loses {told['lost_points']:.2f} {told['lost_in']} against the float graph, and {most_loss:g} were allowed: "
            "--method qat learns with the rounding."
        )
    return "\n".join(lines)


def outcome_of(run: RunFolder, said: str) -> Outcome:
    """The end of the verb, from the run's record."""
    text, (parent, *_) = run.record["quantization"]["text"], run.record["parents"]
    next_step = next_line("benchmark", runs=(parent, str(run.path)))
    return derived.outcome_of(run, said, "quantization", [text], next_step=next_step)
