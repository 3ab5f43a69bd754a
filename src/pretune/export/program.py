"""The program beside an exported model: copied into its folder, and held against pretune's own answers."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pretune.data.changes.clean import english_stopwords
from pretune.data.text.scrub import REDACTING
from pretune.files import fsync_file, translate_disk_errors, write_json
from pretune.sums import SEALED, SUMS_FILE
from pretune.tasks.base import Task

__all__ = ["READERS", "ProgramParity", "add_program", "carry_files", "measure_program"]

READERS = {
    "text": ("texts.py",),
    "image": ("pictures.py",),
    "audio": ("clips.py",),
    "tagged": ("tagged.py", "texts.py"),
    "mask": ("masks.py", "pictures.py"),
    "keypoints": ("points.py", "masks.py", "pictures.py"),
    "questions": ("questions.py", "texts.py"),
    "embedded": ("embedded.py", "texts.py"),
    "boxed": ("boxed.py", "pictures.py"),
    "written": ("written.py", "texts.py"),
    "spoken": ("voices.py",),
    "prompt": ("prompts.py",),
    "chat": ("chats.py", "prompts.py"),
    "terms": ("terms.py",),
    "pixels": ("pixels.py", "pictures.py"),
    "mel_bands": ("mel_bands.py", "clips.py"),
}
"""The programs that make a model's inputs, by their own name or else by what they read."""
_GOING_ON = (
    ("pretune.backbones.writing", "token_search.py"), ("pretune.backbones.writing", "continuations.py"), ("pretune.engine", "randomness.py"),
)  # fmt: skip
_SHARED = {
    "tagged": (("pretune.data.text", "words.py"), ("pretune.answers", "schemes.py")),
    "mask": (("pretune.answers", "rle.py"),),
    "keypoints": (("pretune.answers", "rle.py"), ("pretune.answers", "peaks.py")),
    "questions": (("pretune.answers", "span_search.py"),),
    "written": (("pretune.backbones.writing", "token_search.py"), ("pretune.backbones", "graph_parts.py")),
    "spoken": (
        ("pretune.modalities.audio", "mel.py"),
        ("pretune.modalities.audio", "speech_steps.py"),
        ("pretune.modalities.audio", "speech_lengths.py"),
        ("pretune.backbones", "graph_parts.py"),
        ("pretune.engine", "randomness.py"),
    ),
    "prompt": _GOING_ON,
    "chat": (*_GOING_ON, ("pretune.modalities.text", "chat_tokens.py"), ("pretune.data.dialogue", "turns.py")),
}
"""Files of pretune itself that such a program uses."""
_CARRIED = (".json", ".txt", ".model")
_LEFT_BEHIND = ("pretune.json", "model.safetensors.index.json", SUMS_FILE)


@dataclass(frozen=True, slots=True)
class ProgramParity:
    """``rows`` were answered by predict.py, ``unread`` were in a form that it does not read; ``largest`` is the largest difference
    of a calibrated probability, ``same`` counts equal answers, ``unread_because`` is why the first one was not read.
    """

    rows: int
    unread: int
    largest: float
    same: int
    unread_because: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def carry_files(source: Path, target: Path) -> None:
    """Copy a model folder's config, tokenizer and processor files: everything but weights, card and ``pretune.json``."""
    with translate_disk_errors(target):
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix in _CARRIED and path.name not in _LEFT_BEHIND:
                shutil.copyfile(path, target / path.name)
                fsync_file(target / path.name)


def add_program(
    folder: Path, task: Task, about: Mapping[str, Any], *, engine: str, graph: Mapping[str, Any], reads_pairs: bool
) -> None:
    """Make a folder with a graph (of this signature, for this engine) answer by itself: ``predict.py``, what reads the task's
    rows and cleans their texts, and ``pretune.json``, which tells them how. ``about`` is what that says of the task.
    """
    inputs = {**task.portable(), **({} if task.modality.is_file else {"reads_pairs": reads_pairs})}
    steps = about.get("reading", {}).get("clean", ())
    words = {"stopwords": list(english_stopwords())} if "stopwords" in steps else {}
    write_json(
        folder / "pretune.json",
        {**about, "format": SEALED, "engine": engine, "graph": graph, "inputs": inputs, **words},
    )
    here, texts = resources.files("pretune.export.standalone"), resources.files("pretune.data.text")
    reader = inputs.get("reader", task.modality)
    files = [here / name for name in ("predict.py", "rows.py", *READERS[reader])]
    files += [resources.files(room) / name for room, name in _SHARED.get(reader, ())]
    files += [texts / "scrub.py"] if steps else []
    files += [texts / "pii.py"] if {*REDACTING} & {*steps} else []
    files += [texts / "pseudonyms.py"] if "pseudonym" in steps else []
    for file in files:
        with translate_disk_errors(folder):
            (folder / file.name).write_bytes(file.read_bytes())
            fsync_file(folder / file.name)


def measure_program(
    folder: Path,
    task: Task,
    rows: Iterable[Mapping[str, Any]],
    records: Iterable[Mapping[str, Any]],
    *,
    threads: int | None,
) -> ProgramParity:
    """Answer ``rows`` with the folder's own ``predict.py``, in this process, beside ``records``: pretune's answers to them."""
    model = _loaded(folder).Model(folder, threads)
    count = same = unread = 0
    largest, because = 0.0, ""
    for row, record in zip(rows, records, strict=True):
        try:
            (found,) = model.answers([{"id": record["id"], **row}])  # without on_unread, what cannot be read is raised
        except ValueError as error:
            unread, because = unread + 1, because or str(error)
            continue
        count += 1
        same += task.same_answer(found, record)
        differences = (abs(p - record["probabilities"][name]) for name, p in found.get("probabilities", {}).items())
        largest = max(largest, *differences, 0.0)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return ProgramParity(count, unread, largest, same, because)


def _loaded(folder: Path) -> Any:
    """``predict.py`` of the folder, as written by :func:`add_program`."""
    spec = importlib.util.spec_from_file_location("pretune_exported_predict", folder / "predict.py")
    assert spec is not None, "predict.py is a Python file"
    assert spec.loader is not None, "predict.py is a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
