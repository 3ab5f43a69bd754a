"""A voice that says all frames at once, taught by one with attention: through every verb, a stop and a kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_calls import QUICK, call, done, refused
from told_story import Killed, act_after, weights

from pretune.files import read_json
from pretune.runfolder import RunFolder
from pretune.tasks.speech import letter_lengths, text_to_speech
from serving import fetched, running
from tiny import spoken_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

STUDENT = ("--student", "scratch:fastspeech-tiny", *QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Clips, a voice and what it taught. So short a run has no clear attention yet: its way through the letters is taken as it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text_to_speech, "LIMIT", (6.0, 0.5))
        patched.setattr(letter_lengths, "LEAST_WEIGHT", 0.0)
        place = tmp_path_factory.mktemp("voice")
        lines = []
        for row in spoken_rows(60):
            (place / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
            lines.append(json.dumps({"audio": row["audio"]["path"], "text": row["text"], "speaker": row["speaker"]}))
        (place / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        voice = ("scratch:tacotron-tiny", "--task", "text-to-speech", "--data", place / "clips.jsonl", *QUICK)
        done("finetune", *voice, "--max-steps", "4", "--out", place / "voice")
        done("distill", place / "voice", *STUDENT, "--max-steps", "6", "--out", place / "fast")
        yield place


def test_it_is_scored_by_its_sound_and_not_by_attention_that_it_has_not(folder: Path) -> None:
    done("evaluate", folder / "fast", *QUICK)
    scores = RunFolder(folder / "fast").metrics["test"]["scores"]
    for name in ("mel_distance", "mcd", "duration_error"):
        assert scores[name]["value"] > 0
    for name in ("stopped", "coverage", "diagonality", "attention_peak"):
        assert scores[name]["value"] is None
    done("report", folder / "fast")
    page = (folder / "fast" / "report.html").read_text(encoding="utf-8")
    for said in ("Clips to hear", "How long letters last", "data:audio/wav;base64,"):
        assert said in page
    assert "Attention to the letters" not in page
    done("evaluate", folder / "voice", *QUICK)
    done("compare", folder / "voice", folder / "fast")


def test_what_it_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    data = ("--data", folder / "clips.jsonl", "--task", "text-to-speech", "--out", tmp_path / "no")
    refused(call("finetune", "scratch:fastspeech-tiny", *data), "from a trained voice(.|\n)*pretune distill VOICE --student scratch:fastspeech-tiny")  # fmt: skip
    refused(call("finetune", folder / "fast", *data), "pretune distill VOICE")
    refused(call("distill", folder / "fast", *STUDENT, "--out", tmp_path / "no"), "no attention")
    refused(
        call("distill", folder / "voice", *STUDENT, "--no-teacher", "--out", tmp_path / "no"), "from its teacher alone"
    )
    refused(call("predict", folder / "fast", "--prompt", "goal", "--take", "1"), "one way only")
    refused(call("prune", folder / "fast", "--ratio", "0.5", "--out", tmp_path / "no"), "cannot be pruned")


def test_a_teacher_without_clear_attention_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(letter_lengths, "LEAST_WEIGHT", 0.999)
    refused(
        call("distill", folder / "voice", *STUDENT, "--out", tmp_path / "no"),
        "no clear way(.|\n)*train the teacher longer",
    )


def test_its_graphs_and_its_program_speak(folder: Path, tmp_path: Path) -> None:
    done("export", folder / "fast", "--threads", "1", "--out", tmp_path / "out")
    parity = RunFolder(tmp_path / "out").record["export"]["parity"]
    for side in ("graph", "program"):
        assert parity[side]["same"] == parity[side]["rows"] > 0
    (mine,) = done("predict", tmp_path / "out", "--prompt", "goal", "--speaker", "bob", *QUICK).rows
    (theirs,) = done("predict", folder / "fast", "--prompt", "goal", "--speaker", "bob", *QUICK).rows
    assert mine.keys() == theirs.keys()
    assert mine["seconds"] == theirs["seconds"]
    words = ("--threads", "1", "--seconds", "0.01", "--rows", "2", "--resamples", "100", "--json")
    (one,) = done("benchmark", tmp_path / "out", *words).facts["variants"]
    assert one["sound_a_second"] > 0
    small = ("--threads", "1", "--calibration-rows", "8", "--most-loss", "100", "--out")
    done("quantize", tmp_path / "out", "--method", "static", *small, tmp_path / "small")
    (row,) = done("predict", tmp_path / "small", "--prompt", "goal", "--threads", "1").rows
    assert row["audio"].startswith("data:audio/wav;base64,")
    assert RunFolder(tmp_path / "small").record["quantization"]["layers"] > 0
    with running(tmp_path / "out") as service:
        said = json.loads(fetched(f"{service.address}predict", {"rows": [{"id": "a", "text": "goal"}]}))
    assert said["rows"][0]["audio"].startswith("data:audio/wav;base64,")


def test_a_stopped_and_a_killed_run_end_in_the_bits_of_the_straight_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("distill", folder / "voice", *STUDENT, "--max-steps", "6", "--save-every", "2")
    stopped, killed = tmp_path / "stopped", tmp_path / "killed"
    act_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert call(*words, "--out", stopped).code == 143
    done(*words, "--out", stopped)

    def die() -> None:
        raise Killed

    act_after(monkeypatch, 5, die)
    with pytest.raises(Killed):
        call(*words, "--out", killed)
    done(*words, "--out", killed)
    expected = weights(folder / "fast")
    for run in (stopped, killed):
        assert all((weights(run)[name] == expected[name]).all() for name in expected)
    assert read_json(killed / "model" / "config.json")["model_type"] == "pretune_fastspeech"
