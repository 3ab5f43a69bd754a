"""Models that go on from a text leave as a folder: known tokens are as likely, texts the same, whoever draws them and whatever stands beside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pretune
from export_cases import run_alone
from pretune.backbones.blocks import BlockEncoder
from pretune.config import AnsweringSettings
from pretune.errors import DataError
from pretune.export.graph_writer import GraphWriter
from pretune.files import write_json
from pretune.runfolder import RunFolder
from pretune.tasks.predicting import items_of, predict_items
from pretune.tasks.text_generation import TextGeneration
from pretune.tasks.writing import Writing
from pretune.types import Example
from pretune.verbs.proven import load_proven
from pretune.verbs.reading import ReadSettings, own_data
from pretune.verbs.record import write_model
from tiny import CPU, tiny_backbone, uneven_rows

pytestmark = pytest.mark.slow
NEEDS = ("numpy", "tokenizers", "onnxruntime")
PROMPTS = ["The coach", "The central bank raised interest on", "say </s> and <s>", "The striker scored twice"]


def pretrained_run(place: Path, family: str) -> RunFolder:
    """A run as pre-training leaves it, of a decoder that has something to say; LLaMA's heads share keys and values."""
    backbone = tiny_backbone(family)
    if family == "llama":
        backbone = replace(backbone, config=type(backbone.config)(**{**backbone.config.to_dict(), "num_key_value_heads": 1}))  # fmt: skip
    task = TextGeneration(BlockEncoder(backbone.tokenizer, max_length=40), Writing())
    model, _ = task.build(backbone, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    place.mkdir()
    rows = "".join(json.dumps({"text": row["text"]}) + "\n" for row in uneven_rows(60))
    data = place.with_name("rows.jsonl")
    data.write_text(rows, encoding="utf-8")
    write_json(place / "run.json", {
        "format": 1, "verb": "pretrain", "command": "pretune pretrain ...", "settings": ReadSettings(data=str(data)).to_dict(), "parents": [],
        "status": "finished", "model": {"task": task.name, "labels": []}, "backbone": {"name": backbone.name},
    })  # fmt: skip
    write_json(place / "data.json", {"splits": {"unlabelled": {"rows": 60}}})
    run = RunFolder(place)
    write_model(run, model, backbone.tokenizer, task.to_dict())
    return run


@pytest.fixture(scope="module", params=["gpt", "llama"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    folder = tmp_path_factory.mktemp(request.param)
    run = pretrained_run(folder / "run", request.param)
    pretune.export(str(run.path), out=str(folder / "out"), threads=1)
    return run, RunFolder(folder / "out")


def test_rows_held_out_prove_the_graph_and_its_program(both: tuple[RunFolder, RunFolder]) -> None:
    run, out = both
    parity = out.record["export"]["parity"]
    count = len(own_data(run)["validation"])
    assert 1 < count < 60
    for side in ("graph", "program"):
        assert parity[side]["rows"] == parity[side]["same"] == count
    assert 0 < parity["graph"]["largest"] < 1e-4
    assert {one["name"] for one in out.record["export"]["signature"]["inputs"]} > {
        "input_ids",
        "attention_mask",
        "past_key_0",
    }


def test_a_graph_finds_known_texts_as_likely(both: tuple[RunFolder, RunFolder]) -> None:
    sides = [load_proven(one, AnsweringSettings(precision="fp32", threads=1)) for one in both]
    assert isinstance(sides[1].model, GraphWriter)
    items = [sides[0].task.encode_rows(own_data(both[0])["validation"], fingerprint=f"likely {both[0].path}")]
    known = [items[0][place] for place in range(len(items[0]))]
    before, after = (predict_items(one.task, one.model, known, CPU) for one in sides)
    sides[1].model.alone = True
    alone = predict_items(sides[1].task, sides[1].model, known, CPU)
    for one, other, third in zip(before, after, alone, strict=True):
        assert other.detail == pytest.approx(one.detail, rel=1e-4)
        assert third.detail == pytest.approx(one.detail, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ((), {}),
        (("--temperature", "0", "--stop", "e"), {"temperature": 0.0, "stop": ("e",)}),
        (("--temperature", "1.5", "--top-k", "20", "--top-p", "0.7", "--sampling-seed", "3"), {"temperature": 1.5, "top_k": 20, "top_p": 0.7, "sampling_seed": 3}),
        (("--max-new-tokens", "3"), {"max_new_tokens": 3}),
    ],
)  # fmt: skip
def test_its_program_draws_the_same_texts_alone(
    both: tuple[RunFolder, RunFolder], flags: tuple[str, ...], asked: dict[str, Any]
) -> None:
    run, out = both
    proven = load_proven(run, AnsweringSettings(precision="fp32", threads=1))
    task = TextGeneration(proven.task.encoder, Writing(**asked))  # type: ignore[attr-defined]
    items = [
        item for number, text in enumerate(PROMPTS, 1) for item in task.encode(Example(str(number), {"text": text}))
    ]
    told = [task.record(one) for one in predict_items(task, proven.model, items, proven.device)]
    said = run_alone(out.model_dir / "predict.py", *PROMPTS, *flags, needs=NEEDS)
    assert said.returncode == 0, said.stderr
    assert [json.loads(line) for line in said.stdout.splitlines()] == told
    assert len({one["text"] for one in told}) > 1


def test_a_prompt_that_fills_the_context_is_refused_by_its_row(both: tuple[RunFolder, RunFolder]) -> None:
    run, out = both
    long = "The coach said " * 30
    said = run_alone(out.model_dir / "predict.py", long, PROMPTS[0], needs=NEEDS)
    assert said.returncode == 1
    assert "row 1: the prompt has" in said.stderr
    assert json.loads(said.stdout)["id"] == "2"
    task: Any = load_proven(run, AnsweringSettings(precision="fp32", threads=1)).task
    with pytest.raises(DataError, match="context holds 40"):
        task.encode(Example("1", {"text": long}))
    refused = run_alone(out.model_dir / "predict.py", "x", "--top-p", "0", needs=NEEDS)
    assert refused.returncode == 2
    assert "is less than" in refused.stderr


def test_models_are_held_against_each_other_by_the_beginnings_of_texts() -> None:
    task = TextGeneration(BlockEncoder(tiny_backbone("gpt").tokenizer, max_length=128))
    rows = [{"text": "one two  three four five"}, {"text": "word"}, {"text": "字" * 500}, {"text": " "}]
    asked = [task.asked(Example("a", row)).inputs["text"] for row in rows]
    assert asked == ["one two  three", "word", "字" * 16, " "]
    assert all(item.target is None for item in items_of(task, rows))
