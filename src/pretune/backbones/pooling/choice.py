"""Which pooling a backbone gets: what was asked for, what its folder says, or what fresh ones are read by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pretune.backbones.pooling.pool import parse_pooling
from pretune.backbones.pooling.told import told_pooling
from pretune.backbones.text_kinds import goes_on, reads_whole

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["FRESH", "ChosenPooling", "chosen_pooling", "passed_on"]

FRESH = ("mean",)
"""By which fresh encoders are read (docs/decisions.md, D120)."""


class ChosenPooling(NamedTuple):
    """``modes`` (none: the architecture's own head) and ``why`` in words. ``is_open``: nothing speaks for one or another; rows may
    decide.
    """

    modes: tuple[str, ...]
    why: str
    is_open: bool = False
    notes: tuple[str, ...] = ()


def chosen_pooling(asked: str, backbone: Backbone) -> ChosenPooling:
    """The pooling for a text ``backbone`` by ``--pooling asked``.

    Raises :class:`~pretune.errors.UsageError` for a mode that is none, :class:`~pretune.errors.ModelError` for a folder whose word
    cannot be followed.
    """
    if asked != "auto":
        return ChosenPooling(parse_pooling(asked), "--pooling")
    if backbone.folder is None and goes_on(backbone.config):
        return ChosenPooling((), "as decoders are read: by their own head, at the last token")
    if backbone.folder is None:
        return ChosenPooling(FRESH, "as fresh encoders are read")
    if (told := _told_by_folder(backbone)) is not None:
        return told
    if reads_whole(backbone.config):
        return ChosenPooling(FRESH, f"as {backbone.config.model_type} is read")
    return ChosenPooling((), "as the architecture has it", is_open=True)


def passed_on(backbone: Backbone) -> tuple[str, ...]:
    """The modes by which the trunk is read that was pre-trained from a ``backbone``: as that one is, by rule or as its folder says; none
    where nothing says it, or what is read is no text. Raises as :func:`chosen_pooling`.
    """
    if backbone.modality.is_file:
        return ()
    chosen = chosen_pooling("auto", backbone)
    return () if chosen.is_open else chosen.modes


def _told_by_folder(backbone: Backbone) -> ChosenPooling | None:
    if backbone.folder is None:
        return None
    if backbone.pooled is not None:
        return ChosenPooling(backbone.pooled.modes, f"as {backbone.name} is read")
    told = told_pooling(backbone.folder, getattr(backbone.config, "hidden_size", None))
    return (
        None
        if told is None
        else ChosenPooling(told.modes, f"as {told.where} of {backbone.name} says", notes=told.notes)
    )
