"""``pretune export``: every kind of run answers alike in pretune, as a graph, and by the program that lies beside it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import pretune
from export_cases import RUNS, answers, rows_to_answer, run_alone
from pretune.errors import CheckFailed, CorruptFile, DiskFull, ModelError, UsageError
from pretune.files import read_json, write_json
from pretune.runfolder import RunFolder, open_run
from unsealed import unsealed

pytestmark = pytest.mark.slow

NEEDS = {"text": "tokenizers", "image": "PIL", "audio": "wave"}
SMALL = 5e-4
"""Of a probability, where the last layer of an untrained model makes its small differences a thousand times larger."""
ENGINE = {"onnx": ("onnxruntime", "numpy"), "openvino": ("openvino", "numpy")}


class Exported(NamedTuple):
    run: RunFolder
    exported: RunFolder
    facts: Any


def exported_as(name: str, folder: Path) -> Exported:
    run = RUNS[name](folder / "run")
    outcome = pretune.export(run.path, out=folder / "out", threads=1)
    return Exported(run, open_run(folder / "out"), outcome.facts)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exported once; a test that changes it takes a copy."""
    return exported_as("bert-windows", tmp_path_factory.mktemp("texts"))


def copied(texts: Exported, folder: Path) -> RunFolder:
    return open_run(shutil.copytree(texts.exported.path, folder / "out"))


def answers_alike(run: RunFolder, exported: RunFolder, facts: Any, rows: Path) -> None:
    """In pretune, as a graph, and by the program alone."""
    expected = answers(run)
    assert len({str(record.get("label", record.get("labels", record.get("text")))) for record in expected}) > 1
    rows.write_text("".join(json.dumps(row) + "\n" for row in rows_to_answer(run)), encoding="utf-8")
    modality = read_json(exported.model_dir / "pretune.json")["inputs"]["modality"]
    home = rows.with_name("home")
    home.mkdir()
    said = run_alone(exported.model_dir / "predict.py", rows, needs=(*ENGINE["onnx"], NEEDS[modality]), home=home)
    assert said.returncode == 0, said.stderr
    assert not [*home.rglob("*")], "an engine that reports its use keeps a name for the machine"
    for found in (answers(exported), [json.loads(line) for line in said.stdout.splitlines()]):
        assert same(found, expected, tolerance=SMALL)
    parity = facts["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] == 9
    assert parity["program"]["same"] == parity["program"]["rows"] == 9
    assert parity["program"]["unread"] == 0


def test_the_program_alone_answers_texts_as_pretune_does(texts: Exported, tmp_path: Path):
    answers_alike(*texts, tmp_path / "rows.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name != "bert-windows"])
def test_the_program_alone_answers_every_row_as_pretune_does(name: str, tmp_path: Path):
    answers_alike(*exported_as(name, tmp_path), tmp_path / "rows.jsonl")


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], *, tolerance: float) -> bool:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"probabilities"}:
            assert one[key] == other[key], (one, other)
        for name, probability in other.get("probabilities", {}).items():
            assert one["probabilities"][name] == pytest.approx(probability, abs=tolerance)
    return True


def test_the_folder_holds_what_its_answers_need(texts: Exported):
    folder = texts.exported.model_dir
    assert texts.facts["artifact"]["signature"]["inputs"][0]["shape"] == ["batch", "length"]
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {
        "model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "pretune.json", "README.md", "predict.py", "rows.py", "texts.py",
        "sums.json",
    }  # fmt: skip
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: onnx" in card
    assert "python predict.py rows.csv" in card
    assert "pipeline(" not in card
    again = pretune.export(texts.run.path, out=texts.exported.path, threads=1)
    assert "nothing was computed" in again.text
    with pytest.raises(UsageError, match="bf16"):
        pretune.evaluate(texts.exported.path, precision="bf16")
    with pytest.raises(UsageError, match="no way back"):
        pretune.export(texts.exported.path, out=folder.parent.parent / "back", to="torch")


@pytest.mark.slow
def test_an_exported_run_is_a_run(texts: Exported, tmp_path: Path):
    """Evaluated, reported, exported again, and refused as a beginning for learning."""
    exported = copied(texts, tmp_path)
    scores = [
        pretune.evaluate(place, baselines=False, resamples=100, precision="fp32").facts["scores"]
        for place in (texts.run.path, exported.path)
    ]
    for name, score in scores[0].items():
        assert scores[1][name]["value"] == pytest.approx(score["value"], abs=SMALL), name
    page = Path(pretune.report(exported.path).facts["report"]).read_text(encoding="utf-8")
    assert "9 of 9 validation rows have the same answer" in page
    again = pretune.export(exported.path, out=tmp_path / "again", threads=1)
    assert again.facts["artifact"]["parity"]["graph"]["largest"] == 0.0
    with pytest.raises(ModelError, match="cannot learn"):
        pretune.finetune(exported.path, data=texts.run.path.with_name("run-data"), out=tmp_path / "more", threads=1)


@pytest.mark.slow
def test_openvino_answers_alike_and_tells_nobody(texts: Exported, tmp_path: Path):
    pytest.importorskip("openvino")
    pretune.export(texts.run.path, out=tmp_path / "out", to="openvino", threads=1)
    exported = open_run(tmp_path / "out")
    assert {"model.xml", "model.bin"} <= {path.name for path in exported.model_dir.iterdir()}
    assert not (exported.model_dir / "model.onnx").exists()
    expected = answers(texts.run)
    assert same(answers(exported), expected, tolerance=SMALL)
    home = tmp_path / "home"
    home.mkdir()
    given = [row["text"] for row in rows_to_answer(texts.run)]
    said = run_alone(
        exported.model_dir / "predict.py", *given, needs=(*ENGINE["openvino"], "tokenizers", "openvino_telemetry"), home=home
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert [json.loads(line)["label"] for line in said.stdout.splitlines()] == [one["label"] for one in expected]
    assert not [*home.rglob("*")]
    with pytest.raises(UsageError, match="was exported for openvino"):
        pretune.export(exported.path, out=tmp_path / "again")
    weights = unsealed(exported.path) / "model" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.xml cannot be run"):
        answers(exported)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-windows", "mobilenet", "wav2vec2-speech"])
def test_a_torch_program_answers_alike_and_is_not_loaded_by_pretune(name: str, tmp_path: Path):
    run = RUNS[name](tmp_path / "run")
    outcome = pretune.export(run.path, out=tmp_path / "out", to="torch", threads=1)
    exported = open_run(tmp_path / "out")
    assert outcome.facts["artifact"]["parity"]["program"]["same"] == 9
    assert (exported.model_dir / "model.pt2").exists()
    with pytest.raises(ModelError, match=r"torch\.export, which pretune does not run"):
        pretune.evaluate(exported.path, baselines=False)


@pytest.mark.slow
def test_beyond_the_tolerance_nothing_is_written(texts: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretune.export.onnx_model import Answer, OnnxModel

    honest = OnnxModel.forward
    monkeypatch.setattr(OnnxModel, "forward", lambda self, **inputs: Answer(honest(self, **inputs).logits + _tilt()))
    with pytest.raises(CheckFailed, match=r"more than --tolerance 0\.001"):
        pretune.export(texts.run.path, out=tmp_path / "out", threads=1)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name != ".lock"]
    assert pretune.export(texts.run.path, out=tmp_path / "out", threads=1, tolerance=1.0).facts["status"] == "finished"


def _tilt() -> Any:
    import torch

    return torch.tensor([0.5, 0.0, -0.5])


@pytest.mark.slow
def test_a_graph_that_gives_nan_is_refused(texts: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretune.export.onnx_model import Answer, OnnxModel

    honest = OnnxModel.forward
    monkeypatch.setattr(OnnxModel, "forward", lambda self, **inputs: Answer(honest(self, **inputs).logits * np.nan))
    with pytest.raises(ModelError, match=r"answers are no numbers \(NaN or infinite\)"):
        pretune.export(texts.run.path, out=tmp_path / "out", threads=1, tolerance=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino", "torch"])
def test_a_full_disk_leaves_nothing_half_written(form: str, texts: Exported, tmp_path: Path):
    """The graph is larger than any file may be; all else fits."""
    if form == "openvino":
        pytest.importorskip("openvino")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(DiskFull, match="no space left"):
            pretune.export(texts.run.path, out=tmp_path / "out", to=form, threads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "out").iterdir() if path.name != ".lock"]


@pytest.mark.slow
def test_a_killed_export_begins_again(texts: Exported, tmp_path: Path):
    """What a kill leaves: a record that says running, and a folder that was being written."""
    run = copied(texts, tmp_path)
    run.update_record(status="running", settings={**run.record["settings"], "out": str(run.path)})
    shutil.move(run.model_dir, run.path / ".model.tmp")
    (run.path / ".model.tmp" / "model.onnx").write_bytes(b"half")
    assert pretune.export(texts.run.path, out=run.path, threads=1).facts["status"] == "finished"
    assert not (run.path / ".model.tmp").exists()
    assert same(answers(run), answers(texts.run), tolerance=SMALL)


def test_a_damaged_export_says_so(texts: Exported, tmp_path: Path):
    exported = copied(texts, tmp_path)
    graph = exported.model_dir / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(CorruptFile, match=r"model\.onnx is not what was written"):
        answers(exported)
    graph.unlink()
    with pytest.raises(CorruptFile, match=r"model\.onnx is missing"):
        answers(exported)


def test_a_damaged_export_without_sums_says_so(texts: Exported, tmp_path: Path):
    exported = copied(texts, tmp_path)
    unsealed(exported.path)
    graph = exported.model_dir / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.onnx cannot be run: it is no ONNX graph"):
        answers(exported)
    graph.unlink()
    with pytest.raises(ModelError, match=r"holds no model\.onnx"):
        answers(exported)
    about = read_json(exported.model_dir / "pretune.json")
    write_json(exported.model_dir / "pretune.json", {**about, "engine": "abacus"})
    with pytest.raises(CorruptFile, match=r"engine is 'abacus', allowed: torch, onnxruntime"):
        answers(exported)


def test_the_program_reads_what_a_person_gives(texts: Exported, tmp_path: Path):
    script, needs = texts.exported.model_dir / "predict.py", (*ENGINE["onnx"], "tokenizers")
    given = ["the striker scored twice", "", "çа <script> \U0001f600", "x" * 5000]
    first = run_alone(script, *given, needs=needs)
    assert (first.returncode, "row 2: has no text" in first.stderr) == (1, True)
    expected = [json.loads(line) for line in first.stdout.splitlines()]
    assert [one["id"] for one in expected] == ["1", "3", "4"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in given)
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in given))
    for place in (tmp_path / "rows.csv", "-"):
        said = run_alone(script, place, needs=needs, stdin=lines)
        found = [
            {**json.loads(line), "id": one["id"]} for line, one in zip(said.stdout.splitlines(), expected, strict=True)
        ]
        assert same(found, expected, tolerance=1e-6), place
    said = run_alone(script, "-", needs=needs, stdin='{"text": "a", "text_pair": "b"}')
    assert said.returncode == 1
    assert "has a text_pair, but the model reads single texts" in said.stderr


@pytest.mark.slow
def test_the_program_reads_pairs(tmp_path: Path):
    run = RUNS["roberta-pairs"](tmp_path / "run")
    pretune.export(run.path, out=tmp_path / "out", threads=1)
    script, needs = tmp_path / "out" / "model" / "predict.py", (*ENGINE["onnx"], "tokenizers")
    said = run_alone(script, "the striker", "scored twice", "the coach", "lost", needs=needs)
    assert len(said.stdout.splitlines()) == 2
    assert "give two" in run_alone(script, "the striker", needs=needs).stderr


@pytest.mark.slow
def test_the_program_refuses_sound_it_cannot_hear(tmp_path: Path):
    import soundfile

    run = RUNS["wav2vec2-sound"](tmp_path / "run")
    outcome = pretune.export(run.path, out=tmp_path / "out", threads=1)
    assert outcome.facts["artifact"]["parity"]["program"]["unread"] == 0
    script, needs = tmp_path / "out" / "model" / "predict.py", ENGINE["onnx"]
    samples = np.zeros(8000)
    soundfile.write(tmp_path / "fast.wav", samples, 44_100, subtype="PCM_16")
    soundfile.write(tmp_path / "other.flac", samples, 8_000)
    for name, told in (
        ("fast.wav", "44100 Hz, the model hears 8000: pip install soxr"),
        ("other.flac", "no WAV"),
        ("none.wav", "No such"),
    ):
        said = run_alone(script, tmp_path / name, needs=needs)
        assert said.returncode in (1, 2)
        assert told in said.stderr
        assert "Traceback" not in said.stderr


@pytest.mark.slow
def test_clips_of_another_rate_are_answered_by_the_program_alike(tmp_path: Path):
    """As pretune resamples them, where soxr is there."""
    import soundfile

    run = RUNS["wav2vec2-sound"](tmp_path / "run")
    pretune.export(run.path, out=tmp_path / "out", threads=1)
    samples = np.random.default_rng(0).normal(0, 0.2, (22_050, 2)).cumsum(axis=0) % 1 - 0.5
    soundfile.write(tmp_path / "fast.wav", samples, 44_100, subtype="PCM_16")
    said = run_alone(tmp_path / "out" / "model" / "predict.py", tmp_path / "fast.wav", needs=(*ENGINE["onnx"], "soxr"))
    assert said.returncode == 0, said.stderr
    [expected] = pretune.predict(tmp_path / "out", tmp_path / "fast.wav", threads=1).rows
    found = json.loads(said.stdout)
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=SMALL)


def test_onnxruntime_reports_nothing_where_pretune_was_imported(tmp_path: Path):
    """It would keep a name for the machine below the home folder."""
    code = "import pretune, onnxruntime; onnxruntime.SessionOptions()"
    hidden = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**hidden, "HOME": str(tmp_path)})
    assert not [*tmp_path.rglob("*")]


def test_odd_pictures_are_read_alike(tmp_path: Path):
    """Turned by EXIF, transparent, grey, of 16 bits, with a palette, small, very long."""
    from PIL import Image

    from pretune.data.media.image import decode_image
    from pretune.export.standalone.pictures import Reader
    from pretune.modalities.image.transform import centre_crop, image_transform_of, resized
    from tiny import tiny_image_backbone

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 61, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray(rng.integers(0, 256, (40, 33, 4), dtype=np.uint8)).save(tmp_path / "clear.png")
    colour.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 65_536, (50, 40)).astype(np.uint16)).save(tmp_path / "deep.png")
    colour.convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(rng.random((30, 30), dtype=np.float32)).save(tmp_path / "float.tiff")
    colour.resize((7, 9)).save(tmp_path / "small.png")
    colour.resize((300, 33)).save(tmp_path / "long.png")
    colour.convert("CMYK").save(tmp_path / "print.jpg")
    geometry = image_transform_of(tiny_image_backbone("resnet-10").processor)
    told = {"modality": "image", **geometry.__dict__}
    reader = Reader(tmp_path, {"inputs": told}, lambda name: pytest.fail(f"{name} is not needed"))
    for path in sorted(tmp_path.iterdir()):
        expected = centre_crop(resized(decode_image({"path": str(path), "bytes": None}), geometry), geometry.crop)
        for source in (str(path), path.read_bytes()):
            assert np.array_equal(reader.items({"image": source})[0], expected), path.name
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        reader.items({"image": str(tmp_path / "broken.png")})
