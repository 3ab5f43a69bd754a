"""Picking the right answer among others': who is asked about what, that ties are no hits, and that a model is asked by its last answer's tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from pretune.metrics.texts.conversation import ConversationMetric
from pretune.modalities.text.chat import ChatEncoder
from pretune.tasks import Conversation
from pretune.tasks.rows.chats import turns_of
from pretune.tasks.written.picking import CANDIDATES, candidates_of, is_picked, picked_rows
from pretune.tasks.written.writing import Writing
from tiny import dataset_of, tiny_backbone

IDS = [f"row {number}" for number in range(60)]
ANSWERS = [f"answer {number % 30}" for number in range(60)]


def test_candidates_are_a_function_of_the_row_and_the_answers() -> None:
    found = candidates_of(IDS, ANSWERS)
    assert len(found) == 60
    for row, texts in found.items():
        assert texts[0] == ANSWERS[row]
        assert len(set(texts)) == CANDIDATES
    again = candidates_of([*reversed(IDS)], [*reversed(ANSWERS)])
    assert again[0] == found[59]
    assert found[0][1:] != found[30][1:], "rows of one answer are asked about others"
    assert candidates_of(IDS, ["yes", "no"] * 30) == {}


def test_at_most_500_rows_are_asked() -> None:
    ids, answers = [str(number) for number in range(900)], [f"{number}" for number in range(900)]
    asked = candidates_of(ids, answers)
    assert len(asked) == 500
    assert 200 < sum(row < 450 for row in asked) < 300


def test_what_scores_alike_is_not_told_apart() -> None:
    assert is_picked([0.2, 0.1, 0.1])
    assert not is_picked([0.2, 0.2, 0.1])
    assert not is_picked([float("nan"), 0.2])
    right = picked_rows(IDS, ANSWERS, lambda row, texts: [float(text == ANSWERS[row]) for text in texts])
    wrong = picked_rows(IDS, ANSWERS, lambda row, texts: [float(text != ANSWERS[row]) for text in texts])
    assert all(right.values())
    assert not any(wrong.values())


def test_the_score_counts_rows_that_were_asked() -> None:
    records: list[dict[str, Any]] = [{"id": "a", "picked": True}, {"id": "b", "picked": False}, {"id": "c"}]
    assert float(ConversationMetric().measure(records).scores()["hits_at_1"]) == pytest.approx(0.5)


def test_a_model_is_asked_by_the_tokens_of_the_last_answer_alone() -> None:
    backbone = tiny_backbone("gpt")
    task = Conversation(ChatEncoder(backbone.tokenizer, max_length=128), Writing(temperature=0.0))
    model, _ = task.build(backbone, seed=4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.ndim > 1 else 1.0)
    model.eval()
    turns = [
        {"role": "user", "content": "the coach"}, {"role": "assistant", "content": "raised"}, {"role": "user", "content": "the rate"},
    ]  # fmt: skip
    rows = dataset_of(
        {"id": f"{number}", "text": "the rate", "turns": turns, "target": [f"the bank {number}"]}
        for number in range(24)
    )
    records = [{"id": row} for row in rows["id"]]
    picked = [record["picked"] for record in task.with_picks(model, records, rows)]

    def by_hand(text: str) -> float:
        ids, start = (
            task.encoder.fitted(turns_of({"turns": turns, "text": ""}, text))[0].input_ids,
            len(task.encoder.prompt(turns)[0]),
        )
        whole = torch.from_numpy(ids.astype("int64"))[None]
        with torch.no_grad():
            told = torch.log_softmax(model(whole).logits[0].double(), dim=-1)
        end = start + int(
            (task.encoder.fitted(turns_of({"turns": turns, "text": ""}, text))[0].learned_T[start:] > 0).sum()
        )
        return float(torch.stack([told[at - 1, int(ids[at])] for at in range(start, end)]).mean())

    answers = [texts[0] for texts in rows["target"]]
    assert picked == [*picked_rows(rows["id"], answers, lambda _, texts: list(map(by_hand, texts))).values()]
    assert 0 <= sum(picked) <= 2, "questions are all alike: one answer can be the likeliest"
    item = task._ending("x", turns_of({"turns": turns, "text": ""}, "the bank"))
    assert dataclasses.replace(item).arrays["learned"].sum() > 0
    assert int((item.arrays["learned"] > 0).argmax()) == len(task.encoder.prompt(turns)[0])
