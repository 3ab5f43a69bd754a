"""Finished runs of tiny models that were never trained, for the tests of what is made from runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clocks import HANG_SECONDS
from conftest import write_csv
from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.load import Backbone, load_backbone
from pretune.files import write_json
from pretune.modalities.image.transform import image_transform_of
from pretune.runfolder import RunFolder
from pretune.runs.reading import ReadSettings
from pretune.tasks import (
    ImageClassification,
    ImageMultilabelClassification,
    Task,
    TextClassification,
    TextMultilabelClassification,
)
from pretune.training.record import write_model
from tiny import (
    LABELS,
    tiny_backbone,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
    uneven_rows,
)

SPLITS = {"train": 12, "validation": 9, "test": 20}


def finished_run(place: Path, task: Any, backbone: Backbone, data: Path, **reading: Any) -> RunFolder:
    """A run folder as fine-tuning leaves it, with a model whose answers differ from row to row."""
    model, _ = task.build(backbone, seed=0)
    run = RunFolder(place)
    place.mkdir(parents=True)
    settings = ReadSettings(data=str(data), **reading)
    about = {"task": task.name, "labels": list(task.labels), "parameters": sum(p.numel() for p in model.parameters())}
    write_json(
        place / "run.json",
        {
            "format": 1, "verb": "finetune", "command": "pretune finetune ...", "settings": settings.to_dict(), "parents": [],
            "status": "finished", "model": about, "backbone": {"name": backbone.name},
        },
    )  # fmt: skip
    write_json(place / "data.json", {"splits": {"train": {"rows": SPLITS["train"]}}})
    np.save(place / "train_keys.npy", np.zeros(0, dtype=np.int64))
    _spread(task, model, run)
    write_model(run, model, task.processor_to_save(backbone), task.to_dict())
    return run


def _spread(task: Any, model: torch.nn.Module, run: RunFolder) -> None:
    """Set the last layer so that over the test rows every class has logits of mean 0 and spread 2."""
    last = [module for module in model.eval().modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits_NC = torch.cat(
            [
                task.logits_of(model, task.collate([item]))[0].reshape(-1, last.out_features)
                for item in _items(task, run)
            ]
        )
        gain_C = 2 / logits_NC.std(dim=0)
        last.weight.mul_(gain_C[:, None])
        last.bias.copy_((last.bias - logits_NC.mean(dim=0)) * gain_C)


def _items(task: Any, run: RunFolder) -> list[Any]:
    from pretune.runs.reading import own_data
    from pretune.tasks.predicting import example_of

    examples = (example_of(row, row["id"]) for row in own_data(run)["test"].to_list())
    return [item for example in examples for item in task.encode(example)]


def _texts(folder: Path, *, pair: bool = False, several: bool = False) -> Path:
    folder.mkdir()
    rows: list[Any] = uneven_rows(sum(SPLITS.values()))
    for number, row in enumerate(rows):
        row["text"] = row["text"] if number % 4 else f"{row['text']} {'the home team won the cup ' * (number % 7)}"
        row["text"] += "" if number % 5 else " [SEP] says </s> the <mask>"
        if pair:
            row["text_pair"] = " ".join(reversed(row["text"].split())) if number % 3 else "ay"
        if several:
            own = row.pop("label")
            row["labels"] = "|".join([own, *LABELS[: number % 3]][: number % 4])
    for name, count in SPLITS.items():
        rows, part = rows[count:], rows[:count]
        write_csv(folder / f"{name}.csv", part)
    return folder


def _pictures(folder: Path) -> Path:
    rows = tiny_pictures(sum(SPLITS.values()), side=30)
    for name, count in SPLITS.items():
        for row in rows[:count]:
            place = folder / name / row["label"]
            place.mkdir(parents=True, exist_ok=True)
            (place / row["image"]["path"]).write_bytes(row["image"]["bytes"])
        rows = rows[count:]
    return folder


def _several_pictures(folder: Path) -> Path:
    _pictures(folder / "files")
    for name in SPLITS:
        paths = sorted((folder / "files" / name).rglob("*.png"))
        lines = [{"image": str(path.relative_to(folder)), "labels": [path.parent.name]} for path in paths]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _clips(folder: Path, key: str, rate: int) -> Path:
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in SPLITS.items():
        lines = []
        for number in range(count):
            samples = rng.normal(0, 0.2, int(rate * (0.2 + 0.07 * (number % 5)))).cumsum() % 1 - 0.5
            stereo = np.stack([samples, np.roll(samples, 7)], axis=1)
            soundfile.write(
                folder / f"{name}-{number}.wav", stereo if number % 3 == 0 else samples, rate, subtype="PCM_16"
            )
            label = LABELS[number % 3]
            answer: Any = {"text": {"text": "see"}, "label": {"label": label}, "labels": {"labels": [label]}}[key]
            lines.append({"audio": f"{name}-{number}.wav", **answer})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _electra() -> Backbone:
    from transformers import ElectraConfig

    bert = tiny_backbone("bert")
    config = ElectraConfig(
        vocab_size=len(bert.tokenizer), hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128, pad_token_id=bert.tokenizer.pad_token_id,
    )  # fmt: skip
    return Backbone("electra", "scratch", config, bert.tokenizer)


def _text_run(
    place: Path, backbone: Backbone, kind: Any = TextClassification, *, pair: bool = False, **options: Any
) -> RunFolder:
    several = kind is TextMultilabelClassification
    own = {key: options.pop(key) for key in ("max_length", "long_text") if key in options}
    task = kind(LABELS, tiny_encoder(backbone, **{"max_length": 64, **own}), **options)
    data = _texts(place.with_name(f"{place.name}-data"), pair=pair, several=several)
    return finished_run(place, task, backbone, data, column=("labels=labels",) if several else ())


def _picture_run(place: Path, backbone: Backbone, kind: Any = ImageClassification, **options: Any) -> RunFolder:
    several = kind is ImageMultilabelClassification
    data = (_several_pictures if several else _pictures)(place.with_name(f"{place.name}-data"))
    return finished_run(place, kind(LABELS, image_transform_of(backbone.processor), **options), backbone, data)


def _mobilenet() -> Backbone:
    found = load_backbone("scratch:mobilenet-v2", image_size=32)
    found.config.depth_multiplier = 0.25
    return found


def _sound_run(place: Path, kind: str, **options: str) -> RunFolder:
    task, backbone = tiny_sound_task(kind, **options)
    key = {"speech": "text", "sound": "label", "sound-labels": "labels"}[kind]
    data = _clips(place.with_name(f"{place.name}-data"), key, audio_spec_of(backbone).rate)
    return finished_run(place, task, backbone, data)


RUNS: dict[str, Callable[[Path], RunFolder]] = {
    "bert-windows": lambda place: _text_run(
        place, tiny_backbone("bert"), max_length=24, long_text="windows", temperature=1.7
    ),
    "roberta-pairs": lambda place: _text_run(
        place, tiny_backbone("roberta"), pair=True, max_length=32, long_text="head-tail", temperature=0.6
    ),
    "bert-pair-windows": lambda place: _text_run(
        place, tiny_backbone("bert"), pair=True, max_length=24, long_text="windows"
    ),
    "electra": lambda place: _text_run(place, _electra()),
    "bert-labels": lambda place: _text_run(place, tiny_backbone("bert"), TextMultilabelClassification, threshold=0.52),
    "vit": lambda place: _picture_run(place, tiny_image_backbone("vit-micro"), temperature=2.0),
    "resnet-labels": lambda place: _picture_run(
        place, tiny_image_backbone("resnet-10"), ImageMultilabelClassification, threshold=0.45
    ),
    "mobilenet": lambda place: _picture_run(place, _mobilenet()),
    "wav2vec2-speech": lambda place: _sound_run(place, "speech"),
    "wav2vec2-untold": lambda place: _sound_run(place, "speech", hears="untold"),
    "wav2vec2-sound": lambda place: _sound_run(place, "sound"),
    "wavenet-speech": lambda place: _sound_run(place, "speech", hears="waves"),
    "conformer-speech": lambda place: _sound_run(place, "speech", hears="features"),
    "conformer-labels": lambda place: _sound_run(place, "sound-labels", hears="features"),
}
"""Runs by name, made in a folder that does not exist yet; their data lies beside it."""

_ALONE = """
import runpy, sys
ALLOWED = {*sys.stdlib_module_names, *sys.argv[1].split(","), "flatbuffers", "google", "packaging"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ImportError(f"{name} is hidden")
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(
    script: Path, *arguments: object, needs: Sequence[str], stdin: str = "", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``python script arguments`` where nothing can be imported but the standard library and ``needs``."""
    return subprocess.run(
        [sys.executable, "-I", "-c", _ALONE, ",".join(needs), str(script), *map(str, arguments)],
        input=stdin, capture_output=True, text=True, check=False, timeout=HANG_SECONDS, cwd=script.parent.parent,
        env={"HOME": str(home or script.parent), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip


def rows_to_answer(run: RunFolder) -> list[dict[str, Any]]:
    """The run's test rows as a person writes them: texts, or paths of files."""
    from pretune.runs.reading import own_data

    found: list[dict[str, Any]] = own_data(run)["test"].to_list()
    return [
        {key: row[key]["path"] if key in ("image", "audio") else row[key] for key in ("id", "text", "text_pair", "image", "audio") if key in row}
        for row in found
    ]  # fmt: skip


def answers(run: RunFolder) -> list[dict[str, Any]]:
    """What pretune says of the run's test rows, calibrated."""
    from pretune.config import AnsweringSettings
    from pretune.runs.proven import load_proven
    from pretune.tasks.predicting import predict_items

    proven = load_proven(run, AnsweringSettings(precision="fp32", threads=1))
    task: Task = proven.task
    predictions = predict_items(task, proven.model, _items(task, run), proven.device)
    records = [task.record(found) for found in predictions]
    return task.calibrated(records) or records


__all__ = ["RUNS", "answers", "finished_run", "rows_to_answer", "run_alone"]
