"""Conversations answered: in any batch alike, as transformers answers, as they are written, in the terminal and over HTTP."""

from __future__ import annotations

import functools
import json
import threading
from typing import Any

import pytest
import torch

from pretune.data.reading import Reading
from pretune.errors import UsageError
from pretune.interface.outcome import Silent
from pretune.modalities import Modality
from pretune.modalities.text.chat import ChatEncoder
from pretune.runs.proven import Proven
from pretune.serve.app import Served
from pretune.serve.intake import Takes
from pretune.tasks import Conversation
from pretune.tasks.predicting import predict_items
from pretune.tasks.written.writing import Writing
from pretune.types import Example
from pretune.verbs.predict.chatting import hold_conversation
from serving import asked, served_as
from tiny import CPU, tiny_backbone

QUESTIONS = ("hi", "the coach said that the bank raised its rate", "why not", "a b c d e f g h", "你好")


@functools.cache
def made(family: str = "gpt", most: int = 128) -> tuple[Conversation, torch.nn.Module, Any]:
    backbone = tiny_backbone(family)
    task = Conversation(ChatEncoder(backbone.tokenizer, max_length=most), Writing(temperature=0.0, max_new_tokens=10))
    model, _ = task.build(backbone, seed=4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.ndim > 1 else 1.0)
    return task, model.eval(), backbone


def items_of(task: Conversation) -> list[Any]:
    return [item for text in QUESTIONS for item in task.encode(Example(text, {"text": text}))]


@pytest.mark.parametrize("family", ["gpt", "llama"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_answer_does_not_depend_on_its_batch(family: str, temperature: float) -> None:
    task, model, _ = made(family)
    task = Conversation(task.encoder, Writing(temperature=temperature, max_new_tokens=10))
    together = predict_items(task, model, items_of(task), CPU)
    alone = [predict_items(task, model, [item], CPU)[0] for item in items_of(task)]
    assert [one.answer for one in together] == [one.answer for one in alone]
    assert (family, temperature) == ("llama", 0.0) or len({one.answer for one in together}) > 2, (
        "the model says different things"
    )


def test_plain_transformers_answers_alike(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    task, model, backbone = made()
    model.save_pretrained(tmp_path)
    task.processor_to_save(backbone).save_pretrained(tmp_path)
    tokenizer, theirs = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    turns = [{"role": "user", "content": QUESTIONS[1]}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    marks = [i for i in tokenizer.all_special_ids if i not in task.encoder.end]
    said = theirs.generate(ids, max_new_tokens=10, do_sample=False, suppress_tokens=marks)[0, ids.shape[1] :]
    (ours,) = predict_items(task, model, task.encode(Example("a", {"text": QUESTIONS[1]})), CPU)
    assert tokenizer.decode(said, skip_special_tokens=True).strip() == ours.answer


def test_written_is_what_predict_gives_and_stops_when_told() -> None:
    task, model, _ = made()
    (item,) = task.encode(Example("a", {"text": QUESTIONS[1]}))
    (whole,) = predict_items(task, model, [item], CPU)
    texts: list[str] = []
    written = task.written(model, item, torch.device("cpu"), lambda text: texts.append(text) is None)
    assert written == whole
    assert len(texts) == whole.detail["new_tokens"] > 3
    assert texts[-1].strip() == whole.answer
    told: list[str] = []
    task.written(model, item, torch.device("cpu"), lambda text: told.append(text) is not None)
    assert len(told) == 1, "nobody wanted more"


def test_turns_that_do_not_fit_are_told() -> None:
    task, model, _ = made(most=64)
    exchange = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    example = Example("a", {"text": "x", "turns": [*exchange * 8, exchange[0]]})
    (found,) = predict_items(task, model, task.encode(example), CPU)
    assert task.record(found)["turns_left_out"] > 0


def proven(most: int = 128) -> Proven:
    task, model, _ = made("gpt", most)
    return Proven(task, model, CPU)


def test_a_conversation_in_the_terminal_remembers_and_begins_anew() -> None:
    say = Silent()
    outcome = hold_conversation(["hi\n", "why not\n", "\n", "why not\n", "hi\n"], proven(), Reading(), say)
    _, second, third, _ = say.notes
    assert outcome.facts == {"turns": 4, "answers": 4}
    assert second != third, "what was said before counts"
    other = served_as("text")
    with pytest.raises(UsageError, match="answers each row by itself"):
        hold_conversation(["hi"], Proven(other.task, other.model, CPU), Reading(), say)


def served(wait: threading.Event | None = None, started: threading.Event | None = None) -> Served:
    task, model, _ = made()

    def stream(row: Any, told: Any) -> Any:
        from pretune.tasks.predicting import example_of

        (item,) = task.encode(example_of(row, "a"))

        def heard(text: str) -> bool:
            if started is not None:
                started.set()
            if wait is not None:
                wait.wait(20)
            return told(text)

        return {**task.record(task.written(model, item, torch.device("cpu"), heard)), "id": row["id"]}

    return Served("tiny", task, model, CPU, Takes(Modality.TEXT, False, turns=True), stream=stream)


TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "why not"}]  # fmt: skip


def test_the_service_streams_what_it_would_answer() -> None:
    with asked(served()) as (client, _):
        whole = client.post("/predict", json={"rows": [{"messages": TALK}]}).json()["rows"][0]
        said = client.post("/stream", json={"messages": TALK})
        lines = [json.loads(line) for line in said.text.splitlines()]
        text = client.post("/predict", json={"rows": [{"text": "why not"}]}).json()["rows"][0]
        page, about = client.get("/").text, client.get("/openapi.json").json()
    assert lines[-1]["row"] == whole
    assert all(whole["target"].startswith(line["text"].strip()) for line in lines[:-1])
    assert text["target"] != whole["target"], "the turns before count"
    assert 'id="talk"' in page
    assert "/stream" in about["paths"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": TALK[:2]}, "end in an answer"),
        ({"messages": TALK, "text": "hi"}, "beside"),
        ({"messages": [TALK[0], TALK[0]]}, "two turns of user"),
        ({"messages": []}, "no turn of the user"),
        ({"messages": "hi"}, "list of turns"),
        ({"messages": [{"role": "root", "content": "x"}]}, "role 'root'"),
        ({"turns": TALK}, 'field "turns"'),
    ],
)
def test_messages_that_are_no_question_are_refused(row: Any, says: str) -> None:
    with asked(served()) as (client, _):
        for address, body in (("/predict", {"rows": [row]}), ("/stream", row)):
            said = client.post(address, json=body)
            assert said.status_code == 422
            assert says in said.json()["error"]


def test_who_leaves_ends_the_writing() -> None:
    import asyncio

    from pretune.serve.streaming import Streaming
    from pretune.serve.worker import Worker

    task, model, _ = made()
    started, wait, steps = threading.Event(), threading.Event(), []
    stream = served(wait, started).stream
    assert stream is not None
    worker = Worker(task, model, CPU, most_jobs=4)

    async def leave() -> None:
        def counted(row: Any, told: Any) -> Any:
            return stream(row, lambda text: (steps.append(text), told(text))[1])

        streaming = Streaming([{"id": "1", "text": "why not"}], counted, 20.0, lambda: 0.0)
        worker.submit(streaming.job)
        lines = streaming.lines()
        reader = asyncio.ensure_future(anext(lines))
        await asyncio.to_thread(started.wait, 20)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await lines.aclose()
        assert streaming.job.future.cancelled()

    asyncio.run(leave())
    wait.set()
    worker.close()
    assert len(steps) == 1, "the next token was the last"
