"""A model on log-mel features through the command line: learned, evaluated, loaded by plain transformers, cut and taken up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, call, done, refused

from pretune.files import read_json, read_json_lines
from tiny import LABELS, WORDS

CONFORMER = ("scratch:w2v-bert-tiny", *QUICK)


def write_glides(folder: Path, count: int) -> Path:
    """``folder/clips.jsonl`` and WAV files of 8 kHz: a class rises, falls, or is heard twice. (What never changes within a clip
    vanishes where every band gets mean 0.)
    """
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        time_T = np.arange(3200 + 400 * (number % 4)) / 8_000
        share_T, kind = time_T / time_T[-1], number % 3
        hertz_T = 400 + 1200 * (share_T, 1 - share_T, np.full_like(share_T, 0.5))[kind]
        tone_T = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz_T) / 8_000)
        if kind == 2:
            tone_T *= np.abs(share_T - 0.5) > 0.2
        name = f"{number}.wav"
        soundfile.write(folder / name, tone_T + 0.01 * rng.standard_normal(len(time_T)), 8_000, subtype="PCM_16")
        lines.append(json.dumps({"audio_filepath": name, "text": WORDS[LABELS[kind]]}))
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "clips.jsonl"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("features")
    data = write_glides(place / "clips", 60)
    done(
        "finetune", *CONFORMER, "--data", data, "--out", place / "run", "--max-steps", "120", "--batch-size", "8", "--eval-every", "60", "--learning-rate", "2e-3",
    )  # fmt: skip
    done("evaluate", place / "run", "--threads", "1", "--resamples", "100")
    return place / "run"


@pytest.mark.slow
def test_transcripts_are_learned(run: Path) -> None:
    scores = read_json(run / "metrics.json")["test"]["scores"]
    assert scores["cer"]["value"] < 0.7
    assert all(record["text"] for record in read_json_lines(run / "predictions" / "test.jsonl"))
    assert read_json(run / "run.json")["backbone"]["sampling_rate"] == 16_000


@pytest.mark.slow
def test_the_folder_loads_in_plain_transformers_and_writes_the_same(run: Path) -> None:
    import soundfile
    import soxr
    import torch
    import transformers

    folder = run / "model"
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "Wav2Vec2BertProcessor"
    model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    clips = run.parent / "clips"
    said = done("predict", run, clips / "clips.jsonl", "--threads", "1", "--precision", "fp32").rows
    for number in (0, 3, 7):
        samples, rate = soundfile.read(clips / f"{number}.wav", dtype="float32")
        inputs = processor(soxr.resample(samples, rate, 16_000), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            (text,) = processor.batch_decode(model(**inputs).logits.argmax(-1))
        assert said[number]["text"] == " ".join(text.split())


@pytest.mark.slow
def test_what_it_cannot_do_is_refused(run: Path, tmp_path: Path) -> None:
    data, out = run.parent / "clips" / "clips.jsonl", tmp_path / "out"
    learn = ("pretrain", *CONFORMER, "--data", data, "--out", out)
    refused(call(*learn, "--objective", "contrastive-audio"), "masked-audio")
    refused(call("finetune", *CONFORMER, "--data", data, "--out", out, "--sampling-rate", "8000"), "hears 16000")
    which = ("finetune", "scratch:mel-resnet-tiny", *QUICK, "--data", data, "--out", out)
    refused(call(*which, "--task", "speech-recognition"), "no head that writes characters")
