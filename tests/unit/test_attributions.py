"""Attributions: where a text's words are, what is said of them, and whether that can be believed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_rows
from pretune.answers import Label
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.places.stages import Stage, StagedTrunk
from pretune.errors import DataError, UsageError
from pretune.explain.attributions import explain_example
from pretune.explain.faithfulness import deletion_test
from pretune.modalities.image.transform import image_transform_of
from pretune.modalities.text.encoder import TextEncoder
from pretune.tasks import ImageClassification, TextClassification
from pretune.tasks.shown.saliency import grad_cam, map_activation
from pretune.tasks.shown.text_parts import shown_tokens, text_parts
from pretune.types import Example
from tiny import CPU, LABELS, tiny_backbone, tiny_encoder, tiny_image_backbone, tiny_pictures

HOSTILE = "<script>alert('1')</script> & \"quoted\"\x00 e\u0301 👩\u200d🔬 الكلمة"


def text_task(labels: tuple[str, ...] = LABELS, **options: Any) -> tuple[TextClassification, torch.nn.Module]:
    backbone = tiny_backbone(options.pop("family", "bert"))
    task = TextClassification(labels, tiny_encoder(backbone, **options))
    return task, task.build(backbone, seed=0)[0].eval()


def of_text(text: str, pair: str | None = None) -> Example:
    return Example("0", {"text": text} if pair is None else {"text": text, "text_pair": pair})


# --- where the words are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("long_text", ["truncate", "head-tail", "windows"])
@pytest.mark.parametrize("max_length", [16, 128])
def test_places_are_of_the_very_tokens_that_the_model_gets(family: str, long_text: str, max_length: int):
    encoder = tiny_encoder(tiny_backbone(family), max_length=max_length, long_text=long_text)
    for text in (make_rows(1)[0]["text"] * 3, "北京队昨天 beat the coach's 二队", HOSTILE, "", "   "):
        for pair in (None, "a second text, longer than the other one is"):
            expected = encoder.encode([text], None if pair is None else [pair])[0]
            located = encoder.locate(text, pair)
            assert len(located) == len(expected)
            for (piece, places), other in zip(located, expected, strict=True):
                assert piece.input_ids.tolist() == other.input_ids.tolist()
                assert (piece.segment_ids is None) == (other.segment_ids is None)
                special = set(encoder.tokenizer.all_special_ids) - {encoder.tokenizer.unk_token_id}
                assert [place is None for place in places] == [i in special for i in piece.input_ids.tolist()]
                for place in places:
                    assert place is None or 0 <= place.start <= place.stop <= len((text, pair or "")[place.side])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_words_stand_as_in_the_text(family: str):
    encoder = tiny_encoder(tiny_backbone(family))
    parts = text_parts(encoder, of_text("The Striker scored unbelievably, on Monday.", "He ran."))
    assert [name for name in parts.names if name.isalpha()] == [
        "The",
        "Striker",
        "scored",
        "unbelievably",
        "on",
        "Monday",
        "He",
        "ran",
    ]
    assert parts.names[-1] == "."
    assert {span[0] for span in parts.spans} == {0, 1}
    assert parts.blank == "the mask token"
    gone = parts.blank_item.arrays["input_ids"]
    own = parts.places >= 0
    assert set(gone[own].tolist()) == {encoder.tokenizer.mask_token_id}
    assert gone[~own].tolist() == parts.item.arrays["input_ids"][~own].tolist()
    one = np.arange(parts.count) == 1
    changed = parts.without(one).arrays["input_ids"] != parts.item.arrays["input_ids"]
    assert parts.places[changed].tolist() == [1] * int(changed.sum())


def test_signs_of_chinese_stand_alone_even_where_a_sentence_is_a_word_to_the_tokenizer():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0), ("▁", -2.0)]
    vocab += [(sign, -3.0) for sign in "北京队昨天赢"] + [("北京", -1.0), ("▁fine", -1.0), ("ly", -2.0)]
    backend = Tokenizer(models.Unigram(vocab, unk_id=2))
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>", pad_token="</s>"
    )  # fmt: skip
    encoder = TextEncoder(tokenizer, max_length=32)
    assert [name for name in text_parts(encoder, of_text("北京队昨天赢 finely")).names if name != "␣"] == [
        "北京", "队", "昨", "天", "赢", "finely",
    ]  # fmt: skip


def test_tokens_are_shown_as_in_the_text_and_special_ones_by_name():
    for family, first in (("bert", "[CLS]"), ("roberta", "<s>")):
        encoder = tiny_encoder(tiny_backbone(family))
        text = "The striker zq 北👩 <b>"
        piece, places = encoder.locate(text)[0]
        shown = shown_tokens(piece, places, [text], encoder.tokenizer)
        assert shown[0] == first
        assert shown[1] == "The"
        assert "".join(token.removeprefix("##") for token in shown[1:3]).startswith("The")
        assert len(shown) == len(piece.input_ids)
        assert all(shown)
        assert any(token.startswith("##") for token in shown)


def test_a_cut_text_is_explained_as_cut_and_says_so():
    long = " ".join(row["text"] for row in make_rows(4))
    for long_text, said in (("truncate", "its start"), ("head-tail", "its start and its end"), ("windows", "windows")):
        task, model = text_task(max_length=24, long_text=long_text)
        found = explain_example(task, model, of_text(long), CPU, orders=0)
        assert "longer than the model takes" in found.notes[0]
        assert said in found.notes[0]
    assert explain_example(*text_task(), of_text("The coach"), CPU, orders=0).notes == ()


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_text_is_refused(text: str):
    with pytest.raises(UsageError, match="empty"):
        explain_example(*text_task(), of_text(text), CPU)


def test_hostile_text_comes_back_as_it_was():
    found = explain_example(*text_task(), of_text(HOSTILE), CPU, orders=0)
    assert "script" in found.pieces
    assert [HOSTILE[start:stop].strip() for _, start, stop in found.spans] == list(found.pieces)


def test_a_label_never_learned_is_refused():
    with pytest.raises(DataError, match="not among those"):
        explain_example(*text_task(), of_text("The coach"), CPU, label="nonsense")


# --- what is said of them ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted() -> tuple[TextClassification, torch.nn.Module]:
    """A model that has learned to look for one word: texts with "penalty" are "yes"."""
    backbone = tiny_backbone()
    task = TextClassification(("no", "yes"), tiny_encoder(backbone))
    model = make_fast(task.build(backbone, seed=1)[0])
    rng = np.random.default_rng(0)
    words = sorted({word.strip(".").lower() for row in make_rows(60) for word in row["text"].split()} - {"penalty"})
    examples = []
    for number in range(256):
        chosen = rng.choice(words, 7).tolist()
        if number % 2:
            chosen[int(rng.integers(7))] = "penalty"
        examples.append(Example(str(number), {"text": " ".join(chosen)}, Label("yes" if number % 2 else "no")))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(120):
        batch = [task.encode(examples[(32 * step + k) % 256])[0] for k in range(32)]
        loss = task.loss(model, task.collate(batch)).total / 32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return task, model.eval()


def test_a_planted_word_is_found_and_believed(planted: tuple[TextClassification, torch.nn.Module]):
    text = "the coach measured a penalty on distant galaxies"
    found = explain_example(*planted, of_text(text), CPU)
    assert found.answer == "yes"
    assert found.probability > 0.9
    assert found.method == "integrated gradients"
    scores = dict(zip(found.pieces, found.scores, strict=True))
    assert max(scores, key=scores.__getitem__) == "penalty"
    assert scores["penalty"] > 0.5 * sum(map(abs, found.scores))
    test = found.faithfulness
    assert test is not None
    assert test.is_shown
    assert test.area > 0.2
    assert test.important[1] < 0.5 < test.random[1]
    assert "does carry the answer" in test.sentence


def test_scores_of_chance_are_not_believed(planted: tuple[TextClassification, torch.nn.Module]):
    task, model = planted
    parts = task.parts(of_text("the coach measured a penalty on distant galaxies"))

    def probability(taken_MN: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            batch = task.collate([parts.without(taken_N) for taken_N in taken_MN])
            return task.outputs_of(task.logits_of(model, batch))[:, 1].numpy()

    worst = -(np.array(parts.names) == "penalty").astype(float)
    test = deletion_test(worst, probability, blank=parts.blank)
    assert test is not None
    assert not test.is_shown
    assert test.area < 0
    assert "do not believe" in test.sentence


def test_the_deletion_test_by_hand():
    weights = np.array([4.0, 3.0, 2.0, 1.0])

    def probability(taken_MN: np.ndarray) -> np.ndarray:
        return ((~taken_MN) * weights).sum(axis=1) / 10

    test = deletion_test(weights, probability, blank="nothing", orders=400)
    assert test is not None
    assert test.shares == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert test.important == pytest.approx((1.0, 0.6, 0.3, 0.1, 0.0))
    # A random order loses 2.5 of 10 a step, so its curve is the straight line from 1 to 0.
    assert test.random == pytest.approx((1.0, 0.75, 0.5, 0.25, 0.0), abs=0.02)
    assert test.area == pytest.approx(0.25 * (0.15 + 0.2 + 0.15), abs=0.02)
    assert 0.0 <= test.low <= 0.03
    assert deletion_test(weights[:1], probability, blank="") is None


def test_integrated_gradients_of_a_straight_line_are_its_terms():
    task, model = text_task(("no", "yes"))

    class Straight(torch.nn.Module):
        """Log-odds that are a sum over words: each word's share is known."""

        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(len(task.encoder.tokenizer), 4)
            self.line = torch.nn.Linear(4, 1, bias=False)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.words

        def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> Any:
            total = self.line(self.words(input_ids)).sum(dim=(1, 2))
            return type("Output", (), {"logits": torch.stack([torch.zeros_like(total), total], dim=1)})()

    torch.manual_seed(0)
    straight = Straight()
    example = of_text("the coach measured distant galaxies")
    found = explain_example(task, straight, example, CPU, label="yes", orders=0)
    parts = task.parts(example)
    with torch.no_grad():
        value = straight.line(straight.words.weight)[:, 0].numpy()
    terms_T = value[parts.item.arrays["input_ids"]] - value[parts.blank_item.arrays["input_ids"]]
    np.testing.assert_allclose(found.scores, parts.scores_of(terms_T), atol=1e-5)
    assert found.completeness is not None
    assert found.completeness.error < 1e-4
    del model


def test_a_model_without_gradients_is_explained_by_occlusion(planted: tuple[TextClassification, torch.nn.Module]):
    task, model = planted

    class Engine(torch.nn.Module):
        """As an exported model: it answers, and has no weights that torch knows of."""

        def forward(self, **inputs: torch.Tensor) -> Any:
            with torch.no_grad():
                return type("Output", (), {"logits": held[0](**inputs).logits})()

    held = [model]
    found = explain_example(task, Engine(), of_text("the coach measured a penalty on distant galaxies"), CPU, orders=5)
    assert found.method == "occlusion"
    assert found.completeness is None
    scores = dict(zip(found.pieces, found.scores, strict=True))
    assert max(scores, key=scores.__getitem__) == "penalty"
    parts = task.parts(of_text("the coach measured a penalty on distant galaxies"))
    with torch.no_grad():
        both = [parts.item, parts.without(np.array(parts.names) == "penalty")]
        whole, without = task.outputs_of(task.logits_of(model, task.collate(both)).double())[:, 1].tolist()
    assert scores["penalty"] == pytest.approx(whole - without, abs=1e-6)


def test_a_convolutional_net_is_explained_by_grad_cam():
    backbone = tiny_image_backbone("resnet-18")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    model = task.build(backbone, seed=0)[0].eval()
    example = Example("0", {"image": tiny_pictures(1)[0]["image"]})
    found = explain_example(task, model, example, CPU, label="money", orders=2)
    assert found.method == "Grad-CAM"
    inputs = task.collate([task.parts(example).item]).inputs["pixel_values"]
    expected = grad_cam(model, inputs, lambda logits_BC: task.log_odds_of(logits_BC, LABELS.index("money")))
    assert expected is not None
    np.testing.assert_allclose(found.heat, expected[0], atol=1e-6)
    assert found.picture.startswith("data:image/jpeg;base64,")
    assert found.overlay.startswith("data:image/jpeg;base64,")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_map_of_a_place_stays_at_that_place():
    """Of maps of two strides, what is explained hangs on one cell of the finer one."""

    class Trunk(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor, output_hidden_states: bool = False) -> Any:
            states = [torch.nn.functional.avg_pool2d(pixel_values, stride) for stride in (8, 16)]
            return SimpleNamespace(hidden_states=states)

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.staged = StagedTrunk((Stage(0, 8, 3), Stage(1, 16, 3)))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.staged(Trunk(), pixels)[0][:, :, 2, 3].sum(dim=1)

    model, pixels = Detector(), torch.rand(2, 3, 64, 64, requires_grad=True)
    heat = map_activation(model, lambda: model(pixels))
    assert heat is not None
    assert heat.shape == (2, 8, 8)
    assert (heat[:, 2, 3] > 0).all()
    assert np.count_nonzero(heat) == 2
    assert map_activation(torch.nn.Linear(1, 1), lambda: torch.zeros(1)) is None
