"""True attention weights: equal to the formula written out, rows of 1, the ordinary answer; their rollout and their packing."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_rows
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.load import Backbone
from pretune.errors import ModelError, UsageError
from pretune.explain.attention import Attention, attention_of, has_attention, rollout, strongest
from pretune.explain.packing import Packed, pack
from pretune.explain.reading import Reading, read_example, reader_of, reader_of_backbone
from pretune.modalities import Modality
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, TextClassification
from pretune.types import Example
from tiny import (
    LABELS,
    tiny_backbone,
    tiny_clips,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
)

TEXT = make_rows(1)[0]["text"]


def of_text(family: str = "bert", text: str = TEXT, pair: str | None = None) -> tuple[torch.nn.Module, Attention]:
    """The ordinary model, arranged for a processor, and the attention of a plain one of the same weights."""
    backbone = tiny_backbone(family) if family in ("bert", "roberta") else other_backbone(family)
    task = TextClassification(LABELS, tiny_encoder(backbone))
    return attended(task, backbone, Example("0", {"text": text} if pair is None else {"text": text, "text_pair": pair}))


def other_backbone(family: str) -> Backbone:
    from transformers import DistilBertConfig, ElectraConfig

    known = tiny_backbone()
    size: dict[str, Any] = {"vocab_size": len(known.tokenizer), "pad_token_id": known.tokenizer.pad_token_id}
    if family == "electra":
        config: Any = ElectraConfig(
            embedding_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, **size
        )
    else:
        config = DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=2, **size)
    return Backbone(family, "scratch", config, known.tokenizer)


def attended(task: Any, backbone: Backbone, example: Example) -> tuple[torch.nn.Module, Attention]:
    plain, _ = task.build(backbone, seed=0)
    ordinary = make_fast(copy.deepcopy(plain)).eval()
    found = attention_of(plain, ordinary, read_example(reader_of(task), example, plain.config))
    assert found is not None
    return ordinary, found


def of_picture(side: int | None = None) -> Attention:
    backbone = tiny_image_backbone("vit-micro")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor).at(side))
    return attended(task, backbone, Example("0", {"image": tiny_pictures(1)[0]["image"]}))[1]


def of_clip(**options: Any) -> Attention:
    task, backbone = tiny_sound_task("sound", **options)
    return attended(task, backbone, Example("0", {"audio": tiny_clips(2)[1]["audio"]}))[1]


# --- the weights ------------------------------------------------------------------------------------------------------


def test_weights_are_the_formula_written_out():
    model, found = of_text()
    held: Any = model
    with torch.no_grad():
        states = held.base_model(**found.reading.inputs, output_hidden_states=True).hidden_states
        for number, layer in enumerate(held.base_model.encoder.layer):
            part = layer.attention.self
            heads, size = part.num_attention_heads, part.attention_head_size
            query, key = (
                line(states[number])[0].view(-1, heads, size).transpose(0, 1) for line in (part.query, part.key)
            )
            expected = torch.softmax(query @ key.transpose(1, 2) / size**0.5, dim=-1)
            np.testing.assert_allclose(found.layers[number], expected.numpy(), atol=1e-6)


CASES: dict[str, Any] = {
    **{family: lambda family=family: of_text(family)[1] for family in ("bert", "roberta", "electra", "distilbert")},
    "a pair": lambda: of_text(pair="another text")[1],
    "vit": of_picture,
    "vit of other pictures": lambda: of_picture(48),
    "wav2vec2": of_clip,
    "wav2vec2 not told of padding": lambda: of_clip(hears="untold"),
    "w2v-bert": lambda: of_clip(hears="features"),
    "speech": lambda: attended(*tiny_sound_task("speech"), Example("0", {"audio": tiny_clips(2)[1]["audio"]}))[1],
}


@pytest.mark.parametrize("name", CASES)
def test_rows_sum_to_1_and_the_answer_is_the_ordinary_one(name: str):
    found: Attention = CASES[name]()
    count = len(found.reading.tokens)
    assert found.difference < 1e-4
    assert len(found.layers) == len(found.rolled) == 2
    for weights, rolled in zip(found.layers, found.rolled, strict=True):
        assert weights.shape == (2, count, count)
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(rolled.sum(axis=-1), 1, atol=1e-5)
    rows, columns = found.reading.grid
    assert found.reading.kind == "text" or found.reading.prefix + rows * columns == count


def test_positions_have_names():
    assert of_text(pair="a cup")[1].reading.tokens[0] == "[CLS]"
    picture = of_picture().reading
    assert picture.tokens[:2] == ("class token", "row 1, column 1")
    assert picture.is_special[:2] == (True, False)
    clip = of_clip().reading
    assert clip.tokens[0] == "0.01 s"
    assert clip.seconds == pytest.approx(3100 / 8000)
    assert len(clip.tokens) == clip.grid[1]


def test_pretrained_models_without_labels():
    backbone = tiny_backbone()
    for auto in ("AutoModelForMaskedLM", "AutoModel"):
        plain, _ = backbone.build(auto, seed=0)
        ordinary = make_fast(copy.deepcopy(plain)).eval()
        reader = reader_of_backbone(backbone, {"max_length": 64})
        found = attention_of(plain, ordinary, read_example(reader, Example("0", {"text": TEXT}), plain.config))
        assert found is not None
        np.testing.assert_allclose(found.layers[0].sum(axis=-1), 1, atol=1e-5)


def test_a_model_that_answers_otherwise_is_refused():
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone))
    plain, other = (task.build(backbone, seed=seed)[0] for seed in (0, 1))
    reading = read_example(reader_of(task), Example("0", {"text": TEXT}), plain.config)
    with pytest.raises(ModelError, match="answers otherwise"):
        attention_of(plain, other, reading)


def test_too_many_positions_are_refused_before_anything_is_computed():
    backbone = tiny_backbone()
    model, _ = backbone.build("AutoModel", seed=0)
    reading = Reading(kind=Modality.TEXT, inputs={}, tokens=("x",) * 20_000, is_special=(False,) * 20_000)
    with pytest.raises(UsageError, match="too many to hold"):
        attention_of(model, model, reading)


def test_convolutional_nets_have_none():
    assert not has_attention(tiny_image_backbone("resnet-18").config)
    assert has_attention(tiny_image_backbone("vit-micro").config)
    with pytest.raises(ModelError, match="patches of resnet"):
        reading_of_picture("resnet-18")


def reading_of_picture(preset: str) -> Reading:
    backbone = tiny_image_backbone(preset)
    example = Example("0", {"image": tiny_pictures(1)[0]["image"]})
    return read_example(image_transform_of(backbone.processor), example, backbone.config)


def test_an_empty_text_is_refused():
    with pytest.raises(UsageError, match="empty"):
        of_text(text=" ")


def test_unknown_tokens_are_told():
    assert "unknown to the model" in of_text(text="the coach 龘")[1].reading.notes[0]


# --- what is made of them ---------------------------------------------------------------------------------------------


def test_rollout_by_hand():
    first = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    second = np.array([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    one = np.array([[0.75, 0.25], [0.25, 0.75]])
    two = np.array([[0.5, 0.5], [0.0, 1.0]])
    rolled = rollout([first, second])
    np.testing.assert_allclose(rolled[0], one)
    np.testing.assert_allclose(rolled[1], two @ one)


def made(positions: int, heads: tuple[int, ...] = (3, 2), seed: int = 0) -> Attention:
    rng = np.random.default_rng(seed)
    layers = tuple(rng.dirichlet(np.full(positions, 0.1), (count, positions)).astype(np.float32) for count in heads)
    reading = Reading(
        kind=Modality.TEXT, inputs={}, tokens=tuple(f"t{n}" for n in range(positions)), is_special=(True,) + (False,) * (positions - 1)
    )  # fmt: skip
    return Attention(reading=reading, layers=layers, rolled=tuple(rollout(layers)), difference=0.0)


def unpacked(packed: Packed, number: int) -> np.ndarray:
    """A matrix as the page's script reads it."""
    count, kept = packed.positions, packed.kept
    values = base64.b64decode(packed.values)
    if packed.how == "16 bits":
        return np.frombuffer(values, "<u2").reshape(-1, count, count)[number] / 65535
    cells = np.frombuffer(values, np.uint8).reshape(-1, count, kept)[number] / 255
    cells = cells * (np.frombuffer(base64.b64decode(packed.largest), "<u2").reshape(-1, count, 1)[number] / 65535)
    if packed.how == "8 bits":
        return cells
    found = np.zeros((count, count))
    columns = np.frombuffer(base64.b64decode(packed.columns), "<u2").reshape(-1, count, kept)[number]
    np.put_along_axis(found, columns.astype(int), cells, axis=1)
    return found


@pytest.mark.parametrize(("most_bytes", "how"), [(6_600_000, "16 bits"), (20_000, "8 bits"), (6_000, "largest")])
def test_packing_keeps_what_it_says(most_bytes: int, how: str):
    found = made(40)
    packed = pack(found, most_bytes=most_bytes)
    assert packed.how == how
    assert packed.matrices == 9
    blobs = [packed.values, packed.largest, packed.columns]
    assert sum(len(base64.b64decode(blob)) for blob in blobs) <= most_bytes
    matrices = [
        m
        for layer, rolled in zip(found.layers, found.rolled, strict=True)
        for m in (*layer, layer.mean(axis=0), rolled)
    ]
    kept = []
    for number, expected in enumerate(matrices):
        got = unpacked(packed, number)
        is_kept = np.argsort(np.argsort(-expected, axis=1, kind="stable"), axis=1, kind="stable") < packed.kept
        assert np.abs(got - expected)[is_kept].max() <= packed.error * 1.02 + 1e-5
        assert (got[~is_kept] == 0).all()
        kept.append(expected[is_kept].sum() / expected.sum())
    assert packed.share == pytest.approx(np.mean(kept), abs=1e-6)
    assert (how == "largest") == (f"the {packed.kept} largest" in packed.sentence)


def test_the_strongest_pairs_leave_special_tokens_out():
    found = made(6)
    for layer in found.layers:
        layer[:, :, 0] = 0.99
    best = strongest(found)
    assert len(best) == 5
    assert {(one["layer"], one["head"]) for one in best} == {(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)}
    assert all("t0" not in (one["from"], one["to"]) and one["from"] != one["to"] for one in best)
    first = found.layers[0][0].copy()
    np.fill_diagonal(first, -1)
    first[0] = first[:, 0] = -1
    assert best[0]["weight"] == pytest.approx(first.max(), abs=1e-6)
