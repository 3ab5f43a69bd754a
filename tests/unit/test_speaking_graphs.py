"""A voice as graphs: the same frames, told the true ones and going on from its own; and a folder that speaks with numpy and onnxruntime alone."""

from __future__ import annotations

import base64
import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pretune
from export_cases import run_alone
from pretune.answers import Wave
from pretune.errors import ModelError
from pretune.export.graphs.speaker import GraphSpeaker
from pretune.export.speaking_graphs import export_speaker
from pretune.files import read_json, read_json_lines, write_json
from pretune.runfolder import RunFolder
from pretune.runs.reading import ReadSettings
from pretune.tasks.speech.step_by_step import StepByStep
from pretune.tasks.speech.text_to_speech import TextToSpeech
from pretune.training.record import write_model
from pretune.types import Example
from tiny import spoken_rows, tiny_voice

pytestmark = pytest.mark.slow
NEEDS = ("numpy", "onnxruntime")


def voice() -> tuple[TextToSpeech, Any, Any]:
    """A voice that was never trained, with dropout in its pre-net, whose frames are loud and whose texts end sooner or later."""
    task, backbone = tiny_voice()
    assert isinstance(task.manner, StepByStep)
    task.manner.dropout = backbone.config.prenet_dropout = 0.5
    model = task.build(backbone, seed=0)[0].eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5 if weight.ndim > 1 else 1.0)
        model.tacotron.stop.weight.mul_(20)
    return task, model, backbone


def batch_of(task: TextToSpeech, count: int = 6) -> Any:
    rows = spoken_rows(count)
    clips = ["data:audio/wav;base64," + base64.b64encode(row["audio"]["bytes"]).decode() for row in rows]
    examples = [
        Example(row["id"], {"text": row["text"], "speaker": row["speaker"]}, Wave(clip))
        for row, clip in zip(rows, clips, strict=True)
    ]
    return task.collate([item for example in examples for item in task.encode(example)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextToSpeech, Any, Path, Any]:
    task, model, _ = voice()
    path = tmp_path_factory.mktemp("voice") / "model.onnx"
    return task, model, path, export_speaker(model, path)


def test_the_graphs_say_the_frames_of_the_model(exported: tuple[TextToSpeech, Any, Path, Any]) -> None:
    task, model, path, signature = exported
    graph = GraphSpeaker(path, threads=1).eval()
    assert {one["name"] for one in signature["encoder"]["inputs"]} == {"input_ids", "voice_ids"}
    batch = batch_of(task)
    with torch.inference_mode():
        torch.testing.assert_close(task.logits_of(graph, batch), task.logits_of(model, batch), atol=1e-4, rtol=1e-4)
        theirs = task.said(model, batch)
        for alone in (False, True):
            graph.alone = alone
            for one, other in zip(task.said(graph, batch), theirs, strict=True):
                assert one.detail["stopped"] == other.detail["stopped"]
                np.testing.assert_allclose(one.mel_FM, other.mel_FM, atol=1e-3)
                np.testing.assert_allclose(one.way_SL, other.way_SL, atol=1e-4)
    assert len({len(one.mel_FM) for one in theirs}) > 1, "some texts stop sooner than others"
    assert {one.detail["stopped"] for one in theirs} == {True, False}


def test_what_is_fed_to_the_graphs_runs_them(exported: tuple[TextToSpeech, Any, Path, Any]) -> None:
    task, _, path, _ = exported
    graph = GraphSpeaker(path, threads=1)
    feed = graph.feeds(batch_of(task).inputs)
    assert feed["frame"].shape[0] == 3 * feed["input_ids"].shape[0]
    for session in (graph.steps._step, graph.steps._encoder, graph.steps._postnet):
        found = session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
        assert all(np.isfinite(one).all() for one in found)


def test_graphs_of_two_voices_are_refused(exported: tuple[TextToSpeech, Any, Path, Any], tmp_path: Path) -> None:
    _, _, path, _ = exported
    for place in path.parent.iterdir():
        shutil.copyfile(place, tmp_path / place.name)
    task, backbone = tiny_voice()
    backbone.config.hidden_size = 48
    export_speaker(task.build(backbone, seed=0)[0], tmp_path / "other.onnx")
    (tmp_path / "other_encoder.onnx").replace(tmp_path / "model_encoder.onnx")
    with pytest.raises(ModelError, match="not of one model"):
        GraphSpeaker(tmp_path / "model.onnx", threads=1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """A finished run, and what was exported of it."""
    place = tmp_path_factory.mktemp("run")
    task, model, backbone = voice()
    lines = []
    for row in spoken_rows(40):
        (place / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
        lines.append(json.dumps({"audio": row["audio"]["path"], "text": row["text"], "speaker": row["speaker"]}))
    (place / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = RunFolder(place / "run")
    run.path.mkdir()
    write_json(run.path / "run.json", {
        "format": 1, "verb": "finetune", "command": "pretune finetune ...", "settings": ReadSettings(data=str(place / "rows.jsonl")).to_dict(),
        "parents": [], "status": "finished", "model": {"task": task.name, "labels": []}, "backbone": {"name": backbone.name},
    })  # fmt: skip
    write_json(run.path / "data.json", {"splits": {}})
    write_model(run, model, task.processor_to_save(backbone), task.to_dict())
    pretune.export(str(run.path), out=str(place / "out"), threads=1)
    return run, RunFolder(place / "out")


def test_validation_rows_prove_the_graphs_and_the_program(both: tuple[RunFolder, RunFolder]) -> None:
    parity = both[1].record["export"]["parity"]
    for side in ("graph", "program"):
        assert parity[side]["rows"] == parity[side]["same"] > 1
    assert 0 < parity["graph"]["largest"] < 1e-3
    assert parity["least_same"] == 0.99


def test_the_folder_speaks_alone(both: tuple[RunFolder, RunFolder], tmp_path: Path) -> None:
    run, out = both
    script = out.model_dir / "predict.py"
    (tmp_path / "asked.csv").write_text("text,speaker\ngoal,bob\ncell,ann\nbank,zoe\n", encoding="utf-8")
    said = run_alone(script, tmp_path / "asked.csv", "--out", tmp_path / "said", needs=NEEDS)
    assert said.returncode == 1
    assert "never heard 'zoe': it speaks as ann, bob" in said.stderr
    more = run_alone(script, "goal", "--speaker", "bob", "--take", "3", "--out", tmp_path / "said", needs=NEEDS)
    assert more.returncode == 0, more.stderr
    lines = list(read_json_lines(tmp_path / "said" / "manifest.jsonl"))
    assert [line["audio"] for line in lines] == ["00001.wav", "00002.wav", "00003.wav"]
    assert [line["speaker"] for line in lines] == ["bob", "ann", "bob"]
    assert [json.loads(line)["id"] for line in said.stdout.splitlines()] == ["asked.csv:2", "asked.csv:3"]
    for line in lines:
        with wave.open(str(tmp_path / "said" / line["audio"])) as file:
            assert file.getframerate() == 8_000
            assert abs(file.getnframes() / 8_000 - line["seconds"]) < 0.02
    (theirs,) = pretune.predict(str(run.path), prompt=("goal",), speaker="bob", threads=1).rows
    held = Wave(theirs["audio"]).held()
    assert Wave("data:audio/wav;base64," + base64.b64encode((tmp_path / "said" / "00001.wav").read_bytes()).decode()).same(Wave(theirs["audio"]), 0.1)  # fmt: skip
    assert (tmp_path / "said" / "00003.wav").read_bytes() != held
    refused = run_alone(script, "goal", "--temperature", "1", needs=NEEDS)
    assert refused.returncode == 2
    assert "does not go on from texts" in refused.stderr


def test_the_exported_run_is_a_run(both: tuple[RunFolder, RunFolder]) -> None:
    run, out = both
    asked = {"prompt": ("goal", "cell"), "speaker": "ann", "threads": 1}
    (a, b), (c, d) = (pretune.predict(str(one.path), **asked).rows for one in (run, out))
    for one, other in ((a, c), (b, d)):
        assert Wave(one["audio"]).same(Wave(other["audio"]), 0.1)
        assert one.keys() == other.keys()
    assert read_json(out.model_dir / "pretune.json")["engine"] == "onnxruntime"
