"""A student made ready to be taught: what of its inner states can be held against the teacher's, found by trying a few rows.

Shapes: B rows of a batch, T positions, H width.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.adapt import encoder_layers
from pretune.backbones.inner_states import Listener, attention_inputs
from pretune.engine.devices import inference
from pretune.objectives.distil import Pupil
from pretune.objectives.inner_matching import InnerMatching, layer_map, relation_heads
from pretune.tasks.base import EncodedRows, Task
from pretune.tasks.teacher import Teacher

__all__ = ["Lesson", "ready"]

_TRIED_ROWS = 3


class Lesson(NamedTuple):
    """``model`` is what learns: the student, or a :class:`Pupil` around it. ``teacher`` is listened to where it is needed; None for a
    student that learns alone.

    ``matching`` is that of the pupil; ``left_out`` says in words why not all that was asked for is compared.
    """

    model: nn.Module
    teacher: Teacher | None
    matching: InnerMatching | None
    left_out: str


def ready(
    task: Task, student: nn.Module, teacher: Teacher, rows: EncodedRows, *, hidden: bool, attention: bool, seed: int
) -> Lesson:
    """What of ``hidden`` states and ``attention`` of student and teacher can be compared on the student's ``rows``.

    Call it before :func:`pretune.backbones.fast.make_fast` sees the student, with both models on one device.
    """
    plain = Lesson(student, teacher, None, "")
    if not hidden and not attention:
        return plain
    if why := _apart(task, student, teacher):
        return plain._replace(left_out=why)
    layers = [encoder_layers(model) for model in (student, teacher.model)]
    pairs = layer_map(len(layers[0]), len(layers[1])) if hidden else ()
    known = attention and all(attention_inputs(one[-1]) is not None for one in layers)
    for relations in (True, False) if known else (False,):
        if pairs or relations:
            found = _tried(task, student, teacher, rows, pairs, relations=relations, seed=seed)
            if found is not None:
                return found._replace(left_out=_NO_ATTENTION if attention and not relations else "")
    return plain._replace(left_out=_NO_STATES)


_NO_ATTENTION = "attention is not compared: queries, keys and values cannot be heard apart"
_NO_STATES = "only answers are compared: teacher and student do not have the same positions between their layers"


def _apart(task: Task, student: nn.Module, teacher: Teacher) -> str:
    """Why inner states cannot be compared, in words; nothing where they may be."""
    if not task.reads_like(teacher.task):
        return "only answers are compared: teacher and student cut rows into other pieces (tokenizer, size or rate)"
    if task.runs_in_parts or teacher.task.runs_in_parts:
        return "only answers are compared: a model that is not told of padding reads clips of each length apart"
    if not encoder_layers(student) or not encoder_layers(teacher.model):
        return "only answers are compared: the layers of teacher or student cannot be told apart"
    return ""


def _tried(
    task: Task, student: nn.Module, teacher: Teacher, rows: EncodedRows, pairs: Any, *, relations: bool, seed: int
) -> Lesson | None:
    """The lesson with these comparisons, if both models' states on a few rows are alike in shape."""
    levels = [level for level, _ in pairs]
    own = Listener(student, levels, relations=relations)
    others = Listener(teacher.model, [level for _, level in pairs], relations=relations)
    items = [rows[i] for i in range(min(_TRIED_ROWS, len(rows)))]
    batch = task.collate(items).to(teacher.device.device)
    others_batch = teacher.task.collate([task.for_teacher(item) for item in items]).to(teacher.device.device)
    was_training = student.training
    student.to(teacher.device.device).eval()
    with inference(teacher.device):
        task.logits_of(student, batch)
        teacher.task.logits_of(teacher.model, others_batch)
    student.train(was_training)
    states = (own.take(), others.take())
    if not _are_alike(*states):
        own.close()
        others.close()
        return None
    mine, theirs = states[0] or [], states[1] or []
    heads = _heads(student, teacher.model, mine[-1].shape[-1], theirs[-1].shape[-1]) if relations else 0
    matching = InnerMatching(
        pairs, heads, student_width=mine[0].shape[-1], teacher_width=theirs[0].shape[-1], seed=seed
    )
    told = f"levels {[level for _, level in pairs]}{' and relations' if relations else ''}"
    heard = dataclasses.replace(teacher, listener=others, heard=told)
    return Lesson(Pupil(student, matching, own), heard, matching, "")


def _are_alike(mine: list[torch.Tensor] | None, theirs: list[torch.Tensor] | None) -> bool:
    if not mine or not theirs:
        return False
    shapes = {(one.ndim, *one.shape[:2]) for one in [*mine, *theirs]}
    return len(shapes) == 1 and mine[0].ndim == 3


def _heads(student: nn.Module, teacher: nn.Module, student_width: int, teacher_width: int) -> int:
    counts = [int(getattr(model.config, "num_attention_heads", 1)) for model in (student, teacher)]
    return relation_heads(student_width, counts[0], teacher_width, counts[1])
