"""``--rewrite``: some words chosen anew by a masked model; what stays, what is counted, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import make_rows
from pretune.errors import PretuneError
from pretune.interface.outcome import Silent
from pretune.modalities.text.encoder import TextEncoder
from pretune.modalities.text.rewriter import Rewriter
from pretune.training import rewriting
from pretune.verbs.finetune.story import FinetuneSettings, finetune, read_labelled
from pretune.verbs.pretrain.story import PretrainSettings, pretrain
from tiny import tiny_backbone


class Says(nn.Module):
    """A masked language model that is sure of one token everywhere."""

    def __init__(self, token: int, vocabulary: int) -> None:
        super().__init__()
        self.token, self.vocabulary = token, vocabulary
        self.seen: list[torch.Tensor] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        self.seen.append(input_ids)
        logits = torch.full((*input_ids.shape, self.vocabulary), -10.0)
        logits[..., self.token] = 0.0
        return type("Told", (), {"logits": logits})()


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(tiny_backbone().tokenizer, max_length=32)


def rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, number]) for number in range(count)]


def test_some_words_are_the_models_and_all_else_stays(encoder: TextEncoder) -> None:
    token = encoder.tokenizer.convert_tokens_to_ids("a")
    model = Says(token, len(encoder.tokenizer))
    texts = ["The quick  brown fox, (jumps) over it!", "One", "...", ""]
    found = Rewriter(model, encoder)(texts, rngs(4), lambda _rows: None)
    words, before = re.findall(r"\w+", found[0]), re.findall(r"\w+", texts[0])
    assert len(words) == len(before)
    assert sum(one != other for one, other in zip(words, before, strict=True)) == 1, "0.15 of seven words"
    assert re.sub(r"\w+", "", found[0]) == re.sub(r"\w+", "", texts[0]), "spaces and signs stay"
    assert re.fullmatch(r"a\w*", found[1]), "a word stays one, in as many pieces"
    assert found[2:] == ["...", ""]
    hidden = sum(int((ids == encoder.tokenizer.mask_token_id).any()) for batch in model.seen for ids in batch)
    assert hidden == 2, "what has no word is asked about without a mask"


def test_a_version_hangs_on_its_own_generator_alone(encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    model = tiny_backbone().build("AutoModelForMaskedLM", seed=0)[0]
    texts = [row["text"] for row in make_rows(40)]
    together = Rewriter(model, encoder)(texts, rngs(40), lambda _rows: None)
    alone = [
        Rewriter(model, encoder)([text], [rng], lambda _rows: None)[0]
        for text, rng in zip(texts[:5], rngs(40), strict=False)
    ]
    assert together[:5] == alone
    assert together != Rewriter(model, encoder)(texts, rngs(40, seed=1), lambda _rows: None)


def settings(place: Path, **changed: Any) -> FinetuneSettings:
    return FinetuneSettings(
        **{
            "backbone": "scratch:bert-tiny", "data": str(place), "vocab_size": 300, "max_steps": 2, "threads": 1,
            "precision": "fp32", "rewrite": "some/model", "rewrites": 2, **changed,
        }
    )  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    place = tmp_path / "news.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in make_rows(90)), encoding="utf-8")
    return place


def test_only_new_versions_that_change_no_mind_are_learned_from(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read_labelled(settings(rows, rewrite=None, rewrites=1), Silent())
    held, train = plain["validation"]["text"][0], plain["train"]

    def versions(texts: Any, *_: Any) -> list[str]:
        made = [text for text in texts for _ in range(2)]
        other = next(place for place, row in enumerate(train) if row["label"] != train[0]["label"])
        made[0], made[1] = texts[0].upper(), held  # no new text; one that validation holds
        made[2], made[3] = texts[1] + " indeed", texts[1] + " Indeed"  # one new text, twice
        made[4] = texts[other] + " " + texts[other] + " again"  # another row's words for this one
        return made

    monkeypatch.setattr(rewriting, "_versions", versions)
    found = read_labelled(settings(rows), Silent())
    told = found.facts["rewritten"]
    assert told["made"] == 2 * len(train)
    assert told["held_out"] == 1
    assert told["made"] == told["kept"] + told["unchanged"] + told["held_out"] + told["changed_mind"]
    added = found["train"].select(range(len(train), len(found["train"])))
    assert told["kept"] == len(added)
    by_id = {row["id"]: row for row in train}
    for row in added:
        assert row["label"] == by_id[row["id"].partition(" rewritten")[0]]["label"]
    assert f"{train[1]['text']} indeed" in added["text"]
    assert held not in added["text"]
    assert found["validation"]["text"] == plain["validation"]["text"]


def test_a_run_learns_from_versions_and_says_so(rows: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    words: dict[str, Any] = {
        "backbone": "scratch:bert-tiny",
        "vocab_size": 300,
        "max_steps": 2,
        "threads": 1,
        "precision": "fp32",
    }
    pretrain.run(PretrainSettings(**words, data=str(rows), out=str(base)), say=Silent())
    done = finetune.run(settings(rows, rewrite=str(base), out=str(tmp_path / "run")), say=Silent())
    assert done.facts["status"] == "finished"
    passport = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    told = passport["facts"]["rewritten"]
    assert told["kept"] > 0
    assert passport["splits"]["train"]["rows"] == 72 + told["kept"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rewrite": "scratch:bert-tiny"}, "learned nothing yet"),
        ({"rewrite": None}, "--rewrites does nothing"),
        ({"folds": 3}, "--folds"),
        ({"dp_epsilon": 8.0}, "--dp-epsilon"),
    ],
)
def test_what_is_refused(rows: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(PretuneError, match=says):
        read_labelled(settings(rows, **changed), Silent())
