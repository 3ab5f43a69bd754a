"""A student made ready to be taught: what of its inner states can be held against the teacher's, found by trying a few rows.

Shapes: B rows of a batch, T positions, H width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import encoder_layers
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.states.inner_states import Listener, attention_inputs
from pretune.objectives.distilling.distil import MatchedStudent
from pretune.objectives.distilling.inner_matching import InnerMatching, layer_map, relation_heads
from pretune.tasks.base import Task
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.trunk import positions_of
from pretune.tasks.teacher import Teacher

__all__ = ["Inside", "PreparedStudent", "compared_inside", "ready"]

_TRIED_ROWS = 3


class PreparedStudent(NamedTuple):
    """``model`` is what learns: the student, or a :class:`MatchedStudent` around it. ``teacher`` is listened to where it is needed; None for a
    student that learns alone.

    ``matching`` is that of the pupil; ``left_out`` says in words why not all that was asked for is compared.
    """

    model: nn.Module
    teacher: Teacher | None
    matching: InnerMatching | None
    left_out: str


def ready(
    task: Task, student: nn.Module, teacher: Teacher, rows: EncodedRows, *, hidden: bool, attention: bool, seed: int
) -> PreparedStudent:
    """What of ``hidden`` states and ``attention`` of student and teacher can be compared on the student's ``rows``.

    Call it before :func:`pretune.backbones.cpu.fast.make_fast` sees the student.
    """
    plain = PreparedStudent(student, teacher, None, "")
    if not hidden and not attention:
        return plain
    if not task.same_inputs_as(teacher.task):
        why = "only answers are compared: teacher and student cut rows into other pieces (tokenizer, size or rate)"
        return plain._replace(left_out=why)
    if task.runs_in_parts or teacher.task.runs_in_parts:
        why = "only answers are compared: inside, the models read a batch in several parts"
        return plain._replace(left_out=why)
    device = teacher.device.device
    items = [rows[i] for i in range(min(_TRIED_ROWS, len(rows)))]
    batch = task.collate(items).to(device)
    others = teacher.task.collate([task.for_teacher(item) for item in items]).to(device)
    found, left_out = compared_inside(
        student.to(device), teacher.model,
        lambda: task.logits_of(student, batch), lambda: teacher.task.logits_of(teacher.model, others),
        hidden=hidden, attention=attention, seed=seed, positions=positions_of(batch),
    )  # fmt: skip
    if found is None:
        return plain._replace(left_out=left_out)
    heard = dataclasses.replace(teacher, listener=found.listener, heard=found.heard)
    return PreparedStudent(found.pupil, heard, found.pupil.matching, left_out)


class Inside(NamedTuple):
    """A pupil, what listens to its teacher, and what it hears, in words."""

    pupil: MatchedStudent
    listener: Listener
    heard: str


def compared_inside(
    student: nn.Module, teacher: nn.Module, run_student: Callable[[], Any], run_teacher: Callable[[], Any], *,
    hidden: bool, attention: bool, seed: int, positions: torch.Tensor | None = None,
) -> tuple[Inside | None, str]:  # fmt: skip
    """What of two models can be compared inside, found by running both on like rows; and in words what cannot. ``positions`` (B, T) tells
    which positions of those rows are real: states at others (samples, where frames are answered) are not compared.
    """
    layers = [encoder_layers(model) for model in (student, teacher)]
    if not all(layers):
        return None, "only answers are compared: the layers of teacher or student cannot be told apart"
    pairs = layer_map(len(layers[0]), len(layers[1])) if hidden else ()
    known = attention and all(attention_inputs(one[-1]) is not None for one in layers)
    for relations in (True, False) if known else (False,):
        if pairs or relations:
            found = _tried(
                student, teacher, run_student, run_teacher, pairs, relations=relations, seed=seed, positions=positions
            )
            if found is not None:
                return found, _NO_ATTENTION if attention and not relations else ""
    return None, _NO_STATES


_NO_ATTENTION = "attention is not compared: queries, keys and values cannot be heard apart"
_NO_STATES = "only answers are compared: between their layers teacher and student do not have the same positions, those of their answers"


def _tried(
    student: nn.Module, teacher: nn.Module, run_student: Callable[[], Any], run_teacher: Callable[[], Any],
    pairs: Sequence[tuple[int, int]], *, relations: bool, seed: int, positions: torch.Tensor | None,
) -> Inside | None:  # fmt: skip
    """Both models listened to so, if their states are alike in shape."""
    levels = [level for _, level in pairs]
    own = Listener(student, [level for level, _ in pairs], relations=relations)
    others = Listener(teacher, levels, relations=relations)
    for model, run in ((student, run_student), (teacher, run_teacher)):
        with evaluating(model), torch.inference_mode():
            run()
    mine, theirs = own.take() or [], others.take() or []
    if not _are_alike(mine, theirs, positions):
        own.close()
        others.close()
        return None
    heads = _heads(student, teacher, mine[-1].shape[-1], theirs[-1].shape[-1]) if relations else 0
    matching = InnerMatching(
        pairs, heads, student_width=mine[0].shape[-1], teacher_width=theirs[0].shape[-1], seed=seed
    )
    told = f"levels {levels}{' and relations' if relations else ''}"
    return Inside(MatchedStudent(student, matching, own), others, told)


def _are_alike(mine: list[torch.Tensor], theirs: list[torch.Tensor], positions: torch.Tensor | None) -> bool:
    if not mine or not theirs or (positions is not None and positions.shape != mine[0].shape[:2]):
        return False
    shapes = {(one.ndim, *one.shape[:2]) for one in [*mine, *theirs]}
    return len(shapes) == 1 and mine[0].ndim == 3


def _heads(student: nn.Module, teacher: nn.Module, student_width: int, teacher_width: int) -> int:
    counts = [int(getattr(model.config, "num_attention_heads", 1)) for model in (student, teacher)]
    return relation_heads(student_width, counts[0], teacher_width, counts[1])
