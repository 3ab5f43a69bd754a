"""``pretune prune``: run to run, in rounds, killed and gone on, told what it was worth, and refused in words."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pretune
from conftest import make_rows, write_csv
from forked import end_at
from pretune.errors import RunError, UsageError
from pretune.interface.outcome import Silent
from pretune.runfolder import open_run
from tiny import tiny_clips, tiny_pictures

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

QUICK: Mapping[str, Any] = {"precision": "fp32", "threads": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prune")


@pytest.fixture(scope="module")
def parent(place: Path) -> Path:
    """Three classes of sentences, learned well by a small BERT."""
    data = write_csv(place / "news.csv", make_rows(240))
    out = place / "news"
    pretune.finetune("scratch:bert-tiny", data=data, out=out, max_steps=60, learning_rate=1e-3, **QUICK)
    return out


@pytest.fixture(scope="module")
def pruned(parent: Path) -> Path:
    """Half of it, in two rounds, and the tokens it needs."""
    out = parent.parent / "half"
    pretune.prune(parent, out=out, rounds=2, max_steps=12, vocabulary="data", **QUICK)
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "model" / "model.safetensors")


def answers(run: Path, **options: Any) -> dict[str, dict[str, float]]:
    """The probabilities of a split's rows after ``pretune evaluate``."""
    split = options.pop("split", "validation")
    pretune.evaluate(run, split=split, baselines=False, resamples=100, **QUICK, **options)
    lines = (run / "predictions" / f"{split}.jsonl").read_text().splitlines()
    return {line["id"]: line["probabilities"] for line in map(json.loads, lines)}


def test_what_is_left(parent: Path, pruned: Path):
    before, after = (json.loads((run / "model" / "config.json").read_text()) for run in (parent, pruned))
    assert after["intermediate_size"] == before["intermediate_size"] / 2
    assert after["vocab_size"] < before["vocab_size"]
    assert sum(len(gone) for gone in after["removed_parts"].values()) == 2
    record = open_run(pruned).record
    assert record["parents"] == [str(parent)]
    assert record["pruning"]["before"]["heads"] == 4
    assert record["pruning"]["after"]["heads"] == 2
    assert record["pruning"]["after"]["feed-forward"] == record["pruning"]["before"]["feed-forward"] / 2
    assert "zeros where parts of" in record["pruning"]["text"]
    assert not (pruned / "rounds").exists()
    assert sorted(weights(pruned)) == sorted(weights(parent))


def test_it_is_told_what_it_was_worth(parent: Path, pruned: Path):
    compression = open_run(pruned).record["compression"]
    assert compression["after"]["parameters"] < compression["before"]["parameters"]
    assert compression["after"]["bytes"] < compression["before"]["bytes"]
    assert compression["after"]["parameters"] == open_run(pruned).record["model"]["parameters"]
    assert compression["parent"] == str(parent)
    found = pretune.prune(parent, out=pruned, rounds=2, max_steps=12, vocabulary="data", **QUICK)
    assert "was finished before" in found.text
    assert compression["text"] in found.text
    assert found.facts["compression"] == compression


def test_all_verbs_take_it(pruned: Path):
    """evaluate (as well as its parent did), predict, report; and transformers alone gives the same answers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    found = answers(pruned, split="test")
    metrics = open_run(pruned).metrics["test"]
    assert metrics["leaks"] is None or metrics["leaks"]["rows"] == 0
    assert metrics["scores"]["accuracy"]["value"] > 0.8
    rows = [row for row in make_rows(240) if row["id"] in found]
    assert len(rows) == len(found) > 10
    model = AutoModelForSequenceClassification.from_pretrained(pruned / "model").eval()
    tokens = AutoTokenizer.from_pretrained(pruned / "model")(
        [row["text"] for row in rows], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        plain = torch.softmax(model(**tokens).logits, dim=-1).numpy()
    labels = [model.config.id2label[number] for number in range(3)]
    ours = np.array([[found[row["id"]][label] for label in labels] for row in rows])
    np.testing.assert_allclose(plain, ours, atol=1e-4)
    assert pretune.report(pruned).exit_code == 0


def test_the_log_counts_on(pruned: Path):
    """Both rounds in one curve: the last has half of the updates."""
    lines = open_run(pruned).log_lines()
    assert [line["round"] for line in lines if line["kind"] == "cut"] == [1, 2]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == list(range(1, 13))
    assert [line["step"] for line in lines if line["kind"] == "cut"] == [0, 6]
    epochs = [line["epoch"] for line in lines if line["kind"] == "step"]
    assert epochs == sorted(epochs)
    training = open_run(pruned).record["training"]
    assert (training["steps"], training["total_steps"], training["rounds"]) == (12, 12, 2)


def test_vocabulary_alone_changes_no_answer(parent: Path, place: Path):
    out = place / "tokens"
    pretune.prune(parent, out=out, ratio=0, vocabulary="data", **QUICK)
    before, after = weights(parent), weights(out)
    name = "bert.embeddings.word_embeddings.weight"
    assert len(after.pop(name)) < len(before.pop(name))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert answers(out, split="train") == answers(parent, split="train")
    record = open_run(out).record
    assert record["pruning"]["after"]["tokens"] < record["pruning"]["before"]["tokens"]
    assert "tokens went: the rows that it learned from are cut as before" in record["pruning"]["text"]
    assert "from_pretrained loads model/, with one layer more, which only pools" in record["pruning"]["text"]
    notes = " ".join(open_run(out).metrics["train"]["notes"])
    assert "pre-training corpus" not in notes, (
        "its parent learned from them as it did: that is no corpus without labels"
    )
    assert not (out / "log.jsonl").read_text()


def test_without_recovery_nothing_learns(parent: Path, place: Path):
    """What stays is what was there: the rows of kept heads and neurons, letter by letter."""
    out = place / "cut"
    pretune.prune(parent, out=out, rounds=2, recover=False, **QUICK)
    before, after = weights(parent), weights(out)
    for name, values in after.items():
        if values.shape == before[name].shape:
            rows = before[name] == values
            assert bool((rows | (values == 0)).all()), name
        elif "intermediate.dense.weight" in name:
            known = {tuple(row) for row in before[name].tolist()}
            assert all(tuple(row) in known for row in values.tolist())
    gone = json.loads((out / "model" / "config.json").read_text())["removed_parts"]
    assert sum(map(len, gone.values())) == 2


@pytest.mark.slow
def test_a_pruned_run_is_pruned_again_and_learned_from(pruned: Path, place: Path):
    out = place / "quarter"
    pretune.prune(pruned, out=out, rounds=1, heads=0, max_steps=2, **QUICK)
    told = [json.loads((run / "model" / "config.json").read_text()) for run in (pruned, out)]
    assert told[1]["intermediate_size"] == told[0]["intermediate_size"] / 2
    assert told[1]["removed_parts"] == told[0]["removed_parts"]
    again = place / "again"
    pretune.finetune(pruned, data=place / "news.csv", out=again, max_steps=2, **QUICK)
    assert json.loads((again / "model" / "config.json").read_text())["removed_parts"] == told[0]["removed_parts"]
    assert answers(again).keys() == answers(pruned).keys()


def test_dry_run_writes_nothing(parent: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    found = pretune.prune(parent, max_steps=500, dry_run=True, **QUICK)
    assert found.facts["updates"] == 500
    assert "Nothing was written" in found.text
    assert list(tmp_path.iterdir()) == []


def killed(parent: Path, out: Path, when: str, how: int = signal.SIGKILL) -> None:
    """Begin, and get a signal as soon as a path below the folder is there."""
    end_at(out, when, how, go_on, parent, out)


def go_on(parent: Path, out: Path, say: Silent | None = None) -> Any:
    return pretune.prune(
        parent, out=out, rounds=2, max_steps=16, save_every="1", eval_every="5", vocabulary="data", say=say, **QUICK
    )


@pytest.mark.slow
def test_killed_at_any_place_it_goes_on_to_the_same(parent: Path, place: Path):
    """Before the first cut, in a round, between rounds, in the last one: the weights are those of a straight run."""
    straight = place / "straight"
    go_on(parent, straight)
    expected = weights(straight)
    for number, when in enumerate(
        ("rounds/vocabulary/model", "rounds/round-1/checkpoints/step-00000003", "rounds/round-1/model/README.md", "rounds/round-2/checkpoints/step-00000007")
    ):  # fmt: skip
        out = place / f"killed-{number}"
        killed(parent, out, when)
        assert not (out / "model").exists()
        say = Silent()
        go_on(parent, out, say)
        found = weights(out)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected), when
        rounds_cut = [note for note in say.notes if "stay" in note]
        assert len(rounds_cut) == (2 if number == 0 else 1 if number < 3 else 0), "what was cut is not cut again"
    steps = [line["step"] for line in open_run(place / "killed-3").log_lines() if line["kind"] == "step"]
    assert steps == list(range(1, 17))


@pytest.mark.slow
def test_a_signal_stops_it_and_says_so(parent: Path, place: Path):
    out = place / "stopped"
    killed(parent, out, "rounds/round-1/checkpoints/step-00000002", signal.SIGTERM)
    assert open_run(out).record["status"] == "stopped"
    go_on(parent, out)
    assert open_run(out).record["status"] == "finished"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": 0}, "--ratio is 0: nothing would be taken out"),
        ({"heads": 0, "ffn": 0}, "--heads and --ffn are 0: nothing would be taken out"),
        ({"heads": 0.5, "ffn": 0.5, "ratio": 0.3}, "--ratio does nothing with --heads and --ffn"),
        ({"ratio": 0, "vocabulary": "data", "epochs": 2}, "--epochs does nothing"),
        ({"ratio": 0, "vocabulary": "data", "rounds": 2}, "--rounds does nothing"),
        ({"recover": False, "learning_rate": 1e-4}, "--learning-rate does nothing"),
        ({"ratio": 0.001}, "that share is none"),
        ({"ratio": 0.99}, "--ratio is 0.99"),
        ({"recover": False, "dry_run": True}, "nothing would be trained"),
    ],
)
def test_what_does_nothing_is_refused(parent: Path, tmp_path: Path, options: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said) as caught:
        pretune.prune(parent, out=tmp_path / "run", **options, **QUICK)
    assert caught.value.fix
    assert not (tmp_path / "run" / "run.json").exists()


def test_other_data_is_refused(parent: Path, tmp_path: Path, place: Path):
    """What the parent learned from has changed: nothing could be compared."""
    data = write_csv(tmp_path / "news.csv", make_rows(60))
    own = tmp_path / "news"
    pretune.finetune("scratch:bert-tiny", data=data, out=own, max_steps=1, **QUICK)
    write_csv(data, make_rows(61))
    with pytest.raises(RunError, match="is not what it was"):
        pretune.prune(own, out=tmp_path / "run", **QUICK)
    with pytest.raises(RunError, match=r"not a run folder|does not exist"):
        pretune.prune(tmp_path / "nothing", out=tmp_path / "run", **QUICK)


def test_runs_without_labels_are_refused(tmp_path: Path, place: Path, parent: Path):
    base = tmp_path / "base"
    pretune.pretrain("scratch:bert-tiny", data=place / "news.csv", out=base, max_steps=1, **QUICK)
    with pytest.raises(RunError, match="no labels to say") as caught:
        pretune.prune(base, out=tmp_path / "run", **QUICK)
    assert "pretune finetune" in caught.value.fix
    graph = tmp_path / "graph"
    pretune.export(parent, out=graph)
    with pytest.raises(UsageError, match="holds a graph for onnxruntime") as caught_too:
        pretune.prune(graph, out=tmp_path / "run", **QUICK)
    assert str(parent) in caught_too.value.fix
    assert not (tmp_path / "run").exists()


def test_settings_that_changed_are_refused(parent: Path, pruned: Path):
    with pytest.raises(RunError, match=r"--ratio was 0\.5"):
        pretune.prune(parent, out=pruned, rounds=2, ratio=0.25, max_steps=12, vocabulary="data", **QUICK)


def write_files(folder: Path, rows: list[dict[str, Any]], column: str, suffix: str) -> Path:
    """A folder of a folder for each class."""
    for row in rows:
        path = folder / row["label"] / f"{row['id']}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row[column]["bytes"])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mobilenet-v2", "vit-micro", "resnet-10"])
def test_pictures(preset: str, tmp_path: Path):
    data = write_files(tmp_path / "photos", tiny_pictures(48), "image", ".png")
    parent, out = tmp_path / "parent", tmp_path / "half"
    pretune.finetune(f"scratch:{preset}", data=data, out=parent, max_steps=12, **QUICK)
    pretune.prune(parent, out=out, rounds=2, max_steps=4, score_rows=16, **QUICK)
    record = open_run(out).record
    assert record["compression"]["after"]["bytes"] < 0.8 * record["compression"]["before"]["bytes"]
    assert record["pruning"]["text"] == "from_pretrained loads model/ at its full speed."
    assert len(answers(out)) > 0
    with pytest.raises(UsageError, match="--vocabulary data does nothing"):
        pretune.prune(parent, out=tmp_path / "run", vocabulary="data", **QUICK)
    if preset != "vit-micro":
        with pytest.raises(UsageError, match="--heads does nothing"):
            pretune.prune(parent, out=tmp_path / "run", heads=0.5, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["wav2vec2-tiny", "w2v-bert-tiny"])
def test_clips(preset: str, tmp_path: Path):
    data = write_files(tmp_path / "clips", tiny_clips(36), "audio", ".wav")
    parent, out = tmp_path / "parent", tmp_path / "half"
    pretune.finetune(f"scratch:{preset}", data=data, out=parent, max_steps=6, **QUICK)
    pretune.prune(parent, out=out, rounds=1, max_steps=2, score_rows=8, **QUICK)
    record = open_run(out).record
    assert record["pruning"]["after"]["heads"] * 2 == record["pruning"]["before"]["heads"]
    assert record["compression"]["after"]["parameters"] < record["compression"]["before"]["parameters"]
    assert len(answers(out)) > 0


@pytest.mark.slow
def test_transcripts(tmp_path: Path):
    """A recogniser is taught frame by frame."""
    lines = []
    for row in tiny_clips(24):
        path = tmp_path / "clips" / f"{row['id']}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row["audio"]["bytes"])
        lines.append(json.dumps({"audio_filepath": str(path), "text": row["text"]}))
    (tmp_path / "clips.jsonl").write_text("\n".join(lines) + "\n")
    parent, out = tmp_path / "parent", tmp_path / "half"
    pretune.finetune("scratch:wav2vec2-tiny", data=tmp_path / "clips.jsonl", out=parent, max_steps=6, **QUICK)
    pretune.prune(parent, out=out, rounds=2, max_steps=4, score_rows=8, **QUICK)
    compression = open_run(out).record["compression"]
    assert compression["metric"] in ("wer", "cer")
    assert compression["after"]["parameters"] < compression["before"]["parameters"]
    assert pretune.evaluate(out, split="validation", baselines=False, **QUICK).exit_code == 0
