"""What ``pretune explain`` explains: a run's models, the example as it was given, and what is told of both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import AnsweringSettings
from pretune.errors import DataError, RunError, UsageError
from pretune.forwarded import shown_place
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.runs.proven import about_of, load_plain, load_proven

if TYPE_CHECKING:
    import torch

    from pretune.engine.devices import Device
    from pretune.explain.attention import Attention
    from pretune.explain.attributions import Attribution
    from pretune.explain.reading import Reader
    from pretune.explain.written_attention import WrittenAttention
    from pretune.explain.written_saliency import WrittenSaliency
    from pretune.modalities import Modality
    from pretune.tasks.base import Task
    from pretune.types import Example
    from pretune.verbs.explain.story import ExplainSettings

__all__ = ["Subject", "load_subject", "writing"]

_MOST_GENERATIONS = 20


@dataclass(kw_only=True)
class Subject:
    """A model and one example, and what was written for it where texts are. ``ordinary`` is the model as it answers, ``plain`` another of the same weights.

    ``task`` is None for a pre-trained run; ``reader`` makes the model's inputs.
    """

    run: RunFolder
    task_name: str
    kind: Modality
    task: Task | None
    ordinary: torch.nn.Module
    plain: torch.nn.Module
    reader: Reader
    device: Device
    example: Example
    truth: str = ""
    notes: list[str] = field(default_factory=list)
    written: WrittenAttention | None = None

    @property
    def architecture(self) -> str:
        """What transformers calls the model."""
        config: Any = self.plain.config
        return config.model_type

    @property
    def reads_first(self) -> bool:
        """Is the answer to a text read from its first position?"""
        from pretune.backbones.pooling.pool import modes_of

        return modes_of(self.plain.config) in ((), ("first",))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the example; none of a picture or a clip."""
        return tuple(self.example.inputs[key] for key in ("text", "text_pair") if key in self.example.inputs)

    @property
    def clip(self) -> Mapping[str, Any] | None:
        """Spectrum and sound of a clip, for a page."""
        if "audio" not in self.example.inputs:
            return None
        from pretune.tasks.shown.audio import shown_clip

        hearing: Any = self.reader
        return shown_clip(self.example.inputs["audio"], hearing.rate)

    def attribution(self, settings: ExplainSettings) -> Attribution | None:
        """What speaks for the answer; None of a pre-trained run, and, with a note, where the model writes nothing."""
        from pretune.explain.aim import EmptyAnswer
        from pretune.explain.attributions import explain_example
        from pretune.explain.faithfulness import ORDERS

        given = {"--label": settings.label is not None, "--orders": settings.orders != ORDERS and self.task is None}
        for flag, is_given in given.items():
            if is_given and not (self.task and self.task.labels):
                raise UsageError(f"{flag} does not fit: {self.task_name} gives no label", "leave it out")
        if self.task is None or self.task.by_tokens:
            return None
        try:
            return explain_example(
                self.task, self.ordinary, self.example, self.device, label=settings.label, orders=settings.orders
            )
        except EmptyAnswer as error:
            self.notes.append(f"{error.problem[0].upper()}{error.problem[1:]}, so nothing can be said to speak for it.")
            return None

    def saliency(self, settings: ExplainSettings) -> WrittenSaliency | None:
        """What the tokens of a written text hang on; None of a model that writes none."""
        from pretune.explain.written_attention import token_names
        from pretune.explain.written_saliency import written_saliency

        if self.task is None or self.written is None:
            return None
        found = written_saliency(
            self.task, self.plain, self.example, self.written.text, token_names, orders=settings.orders
        )
        if found is not None and found.left_out:
            self.notes.append(
                f"The first {len(found.written)} written tokens are explained, {found.left_out} more are not."
            )
        return found

    def attention(self) -> Attention | None:
        """The attention of the model; None, with a note, where there is none to show."""
        from pretune.explain.attention import attention_of, has_attention
        from pretune.explain.reading import read_example
        from pretune.explain.written_attention import written_attention

        config: Any = self.plain.config
        found = None
        if has_attention(config) and self.task is not None and self.task.by_tokens:
            self.written = written_attention(self.task, self.plain, self.ordinary, self.example, self.device)
            found = self.written.attention
        elif has_attention(config):
            reading = read_example(self.reader, self.example, config)
            found = attention_of(self.plain, self.ordinary, reading)
        if found is None:
            self.notes.append(f"This model ({config.model_type}) has no attention between all positions to show.")
        return found

    def facts(self, attribution: Attribution | None, attention: Attention | None) -> Iterator[tuple[str, str]]:
        """What the page tells at its end."""
        yield "run", shown_place(str(self.run.path))
        yield "task", self.task_name
        yield "model", f"{self.architecture}, {sum(p.numel() for p in self.plain.parameters()):,} parameters, fp32"
        if attribution is not None:
            yield "scores by", attribution.method
        if attention is not None:
            yield (
                "attention",
                "softmaxed products of queries and keys, from the same weights with plain attention; its answer is the ordinary one's "
                f"(largest difference {attention.difference:.1e}), and every row sums to 1",
            )


def load_subject(settings: ExplainSettings, run: RunFolder, say: Say) -> Subject:
    """The run's models and the example that the settings name. Raises :class:`pretune.errors.PretuneError`."""
    from pretune.tasks import TASKS

    notes: list[str] = []
    source = _torch_run(run, notes)
    about = about_of(source)
    labelled = about["task"] in {task.name for task in TASKS}
    loaded = _task_models(source, settings) if labelled else _pretrained_models(source, about, settings)
    example, truth = _example(settings, run, loaded["kind"], notes)
    return Subject(run=run, task_name=about["task"], example=example, truth=truth, notes=notes, **loaded)


def _torch_run(run: RunFolder, notes: list[str]) -> RunFolder:
    """The run, or the nearest one it was made from that torch can compute. Raises :class:`RunError` where there is none."""
    from pretune.report.lineage import find_run

    current = run
    for _ in range(_MOST_GENERATIONS):
        engine = about_of(current)["engine"]
        if engine == "torch":
            break
        parents = [find_run(str(place), current.path) for place in current.record.get("parents", [])]
        if not parents or parents[0] is None:
            raise RunError(
                f"{current.path} is a graph of {engine}, which shows neither attention nor gradients, and the run it was made from is not found",
                f"explain that run, or bring it back beside {current.path}",
            )
        current = RunFolder(parents[0])
    if current is not run:
        notes.append(
            f"{run.path.name} is a graph of another engine: explained is {current.path.name}, which it was made from and whose answers may differ a little."
        )
    return current


def _task_models(run: RunFolder, settings: ExplainSettings) -> dict[str, Any]:
    from pretune.explain.reading import reader_of

    asked = AnsweringSettings(precision="fp32", threads=settings.threads)
    proven = load_proven(run, asked)
    task, plain = load_plain(run, asked)
    why, instead = task.unexplained()
    if why:
        raise UsageError(why, instead)
    return {
        "task": task, "plain": plain, "ordinary": proven.model, "device": proven.device, "reader": reader_of(task),
        "kind": task.modality,
    }  # fmt: skip


def _pretrained_models(run: RunFolder, about: dict[str, Any], settings: ExplainSettings) -> dict[str, Any]:
    """The bare encoder of a run without labels, twice."""
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.load import load_backbone
    from pretune.engine.devices import choose_device
    from pretune.explain.reading import reader_of_backbone
    from pretune.modalities.image.transform import ImageTransform, interpolate_positions

    device = choose_device(settings.device, precision="fp32", threads=settings.threads)
    backbone = load_backbone(str(run.model_dir))
    reader = reader_of_backbone(backbone, about)
    models = [backbone.build("AutoModel", seed=0)[0].eval() for _ in range(2)]
    for model in models:
        if isinstance(reader, ImageTransform):
            interpolate_positions(model, backbone.config, reader)
    if device.device.type == "cpu":
        make_fast(models[0])
    return {
        "task": None, "plain": models[1], "ordinary": models[0].to(device.device), "device": device, "reader": reader,
        "kind": backbone.modality,
    }  # fmt: skip


def _example(settings: ExplainSettings, run: RunFolder, kind: Modality, notes: list[str]) -> tuple[Example, str]:
    """The example that was given or named, and its right answer where that is known. Raises :class:`UsageError`."""
    from pretune.runs.reading import learned_by
    from pretune.tasks.predicting import example_of
    from pretune.verbs.predict.story import with_its_texts

    if (settings.example is None) == (settings.row is None):
        given = "nothing to explain was given" if settings.row is None else "an example and --row were given"
        raise UsageError(given, f"give {kind.given}, or --row ID for a row of the run's data")
    if settings.text_pair is not None and (kind.is_file or settings.row is not None):
        raise UsageError("--text-pair does not fit", "it goes with a text that is given in quotes")
    if settings.row is not None:
        settings.refuse_given(
            ("clean", "redact", "redact_names"), "does nothing with --row: the run's rows are cleaned as it learned"
        )
        row = _row(settings, run)
        return example_of(row, settings.row), _truth(row, kind)
    if settings.split != "validation":
        raise UsageError("--split is for --row", "leave it out")
    cell: Any = settings.example
    if kind.is_file:
        if not Path(cell).is_file():
            raise UsageError(f"{cell} is no file", f"this model reads {kind.given}")
        cell = {"path": cell, "bytes": None}
    row = {"id": "0", kind: cell}
    if settings.text_pair is not None:
        row["text_pair"] = settings.text_pair
    reading = learned_by(run, settings)
    if reading.clean and not kind.is_file:
        notes.append(f"The text was cleaned as the model learned: {', '.join(reading.clean)}.")
    try:
        return example_of(next(with_its_texts(run, reading, iter([reading.cleaned(row)]))), "0"), ""
    except DataError:
        if settings.text_pair is not None:
            raise UsageError(
                f"--text-pair does not fit: {run.path} learned from single texts", "leave it out"
            ) from None
        raise UsageError(
            f"{run.path} learned from pairs of texts, and one was given", "give the second: --text-pair TEXT"
        ) from None


def _row(settings: ExplainSettings, run: RunFolder) -> dict[str, Any]:
    """The row of the run's data. Raises :class:`DataError` where there is none of that id."""
    from pretune.runs.reading import own_data

    data = own_data(run)
    if settings.split not in data or len(data[settings.split]) == 0:
        raise DataError(f"the run's data has no {settings.split} rows", f"--split takes one of: {', '.join(data)}")
    rows = data[settings.split]
    ids = list(rows["id"])
    if settings.row not in ids:
        raise DataError(
            f"no {settings.split} row has the id {settings.row}",
            f"ids are like {', '.join(str(one) for one in ids[:5])}; another split is --split NAME",
        )
    if settings.split == "test":
        run.count_look("test", f"explain --row {settings.row}")
    return dict(rows[ids.index(settings.row)])


def _truth(row: Mapping[str, Any], kind: Modality) -> str:
    """The right answer of a row in words; nothing where it has none."""
    label, labels = row.get("label"), row.get("labels")
    if label is None and not labels and kind.is_file:
        label = row.get("text")
    if label is None and not labels and row.get("target"):
        label = row["target"][0]
    return str(label) if label is not None else ", ".join(labels) if labels else ""


@contextlib.contextmanager
def writing(flag: str, path: Path) -> Iterator[None]:
    """Make the folder of a file; raise :class:`UsageError` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (FileExistsError, NotADirectoryError, PermissionError, IsADirectoryError, FileNotFoundError) as error:
        raise UsageError(
            f"{flag} {path} cannot be written: {error.strerror}", "choose a file in a folder that you may write to"
        ) from None
