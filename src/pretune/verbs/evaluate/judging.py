"""What a recogniser hears in clips that a model made, and in the true ones: is speech understood?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.answers import Text, Wave
from pretune.config import AnsweringSettings
from pretune.data.media.audio import decode_audio
from pretune.errors import UsageError
from pretune.modalities import Modality
from pretune.modalities.audio.mel import in_quiet_of
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

    A voice learned without the quiet around the true clips, the judge with it: a clip is heard in the quiet of its true one.
    Raises :class:`UsageError` where the task makes no sound, or the judge writes no transcripts.
    """
    from pretune.runs.proven import load_proven
    from pretune.tasks.speech.spoken_answers import SpokenAnswers

    if not isinstance(task, SpokenAnswers):
        raise UsageError(f"--judge listens to clips, and {task.name} answers with none", "leave --judge out")
    run = open_run(judge)
    proven = load_proven(run, AnsweringSettings())
    if (proven.task.modality, proven.task.answer) != (Modality.AUDIO, Text.kind):
        raise UsageError(
            f"--judge {judge} is a run of {proven.task.name}, which writes no transcripts",
            "give a run of speech-recognition, trained on real clips: pretune finetune ... --task speech-recognition",
        )
    say.note(f"{run.path} listens to {len(records)} clips and to the true ones")
    true_cells = [truth["clip"] for truth in truths]
    placed = [_placed(one[task.answer], cell, task.mel.rate) for one, cell in zip(records, true_cells, strict=True)]
    said = _heard(proven, placed)
    true = _heard(proven, true_cells)
    return [
        {**record, "heard": one, "heard_true": other} for record, one, other in zip(records, said, true, strict=True)
    ]


def _placed(answer: str, true_cell: Mapping[str, Any], rate: int) -> Mapping[str, Any]:
    """The cell of a clip between the quiet of the true one."""
    said_T, true_T = (decode_audio(cell, rate) for cell in (Wave(answer).cell(), true_cell))
    return Wave.of(in_quiet_of(said_T, true_T, rate), rate).cell()


def _heard(proven: Proven, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    from pretune.tasks.predicting import predict_items

    items = [
        item for place, cell in enumerate(cells) for item in proven.task.encode(Example(str(place), {"audio": cell}))
    ]
    return [str(one.answer).lower() for one in predict_items(proven.task, proven.model, items, proven.device)]
