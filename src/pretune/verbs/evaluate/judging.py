"""What a recogniser hears in clips that a model made, and in the true ones: is speech understood?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.answers import Text, Wave
from pretune.config import AnsweringSettings
from pretune.errors import UsageError
from pretune.modalities import Modality
from pretune.runfolder import open_run
from pretune.types import Example

if TYPE_CHECKING:
    from pretune.interface.outcome import Say
    from pretune.runs.proven import Proven
    from pretune.tasks.base import Task

__all__ = ["judged"]


def judged(
    task: Task, records: Sequence[Mapping[str, Any]], truths: Sequence[Any], judge: str, say: Say
) -> list[dict[str, Any]]:
    """The records with what the run ``judge`` hears in each clip (``heard``) and in the true one (``heard_true``), in lower case.

    Raises :class:`UsageError` where the task makes no sound, or the judge writes no transcripts.
    """
    from pretune.runs.proven import load_proven

    if task.answer != Wave.kind:
        raise UsageError(f"--judge listens to clips, and {task.name} answers with none", "leave --judge out")
    run = open_run(judge)
    proven = load_proven(run, AnsweringSettings())
    if (proven.task.modality, proven.task.answer) != (Modality.AUDIO, Text.kind):
        raise UsageError(
            f"--judge {judge} is a run of {proven.task.name}, which writes no transcripts",
            "give a run of speech-recognition, trained on real clips: pretune finetune ... --task speech-recognition",
        )
    say.note(f"{run.path} listens to {len(records)} clips and to the true ones")
    said = _heard(proven, [Wave(record[task.answer]).cell() for record in records])
    true = _heard(proven, [truth["clip"] for truth in truths])
    return [
        {**record, "heard": one, "heard_true": other} for record, one, other in zip(records, said, true, strict=True)
    ]


def _heard(proven: Proven, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    from pretune.tasks.predicting import predict_items

    items = [
        item for place, cell in enumerate(cells) for item in proven.task.encode(Example(str(place), {"audio": cell}))
    ]
    return [str(one.answer).lower() for one in predict_items(proven.task, proven.model, items, proven.device)]
