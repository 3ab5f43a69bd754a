"""``pretune export``: a fine-tuned run as a folder that answers without pretune, proven on real rows."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings
from pretune.errors import CheckFailed, UsageError
from pretune.files import read_object
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, machine_facts, now
from pretune.runs.proven import about_of, load_plain, load_proven
from pretune.runs.reading import learned_by, uncleaned
from pretune.sums import sealed_folder
from pretune.training.derived import DerivedSettings, finished_parent, open_derived, own_data, take_over

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from pretune.data.reading import Reading
    from pretune.tasks.base import Task
    from pretune.types import Encoded, Example

__all__ = ["ExportSettings", "export"]

_ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch.export"}
_MOST_ROWS = 256
_MOST_PROGRAM_ROWS = 64
_SHOWN_TO_TRACER = 3


@dataclass(frozen=True, kw_only=True)
class ExportSettings(DerivedSettings):
    """Settings of ``pretune export``."""

    verb: ClassVar[str] = "export"

    to: str = option(
        "onnx", "form of the model: ONNX, OpenVINO's own, or a torch.export program", choices=tuple(_ENGINES)
    )
    tolerance: float = option(
        1e-3,
        "largest difference of an output (a probability; a number in units of its spread) on validation rows; beyond it nothing is exported",
        low=0.0,
        high=1.0,
    )
    nms: bool = option(
        False,
        "boxes: write boxes.onnx too, the graph with non-maximum suppression inside, for programs without predict.py",
    )
    least_same: float = option(
        0.99, "of models that choose as they go (tokens of a text, regions of a picture): share of validation rows that must be answered alike", low=0.0, high=1.0
    )  # fmt: skip


@verb(ExportSettings)
def export(settings: ExportSettings, *, say: Say) -> Outcome:
    """Write a run's model as a folder that answers without pretune, and prove on real rows that it answers the same.

    RUN/model gets the graph, the tokenizer or processor, a model card and predict.py, which needs numpy and the engine only
    (onnxruntime; tokenizers for texts that are read, pillow for pictures, soxr for clips of another rate). Validation rows are answered by both: a difference beyond
    --tolerance is an error, and nothing is written. The result is a run: evaluate, predict, benchmark and serve take it.

    Examples::

        pretune export runs/news
        pretune export runs/news --to openvino --out runs/news-openvino
        pretune export runs/cells --nms
        python runs/export-news-1/model/predict.py "a fine film"
        python runs/export-voice-1/model/predict.py "seven" --speaker theo --out said/
    """
    from pretune.engine.parallel import Cluster
    from pretune.report.card import write_card

    parent = finished_parent(settings, "export")
    _refuse_other_engines(settings, parent)
    with open_derived(settings, parent, Cluster()) as (settings, run, state):
        if state == "finished":
            return _outcome(run, WAS_FINISHED)
        began = time.monotonic()
        take_over(run, parent)
        with sealed_folder(run.model_dir) as folder:
            told = _write_and_compare(settings, parent, folder, say)
            _refuse_beyond(settings, told["parity"])
            run.update_record(export=told, machine=machine_facts(), seconds=round(time.monotonic() - began, 1))
            write_card(run, folder)
        run.update_record(status="finished", finished=now())
        return _outcome(run, "is finished")


def _refuse_other_engines(settings: ExportSettings, parent: RunFolder) -> None:
    engine = about_of(parent)["engine"]
    if engine not in ("torch", "onnxruntime"):
        raise UsageError(
            f"{parent.path} was exported for {engine}",
            f"export the run that it was made from: {parent.record['parents'][0]}",
        )
    if settings.nms and (engine, settings.to) != ("torch", "onnx"):
        raise UsageError(
            "--nms writes a second ONNX graph of a model of torch",
            "use --to onnx"
            if engine == "torch"
            else f"export the run that it was made from: {parent.record['parents'][0]}",
        )
    if engine == "onnxruntime" and settings.to == "torch":
        raise UsageError(
            f"{parent.path} holds an ONNX graph, from which there is no way back to torch", "use --to onnx or openvino"
        )


def _write_and_compare(settings: ExportSettings, parent: RunFolder, folder: Path, say: Say) -> dict[str, Any]:
    """Write the deliverable to ``folder``; what run.json says of it: format, signature and parity."""
    from pretune.backbones.graph_parts import parts_of
    from pretune.data.text.pseudonyms import KEY_FILE
    from pretune.export.graphs.limits import trust_graph
    from pretune.export.onnx_model import GRAPH_FILE
    from pretune.export.program import add_program, carry_files
    from pretune.tasks.protocols import Locating

    task, model = _plain_model(settings, parent)
    if task.by_steps and settings.to != "onnx":
        raise UsageError(
            f"--to {settings.to} does not fit {task.name}: answers are made step by step, with graphs of ONNX Runtime",
            "use --to onnx",
        )
    if settings.nms and not isinstance(task, Locating):
        raise UsageError(f"--nms sorts out boxes, and {task.name} finds none", "leave --nms out")
    reading = learned_by(parent)
    if reading.tagger:
        raise UsageError(
            f"{parent.path} learned from texts whose names a tagger took out, and predict.py has none to find them by",
            f"answer with pretune predict {parent.path}, or pretune serve {parent.path}",
        )
    rows, examples, items = _rows_to_compare(task, parent, reading)
    carry_files(parent.model_dir, folder)
    signature = _write_graph(settings, parent, task, model, items, folder)
    for place in parts_of(folder / GRAPH_FILE).values():
        trust_graph(place)
    about = {**about_of(parent), "reading": reading.to_dict(), **_answering(task, say)}
    if "pseudonym" in reading.clean:
        say.note(
            f"predict.py puts pseudonyms as the model learned them, and no export holds their key: it asks for {KEY_FILE}=FILE"
        )
    if task.left_to_pretune:
        say.note(task.left_to_pretune)
    reads_pairs = "text_pair" in rows.column_names
    add_program(folder, task, about, engine=_ENGINES[settings.to], graph=signature, reads_pairs=reads_pairs)
    parity = _parity(settings, task, model, examples, items, folder, say)
    boxes = {"boxes": _write_boxes(settings, task, model, items, folder)} if settings.nms else {}
    return {"format": settings.to, "engine": _ENGINES[settings.to], "signature": signature, "parity": parity, **boxes}


def _plain_model(settings: ExportSettings, parent: RunFolder) -> tuple[Task, torch.nn.Module]:
    """The parent's task and model: as torch has it, not arranged for this machine, or its graph."""
    from pretune.engine.devices import choose_device

    asked = AnsweringSettings(precision="fp32", threads=settings.threads)
    if about_of(parent)["engine"] != "torch":
        proven = load_proven(parent, asked)
        return proven.task, proven.model
    choose_device("cpu", precision="fp32", threads=settings.threads)
    return load_plain(parent, asked)


def _answering(task: Task, say: Say) -> dict[str, Any]:
    """What the exported run changes of how answers are searched."""
    if task.by_steps or task.answering().get("beam_size", 1) == 1:
        return {}
    say.warn("predict.py takes the most probable character of each frame: the exported run has --beam-size 1")
    return {"beam_size": 1}


def _rows_to_compare(task: Task, parent: RunFolder, reading: Reading) -> tuple[Dataset, list[Example], list[Encoded]]:
    """The first validation rows, what is asked about each before its texts are cleaned, and the items of that; where answers are made
    step by step, with the right ones.
    """
    from pretune.export.parity import chosen_rows
    from pretune.tasks.predicting import asked_of, readable

    rows = own_data(parent)["validation"]
    some = rows.select(range(min(len(rows), _MOST_ROWS)))
    raw = [asked_of(task, row, str(place)) for place, row in enumerate(uncleaned(parent, "validation", some["id"]))]
    read = readable(task, [replace(one, inputs=reading.cleaned(one.inputs)) for one in raw])
    count = chosen_rows((sum(item.cost for item in items) for _, items in read), len(some))
    return some, [raw[place] for place, _ in read[:count]], [item for _, items in read[:count] for item in items]


def _write_graph(
    settings: ExportSettings, parent: RunFolder, task: Task, model: torch.nn.Module, items: list[Encoded], folder: Path
) -> dict[str, Any]:
    """The graph itself, in the form that was asked for; its signature."""
    from pretune.export.graphs.speaking import SpeakingGraph
    from pretune.export.graphs.writer import GraphWriter
    from pretune.export.onnx_graph import take_graph
    from pretune.export.onnx_model import GRAPH_FILE, OnnxModel
    from pretune.export.openvino_model import IR_FILE, write_openvino
    from pretune.export.torch_program import PROGRAM_FILE, write_program
    from pretune.export.writing_graphs import write_graphs

    batch = task.collate(items[:_SHOWN_TO_TRACER])
    if settings.to == "torch":
        return write_program(task, model, batch, folder / PROGRAM_FILE)
    if isinstance(model, (OnnxModel, GraphWriter, SpeakingGraph)):
        signature = take_graph(model.path, folder / GRAPH_FILE)
    else:
        signature = write_graphs(task, model, batch, folder / GRAPH_FILE)
    if settings.to == "openvino":
        write_openvino(folder / GRAPH_FILE, folder / IR_FILE)
        for path in folder.glob(f"{GRAPH_FILE}*"):
            path.unlink()
    return signature


def _write_boxes(
    settings: ExportSettings, task: Task, model: torch.nn.Module, items: list[Encoded], folder: Path
) -> dict[str, Any]:
    """The graph with non-maximum suppression inside; its signature and how it compares."""
    from pretune.export.graphs.suppressed import BOXES_FILE, compare_suppressed, write_suppressed

    place = folder / BOXES_FILE
    signature = write_suppressed(task, model, task.collate(items[:_SHOWN_TO_TRACER]), place)
    return {"signature": signature, **compare_suppressed(task, model, items, place, threads=settings.threads)}


def _parity(
    settings: ExportSettings, task: Task, model: torch.nn.Module, examples: list[Example], items: list[Encoded], folder: Path, say: Say
) -> dict[str, Any]:  # fmt: skip
    """The graph in pretune, and predict.py by itself with the rows as they were before cleaning, beside the parent's model."""
    from pretune.export.engines import load_engine
    from pretune.export.parity import measure_parity, row_by_row
    from pretune.export.program import measure_program
    from pretune.export.torch_program import PROGRAM_FILE, TorchProgram

    if settings.to == "torch":
        signature = read_object(folder / "pretune.json")["graph"]
        after: torch.nn.Module = TorchProgram(folder / PROGRAM_FILE, signature)
    else:
        after = load_engine(_ENGINES[settings.to], folder, threads=settings.threads)
    bar = say.progress(None, "comparing with the run it was made from")
    graph = measure_parity(task, model, after.eval(), items, bar.update)
    some = {one.id for one in examples[:_MOST_PROGRAM_ROWS]}
    predictions = row_by_row(task, model, [item for item in items if item.id in some])
    records = [task.record(prediction) for prediction in predictions]
    records = task.calibrated(records) or records
    cells = [
        {key: _held(cell) for key, cell in one.inputs.items() if cell is not None} for one in examples[: len(records)]
    ]
    program = measure_program(folder, task, cells, records, threads=settings.threads)
    bar.close()
    if not program.rows:
        say.warn(f"predict.py is not proven: it could read none of {program.unread} rows ({program.unread_because})")
    told = {"tolerance": settings.tolerance, "least_same": settings.least_same if task.chooses else 0.0}
    return {**told, "graph": graph.to_dict(), "program": program.to_dict()}


def _held(cell: Any) -> Any:
    """A cell as predict.py takes it: a text, or the path or the bytes of a file."""
    return (cell.get("bytes") or cell["path"]) if isinstance(cell, dict) else cell


def _refuse_beyond(settings: ExportSettings, parity: dict[str, Any]) -> None:
    for name, what in (("graph", "the exported model"), ("program", "predict.py")):
        found = parity[name]
        if found["same"] < parity["least_same"] * found["rows"]:
            raise CheckFailed(
                f"{what} answers {found['same']} of {found['rows']} validation rows as before, less than --least-same {settings.least_same:g}",
                "nothing was written. Allow fewer with --least-same",
            )
        if not found["largest"] <= settings.tolerance:
            raise CheckFailed(
                f"{what} gives outputs that differ by up to {found['largest']:.2g} on {found['rows']} validation rows, "
                f"more than --tolerance {settings.tolerance:g}; {found['same']} answers are the same",
                "nothing was written. Another form may do better (--to), or allow more with --tolerance",
            )


def _outcome(run: RunFolder, said: str) -> Outcome:
    from pretune.export.artifact import Artifact

    told = run.record["export"]
    artifact = Artifact(str(run.model_dir), told["format"], told["signature"], told["parity"])
    parent, runs_here = (
        run.record["parents"][0],
        not told["engine"].startswith("torch"),
    )  # torch's programs hold pickles: never opened here
    following = next_line("benchmark", runs=(parent, str(run.path))) if runs_here else next_line("report", run=parent)
    boxes = told.get("boxes")
    beside = ""
    if boxes:
        beside = f"\nboxes.onnx, with non-maximum suppression inside, finds {boxes['same']} of {boxes['boxes']} boxes in {boxes['rows']} validation pictures."
    return Outcome(
        text=f"{run.path} {said}: {artifact.sentence()}{beside}\nIts own program answers: python {shlex.quote(str(run.model_dir / 'predict.py'))} ROWS\n{following}",
        facts={"run": str(run.path), "status": run.record["status"], "artifact": artifact.to_dict()},
    )
