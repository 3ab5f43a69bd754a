"""A voice from clips and their texts: one small set through every verb, a judge and a WaveNet beside it, a stop and a kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from cli_calls import QUICK, call, done, refused
from told_story import Killed, act_after, weights

from pretune.files import read_json, read_json_lines
from pretune.modalities.audio import mel
from pretune.runfolder import RunFolder
from pretune.tasks.speech import text_to_speech
from serving import fetched, misfit, running
from tiny import spoken_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

VOICE = ("scratch:tacotron-tiny", "--task", "text-to-speech", *QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Clips, a voice, a judge and a WaveNet. What a voice says that has not learned to stop is cut off soon."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text_to_speech, "LIMIT", (6.0, 0.5))
        yield written(tmp_path_factory.mktemp("voice"))


def written(place: Path) -> Path:
    lines = []
    for row in spoken_rows(60):
        (place / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
        lines.append(json.dumps({"audio": row["audio"]["path"], "text": row["text"], "speaker": row["speaker"]}))
    (place / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = ("--data", place / "clips.jsonl")
    done("finetune", *VOICE, *data, "--max-steps", "6", "--out", place / "run")
    done("finetune", "scratch:w2v-bert-tiny", *QUICK, *data, "--max-steps", "3", "--out", place / "ears")
    done("pretrain", "scratch:wavenet-tiny", *QUICK, *data, "--max-steps", "2", "--out", place / "waves")
    done("evaluate", place / "run", "--judge", place / "ears", *QUICK)
    return place


def test_clips_and_texts_alone_are_for_recognition(folder: Path) -> None:
    assert read_json(folder / "ears" / "model" / "pretune.json")["task"] == "speech-recognition"
    said = call("finetune", "scratch:w2v-bert-tiny", "--task", "text-to-speech", "--data", folder / "clips.jsonl", "--out", folder / "no")  # fmt: skip
    refused(said, "does not speak(.|\n)*scratch:tacotron-tiny")


def test_an_evaluated_voice_has_files_and_scores(folder: Path) -> None:
    metrics = RunFolder(folder / "run").metrics["test"]
    assert metrics["primary"] == "mel_distance"
    assert set(metrics["baselines"]) == {"nearest-training-clip", "mean-frame"}
    for name in ("stopped", "coverage", "diagonality", "judge_wer", "judge_wer_true", "duration_error"):
        assert metrics["scores"][name]["value"] is not None, name
    records = list(read_json_lines(folder / "run" / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"]
    for line in records:
        samples, rate = soundfile.read(folder / "run" / "predictions" / line["audio"])
        assert rate == 8_000
        assert len(samples) / rate == pytest.approx(line["seconds"], abs=0.02)
    assert read_json(folder / "run" / "model" / "config.json")["speakers"] == ["ann", "bob"]


def test_predict_writes_clips_and_a_manifest_that_is_data(folder: Path) -> None:
    out = folder / "said"
    done("predict", folder / "run", "--prompt", "goal", "--prompt", "cell", "--speaker", "bob", "--out", out, *QUICK)
    lines = list(read_json_lines(out / "manifest.jsonl"))
    assert [line["text"] for line in lines] == ["goal", "cell"]
    assert all((out / line["audio"]).is_file() for line in lines)
    assert {line["speaker"] for line in lines} == {"bob"}
    (row,) = done("predict", folder / "run", "--prompt", "goal", *QUICK).rows
    assert row["audio"].startswith("data:audio/wav;base64,")
    (other,) = done("predict", folder / "run", "--prompt", "goal", "--take", "1", *QUICK).rows
    assert other["audio"] != row["audio"]
    (drawn,) = done("predict", folder / "run", "--prompt", "goal", "--vocoder", folder / "waves", *QUICK).rows
    assert drawn["audio"] != row["audio"]
    unknown = call("predict", folder / "run", "--prompt", "goal", "--speaker", "zoe", *QUICK)
    assert unknown.code == 1 or "nothing to predict" in unknown.err
    assert "whom the model never heard" in unknown.err
    refused(call("predict", folder / "run", "--prompt", "goal", "--vocoder", folder / "ears", *QUICK), "no WaveNet")


def test_a_page_that_plays(folder: Path) -> None:
    done("report", folder / "run")
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    for said in ("Clips to hear", "Attention to the letters", "data:audio/wav;base64,", "mel distance after alignment"):
        assert said in page
    assert "Traceback" not in page


def test_waves_are_held_against_simple_methods(folder: Path) -> None:
    scores = RunFolder(folder / "waves").metrics["held-out"]["scores"]
    told = ("bits_per_sample", "bits_given_mel", "bits_unigram", "bits_previous", "bits_linear")
    assert {*told, "copy_distance", "copy_distance_griffin_lim"} == set(scores)
    assert scores["copy_distance_griffin_lim"]["value"] < scores["copy_distance"]["value"]
    assert "Griffin-Lim is nearer" in " ".join(RunFolder(folder / "waves").metrics["held-out"]["notes"])


def test_inner_states_of_waves_are_a_trunk(folder: Path, tmp_path: Path) -> None:
    words = ("finetune", folder / "waves", "--task", "speech-recognition", "--data", folder / "clips.jsonl", *QUICK)
    done(*words, "--adapt", "head", "--max-steps", "4", "--out", tmp_path / "heard")
    trained = RunFolder(tmp_path / "heard").record["training"]
    assert 0 < trained["learning_at_end"] < trained["parameters"]
    theirs, mine = weights(folder / "waves"), weights(tmp_path / "heard")
    layers = [name for name in mine if name.startswith("wavenet.")]
    assert layers
    assert all((mine[name] == theirs[name]).all() for name in layers)
    fewer = ("--student", "scratch:wavenet-tiny", "--max-steps", "2", *QUICK, "--out", tmp_path / "student")
    assert "only answers are compared" in done("distill", tmp_path / "heard", *fewer).err
    refused(call("prune", tmp_path / "heard", "--ratio", "0.5", "--out", tmp_path / "cut"), "pretune distill")
    refused(call("predict", folder / "run", "--prompt", "goal", "--vocoder", tmp_path / "heard", *QUICK), "pretune pretrain")  # fmt: skip


def test_what_it_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    refused(call("export", folder / "run", "--to", "openvino", "--out", tmp_path / "ir"), "made step by step")
    refused(call("prune", folder / "run", "--heads", "0.5", "--out", tmp_path / "cut"), "has no heads parts")
    refused(call("explain", folder / "run", "goal", "--out", tmp_path / "why.html"), "answers with sound")


def test_a_student_learns_what_frames_its_teacher_says(folder: Path, tmp_path: Path) -> None:
    words = ("--student", "scratch:tacotron-tiny", "--max-steps", "2", *QUICK)
    done("distill", folder / "run", *words, "--out", tmp_path / "student")
    (row,) = done("predict", tmp_path / "student", "--prompt", "goal", *QUICK).rows
    assert row["audio"].startswith("data:audio/wav;base64,")


@pytest.fixture
def hasty_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases are searched for once, where clips are timed and not heard."""
    monkeypatch.setattr(mel, "_ROUNDS", 1)
    monkeypatch.setattr(mel, "_FITS", 1)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    told = done("export", folder / "run", "--threads", "1", "--out", folder / "out")
    assert "pretune predict RUN --vocoder" in told.err
    return folder / "out"


def test_graphs_are_a_run_that_scores_as_the_one_they_are_of_and_is_timed(folder: Path, exported: Path) -> None:
    parity = RunFolder(exported).record["export"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"]
    assert parity["program"]["same"] == parity["program"]["rows"] > 0
    done("evaluate", exported, *QUICK, "--resamples", "100")
    theirs, mine = (RunFolder(place).metrics["test"]["scores"] for place in (folder / "run", exported))
    assert mine["mel_distance"]["value"] == pytest.approx(theirs["mel_distance"]["value"], abs=0.05)
    card = (exported / "model" / "README.md").read_text(encoding="utf-8")
    assert "pip install onnxruntime numpy\npython predict.py rows.csv --out said" in card
    words = ("--threads", "1", "--seconds", "0.01", "--rows", "2", "--resamples", "100")
    facts = done("benchmark", exported, *words, "--json").facts
    (one,) = facts["variants"]
    assert facts["timed_rows"] == 2
    assert one["latency"]["1"]["all"]["p50_ms"] > 0


@pytest.mark.usefixtures("hasty_sound")
def test_a_voice_in_eight_bits(folder: Path, exported: Path, tmp_path: Path) -> None:
    words = ("--threads", "1", "--calibration-rows", "8", "--most-loss", "100")
    done("quantize", folder / "run", *words, "--method", "dynamic", "--out", tmp_path / "small")
    done("quantize", exported, *words, "--method", "static", "--out", tmp_path / "fixed")
    for name, title in (("small", "dynamic"), ("fixed", "static, minmax ranges")):
        told = RunFolder(tmp_path / name).record["quantization"]
        assert (told["title"], told["lost_in"]) == (title, "percent")
        assert told["layers"] > len(told["keep_float"]) == 0
    (row,) = done("predict", tmp_path / "small", "--prompt", "goal", "--threads", "1").rows
    (before,) = done("predict", folder / "run", "--prompt", "goal", *QUICK).rows
    assert row.keys() == before.keys()
    assert sum(one.stat().st_size for one in (tmp_path / "small" / "model").glob("*.onnx")) < sum(
        one.stat().st_size for one in (exported / "model").glob("*.onnx")
    )
    done("report", tmp_path / "small")


def test_fewer_recurrent_units(folder: Path, tmp_path: Path) -> None:
    words = ("--ratio", "0.5", "--rounds", "1", "--score-rows", "4", "--max-steps", "2", *QUICK)
    done("prune", folder / "run", *words, "--out", tmp_path / "cut")
    told = RunFolder(tmp_path / "cut").record["pruning"]
    assert told["before"]["recurrent units"] == 512
    assert told["after"]["recurrent units"] == 2 * read_json(tmp_path / "cut" / "model" / "config.json")["decoder_size"]
    assert told["after"]["recurrent units"] < 400
    done("export", tmp_path / "cut", "--threads", "1", "--out", tmp_path / "out")
    done("report", tmp_path / "cut")


def test_serve_speaks(folder: Path, exported: Path) -> None:
    with running(exported) as service:
        said = json.loads(fetched(f"{service.address}predict", {"rows": [{"id": "a", "text": "goal"}]}))
    assert said["rows"][0]["audio"].startswith("data:audio/wav;base64,")
    with running(folder / "run") as service:
        assert 'id="speaker"' in fetched(service.address)
        description = json.loads(fetched(f"{service.address}openapi.json"))
        said = json.loads(
            fetched(f"{service.address}predict", {"rows": [{"id": "a", "text": "goal", "speaker": "bob"}]})
        )
    reply = description["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert misfit(said, reply) == ""
    assert said["rows"][0]["audio"].startswith("data:audio/wav;base64,")


def test_a_stopped_and_a_killed_run_end_in_the_bits_of_the_straight_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("finetune", *VOICE, "--data", folder / "clips.jsonl", "--max-steps", "6", "--save-every", "2")
    straight, stopped, killed = (tmp_path / name for name in ("straight", "stopped", "killed"))
    done(*words, "--out", straight)
    act_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert call(*words, "--out", stopped).code == 143
    done(*words, "--out", stopped)

    def die() -> None:
        raise Killed

    act_after(monkeypatch, 5, die)
    with pytest.raises(Killed):
        call(*words, "--out", killed)
    done(*words, "--out", killed)
    expected = weights(straight)
    for run in (stopped, killed):
        assert all((weights(run)[name] == expected[name]).all() for name in expected)
