"""A token-classification model finds the names in texts, so that they can be taken out: ``--redact-names``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.answers import Tags
from pretune.config import AnsweringSettings, CleanSettings
from pretune.errors import ModelError, UsageError
from pretune.runfolder import RunFolder, is_run
from pretune.types import Example

if TYPE_CHECKING:
    from pretune.data.text.pii import Found
    from pretune.runs.proven import Proven
    from pretune.tasks.base import Task

__all__ = ["Tagger", "open_tagger", "tagger_of"]

_MEANINGS = {
    "person": ("per", "person", "pers", "name", "人名", "姓名"),
    "place": ("loc", "location", "gpe", "place", "fac", "address", "addr", "street", "city", "地名", "地址"),
}
"""What corpora call persons and places: CoNLL-2003, OntoNotes, WNUT, MSRA, CLUENER and their like, in small letters."""
_WRITTEN_AFTERWARDS = ("README.md", "pretune.json", "sums.json")
"""Files of a model folder that change none of the entities that it finds."""


@dataclass(frozen=True)
class Tagger:
    """Finds names in texts. ``kinds``: by type of entity, the kind that it is called once it is taken out (``person``, ``place``, or its type)."""

    proven: Proven
    kinds: Mapping[str, str]
    facts: Mapping[str, Any]

    def __call__(self, texts: Sequence[str]) -> list[list[Found]]:
        """The names of each text, in order of appearance."""
        from pretune.tasks.predicting import predict_items

        task, found = self.proven.task, [list[Any]() for _ in texts]
        rows = [Example(str(place), {"text": text}) for place, text in enumerate(texts) if text.strip()]
        items = [item for row in rows for item in task.encode(row)]
        for prediction in predict_items(task, self.proven.model, items, self.proven.device) if items else ():
            found[int(prediction.id)] = [
                (self.kinds[entity["type"]], entity["start"], entity["end"])
                for entity in task.record(prediction).get("entities", ())
                if entity["type"] in self.kinds
            ]
        return found


def tagger_of(settings: CleanSettings) -> Tagger | None:
    """The tagger that the settings name; None where they name none. Raises as :func:`open_tagger`."""
    return None if settings.redact_names is None else open_tagger(settings.redact_names, settings.redact_types)


def open_tagger(place: str, types: Sequence[str] = (), *, fingerprint: str = "") -> Tagger:
    """The tagger in a run, a model folder of pretune or one of transformers, which takes out entities of ``types`` (none: persons and
    places). ``fingerprint``: of the one that a model learned with.

    Raises :class:`UsageError` for what is no tagger, finds none of the types, or is another one.
    """
    run = RunFolder(Path(place)) if is_run(place) else None
    folder = Path(place) if run is None else run.model_dir
    if not folder.is_dir():
        raise UsageError(
            f"--redact-names {place} is no run and no model folder",
            "name a run of token-classification (pretune list shows the runs), or a folder with such a model",
        )
    own = _fingerprint(folder)
    if fingerprint not in ("", own):
        raise UsageError(
            f"the model learned from texts without the names that the tagger {fingerprint} finds, and {place} holds the tagger {own}",
            "give that one: --redact-names RUN",
        )
    proven = _opened(folder, run)
    if proven.task.answer != Tags.kind:
        raise UsageError(
            f"--redact-names {place} is of {proven.task.name}, which finds no names",
            "name a run of token-classification",
        )
    kinds = _kinds(place, proven.task, types)
    return Tagger(proven, kinds, {"fingerprint": own, "types": sorted(kinds)})


def _fingerprint(folder: Path) -> str:
    """What tells two models apart: a hash of the folder's files that answers hang on."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name not in _WRITTEN_AFTERWARDS):
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _opened(folder: Path, run: RunFolder | None) -> Proven:
    """The model, which computes in fp32: the same names are found whenever the rows are read."""
    from pretune.backbones.cpu.fast import make_fast
    from pretune.engine.devices import choose_device
    from pretune.runs.proven import Proven, load_proven, open_model

    if run is not None:
        return load_proven(run, AnsweringSettings(precision="fp32"))
    if (folder / "pretune.json").exists():
        found = open_model(folder)
        task, model = found.task, found.model
    else:
        task, model = _of_transformers(folder)
    device = choose_device(precision="fp32")
    if device.device.type == "cpu":
        make_fast(model)
    return Proven(task, model.to(device.device).eval(), device)


def _of_transformers(folder: Path) -> tuple[Task, Any]:
    """A folder that another program wrote: its tags are those of its configuration."""
    from pretune.backbones.load import load_backbone
    from pretune.backbones.loading.classes import names_of
    from pretune.backbones.text.limits import max_length_of
    from pretune.tasks import TASKS

    backbone = load_backbone(str(folder))
    (kind,) = (task for task in TASKS if task.answer == Tags.kind)
    about = {"labels": names_of(backbone.config), "max_length": max_length_of(backbone), "long_text": "windows"}
    task = kind.restore(about, backbone)
    model, report = task.build(backbone, seed=0)
    if report.initialised:
        raise ModelError(
            f"{folder} is no tagger: it lacks the weights {', '.join(report.initialised[:3])}",
            "name a folder of token-classification, or train one: pretune finetune ... --data conll2003/",
        )
    return task, model


def _kinds(place: str, task: Task, types: Sequence[str]) -> dict[str, str]:
    """By type of entity that is taken out, what it is called then. Raises :class:`UsageError` where the tagger has none of these."""
    from pretune.answers.schemes import OUTSIDE, fits

    known = {tag.partition("-")[2] if fits(tag) else tag for tag in task.labels} - {OUTSIDE, ""}
    meant = {word: kind for kind, words in _MEANINGS.items() for word in words}
    if unknown := [one for one in types if one not in known]:
        raise UsageError(
            f"--redact-types {unknown[0]} is no type that {place} finds", f"it finds {', '.join(sorted(known))}"
        )
    wanted = [one for one in sorted(known) if one in types or (not types and one.lower() in meant)]
    if not wanted:
        raise UsageError(
            f"--redact-names {place} finds no persons and no places that are called so: it finds {', '.join(sorted(known)) or 'nothing'}",
            f"say which are taken out: --redact-types {','.join(sorted(known)[:2])}",
        )
    return {one: meant.get(one.lower(), one) for one in wanted}
