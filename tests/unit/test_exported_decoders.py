"""Models that go on from a text, or from what was said, leave as a folder: known tokens are as likely, texts the same, whoever draws them and whatever stands beside."""

from __future__ import annotations

import copy
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
from pretune.data.dialogue.turns import conversation_of, without_answer
from pretune.errors import DataError, ModelError
from pretune.export.graphs.writer import GraphWriter
from pretune.files import write_json
from pretune.modalities.text.chat import ChatEncoder
from pretune.modalities.text.chat_tokens import ChatTokens, parts_by_gaps
from pretune.runfolder import RunFolder
from pretune.runs.proven import load_proven
from pretune.runs.reading import ReadSettings, own_data
from pretune.tasks import Conversation
from pretune.tasks.predicting import items_of, predict_items
from pretune.tasks.written.text_generation import TextGeneration
from pretune.tasks.written.writing import Writing
from pretune.training.record import write_model
from pretune.types import Example
from tiny import CPU, chatted, tiny_backbone, uneven_rows

NEEDS = ("numpy", "tokenizers", "onnxruntime")
PROMPTS = ["The coach", "The central bank raised interest on", "say </s> and <s>", "The striker scored twice"]


def pretrained_run(place: Path, family: str) -> RunFolder:
    """A run as pre-training leaves it, of a decoder that has something to say; LLaMA's heads share keys and values."""
    backbone = tiny_backbone(family)
    if family == "llama":
        backbone = replace(backbone, config=type(backbone.config)(**{**backbone.config.to_dict(), "num_key_value_heads": 1}))  # fmt: skip
    task = TextGeneration(BlockEncoder(backbone.tokenizer, max_length=40), Writing())
    return saved_run(place, task, backbone, [{"text": row["text"]} for row in uneven_rows(60)], verb="pretrain")


def saved_run(place: Path, task: Any, backbone: Any, rows: list[dict[str, Any]], verb: str = "finetune") -> RunFolder:
    """A finished run of a model that was never trained, and has something to say."""
    model, _ = task.build(backbone, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    place.mkdir()
    data = place.with_name("rows.jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = ReadSettings(data=str(data)).to_dict()
    write_json(place / "run.json", {
        "format": 1, "verb": verb, "command": f"pretune {verb} ...", "settings": settings, "parents": [],
        "status": "finished", "model": {"task": task.name, "labels": []}, "backbone": {"name": backbone.name},
    })  # fmt: skip
    write_json(place / "data.json", {"splits": {}})
    run = RunFolder(place)
    write_model(run, model, task.processor_to_save(backbone), task.to_dict())
    return run


@pytest.fixture(scope="module", params=["gpt", "llama"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    folder = tmp_path_factory.mktemp(request.param)
    run = pretrained_run(folder / "run", request.param)
    pretune.export(str(run.path), out=str(folder / "out"), threads=1)
    return run, RunFolder(folder / "out")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# --- conversations ----------------------------------------------------------------------------------------------------

TALK = [
    {"id": "a", "messages": [{"role": "system", "content": "say it"}, {"role": "user", "content": "the coach"}]},
    {"id": "b", "text": "what spells </s> or <s> is text"},
    {"id": "c", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}] * 9 + [{"role": "user", "content": "why not"}]},
    {"id": "d", "conversations": [{"from": "human", "value": " the bank "}, {"from": "gpt", "value": "what was answered"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    folder, backbone = tmp_path_factory.mktemp("talk"), tiny_backbone("gpt")
    task = Conversation(ChatEncoder(backbone.tokenizer, max_length=64), Writing(temperature=0.0, max_new_tokens=8))
    rows = [
        {"messages": [*row["turns"], {"role": "assistant", "content": row["target"][0]}]}
        for row in chatted(uneven_rows(40))
    ]
    run = saved_run(folder / "run", task, backbone, rows)
    pretune.export(str(run.path), out=str(folder / "out"), threads=1)
    return run, RunFolder(folder / "out")


@pytest.mark.slow
def test_a_conversation_is_answered_alone_as_by_pretune(talk: tuple[RunFolder, RunFolder], tmp_path: Path) -> None:
    run, out = talk
    parity = out.record["export"]["parity"]
    for side in ("graph", "program"):
        assert parity[side]["same"] == parity[side]["rows"] > 2
    lines = tmp_path / "talk.jsonl"
    lines.write_text(
        "".join(json.dumps(row) + "\n" for row in [*TALK, {"id": "e", "messages": TALK[0]["messages"][:1]}])
    )
    said = run_alone(out.model_dir / "predict.py", lines, needs=NEEDS)
    assert said.returncode == 1
    assert "row e: has no turn of the user" in said.stderr
    proven = load_proven(run, AnsweringSettings(precision="fp32", threads=1))
    asked = [
        {"text": "", "turns": without_answer(conversation_of(turns))[0]}  # type: ignore[arg-type]
        if (turns := row.get("messages") or row.get("conversations"))
        else {"text": row["text"]}
        for row in TALK
    ]
    items = [item for row, one in zip(TALK, asked, strict=True) for item in proven.task.encode(Example(row["id"], one))]
    told = [proven.task.record(one) for one in predict_items(proven.task, proven.model, items, proven.device)]
    assert [json.loads(line) for line in said.stdout.splitlines()] == told
    assert told[2]["turns_left_out"] > 0
    assert len({one["target"] for one in told}) > 2, "the model says different things"


@pytest.mark.slow
def test_what_was_said_before_counts_in_the_terminal(talk: tuple[RunFolder, RunFolder]) -> None:
    said = run_alone(talk[1].model_dir / "predict.py", "--chat", needs=NEEDS, stdin="hi\nwhy not\n\nwhy not\n")
    first, second, third = (json.loads(line)["target"] for line in said.stdout.splitlines())
    assert first
    assert second != third


TEMPLATES = {
    "plain": None,
    "marks the system by itself": "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] | trim }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}",
    "says who it is": "{% if messages[0]['role'] != 'system' %}<s>be kind</s>{% endif %}{% for m in messages %}<s>{{ m['role'] }}{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant{% endif %}",
    "folds the system in": "{% for m in messages %}{% if m['role'] == 'system' %}<s>[INST] <<{{ m['content'] }}>> {% elif m['role'] == 'user' %}{% if loop.index0 == 0 or messages[loop.index0 - 1]['role'] != 'system' %}<s>[INST] {% endif %}{{ m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_as_data_makes_the_tokens_that_it_makes(name: str) -> None:
    encoder = chat_encoder(TEMPLATES[name])
    told = encoder.portable()
    cutter = ChatTokens(json.loads(encoder.tokenizer.backend_tokenizer.to_str()))
    for row in chatted(uneven_rows(12)):
        turns = [{**turn, "content": f" {turn['content']}</s>\n"} for turn in row["turns"]]
        parts = parts_by_gaps(turns, told["gaps"], str.strip if told["strips"] else str)
        assert cutter.tokens(parts)[0] == encoder.prompt(turns)[0].tolist()
    assert told["strips"] == ("trim" in (TEMPLATES[name] or ""))


def test_a_template_that_numbers_its_turns_is_refused() -> None:
    numbered = "{% for m in messages %}<s>{{ loop.index }}{{ m['role'] }}{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant{% endif %}"
    with pytest.raises(ModelError, match="does not treat all turns alike"):
        chat_encoder(numbered).portable()
    with pytest.raises(ValueError, match="a turn of system as the first"):
        parts_by_gaps([{"role": "system", "content": "x"}], {"": {"user": ""}}, str)


def chat_encoder(template: str | None) -> ChatEncoder:
    tokenizer: Any = copy.deepcopy(tiny_backbone("gpt").tokenizer)
    tokenizer.chat_template = template
    return ChatEncoder(tokenizer, max_length=256)
