"""The task of texts that are written: its loss is plain cross entropy, what it refuses, what it says of answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import make_rows
from pretune.answers import TargetText
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.text.limits import max_length_of
from pretune.backbones.writing.generation import marks_of
from pretune.engine.batching import Stream, plan_epoch
from pretune.errors import ModelError, UsageError
from pretune.tasks.baselines.writing import Nearest, first_sentence, scored_as
from pretune.tasks.blocks.writing import writing_blocks, writing_warnings
from pretune.tasks.predicting import watched_scores
from pretune.tasks.written.losses import token_losses
from pretune.tasks.written.text_to_text import TextToText
from pretune.tasks.written.writers import refuse_reader
from pretune.types import Example
from tiny import CPU, dataset_of, tiny_backbone, tiny_encoder, tiny_writer_backbone, written


@pytest.fixture(scope="module", params=["seq2seq-tiny", "t5-tiny"])
def made(request):
    backbone = tiny_writer_backbone(request.param)
    task = TextToText(
        tiny_encoder(backbone), marks_of(backbone.config, backbone.tokenizer), most=max_length_of(backbone)
    )
    model, _ = task.build(backbone, seed=0)
    rows = written(make_rows(10, seed=2))
    items = [task.encode(Example(r["id"], {"text": r["text"]}, TargetText(tuple(r["target"]))))[0] for r in rows]
    return task, model, items, rows


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_losses_and_their_gradient_are_those_of_torch(smoothing):
    torch.manual_seed(0)
    logits, targets = torch.randn(17, 40, requires_grad=True), torch.randint(0, 40, (17,))
    weights = torch.rand(17)
    plain = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    own = token_losses(logits, targets, smoothing)
    torch.testing.assert_close(own, plain)
    (expected,) = torch.autograd.grad((plain * weights).sum(), logits)
    (found,) = torch.autograd.grad((own * weights).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_the_loss_is_cross_entropy_of_the_whole_forward_pass(made):
    task, model, items, _ = made
    batch = task.collate(items)
    logits = model.eval()(**batch.inputs).logits
    plain = functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100, reduction="sum", label_smoothing=0.1
    )
    assert float(task.loss(model, batch).total.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert float(task.hard_losses(logits, batch).sum().detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert batch.counts["loss"] == sum(len(item.target) for item in items)
    losses, counts = task.watched(model, batch)
    whole = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    assert float((losses.sum() / counts.sum()).detach()) == pytest.approx(float(whole.detach()), rel=1e-5)


def test_the_decoder_is_told_the_tokens_before_each(made):
    task, _, items, _ = made
    batch = task.collate(items[:3])
    for place, item in enumerate(items[:3]):
        told = batch.inputs["decoder_input_ids"][place].tolist()
        assert told[0] == task.marks.start
        assert told[1 : len(item.target)] == list(item.target[:-1])
        assert item.target[-1] == task.marks.end


def test_fast_arrangement_learns_the_same(made):
    task, model, items, _ = made
    batch = task.collate(items)
    before = float(task.loss(model.eval(), batch).total.detach())
    assert float(task.loss(make_fast(model).eval(), batch).total.detach()) == pytest.approx(before, rel=1e-5)
    model.train()
    assert float(task.loss(model, batch).total.detach()) == pytest.approx(before, rel=1e-4)
    model.eval()


def test_the_watched_score_is_the_mean_over_tokens_of_rows_that_count(made):
    task, model, items, rows = made
    stored = task.encode_rows(dataset_of(rows), fingerprint=f"watched-{type(model).__name__}")
    votes = np.arange(len(items)) % 2 == 0
    found = watched_scores(task, model, stored, votes, CPU, lambda _: None)
    with torch.inference_mode():
        losses, counts = task.watched(
            model, task.collate([item for item, vote in zip(items, votes, strict=True) if vote])
        )
    assert found == {"token_loss": pytest.approx(float(losses.sum() / counts.sum()), rel=1e-5)}


def test_batches_are_put_together_by_what_is_written_then_by_what_is_read(made):
    task, _, _, rows = made
    stored = task.encode_rows(dataset_of(rows), fingerprint="order")
    written_N = np.array([len(stored[i].target) for i in range(len(stored))])
    stream = Stream(stored.lengths_N, lambda *_: {}, 5, order_N=stored.order_N)
    batches = plan_epoch(stream, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(len(rows)))
    low, high = sorted(batches, key=lambda batch: written_N[batch].mean())
    assert written_N[low].max() <= written_N[high].min()


def test_a_target_longer_than_the_model_writes_is_counted():
    backbone = tiny_writer_backbone()
    task = TextToText(tiny_encoder(backbone), marks_of(backbone.config, backbone.tokenizer), most=12)
    rows = [*written(make_rows(3)), {"id": "long", "text": "a", "target": ["a long text of many words " * 4]}]
    ledger = task.encode_rows(dataset_of(rows), fingerprint="long").ledger
    assert ledger["truncated_targets"] >= 1
    assert "longer than the model can write" in ledger["notes"][0]
    assert "long" in ledger["notes"][0]


def test_a_model_that_writes_nothing_is_refused():
    with pytest.raises(ModelError, match="reads texts and writes none"):
        refuse_reader(tiny_backbone())


def test_a_folder_without_its_input_embeddings_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    backbone = tiny_writer_backbone("t5-tiny")
    model, _ = backbone.build("AutoModelForSeq2SeqLM", seed=0)
    save_model(model, backbone.tokenizer, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    kept = {
        name: value for name, value in tensors.items() if not name.endswith(("shared.weight", "embed_tokens.weight"))
    }
    save_file({**kept, "lm_head.weight": tensors["shared.weight"].clone()}, path, metadata={"format": "pt"})
    (tmp_path / "sums.json").unlink(missing_ok=True)
    found = load_backbone(str(tmp_path))
    task = TextToText(tiny_encoder(found), marks_of(found.config, found.tokenizer), most=64)
    with pytest.raises(ModelError, match="no embeddings of input tokens"):
        task.build(found, seed=0)


def test_windows_are_refused():
    from pretune.data.splits import Splits
    from pretune.training.settings import FinetuneSettings

    settings = FinetuneSettings(backbone="scratch:seq2seq-tiny", data="x", long_text="windows")
    with pytest.raises(UsageError, match="written once"):
        TextToText.start(Splits({"train": dataset_of(written(make_rows(4)))}), tiny_writer_backbone(), settings)


def test_summaries_are_told_from_translations():
    long = [
        f"The {n} dogs ran over the street. They were tired of all that noise and went home to sleep."
        for n in range(30)
    ]
    summaries = [{"id": str(n), "text": text, "target": [f"The {n} dogs went home"]} for n, text in enumerate(long)]
    other = [
        {"id": str(n), "text": text, "target": [f"Die {n} Hunde liefen über die Straße und waren müde."]}
        for n, text in enumerate(long)
    ]
    assert scored_as(dataset_of(summaries)) == "summarization"
    assert scored_as(dataset_of(other)) == "translation"


def test_simple_methods():
    assert first_sentence("It is 3.5 m long. Then more.") == "It is 3.5 m long."
    assert first_sentence("我是学生。你好。") == "我是学生。"
    train = dataset_of(
        [{"id": "1", "text": "a red dog", "target": ["rot"]}, {"id": "2", "text": "a blue cat", "target": ["blau"]}]
    )
    assert Nearest(train).targets_of(["the blue cat sleeps", "red dog"]) == ["blau", "rot"]


def test_answers_that_are_wrong_in_themselves_are_counted():
    rows = [{"id": str(n), "text": f"source {n}"} for n in range(12)]
    truth = "ein guter Satz"
    said = ["source 0", "", "это другой язык", "so so so so so so so so so so", *["ein guter Satz"] * 8]
    records = [{"id": str(n), "target": text, "truth": truth} for n, text in enumerate(said)]
    records[4]["cut_off"] = True
    task = TextToText.metric_type.of({})
    table = writing_blocks(records, rows, task, "translation")[0]
    assert [row[1] for row in table["rows"]] == [1, 1, 1, 1, 1]
    assert writing_warnings(records) == []
    assert (
        "cut off"
        in writing_warnings([{**record, "cut_off": True, "target": f"x{n}"} for n, record in enumerate(records)])[0]
    )
    assert (
        "does not read yet" in writing_warnings([{"id": str(n), "target": "x", "truth": f"t{n}"} for n in range(12)])[0]
    )
