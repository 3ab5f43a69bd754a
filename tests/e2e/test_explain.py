"""``pretune explain`` on runs of every kind: page, stills, figures for machines, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused
from PIL import Image

from conftest import make_rows, write_csv
from pretune.files import read_json, read_json_lines, write_json
from tiny import tiny_clips, tiny_pictures
from unsealed import unsealed

pytestmark = pytest.mark.slow

TEXT = "The striker <script>scored</script> a late penalty on Monday."


def media(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    """A folder of classes with a file a row."""
    for row in rows:
        cell = row["image" if kind == "image" else "audio"]
        place = folder / row["label"] / cell["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(cell["bytes"])
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``news`` (texts), ``pairs`` (pairs of texts), ``base`` (pre-trained), ``vit``, ``net`` and ``tones``."""
    folder = tmp_path_factory.mktemp("explain")
    rows = make_rows(90)
    write_csv(folder / "news.csv", rows)
    pairs = [{**row, "text_pair": other["text"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    write_csv(folder / "pairs.csv", pairs)
    (folder / "corpus.txt").write_text("\n".join(row["text"] for row in make_rows(300, seed=1)) + "\n")
    few = ("--max-steps", 3, "--seed", 1)
    done("finetune", *TINY, "--data", folder / "news.csv", *few, "--out", folder / "news")
    done("finetune", *TINY, "--data", folder / "pairs.csv", *few, "--out", folder / "pairs")
    done("pretrain", *TINY, "--data", folder / "corpus.txt", *few, "--out", folder / "base")
    media(folder / "pictures", "image", tiny_pictures(45))
    media(folder / "clips", "audio", tiny_clips(45))
    for preset, data, name in (("vit-micro", "pictures", "vit"), ("resnet-18", "pictures", "net"), ("wav2vec2-tiny", "clips", "tones")):  # fmt: skip
        size = ("--image-size", 32) if data == "pictures" else ()
        done("finetune", f"scratch:{preset}", *QUICK, "--data", folder / data, *size, "--max-steps", 2, "--batch-size", 8, "--out", folder / name)  # fmt: skip
    return folder


def facts_of(*words: object) -> dict[str, Any]:
    return done("explain", *words, "--threads", 1, "--json").facts


def test_a_text_is_explained(runs: Path, tmp_path: Path):
    found = facts_of(
        runs / "news", TEXT, "--out", tmp_path / "a.html", "--svg", tmp_path / "a.svg", "--png", tmp_path / "a.png"
    )
    attribution, attention = found["attribution"], found["attention"]
    assert attribution["pieces"][:2] == ["The", "striker"]
    assert len(attribution["scores"]) == len(attribution["pieces"])
    assert attribution["completeness"]["error"] <= 0.01
    assert attribution["faithfulness"]["orders"] == 20
    assert attention["tokens"][0] == "[CLS]"
    assert (attention["layers"], attention["heads"]) == (2, [2, 2])
    assert [(one["layer"], one["head"]) for one in attention["strongest"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert attention["difference"] < 1e-4
    assert found["out"] == str(tmp_path / "a.html")
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>scored" not in html
    assert "Attention rollout up to layer 2" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert Image.open(tmp_path / "a.png").size[0] > 300
    # The answer is that of pretune predict.
    told = json.loads(call("predict", runs / "news", "-", *QUICK, stdin=TEXT + "\n").out)
    assert told["label"] == attribution["answer"]
    assert told["probabilities"][told["label"]] == pytest.approx(attribution["probability"], abs=1e-4)


def test_said_to_a_person(runs: Path):
    said = done("explain", runs / "news", TEXT, "--orders", 0, "--layer", 1, "--head", 2)
    assert "explained by integrated gradients" in said.out
    assert "largest scores:" in said.out
    assert "written: " in said.out
    html = (runs / "news" / "attention.html").read_text(encoding="utf-8")
    assert '"start": {"layer": 0, "head": 1}' in html
    assert "Deletion test" not in html


def test_a_row_of_the_runs_data(runs: Path, tmp_path: Path):
    row = next(row for row in make_rows(90) if _split_of(runs / "news", row["id"]) == "test")
    before = (
        len(list(read_json_lines(runs / "news" / "looks.jsonl"))) if (runs / "news" / "looks.jsonl").exists() else 0
    )
    found = facts_of(runs / "news", "--row", row["id"], "--split", "test", "--out", tmp_path / "a.html", "--orders", 0)
    assert " ".join(found["attribution"]["pieces"]).startswith(" ".join(row["text"].split()[:2]))
    assert f"labelled {row['label']}" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(list(read_json_lines(runs / "news" / "looks.jsonl"))) == before + 1
    refused(call("explain", runs / "news", "--row", "nobody"), "no validation row has the id nobody")


def _split_of(run: Path, row_id: str) -> str:
    from pretune.runfolder import open_run
    from pretune.runs.reading import own_data

    data = own_data(open_run(run))
    return next((name for name in data if row_id in list(data[name]["id"])), "")


def test_a_pair_of_texts(runs: Path, tmp_path: Path):
    found = facts_of(
        runs / "pairs", "The coach won.", "--text-pair", "The lender lost.", "--out", tmp_path / "a.html", "--orders", 2
    )
    assert {span[0] for span in found["attribution"]["spans"]} == {0, 1}
    refused(call("explain", runs / "pairs", "The coach won."), "learned from pairs")


def test_a_pretrained_run_shows_its_attention(runs: Path, tmp_path: Path):
    found = facts_of(runs / "base", TEXT, "--out", tmp_path / "a.html")
    assert "attribution" not in found
    assert found["attention"]["layers"] == 2
    refused(call("explain", runs / "base", TEXT, "--label", "sport"), "--label does not fit")
    refused(call("explain", runs / "base", TEXT, "--orders", 5), "--orders does not fit")


@pytest.mark.parametrize(
    ("name", "method"), [("vit", "integrated gradients"), ("net", "Grad-CAM"), ("tones", "integrated gradients")]
)
def test_pictures_and_clips(runs: Path, tmp_path: Path, name: str, method: str):
    folder = runs / ("clips" if name == "tones" else "pictures")
    file = sorted(folder.glob("*/*.*"))[0]
    stills = () if name == "net" else ("--png", tmp_path / "a.png")
    found = facts_of(runs / name, file, "--out", tmp_path / "a.html", "--orders", 2, *stills)
    assert found["attribution"]["method"] == method
    assert ("attention" in found) == (name != "net")
    if name == "net":
        assert "no attention between all positions" in found["notes"][0]
        refused(call("explain", runs / name, file, "--layer", 1), "none to show")
    else:
        assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5


def test_a_transcript_is_explained(runs: Path, tmp_path: Path):
    lines = [
        {"id": row["id"], "audio_filepath": f"{row['label']}/{row['audio']['path']}", "text": row["text"]}
        for row in tiny_clips(45)
    ]
    manifest = runs / "clips" / "spoken.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("finetune", "scratch:wav2vec2-tiny", *QUICK, "--data", manifest, "--max-steps", 2, "--batch-size", 8)
    done(*words, "--out", tmp_path / "silent")
    done(*words, "--out", tmp_path / "run", "--learning-rate", 1e-9)
    file = sorted((runs / "clips").glob("*/*.wav"))[0]
    silent = facts_of(tmp_path / "silent", file)
    assert "attribution" not in silent
    assert any("writes nothing for this clip" in note for note in silent["notes"])
    answer = done("predict", tmp_path / "run", file, "--threads", 1).rows[0]["text"]
    assert answer, "an untrained model writes something"
    found = facts_of(tmp_path / "run", file, "--orders", 2)
    assert (found["attribution"]["answer"], found["attribution"]["explained"]) == (answer, answer)
    assert found["attribution"]["completeness"]["error"] <= 0.01
    assert any("geometric mean" in note for note in found["notes"])
    page = (tmp_path / "run" / "attention.html").read_text(encoding="utf-8")
    assert "share the log-likelihood of the transcript among the parts" in page
    row = facts_of(tmp_path / "run", "--row", lines[0]["id"], "--split", "train", "--orders", 0)
    assert row["attribution"]["faithfulness"] is None
    assert f"The row is labelled {lines[0]['text']}." in (tmp_path / "run" / "attention.html").read_text()
    refused(call("explain", tmp_path / "run", file, "--label", "seven"), "--label does not fit")


def test_a_graph_is_explained_by_what_it_was_made_from(runs: Path, tmp_path: Path):
    graph = unsealed(shutil.copytree(runs / "news", tmp_path / "graph"))
    write_json(graph / "run.json", {**read_json(graph / "run.json"), "parents": [str(runs / "news")]})
    about = read_json(graph / "model" / "pretune.json")
    write_json(graph / "model" / "pretune.json", {**about, "engine": "onnxruntime"})
    (graph / "model" / "model.safetensors").unlink()
    found = facts_of(graph, TEXT, "--orders", 0)
    assert "explained is news" in found["notes"][0]
    assert (graph / "attention.html").exists()
    write_json(graph / "run.json", {**read_json(graph / "run.json"), "parents": ["runs/elsewhere"]})
    refused(call("explain", graph, TEXT), "is not found")


def test_a_long_text_is_explained_as_cut(runs: Path, tmp_path: Path):
    found = facts_of(runs / "news", TEXT * 80, "--out", tmp_path / "a.html", "--orders", 0)
    assert "longer than the model takes" in found["notes"][0]
    assert len(found["notes"]) == len(set(found["notes"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to explain was given"),
        (("",), "the text is empty"),
        (("a", "--row", "1"), "an example and --row were given"),
        (("a", "--layer", "9"), "layers 1 to 2"),
        (("a", "--layer", "1", "--head", "5"), "heads 1 to 2"),
        (("a", "--view", "lines"), "--view is for stills"),
        (("a", "--svg", "x.svg", "--view", "picture"), "does not fit a text"),
        (("a", "--split", "test"), "--split is for --row"),
        (("a", "--label", "nonsense"), "not among those trained on"),
        (("a", "--out", "."), "is a folder"),
        (("a", "--out", "/proc/none/a.html"), "cannot be written"),
    ],
)  # fmt: skip
def test_mistakes_are_told(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
):
    monkeypatch.chdir(tmp_path)
    refused(call("explain", runs / "news", *words), re.escape(said))
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(runs: Path, tmp_path: Path):
    refused(call("explain", runs / "vit", tmp_path / "none.png"), "is no file")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but no picture")
    refused(call("explain", runs / "vit", tmp_path / "broken.png"), "broken.png")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    refused(call("explain", runs / "tones", tmp_path / "broken.wav"), "broken.wav")
    refused(call("explain", tmp_path, TEXT), "is not a run folder")
