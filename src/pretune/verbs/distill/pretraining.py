"""``pretune distill`` with a pre-trained teacher: the student learns from rows without labels and ends as a pre-trained run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import cleaning_settings
from pretune.errors import UsageError
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.modalities import Modality
from pretune.runfolder import RunFolder, is_run
from pretune.runs.reading import ReadSettings, learned_by, own_settings

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.data.reading import Reading
    from pretune.data.splits import Splits
    from pretune.engine.parallel import Cluster
    from pretune.objectives.distilling.teaching import TaughtSettings
    from pretune.objectives.pretraining import Pretraining
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.distill.story import DistillSettings

__all__ = ["distill_pretraining"]

_OF_WORDS = ("temperature", "hard_weight", "hidden", "attention")


def distill_pretraining(settings: DistillSettings, say: Say, cluster: Cluster) -> Outcome:
    """From rows without labels to a pre-trained run. Raises :class:`UsageError` for what only labels would need."""
    from pretune.training.forecasting import forecast
    from pretune.training.setup import open_together
    from pretune.verbs.pretrain.story import carry_out_unlabelled, pretraining_outcome, read_corpus

    if not settings.teacher:
        raise UsageError(
            "--no-teacher without labels is plain pre-training",
            "use `pretune pretrain` for the student; its tokenizer is the teacher's with --tokenizer FOLDER",
        )
    reading, learned = _reading(settings)
    if settings.dry_run:
        return forecast(
            settings, lambda run: _build(settings, run, read_corpus(reading, say, learned), say, cluster)[1]
        )
    with open_together(settings, cluster, begun_from=settings.run, named_after=Path(settings.run).name) as opened:
        settings, run, state = opened
        if state == "finished":
            return pretraining_outcome(run, WAS_FINISHED)
        began = time.monotonic()
        data = read_corpus(reading, say, learned)
        setup, learning = _build(settings, run, data, say, cluster)
        if cluster.is_first:
            run.update_record(reading=reading.to_dict())
        carry_out_unlabelled(run, settings, data, setup, learning, began=began, resumed=state == "resumed")
        return pretraining_outcome(run, "is finished")


def _reading(settings: DistillSettings) -> tuple[ReadSettings, Reading | None]:
    """How the rows are read: those of ``--data``, as the teacher learned (the second) where nothing else is said, or its own."""
    from pretune.data.reading import HOW, Reading

    run = RunFolder(Path(settings.run)) if is_run(settings.run) else None
    if run is None and settings.data is None:
        raise UsageError(
            f"{settings.run} does not tell what it was pre-trained on", "give the rows to learn from: --data DATA"
        )
    if settings.data is None and run is not None:
        own = own_settings(run)
        return dataclasses.replace(own, max_train_samples=None, seed=settings.seed), None
    learned = Reading() if run is None else learned_by(run)
    told = learned.options(**{name: getattr(settings, name) for name in HOW})
    learned.refuse_other_key()
    return ReadSettings(
        data=settings.data or "", column=settings.column, seed=settings.seed,
        **cleaning_settings(learned.clean), **_names_of(run, learned), **told,
    ), learned  # fmt: skip


def _names_of(run: RunFolder | None, learned: Reading) -> dict[str, Any]:
    """The settings that have the names taken out that the teacher's tagger finds."""
    if run is None or not learned.tagger:
        return {}
    return {"redact_names": own_settings(run).redact_names, "redact_types": tuple(learned.tagger["types"])}


def _build(
    settings: DistillSettings, run: RunFolder, data: Splits, say: Say, cluster: Cluster
) -> tuple[Setup, Learning]:
    from pretune.backbones.load import load_backbone
    from pretune.training.backbone import steady
    from pretune.training.setup import choose
    from pretune.verbs.distill.student import student_backbone
    from pretune.verbs.pretrain.story import learning_of

    device = choose(settings, run, cluster)
    teacher = load_backbone(settings.run)
    with cluster.first_before_others():
        backbone = student_backbone(
            settings, teacher, data, image_size=_image_size(teacher), place=settings.data or settings.run
        )
    device = steady(device, backbone, settings)
    made = _objective(settings, teacher, backbone, data, say)
    setup, learning = learning_of(made, settings, run, data, backbone, device, say, cluster)
    setup.kept = made.saved()
    return setup, learning


def _image_size(teacher: Backbone) -> int | None:
    if teacher.modality is not Modality.IMAGE:
        return None
    from pretune.modalities.image.transform import image_transform_of

    return image_transform_of(teacher.processor).crop[0]


def _objective(settings: DistillSettings, teacher: Backbone, backbone: Backbone, data: Splits, say: Say) -> Pretraining:
    from pretune.objectives.distilling.features import DistilFeatures
    from pretune.objectives.distilling.masked_text import DistilMaskedText

    told = _told(settings, teacher, backbone)
    if teacher.modality.is_file:
        settings.refuse_given(
            _OF_WORDS, f"does nothing here: of models that read {teacher.modality.mass} the features alone are compared"
        )
        return DistilFeatures.start(data, backbone, told, seed=settings.seed)
    settings.refuse_given(("augment",), "does nothing where words are masked anyway")
    made = DistilMaskedText.start(data, backbone, told, seed=settings.seed)
    if not made.has_head:
        say.note(
            f"{settings.run} has no head for masked words: its inner states alone are learned, beside the right words"
        )
    if made.left_out:
        say.note(made.left_out)
    return made


def _told(settings: DistillSettings, teacher: Backbone, backbone: Backbone) -> TaughtSettings:
    """What the objective is told: rows as long as both models take, masked as usual."""
    from pretune.backbones.text.limits import max_length_of
    from pretune.objectives.distilling.teaching import TaughtSettings

    own: dict[str, Any] = {}
    if not teacher.modality.is_file:
        own = {"max_length": min(max_length_of(teacher), max_length_of(backbone)), "pack": "no"}
    return TaughtSettings(
        teacher=settings.run, temperature=settings.temperature, hard_weight=settings.hard_weight,
        hidden=settings.hidden == "auto", attention=settings.attention == "auto", augment=settings.augment, **own,
    )  # fmt: skip
