"""``pretune export``: every kind of run answers alike in pretune, as a graph, and by the program that lies beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretune
from export_cases import RUNS, answers, rows_to_answer, run_alone
from pretune.errors import CheckFailed, ModelError, UsageError
from pretune.files import read_json, write_json
from pretune.runfolder import RunFolder, open_run

QUICK = ("bert-windows", "mobilenet", "conformer-speech")
NEEDS = {"text": "tokenizers", "image": "PIL", "audio": "wave"}
SMALL = 5e-4
"""Of a probability, where the last layer of an untrained model makes its small differences a thousand times larger."""
ENGINE = {"onnx": ("onnxruntime", "numpy"), "openvino": ("openvino", "numpy")}


def slow_unless(names: tuple[str, ...]) -> list[Any]:
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]


@pytest.fixture
def news(tmp_path: Path) -> RunFolder:
    return RUNS["bert-windows"](tmp_path / "news")


@pytest.mark.parametrize("name", slow_unless(QUICK))
def test_the_program_alone_answers_every_row_as_pretune_does(name: str, tmp_path: Path):
    run = RUNS[name](tmp_path / "run")
    outcome = pretune.export(run.path, out=tmp_path / "out", threads=1)
    exported = open_run(tmp_path / "out")
    expected = answers(run)
    assert len({str(record.get("label", record.get("labels", record.get("text")))) for record in expected}) > 1
    in_pretune = answers(exported)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in rows_to_answer(run)), encoding="utf-8")
    modality = read_json(exported.model_dir / "pretune.json")["inputs"]["modality"]
    said = run_alone(exported.model_dir / "predict.py", rows, needs=(*ENGINE["onnx"], NEEDS[modality]))
    assert said.returncode == 0, said.stderr
    by_itself = [json.loads(line) for line in said.stdout.splitlines()]
    for found in (in_pretune, by_itself):
        assert same(found, expected, tolerance=SMALL)
    parity = outcome.facts["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] == 9
    assert parity["program"]["same"] == parity["program"]["rows"] == 9
    assert parity["program"]["unread"] == 0


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], *, tolerance: float) -> bool:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"probabilities"}:
            assert one[key] == other[key], (one, other)
        for name, probability in other.get("probabilities", {}).items():
            assert one["probabilities"][name] == pytest.approx(probability, abs=tolerance)
    return True


def test_an_exported_run_is_a_run(news: RunFolder, tmp_path: Path):
    """Evaluated, predicted with, finished before, and refused as a beginning for learning."""
    out = tmp_path / "out"
    facts = pretune.export(news.path, out=out, threads=1).facts
    assert facts["artifact"]["signature"]["inputs"][0]["shape"] == ["batch", "length"]
    assert {path.name for path in (out / "model").iterdir()} >= {
        "model.onnx", "config.json", "tokenizer.json", "pretune.json", "README.md", "predict.py", "texts.py",
    }  # fmt: skip
    assert not (out / "model" / "model.safetensors").exists()
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    assert "library_name: onnx" in card
    assert "python predict.py rows.csv" in card
    assert "pipeline(" not in card
    scores = [
        pretune.evaluate(place, baselines=False, resamples=100, precision="fp32").facts["scores"]
        for place in (news.path, out)
    ]
    for name, score in scores[0].items():
        assert scores[1][name]["value"] == pytest.approx(score["value"], abs=SMALL), name
    assert "computed" in pretune.export(news.path, out=out, threads=1).text
    again = pretune.export(out, out=tmp_path / "again", threads=1)
    assert again.facts["artifact"]["parity"]["graph"]["largest"] == 0.0
    with pytest.raises(ModelError, match="cannot learn"):
        pretune.finetune(out, data=tmp_path / "news-data", out=tmp_path / "more", threads=1)
    with pytest.raises(UsageError, match="bf16"):
        pretune.evaluate(out, precision="bf16")
    with pytest.raises(UsageError, match="no way back"):
        pretune.export(out, out=tmp_path / "back", to="torch")


@pytest.mark.slow
def test_openvino_answers_alike_and_tells_nobody(news: RunFolder, tmp_path: Path):
    pytest.importorskip("openvino")
    pretune.export(news.path, out=tmp_path / "out", to="openvino", threads=1)
    exported = open_run(tmp_path / "out")
    assert {"model.xml", "model.bin"} <= {path.name for path in exported.model_dir.iterdir()}
    assert not (exported.model_dir / "model.onnx").exists()
    expected = answers(news)
    assert same(answers(exported), expected, tolerance=SMALL)
    home = tmp_path / "home"
    home.mkdir()
    texts = [row["text"] for row in rows_to_answer(news)]
    said = run_alone(
        exported.model_dir / "predict.py", *texts, needs=(*ENGINE["openvino"], "tokenizers", "openvino_telemetry"), home=home
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert [json.loads(line)["label"] for line in said.stdout.splitlines()] == [one["label"] for one in expected]
    assert not [*home.rglob("*")]
    with pytest.raises(UsageError, match="was exported for openvino"):
        pretune.export(exported.path, out=tmp_path / "again")


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


def test_beyond_the_tolerance_nothing_is_written(news: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretune.export.onnx_model import Answer, OnnxModel

    honest = OnnxModel.forward
    monkeypatch.setattr(OnnxModel, "forward", lambda self, **inputs: Answer(honest(self, **inputs).logits + _tilt()))
    with pytest.raises(CheckFailed, match=r"more than --tolerance 0\.001"):
        pretune.export(news.path, out=tmp_path / "out", threads=1)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name != ".lock"]
    assert pretune.export(news.path, out=tmp_path / "out", threads=1, tolerance=1.0).facts["status"] == "finished"


def _tilt() -> Any:
    import torch

    return torch.tensor([0.5, 0.0, -0.5])


def test_a_graph_that_gives_nan_is_refused(news: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretune.export.onnx_model import Answer, OnnxModel

    honest = OnnxModel.forward
    monkeypatch.setattr(OnnxModel, "forward", lambda self, **inputs: Answer(honest(self, **inputs).logits * np.nan))
    with pytest.raises(CheckFailed, match="differ by up to inf"):
        pretune.export(news.path, out=tmp_path / "out", threads=1, tolerance=1.0)


def test_a_killed_export_begins_again(news: RunFolder, tmp_path: Path):
    """What a kill leaves: a record that says running, and a folder that was being written."""
    pretune.export(news.path, out=tmp_path / "out", threads=1)
    run = open_run(tmp_path / "out")
    run.update_record(status="running")
    shutil.move(run.model_dir, run.path / ".model.tmp")
    (run.path / ".model.tmp" / "model.onnx").write_bytes(b"half")
    assert pretune.export(news.path, out=tmp_path / "out", threads=1).facts["status"] == "finished"
    assert not (run.path / ".model.tmp").exists()
    assert same(answers(run), answers(news), tolerance=SMALL)


def test_a_damaged_export_says_so(news: RunFolder, tmp_path: Path):
    pretune.export(news.path, out=tmp_path / "out", threads=1)
    exported = open_run(tmp_path / "out")
    graph = exported.model_dir / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.onnx cannot be run"):
        answers(exported)
    graph.unlink()
    with pytest.raises(ModelError, match=r"holds no model\.onnx"):
        answers(exported)
    about = read_json(exported.model_dir / "pretune.json")
    write_json(exported.model_dir / "pretune.json", {**about, "engine": "abacus"})
    with pytest.raises(ModelError, match="abacus"):
        answers(exported)


def test_the_program_reads_what_a_person_gives(news: RunFolder, tmp_path: Path):
    pretune.export(news.path, out=tmp_path / "out", threads=1)
    script, needs = tmp_path / "out" / "model" / "predict.py", (*ENGINE["onnx"], "tokenizers")
    texts = ["the striker scored twice", "", "çа <script> \U0001f600", "x" * 5000]
    expected = [json.loads(line) for line in run_alone(script, *texts, needs=needs).stdout.splitlines()]
    assert [one["id"] for one in expected] == ["1", "2", "3", "4"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    for given in ((tmp_path / "rows.jsonl",), (tmp_path / "rows.csv",), ("-",)):
        said = run_alone(script, *given, needs=needs, stdin=lines if given == ("-",) else "")
        found = [json.loads(line) for line in said.stdout.splitlines()]
        assert same(found, expected, tolerance=1e-6), given
    (tmp_path / "wrong.jsonl").write_text('{"title": "a"}\n')
    for given, told in (((tmp_path / "wrong.jsonl",), "has no text, only title"), (("--threads", "x"), "invalid int")):
        said = run_alone(script, *given, needs=needs)
        assert said.returncode == 2
        assert told in said.stderr
        assert "Traceback" not in said.stderr
    pair = tmp_path / "pair.jsonl"
    pair.write_text('{"text": "a", "text_pair": "b"}\n')
    assert "reads single texts" in run_alone(script, pair, needs=needs).stderr


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
    soundfile.write(tmp_path / "deep.wav", samples, 8_000, subtype="PCM_24")
    soundfile.write(tmp_path / "other.flac", samples, 8_000)
    for name, told in (
        ("fast.wav", "44100 Hz"),
        ("deep.wav", "24 bits"),
        ("other.flac", "no WAV"),
        ("none.wav", "No such"),
    ):
        said = run_alone(script, tmp_path / name, needs=needs)
        assert said.returncode == 2
        assert told in said.stderr
        assert "ffmpeg" in said.stderr


def test_odd_pictures_are_read_alike(tmp_path: Path):
    """Turned by EXIF, transparent, grey, of 16 bits, with a palette, small, very long."""
    from PIL import Image

    from pretune.backbones.image import centre_crop, geometry_of, resized
    from pretune.data.media_image import decode_image
    from pretune.export.standalone.pictures import Reader
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
    geometry = geometry_of(tiny_image_backbone("resnet-10").processor)
    told = {"modality": "image", **geometry.__dict__}
    reader = Reader(tmp_path, {"inputs": told})
    for path in sorted(tmp_path.iterdir()):
        expected = centre_crop(resized(decode_image({"path": str(path), "bytes": None}), geometry), geometry.crop)
        for source in (str(path), path.read_bytes()):
            assert np.array_equal(reader.items({"image": source})[0], expected), path.name
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        reader.items({"image": str(tmp_path / "broken.png")})
