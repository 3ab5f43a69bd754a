"""The story of sound through the command line: clips without labels, transcripts, classes; and what is refused on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_calls import QUICK, call, done, refused

from pretune.files import read_json, read_json_lines
from tiny import tiny_clips

SMALL = ("scratch:wav2vec2-tiny", *QUICK)


def write_clips(folder: Path, count: int, *, text: bool = True, label: bool = True) -> Path:
    """``folder/clips.jsonl`` and its WAV files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in tiny_clips(count):
        (folder / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
        line = {"audio_filepath": row["audio"]["path"]}
        lines.append({**line, **({"text": row["text"]} if text else {}), **({"label": row["label"]} if label else {})})
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder / "clips.jsonl"


@dataclass(frozen=True)
class SoundStory:
    place: Path
    base: Path
    speech: Path
    sound: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> SoundStory:
    place = tmp_path_factory.mktemp("sound")
    written = write_clips(place / "clips", 60, label=False)
    labelled = write_clips(place / "labelled", 60, text=False)
    base, speech, sound = place / "base", place / "speech", place / "sound-run"
    done(
        "pretrain",
        *SMALL,
        "--data",
        written,
        "--out",
        base,
        "--max-steps",
        "3",
        "--batch-size",
        "8",
        "--eval-every",
        "3",
    )
    done(
        "finetune",
        base,
        *QUICK,
        "--data",
        written,
        "--out",
        speech,
        "--max-steps",
        "4",
        "--batch-size",
        "8",
        "--eval-every",
        "2",
    )
    done("evaluate", speech, "--threads", "1", "--resamples", "100")
    done(
        "finetune",
        *SMALL,
        "--data",
        labelled,
        "--out",
        sound,
        "--max-steps",
        "40",
        "--batch-size",
        "8",
        "--eval-every",
        "20",
    )
    done("evaluate", sound, "--threads", "1", "--resamples", "100")
    return SoundStory(place, base, speech, sound)


@pytest.mark.slow
def test_pre_training_is_measured_and_taken_up(story: SoundStory) -> None:
    held_out = read_json(story.base / "metrics.json")["held-out"]
    scores = held_out["scores"]
    assert any("hidden frame" in note for note in held_out["notes"]), "the page says how to read the scores"
    assert {"contrastive_accuracy", "codebook_perplexity", "spread"} <= set(scores)
    record = read_json(story.speech / "run.json")
    assert record["parents"] == [str(story.base)]
    assert all("lm_head" in name for name in record["model"]["initialised"])


@pytest.mark.slow
def test_recognition_is_evaluated_with_intervals_and_a_baseline(story: SoundStory) -> None:
    evaluation = read_json(story.speech / "metrics.json")["test"]
    assert (evaluation["task"], evaluation["primary"], evaluation["higher_is_better"]) == (
        "speech-recognition",
        "wer",
        False,
    )
    for name in ("wer", "cer", "insertions", "deletions", "substitutions", "exact"):
        score = evaluation["scores"][name]
        assert score["low"] <= score["value"] <= score["high"]
    assert set(evaluation["baselines"]) == {"most-frequent-transcript"}
    worst = next(block for block in evaluation["blocks"] if block["type"] == "examples")["rows"][0]
    assert worst["image"].startswith("data:image/png")
    assert worst["audio"].startswith("data:audio/wav")
    records = list(read_json_lines(story.speech / "predictions" / "test.jsonl"))
    assert all(set(record) == {"id", "text", "truth"} for record in records)


@pytest.mark.slow
def test_the_recognition_folder_loads_in_plain_transformers(story: SoundStory) -> None:
    import soundfile
    import torch
    import transformers

    folder = story.speech / "model"
    model, processor = (
        transformers.AutoModelForCTC.from_pretrained(folder),
        transformers.AutoProcessor.from_pretrained(folder),
    )
    samples, rate = soundfile.read(story.place / "clips" / "3.wav", dtype="float32")
    with torch.inference_mode():
        logits = model.eval()(**processor(samples, sampling_rate=rate, return_tensors="pt")).logits
    (text,) = processor.batch_decode(logits.argmax(-1))
    said = done("predict", story.speech, story.place / "clips" / "clips.jsonl", "--threads", "1", "--precision", "fp32")
    assert said.rows[3]["text"] == " ".join(text.split())
    assert len(said.rows) == 60


@pytest.mark.slow
def test_classification_learns_tones(story: SoundStory) -> None:
    evaluation = read_json(story.sound / "metrics.json")["test"]
    assert evaluation["scores"]["accuracy"]["value"] > 0.8
    assert set(evaluation["baselines"]) == {"majority", "mel-logistic"}
    import transformers

    model = transformers.AutoModelForAudioClassification.from_pretrained(story.sound / "model")
    assert set(model.config.id2label.values()) == {"money", "science", "sport"}
    assert transformers.AutoFeatureExtractor.from_pretrained(story.sound / "model").sampling_rate == 8_000


@pytest.mark.slow
@pytest.mark.usefixtures("short_timings")
def test_speech_is_made_small_measured_and_delivered(story: SoundStory, tmp_path: Path) -> None:
    """Rounded, pruned, distilled and exported; the program beside the graph says of a clip what pretune says of it."""
    run = story.speech
    few = ("--threads", "1", "--max-steps", "2", "--batch-size", "8")
    made = {
        "rounded": done("quantize", run, "--to", "int8", "--threads", "1", "--out", tmp_path / "rounded", "--json"),
        "pruned": done("prune", run, "--ratio", "0.3", *few, "--out", tmp_path / "pruned", "--json"),
        "student": done("distill", run, "--student", "layers:1", *few, "--out", tmp_path / "student", "--json"),
    }
    assert all((tmp_path / one / "model" / "pretune.json").exists() for one in made)
    done("export", run, "--to", "onnx", "--threads", "1", "--out", tmp_path / "graph")
    clip = story.place / "clips" / "3.wav"
    script = tmp_path / "graph" / "model" / "predict.py"
    said = subprocess.run([sys.executable, "-I", str(script), str(clip)], capture_output=True, text=True, check=True)
    expected = done("predict", run, clip, "--threads", "1", "--precision", "fp32").rows[0]
    assert json.loads(said.stdout)["text"] == expected["text"]
    runs = (run, *(tmp_path / one for one in (*made, "graph")))
    words = ("--threads", "1", "--seconds", "0.05", "--rows", "5", "--resamples", "100", "--out", tmp_path / "bench")
    found = done("benchmark", *runs, *words, "--json").facts
    assert [one["name"] for one in found["variants"]] == [run.name, *made, "graph"]
    assert found["unusable"] == []
    assert found["metric"] == "wer"


@pytest.mark.slow
def test_reports_show_and_play_the_clips(story: SoundStory) -> None:
    done("report", story.speech)
    page = (story.speech / "report.html").read_text(encoding="utf-8")
    assert "<audio" in page
    assert "data:image/png" in page


@pytest.mark.slow
def test_a_run_of_recognition_is_compared_by_its_words(story: SoundStory, tmp_path: Path) -> None:
    other = tmp_path / "other"
    done(
        "finetune", *SMALL, "--data", story.place / "clips" / "clips.jsonl", "--out", other, "--max-steps", "2",
        "--batch-size", "8", "--beam-size", "3", "--max-train-samples", "20",
    )  # fmt: skip
    done("evaluate", other, "--threads", "1", "--resamples", "100", "--no-baselines")
    assert read_json(other / "model" / "pretune.json")["beam_size"] == 3
    facts = done("compare", story.speech, other, "--json").facts
    assert "wer" in facts["scores"]


@pytest.mark.slow
def test_an_evaluation_searches_with_the_beam_it_is_asked_for_and_says_so(story: SoundStory, tmp_path: Path) -> None:
    words = ("--threads", "1", "--resamples", "100", "--no-baselines")
    assert done("evaluate", story.speech, *words, "--json").facts["answering"] == {"beam_size": 1}
    assert done("evaluate", story.speech, *words, "--beam-size", "7", "--json").facts["answering"] == {"beam_size": 7}
    assert read_json(story.speech / "metrics.json")["test"]["answering"] == {"beam_size": 7}
    done("report", story.speech, "--out", tmp_path / "page.html")
    assert "Answered with --beam-size 7." in (tmp_path / "page.html").read_text(encoding="utf-8")
    clip = story.place / "clips" / "3.wav"
    assert set(done("predict", story.speech, clip, "--beam-size", "7").rows[0]) == {"id", "text"}
    for verb in ("evaluate", "predict"):
        refused(
            call(verb, story.sound, *([clip] if verb == "predict" else []), "--beam-size", "7"),
            "--beam-size does nothing for audio-classification: it is for speech-recognition",
        )


@pytest.mark.slow
def test_flags_of_other_data_are_refused(story: SoundStory, tmp_path: Path) -> None:
    data, out = story.place / "clips" / "clips.jsonl", tmp_path / "run"
    for words, names in (
        (
            ("finetune", *SMALL, "--max-length", "64"),
            "--max-length does nothing for speech-recognition: it is for text",
        ),
        (("finetune", *SMALL, "--image-size", "64"), "--image-size does nothing for speech-recognition"),
        (("finetune", *SMALL, "--class-weights", "auto"), "--class-weights does nothing for speech-recognition"),
        (("finetune", story.base, *QUICK, "--sampling-rate", "8000"), "a trained model keeps its own sampling rate"),
        (("pretrain", *SMALL, "--pack", "yes"), "--pack does nothing for contrastive-audio: it is for masked-text"),
        (("pretrain", *SMALL, "--augment", "light"), "--augment does nothing for contrastive-audio"),
    ):
        refused(call(*words, "--data", data, "--out", out), names)
    refused(call("finetune", "scratch:bert-tiny", "--data", data, "--out", out), "reads text, .* holds sound")
    refused(call("finetune", *SMALL, "--data", data, "--out", out, "--task", "audio-classification"), "lack label")
    refused(call("pretrain", *SMALL, "--data", data, "--out", out, "--objective", "masked-image"), "does not fit")


@pytest.mark.slow
def test_transcripts_that_do_not_belong_to_their_clips_are_refused(tmp_path: Path) -> None:
    place = write_clips(tmp_path / "clips", 30, label=False)
    lines = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    place.write_text(
        "".join(json.dumps({**line, "text": "far too much " * 9}) + "\n" for line in lines), encoding="utf-8"
    )
    refused(call("finetune", *SMALL, "--data", place, "--out", tmp_path / "run"), "longer than CTC can write")
