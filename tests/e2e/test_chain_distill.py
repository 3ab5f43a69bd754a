"""Students of texts, pictures and sound through the command line: rows without labels, stops and kills, what is refused."""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused
from safetensors.numpy import load_file
from test_chain_sound import write_clips
from told_story import Killed, act_after

import pretune
from conftest import make_rows, write_csv
from pretune.data.changes.held_apart import held_apart
from pretune.files import read_json
from pretune.runfolder import RunFolder
from pretune.runs.reading import own_data
from tiny import dataset_of, tiny_pictures

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

SMALL = ("--max-steps", "12", "--batch-size", "16", *QUICK)


@dataclass(frozen=True)
class Story:
    """A teacher of texts, and texts without labels: ``leaky`` of them stand in its test, ``nearly`` of them but for a word."""

    place: Path
    teacher: Path
    more: Path
    leaky: int
    nearly: int


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("distil")
    rows = [
        {**row, "text": f"{row['text']} It was said in the evening by all of the papers of the town."}
        for row in make_rows(160)
    ]
    data = write_csv(place / "news.csv", rows)
    teacher = place / "teacher"
    words = ("scratch:bert-mini", "--vocab-size", "300", *QUICK)
    done("finetune", *words, "--data", data, "--out", teacher, "--max-steps", "30", "--learning-rate", "0.002")
    held = own_data(RunFolder(teacher))
    same = [*held["test"]["text"][:5], *held["validation"]["text"][:3]]
    near = [text.replace("evening", "morning") for text in held["test"]["text"][5:9]]
    fresh = [f"{row['text']} Nobody had seen it coming before the summer." for row in make_rows(60, seed=11)]
    (place / "more.txt").write_text("\n".join([*same, *near, *fresh]) + "\n", encoding="utf-8")
    return Story(place, teacher, place / "more.txt", len(same), len(near))


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "model" / "model.safetensors")


def alike(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_student_is_a_run_of_its_teachers_task_and_is_held_against_it(story: Story) -> None:
    out = story.place / "student"
    said = done(
        "distill",
        story.teacher,
        "--student",
        "scratch:bert-tiny",
        "--unlabelled",
        story.more,
        *SMALL,
        "--out",
        out,
        "--json",
    )
    facts = said.facts
    assert facts["status"] == "finished"
    record, parent = read_json(out / "run.json"), read_json(story.teacher / "run.json")
    assert record["parents"] == [str(story.teacher)]
    assert record["model"]["labels"] == parent["model"]["labels"]
    assert record["backbone"]["tokenizer_source"].endswith("teacher/model")
    kept = weights(out)
    opened = pretune.open_model(str(out)).model
    assert sum(value.numel() for value in opened.parameters()) == record["model"]["parameters"], "no projection is kept"
    assert not any("projection" in name for name in kept)
    compression = facts["compression"]
    assert compression["smaller"] > 2
    assert compression["n"] == len(own_data(RunFolder(story.teacher))["validation"])
    parts = [line["parts"] for line in RunFolder(out).log_lines() if line["kind"] == "step"]
    assert {"hard", "soft", "hidden", "attention"} == set(parts[0])
    assert parts[0]["hidden"] > 0
    assert parts[-1]["hidden"] == 0.0
    for verb in ("evaluate", "report"):
        done(verb, out)
    assert RunFolder(out).metrics["test"]["n"] == len(own_data(RunFolder(out))["test"])
    done("evaluate", story.teacher)
    assert done("compare", out, story.teacher, "--json").facts["n"] == RunFolder(out).metrics["test"]["n"]
    assert len(done("predict", out, story.more).rows) == 72
    again = done(
        "distill", story.teacher, "--student", "scratch:bert-tiny", "--unlabelled", story.more, *SMALL, "--out", out
    )
    assert "nothing was computed" in again.out
    refused(call("distill", story.teacher, "--student", "layers:2", *SMALL, "--out", out), "--student was")


def test_rows_that_stand_in_the_test_are_dropped_and_told(story: Story) -> None:
    out = story.place / "careful"
    said = done("distill", story.teacher, "--student", "layers:1", "--unlabelled", story.more, *SMALL, "--out", out)
    assert (
        f"{story.leaky} of 72 rows stand in the run's validation or test, and {story.nearly} that nearly do" in said.out
    )
    record = read_json(out / "run.json")["distillation"]
    (facts,) = record["rows"][f"--unlabelled {story.more}"]
    assert facts == {"rows": 72, "kept": 60, "dropped_same": story.leaky, "dropped_near": story.nearly}
    passport = read_json(out / "data.json")
    assert passport["splits"]["unlabelled"]["rows"] == 60
    keys = np.load(out / "train_keys.npy")
    assert len(keys) == 60 + len(own_data(RunFolder(story.teacher))["train"])
    assert done("evaluate", out, "--json").facts["leaks"] in (None, {"n": 0})


def test_pictures_that_look_like_held_out_ones_are_dropped() -> None:
    rows = [{**row, "content": n, "look": n} for n, row in enumerate(tiny_pictures(6))]
    apart = held_apart(
        dataset_of([{**row, "content": n + 3} for n, row in enumerate(rows[:5])]), {"test": dataset_of(rows[3:])}
    )
    assert apart.of == 5
    assert apart.same == 3
    assert len(apart.rows) == 5 - apart.dropped


@pytest.mark.slow
def test_the_same_student_alone_learns_otherwise(story: Story) -> None:
    runs = {}
    for name, words in (("alone", ("--no-teacher",)), ("taught", ())):
        runs[name] = story.place / name
        done("distill", story.teacher, "--student", "layers:2", *words, *SMALL, "--out", runs[name])
    assert not alike(*runs.values())
    first = [next(line for line in RunFolder(run).log_lines() if line["kind"] == "step") for run in runs.values()]
    assert first[0]["parts"] == {}
    assert set(first[1]["parts"]) == {"hard", "soft", "hidden", "attention"}
    for run in runs.values():
        assert read_json(run / "run.json")["compression"]["parent"] == str(story.teacher)


@pytest.fixture
def after_steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do something once, after so many updates."""
    return functools.partial(act_after, monkeypatch)


@pytest.mark.slow
def test_a_stopped_and_a_killed_student_end_in_the_bits_of_the_straight_one(story: Story, after_steps: Any) -> None:
    words = (
        "distill", story.teacher, "--student", "scratch:bert-tiny", "--unlabelled", story.more, *SMALL,
        "--micro-batch-size", "6", "--save-every", "2", "--ema", "0.9",
    )  # fmt: skip
    straight, stopped, killed = (story.place / name for name in ("straight", "stopped", "killed"))
    done(*words, "--out", straight)
    after_steps(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    said = call(*words, "--out", stopped)
    assert said.code == 143
    assert read_json(stopped / "run.json")["status"] == "stopped"
    assert not (stopped / "model").exists()
    done(*words, "--out", stopped)

    def die() -> None:
        raise Killed

    after_steps(9, die)
    with pytest.raises(Killed):
        call(*words, "--out", killed)
    assert not (killed / "model").exists()
    done(*words, "--out", killed)
    assert alike(straight, stopped)
    assert alike(straight, killed)
    with open(story.more, "a", encoding="utf-8") as file:
        file.write("A line that was not there before the run was killed.\n")
    after_steps(3, die)
    with pytest.raises(Killed):
        call(*words, "--out", story.place / "changed")
    story.more.write_text(
        "".join(story.more.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8"
    )
    refused(call(*words, "--out", story.place / "changed"), "begun with other rows")


@pytest.mark.slow
def test_other_tokens_and_dry_runs(story: Story) -> None:
    out = story.place / "bytes"
    words = (
        "distill",
        story.teacher,
        "--student",
        "scratch:roberta-tiny",
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "320",
        *SMALL,
    )
    facts = done(*words, "--dry-run", "--json").facts
    assert facts["updates"] == 12
    assert not out.exists()
    said = done(*words, "--out", out)
    assert "only answers are compared" in said.out
    assert set(next(line for line in RunFolder(out).log_lines() if line["kind"] == "step")["parts"]) == {"hard", "soft"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--student", "layers:9"), "layers:9, the teacher has 4"),
        (("--student", "layers:two"), "number of layers"),
        (("--student", "scratch:bert-timy"), "bert-tiny"),
        (("--student", "scratch:resnet-10"), "reads pictures"),
        (("--student", "layers:2", "--no-teacher", "--temperature", "3"), "--temperature does nothing"),
        (
            ("--student", "scratch:bert-tiny", "--tokenizer", "wordpiece", "--augment", "light"),
            "cuts them into other tokens",
        ),
        (("--student", "layers:2", "--tokenizer", "bpe"), "--tokenizer is for"),
        (("--student", "scratch:bert-tiny", "--vocab-size", "500"), "--vocab-size does nothing"),
        (("--student", "layers:2", "--column", "text=a"), "--column does nothing"),
        (("--student", "layers:2", "--metric", "wer"), "--metric"),
        (("--student", "layers:2", "--unlabelled", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_mistakes_are_refused_with_what_to_do(story: Story, words: tuple[str, ...], names: str) -> None:
    out = story.place / "mistake"
    refused(call("distill", story.teacher, *words, *QUICK, "--out", out), names)
    assert not (out / "run.json").exists()


@pytest.mark.slow
def test_more_labelled_rows_and_labels_that_the_teacher_never_learned(story: Story) -> None:
    more = [{**row, "text": f"{row['text']} So it went on for a week or two."} for row in make_rows(40, seed=5)]
    out = story.place / "wider"
    data = write_csv(story.place / "wider.csv", more)
    said = done("distill", story.teacher, "--student", "layers:1", "--data", data, *SMALL, "--out", out)
    assert "learning from 40 rows" in said.out
    train = len(own_data(RunFolder(story.teacher))["train"])
    assert read_json(out / "data.json")["splits"]["train"]["rows"] == train + 40
    strange = write_csv(story.place / "strange.csv", [{**row, "label": "weather"} for row in more])
    refused(
        call("distill", story.teacher, "--student", "layers:1", "--data", strange, *SMALL, "--out", story.place / "no"),
        "weather",
    )


@pytest.mark.slow
def test_a_student_that_is_pre_trained_by_a_teacher_is_fine_tuned_like_any(story: Story) -> None:
    base, small, tuned = (story.place / name for name in ("base", "small-base", "tuned"))
    labelled = story.place / "news.csv"  # the same command's next step learns from it
    done("pretrain", *TINY, "--data", labelled, "--out", base, "--max-steps", "8")
    words = ("distill", base, "--student", "layers:1", *SMALL)
    facts = done(*words, "--out", small, "--json").facts
    assert facts["scores"]["masked_accuracy"]["n"] >= 1
    assert f"pretune finetune {small} --data {labelled}" in done(*words, "--out", small).out
    record = read_json(small / "run.json")
    assert record["parents"] == [str(base)]
    assert record["model"]["task"] == "masked-language-modelling"
    parts = next(line for line in RunFolder(small).log_lines() if line["kind"] == "step")["parts"]
    assert {"correct", "hard", "soft", "hidden", "attention"} == set(parts)
    assert "counted" not in record["backbone"], "the teacher's layers have learned embeddings"
    done("finetune", small, "--data", story.place / "news.csv", "--max-steps", "4", *QUICK, "--out", tuned)
    assert read_json(tuned / "run.json")["parents"] == [str(small)]
    assert not any("encoder" in name for name in read_json(tuned / "run.json")["model"]["initialised"])
    again = story.place / "smaller-base"
    done("distill", small, "--student", "scratch:bert-tiny", *SMALL, "--out", again)
    assert "token embeddings" in read_json(again / "run.json")["backbone"]["counted"]
    refused(call(*words, "--no-teacher", "--out", story.place / "no"), "pretune pretrain")
    refused(call(*words, "--metric", "accuracy", "--out", story.place / "no"), "fine-tuned teacher")
    refused(
        call("distill", base / "model", "--student", "layers:1", *SMALL, "--out", story.place / "no"), "--data DATA"
    )
    done(
        "distill",
        base / "model",
        "--student",
        "layers:1",
        "--data",
        story.more,
        *SMALL,
        "--out",
        story.place / "of-a-folder",
    )


@pytest.mark.slow
def test_pictures_are_varied_for_both_or_told_once(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, colour in {"leaf": (30, 140, 40), "sky": (60, 90, 200)}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = (np.array(colour) + rng.integers(-60, 60, (36, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    few = ("--image-size", "32", "--max-steps", "8", "--batch-size", "8", *QUICK)
    teacher = tmp_path / "teacher"
    done("finetune", "scratch:resnet-10", "--data", tmp_path / "photos", *few, "--out", teacher)
    students = {"varied": (), "kept": ("--augment", "none")}
    for name, words in students.items():
        done("distill", teacher, "--student", "scratch:vit-micro", *words, *SMALL, "--out", tmp_path / name)
        record = read_json(tmp_path / name / "run.json")
        assert "only answers are compared" in " ".join(record["distillation"]["notes"])
        done("evaluate", tmp_path / name)
    assert not alike(tmp_path / "varied", tmp_path / "kept")
    small = ("distill", teacher, "--student", "scratch:resnet-10", "--image-size", "48", *SMALL)
    said = done(*small, "--out", tmp_path / "other-size")
    assert "rows are not varied" in said.out
    done(
        "distill",
        teacher,
        "--student",
        "scratch:resnet-10",
        "--image-size",
        "24",
        *SMALL,
        "--out",
        tmp_path / "smaller",
    )
    told = read_json(tmp_path / "smaller" / "run.json")["distillation"]["notes"]
    assert "varied" not in " ".join(told), "varied at the teacher's size"
    done("evaluate", tmp_path / "smaller")
    refused(call(*small, "--augment", "light", "--out", tmp_path / "no"), "--augment light")
    thinner = ("distill", tmp_path / "kept", "--student", "layers:1", "--augment", "strong", *SMALL)
    done(*thinner, "--out", tmp_path / "thin")
    assert "notes" in read_json(tmp_path / "thin" / "run.json")["distillation"]
    assert read_json(tmp_path / "thin" / "model" / "config.json")["num_hidden_layers"] == 1
    refused(call("distill", teacher, "--student", "layers:1", *SMALL, "--out", tmp_path / "no"), "no layers")
    base = tmp_path / "features"
    done(
        "distill",
        teacher / "model",
        "--student",
        "scratch:resnet-10",
        "--data",
        tmp_path / "photos",
        *SMALL,
        "--out",
        base,
    )
    assert "explained" in RunFolder(base).metrics["held-out"]["scores"]
    done("finetune", base, "--data", tmp_path / "photos", *few, "--out", tmp_path / "tuned")


@pytest.mark.slow
def test_sound_is_written_frame_by_frame_as_the_teacher_hears_it(tmp_path: Path) -> None:
    written = write_clips(tmp_path / "clips", 40, label=False)
    others = write_clips(tmp_path / "others", 12, text=False, label=False)
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    done(
        "finetune",
        "scratch:wav2vec2-tiny",
        "--data",
        written,
        "--max-steps",
        "6",
        "--batch-size",
        "8",
        *QUICK,
        "--out",
        teacher,
    )
    few = ("--max-steps", "6", "--batch-size", "8", *QUICK)
    said = done("distill", teacher, "--student", "layers:2", "--unlabelled", others, *few, "--out", student)
    assert "were dropped" in said.out, "equal clips are known by their bytes"
    record = read_json(student / "run.json")
    assert record["model"]["task"] == "speech-recognition"
    assert (
        read_json(student / "model" / "pretune.json")["spelling"]
        == read_json(teacher / "model" / "pretune.json")["spelling"]
    )
    done("evaluate", student)
    fresh = ("distill", teacher, "--student", "scratch:wav2vec2-tiny", "--augment", "none", *few)
    done(*fresh, "--out", tmp_path / "fresh")
    parts = next(line for line in RunFolder(tmp_path / "fresh").log_lines() if line["kind"] == "step")["parts"]
    assert set(parts) == {"hard", "soft", "hidden", "attention"}
    base = tmp_path / "base"
    done("distill", teacher / "model", "--student", "layers:1", "--data", others, *few, "--out", base)
    done("finetune", base, "--data", written, *few, "--out", tmp_path / "tuned")
