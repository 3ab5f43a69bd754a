"""``pretune multitask``: tasks on one trunk, as runs that other verbs take; alone beside it; killed and gone on; what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused
from PIL import Image
from told_story import Killed, act_after, weights

import pretune
from pretune.files import read_json
from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

FRAMES = {
    "book": ("book a table at {} for {}", "O O O O B-PLACE O B-TIME"),
    "play": ("play {} by {}", "O B-SONG O B-ARTIST"),
    "weather": ("will it rain in {} at {}", "O O O O B-PLACE O B-TIME"),
}
WORDS = ("oslo", "rio", "abba", "blur", "noon", "nine", "dawn", "paris")


def write_slots(folder: Path) -> Path:
    """Sentences with an intent and slots; one intent and one slot that only the test rows have."""
    rng = random.Random(0)
    for split, count in (("train", 90), ("dev", 24), ("test", 24)):
        rows = []
        for _ in range(count):
            intent = rng.choice([*FRAMES])
            text, tags = FRAMES[intent]
            rows.append(
                (text.format(rng.choice(WORDS), rng.choice(WORDS)) + f" {rng.randrange(900)}", f"{tags} O", intent)
            )
        rows += [("stop the music", "O O B-THING", "stop")] if split == "test" else []
        (folder / split).mkdir(parents=True)
        for name, column in zip(("seq.in", "seq.out", "label"), zip(*rows, strict=True), strict=True):
            (folder / split / name).write_text("".join(f"{cell}\n" for cell in column), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multitask")
    write_slots(folder / "slots")
    return folder


def words(place: Path, out: str, *more: object) -> tuple[object, ...]:
    data = place / "slots"
    tasks = (f"intent={data},column=label=label,unseen_labels=missed", f"slots={data}")
    return ("multitask", TINY[0], *tasks, *TINY[1:], *more, "--out", place / out)


@pytest.fixture(scope="module")
def joint(place: Path) -> dict[str, object]:
    told = (
        "--max-steps",
        "6",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.002",
        "--alone",
        "--resamples",
        "100",
        "--json",
    )
    return done(*words(place, "joint", *told)).facts


def test_each_task_is_scored_beside_the_run_that_learned_it_alone(joint: dict[str, object], place: Path) -> None:
    assert [one["name"] for one in joint["tasks"]] == ["intent", "slots"]
    for one in joint["tasks"]:
        assert one["score"]["n"] == 25
        assert one["comparison"]["names"] == ["alone", "together"]
        alone = RunFolder(place / "joint" / "alone" / one["name"])
        assert alone.record["training"]["steps"] == 6
        assert alone.comparisons, "the runs know of the comparison"
    rows = joint["rows_right"]
    right = {
        name: RunFolder(place / "joint" / name).read_lines("predictions/test.jsonl") for name in ("intent", "slots")
    }
    both = [
        a["label"] == a["truth"] and b["tags"] == b["truth"]
        for a, b in zip(right["intent"], right["slots"], strict=True)
    ]
    assert rows["score"]["value"] == pytest.approx(np.mean(both))
    assert rows["score"]["value"] <= 24 / 25, "an intent that was never learned counts as missed"
    page = (place / "joint" / "report.html").read_text(encoding="utf-8")
    assert "together against alone" in page


def test_the_trunk_is_the_same_and_the_log_is_the_tasks_own(joint: dict[str, object], place: Path) -> None:
    one, other = (weights(place / "joint" / name) for name in ("intent", "slots"))
    trunk = [name for name in other if ".encoder." in name or ".embeddings." in name]
    assert {*trunk} <= {*one}, "a pooled classifier's folder has a layer more, which holds its pooling"
    assert len(trunk) > 10
    assert all(np.array_equal(one[name], other[name]) for name in trunk)
    lines = RunFolder(place / "joint" / "slots").log_lines()
    assert "entity_f1" in next(line for line in lines if line["kind"] == "eval")["scores"]


@pytest.mark.parametrize("name", ["intent", "slots"])
def test_every_verb_takes_the_run_of_a_task(name: str, joint: dict[str, object], place: Path, tmp_path: Path) -> None:
    run = place / "joint" / name
    (row,) = done("predict", run, "-", *QUICK, stdin=json.dumps({"id": "a", "text": "play abba by blur"})).rows
    assert row["id"] == "a"
    done("report", run)
    assert done("verify", run, "--json").facts["exit_code"] == 0
    done("distill", run, "--student", "scratch:bert-tiny", "--max-steps", "2", *QUICK, "--out", tmp_path / "student")
    done("export", run, "--threads", "1", "--out", tmp_path / "out")
    lineage = done("list", place, "--json").facts["runs"]
    assert len(lineage) >= 5


def test_a_task_is_where_another_begins(joint: dict[str, object], place: Path, tmp_path: Path) -> None:
    """Transfer: a fine-tuned run is a backbone, of another kind of task too; its head goes, and that is told."""
    words = (
        "finetune",
        place / "joint" / "intent",
        "--data",
        place / "slots",
        "--max-steps",
        "2",
        *QUICK,
        "--out",
        tmp_path / "on",
    )
    done(*words)
    record = RunFolder(tmp_path / "on").record
    assert record["parents"] == [str(place / "joint" / "intent")]
    assert record["model"]["task"] == "token-classification"
    assert any("classifier" in name for name in record["model"]["initialised"])


def test_a_stopped_and_a_killed_run_end_in_the_bits_of_the_straight_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (
        "--max-steps",
        "8",
        "--batch-size",
        "8",
        "--save-every",
        "2",
        "--weights",
        "uncertainty",
        "--resamples",
        "100",
    )
    done(*words(place, "straight", *told))
    act_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert call(*words(place, "stopped", *told)).code == 143
    assert not (place / "stopped" / "intent").exists()
    done(*words(place, "stopped", *told))

    def die() -> None:
        raise Killed

    act_after(monkeypatch, 5, die)
    with pytest.raises(Killed):
        call(*words(place, "killed", *told))
    done(*words(place, "killed", *told))
    learned = read_json(place / "straight" / "run.json")["training"]["learned_weights"]
    assert any(abs(value - 1.0) > 1e-4 for value in learned.values()), "the weights were learned"
    for run in ("stopped", "killed"):
        assert read_json(place / run / "run.json")["training"]["learned_weights"] == learned
        for name in ("intent", "slots"):
            expected, found = weights(place / "straight" / name), weights(place / run / name)
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[key], expected[key]) for key in expected), (run, name)
    again = done(*words(place, "killed", *told))
    assert "was finished before" in again.out
    before = (place / "killed" / "intent" / "model" / "model.safetensors").stat().st_mtime_ns
    assert "alone" in done(*words(place, "killed", *told, "--alone")).out, "asked for more, it does what is new"
    assert (place / "killed" / "intent" / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_pictures_with_a_class_and_a_number_and_files_of_their_own(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for number in range(48):
        colour, size = number % 2, int(rng.integers(4, 28))
        pixels = np.full((32, 32, 3), 20, dtype=np.uint8)
        pixels[:size, :size, colour] = 230
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        split = "train" if number < 32 else "validation" if number < 40 else "test"
        rows.append({"file": f"{number}.png", "colour": ("red", "green")[colour], "size": size, "split": split})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[::2]), encoding="utf-8")
    outcome = pretune.multitask(
        "scratch:resnet-10",
        f"colour={tmp_path / 'rows.jsonl'},column=label=colour",
        f"size={tmp_path / 'few.jsonl'},column=value=size",
        set=("image_size=32",), temperature=2.0, weights="size", max_steps=3, batch_size=8, threads=1, precision="fp32",
        resamples=100, out=tmp_path / "out",
    )  # fmt: skip
    record = RunFolder(tmp_path / "out").record
    assert record["tasks"]["colour"]["batch_size"] == 8
    assert record["tasks"]["size"]["batch_size"] == 6, "8 times the root of a half"
    assert record["training"]["shares"]["colour"] > record["training"]["shares"]["size"]
    assert {one["metric"] for one in outcome.facts["tasks"]} == {"accuracy", "pearson"}
    assert outcome.facts["rows_right"] is None


def test_rows_that_another_task_is_scored_on_are_not_learned_from(tmp_path: Path) -> None:
    rows = [{"text": f"row {at} of {'ab'[at % 2]}", "kind": "ab"[at % 2], "count": at % 7} for at in range(60)]
    for name, held in (("one", range(40, 60)), ("two", range(20))):
        told = [
            {**row, "split": "test" if at in held else "validation" if at in (21, 22, 23) else "train"}
            for at, row in enumerate(rows)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    tasks = (f"kind={tmp_path / 'one.jsonl'},column=label=kind", f"count={tmp_path / 'two.jsonl'},column=value=count")
    said = done(
        "multitask", TINY[0], *tasks, *TINY[1:], "--max-steps", "1", "--resamples", "100", "--out", tmp_path / "out"
    )
    assert "20 of 37 training rows of kind stand in validation or test of count" in said.err
    assert RunFolder(tmp_path / "out").record["tasks"]["kind"]["rows"] == 17


def test_what_is_refused(place: Path, joint: dict[str, object], tmp_path: Path) -> None:
    data = place / "slots"
    begin = ("multitask", TINY[0], f"intent={data},column=label=label,unseen_labels=missed")
    refused(call(*begin), "name two or more")
    refused(call(*begin, f"intent={data}"), "two tasks are called intent")
    refused(call(*begin, f"slots={data},epochs=3"), "epochs is the same for all tasks")
    refused(call(*begin, f"slots={data}", "--adapt", "head"), "learns nothing from several tasks")
    refused(call(*begin, f"slots={data}", "--weights", "intent=1"), "says nothing of slots")
    refused(call(*begin, f"slots={tmp_path / 'none.csv'}"), "does not exist")
    refused(call("multitask", "linear:tfidf", *begin[2:], f"slots={data}"), "no trunk|linear")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    for kind in ("cat", "dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for at in range(12):
            Image.fromarray(np.full((32, 32, 3), 9 * at, dtype=np.uint8)).save(tmp_path / "photos" / kind / f"{at}.png")
    refused(call(*begin, f"photos={tmp_path / 'photos'}"), "read different things")
    refused(call("evaluate", place / "joint"), "each of which is a run of its own")
    plain = (*begin[:2], f"intent={data},column=label=label", f"slots={data}")
    refused(call(*plain), "--unseen-labels missed")
    forecast = done(*begin, f"slots={data}", *TINY[1:], "--max-steps", "3", "--dry-run", "--out", tmp_path / "dry")
    assert "Nothing was written" in forecast.out
    assert not (tmp_path / "dry").exists()
