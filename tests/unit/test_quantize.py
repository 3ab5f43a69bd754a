"""``pretune quantize``: from run to run, on tiny models."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretune
from clocks import HANG_SECONDS
from conftest import make_rows, write_csv
from forked import started
from pretune.engine.parallel import Cluster
from pretune.errors import DiskFull, Interrupted, RunError, UsageError
from pretune.runfolder import open_run
from pretune.verbs.quantize.story import QuantizeSettings

QUICK: dict[str, Any] = {"precision": "fp32", "threads": 1}
ALONE: dict[str, Any] = {"threads": 1, "calibration_rows": 32}

pytestmark = pytest.mark.usefixtures("short_timings")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of sentences, learned well by a small BERT."""
    place = tmp_path_factory.mktemp("quantize")
    data = write_csv(place / "news.csv", make_rows(240))
    pretune.finetune("scratch:bert-tiny", data=data, out=place / "news", max_steps=60, learning_rate=1e-3, **QUICK)
    return place / "news"


@pytest.fixture(scope="module")
def exported(parent: Path) -> Path:
    """The same as a graph in float."""
    out = parent.parent / "exported"
    pretune.export(parent, out=out, threads=1)
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of small pictures, learned by a small ResNet."""
    from PIL import Image

    place, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for channel, name in enumerate(("sky", "grass")):
        (place / "data" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., 2 - channel] += 100
            Image.fromarray(pixels).save(place / "data" / name / f"{number}.png")
    pretune.finetune(
        "scratch:resnet-10", data=place / "data", image_size=32, out=place / "run", max_steps=12, batch_size=16, **QUICK
    )
    return place / "run"


def answers(run: Path) -> list[dict[str, Any]]:
    pretune.evaluate(run, split="test", baselines=False, resamples=100, threads=1)
    return [json.loads(line) for line in (run / "predictions" / "test.jsonl").read_text().splitlines()]


def agreement(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    return float(np.mean([a["label"] == b["label"] for a, b in zip(one, other, strict=True)]))


def quantize_until_it_is_renamed(run: Path, **options: Any) -> None:
    """Die at the moment at which the whole model would get its name."""
    rename = Path.rename
    Path.rename = lambda one, to: os._exit(9) if Path(to).name == "model" else rename(one, to)  # type: ignore[method-assign]
    pretune.quantize(run, **options)


@pytest.mark.slow
def test_a_full_disk_and_a_kill_leave_no_model(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent is a graph already, so that none of the three beginnings has to trace one."""
    import onnx

    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    parent, out = exported, exported.parent / "killed"
    asked: dict[str, Any] = {"out": str(out), "method": "dynamic", **ALONE}
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "save", no_space)
        with pytest.raises(DiskFull):
            pretune.quantize(parent, **asked)
    assert [path.name for path in out.iterdir()] == [".lock"]
    process = started(quantize_until_it_is_renamed, parent, **asked)
    process.join(HANG_SECONDS)
    assert process.exitcode == 9
    assert (out / ".model.tmp" / "model.onnx").exists()
    assert not (out / "model").exists()
    with pytest.raises(RunError, match="no model yet"):
        pretune.evaluate(out)
    pretune.quantize(parent, **asked)
    assert open_run(out).record["status"] == "finished"
    assert not list(out.glob(".*.tmp"))


@pytest.mark.slow
def test_a_text_run_in_8_bits(parent: Path) -> None:
    out = parent.parent / "int8"
    found = pretune.quantize(parent, out=out, **ALONE)
    told, compression = found.facts["quantization"], found.facts["compression"]
    assert {trial["title"] for trial in told["trials"]} >= {"dynamic", "static, minmax ranges"}
    assert told["lost_points"] <= 100 / 24 + 1e-6
    assert compression["after"]["bytes"] < 0.5 * compression["before"]["bytes"]
    assert compression["after"]["engine"] == "onnxruntime"
    assert set(told["latency"]) == {"int8", "onnx-fp32", "torch-fp32"}
    assert "Against PyTorch in fp32" in told["text"]
    run = open_run(out)
    assert run.record["parents"] == [str(parent)]
    assert run.record["status"] == "finished"
    assert not list(out.glob(".*.tmp"))
    before, after = answers(parent), answers(out)
    assert agreement(before, after) >= 0.9
    rows = list(pretune.predict(out, parent.parent / "news.csv", threads=1).rows or [])
    assert len(rows) == 240
    assert "finished before" in pretune.quantize(parent, out=out, **ALONE).text
    with pytest.raises(RunError, match="--method was 'auto', is 'dynamic'"):
        pretune.quantize(parent, out=out, method="dynamic", **ALONE)


@pytest.mark.slow
def test_predict_py_answers_without_pretune(parent: Path) -> None:
    out = parent.parent / "dynamic"
    pretune.quantize(parent, out=out, method="dynamic", **ALONE)
    spec = importlib.util.spec_from_file_location("predict_int8", out / "model" / "predict.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    records = {row["id"]: row["label"] for row in answers(out)}
    texts = {row["id"]: row["text"] for row in make_rows(240)}
    rows = [{"id": key, "text": texts[key]} for key in records]
    said = list(module.Model(out / "model", 1).answers(rows))
    assert len(said) > 20
    assert all(row["label"] == records[row["id"]] for row in said), "each row is answered alone, here and there"


@pytest.mark.slow
def test_layers_go_back_to_float_where_too_much_is_lost(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rounding is said to lose nine points until four layers are in float."""
    from pretune.verbs.quantize.trials import Subject

    attempt = Subject.attempt

    def told(self: Subject, recipe: Any, name: str) -> Any:
        trial = attempt(self, recipe, name)
        trial.lost = 0.0 if len(recipe.keep_float) >= 4 else 9.0
        return trial

    monkeypatch.setattr(Subject, "attempt", told)
    out = parent.parent / "mixed"
    told_end = pretune.quantize(parent, out=out, method="dynamic", **ALONE).facts["quantization"]
    assert 4 <= len(told_end["keep_float"]) < told_end["layers"]
    assert [len(trial["keep_float"]) for trial in told_end["trials"]] == sorted(
        len(trial["keep_float"]) for trial in told_end["trials"]
    )


@pytest.mark.slow
def test_a_picture_run_in_8_bits_and_learning_with_the_rounding(photos: Path) -> None:
    out = photos.parent / "int8"
    told = pretune.quantize(photos, out=out, **ALONE).facts["quantization"]
    assert told["title"].startswith("static")
    assert agreement(answers(photos), answers(out)) >= 0.8
    learned = photos.parent / "qat"
    found = pretune.quantize(
        photos, out=learned, method="qat", max_steps=4, batch_size=8, eval_every="2", precision="fp32", **ALONE
    ).facts
    assert found["quantization"]["title"] == "static, learned ranges"
    assert found["quantization"]["learned"]
    assert found["result"]["metric"] == "accuracy"
    assert abs(found["quantization"]["score"] - found["result"]["value"]) <= 0.34
    assert not (learned / "checkpoints").exists()
    assert len(answers(learned)) == len(answers(out))


@pytest.mark.slow
def test_ranges_that_follow_the_rows_are_not_learned_in_several_processes(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretune.engine.parallel.join_cluster", lambda: Cluster(0, 2))
    with pytest.raises(UsageError, match="2 processes would part them"):
        pretune.quantize(photos, method="qat", dry_run=True, **QUICK)


@pytest.mark.slow
def test_learning_with_the_rounding_goes_on_where_it_was_stopped(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pretune.engine.interrupt import StopRequest
    from pretune.training.learning import Learning

    asked: dict[str, Any] = {"method": "qat", "max_steps": 6, "eval_every": "3", "precision": "fp32", **ALONE}
    straight, stopped = parent.parent / "straight", parent.parent / "stopped"
    pretune.quantize(parent, out=straight, **asked)
    leave = Learning._leave_if_asked

    def after_four(self: Learning, stop: StopRequest) -> None:
        if self.step == 4:
            stop.signal_number = 15
        leave(self, stop)

    with monkeypatch.context() as patch:
        patch.setattr(Learning, "_leave_if_asked", after_four)
        with pytest.raises(Interrupted):
            pretune.quantize(parent, out=stopped, **asked)
    assert not (stopped / "model").exists()
    pretune.quantize(parent, out=stopped, **asked)
    assert (stopped / "model" / "model.onnx").read_bytes() == (straight / "model" / "model.onnx").read_bytes()


@pytest.mark.slow
def test_a_graph_can_be_quantised_but_cannot_learn(parent: Path, exported: Path) -> None:
    told = pretune.quantize(exported, out=parent.parent / "of-export", method="dynamic", **ALONE).facts["quantization"]
    assert set(told["latency"]) == {"int8", "onnx-fp32"}
    with pytest.raises(UsageError, match="cannot learn"):
        pretune.quantize(exported, method="qat")
    with pytest.raises(UsageError, match="names no layer"):
        pretune.quantize(parent, out=parent.parent / "no", method="dynamic", keep_float="nothing", **ALONE)
    assert not (parent.parent / "no" / "run.json").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 3.0}, "--epochs does nothing without --method qat"),
        ({"dry_run": True}, "--dry-run does nothing without --method qat"),
        ({"method": "qat", "most_loss": 2.0}, "--most-loss does nothing with --method qat"),
        ({"method": "dynamic", "calibration": "entropy"}, "--calibration does nothing with --method dynamic"),
        ({"to": "int4"}, "--to is 'int4'"),
    ],
)
def test_what_would_do_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        QuantizeSettings(run="runs/news", **given)
