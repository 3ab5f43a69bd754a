"""A model with some of its layers: which ones, what is copied, and that the folder it leaves is a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pretune.backbones.adaptation.adapt import encoder_layers
from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.parts.layers import evenly_chosen, thinned
from pretune.errors import ModelError, UsageError
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, TextClassification
from tiny import (
    LABELS,
    dataset_of,
    tiny_backbone,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
    uneven_rows,
)


def test_chosen_layers_are_far_apart_and_keep_the_ends() -> None:
    assert evenly_chosen(6, 2) == (0, 5)
    assert evenly_chosen(6, 3) == (0, 2, 5)
    assert evenly_chosen(12, 6) == (0, 2, 4, 7, 9, 11)
    assert evenly_chosen(12, 4) == (0, 4, 7, 11)
    assert evenly_chosen(6, 1) == (0,)
    assert evenly_chosen(6, 6) == (0, 1, 2, 3, 4, 5)
    for of in range(1, 25):
        for count in range(1, of + 1):
            chosen = evenly_chosen(of, count)
            assert len(set(chosen)) == count
            assert chosen == tuple(sorted(chosen))
            assert chosen[0] == 0
            assert count == 1 or chosen[-1] == of - 1


def _taught(kind: str, folder: Path) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """A task, a batch of its rows, and a folder of a model of four layers."""
    if kind == "text":
        backbone = tiny_backbone(layers=4)
        task: Any = TextClassification(LABELS, tiny_encoder(backbone))
        rows = dataset_of(uneven_rows(6))
    elif kind == "pictures":
        backbone = tiny_image_backbone()
        backbone.config.num_hidden_layers = 4
        task, rows = ImageClassification(LABELS, image_transform_of(backbone.processor)), dataset_of(tiny_pictures(6))
    else:
        task, backbone = tiny_sound_task(
            kind.removesuffix(" of features"), hears="features" if kind.endswith("features") else "samples"
        )
        backbone.config.num_hidden_layers = 4
        rows = None
    model, _ = task.build(backbone, seed=3)
    save_model(model, backbone.processor, folder)
    batch = (
        None
        if rows is None
        else task.collate([task.encode_rows(rows, fingerprint=f"layers-{kind}")[i] for i in range(6)])
    )
    return task, batch, dict(model.state_dict())


@pytest.mark.parametrize("kind", ["text", "pictures", "sound", "speech of features"])
def test_kept_layers_embeddings_and_head_are_the_teachers(kind: str, tmp_path: Path) -> None:
    task, batch, before = _taught(kind, tmp_path / "teacher")
    backbone = thinned(load_backbone(str(tmp_path / "teacher")), 2)
    assert backbone.config.num_hidden_layers == 2
    assert backbone.facts["layers"] == "1, 4 of 4"
    model, report = task.build(backbone, seed=0)
    assert report.initialised == ()
    assert len(encoder_layers(model)) == 2
    after = dict(model.state_dict())
    prefix = next(name for name in before if ".3." in name and "conv_layers" not in name).split(".3.")[0]
    for name, value in after.items():
        source = name.replace(f"{prefix}.1.", f"{prefix}.3.")
        assert torch.equal(value, before[source]), name
    assert len(after) < len(before)
    save_model(model, backbone.processor, tmp_path / "student")
    again = load_backbone(str(tmp_path / "student"))
    assert again.config.num_hidden_layers == 2
    loaded, report = task.build(again, seed=1)
    assert report.initialised == report.unexpected == ()
    assert all(torch.equal(value, after[name]) for name, value in loaded.state_dict().items())
    if batch is not None:
        with torch.no_grad():
            one, other = (task.logits_of(m.eval(), batch) for m in (model, loaded))
        torch.testing.assert_close(one, other)


def test_what_cannot_be_thinned_is_refused(tmp_path: Path) -> None:
    _taught("text", tmp_path / "teacher")
    found = load_backbone(str(tmp_path / "teacher"))
    with pytest.raises(UsageError, match="layers:5, the teacher has 4"):
        thinned(found, 5)
    with pytest.raises(UsageError, match="layers:0"):
        thinned(found, 0)
    backbone = tiny_image_backbone("resnet-10")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    save_model(task.build(backbone, seed=0)[0], backbone.processor, tmp_path / "maps")
    with pytest.raises(ModelError, match="no layers"):
        thinned(load_backbone(str(tmp_path / "maps")), 2)


def test_layers_of_several_kinds_keep_theirs(tmp_path: Path) -> None:
    """ModernBERT looks at all tokens in every third layer and nearby ones in the others."""
    import transformers

    config = transformers.ModernBertConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=6, num_attention_heads=2,
        local_attention=4, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, num_labels=3,
    )  # fmt: skip
    model = transformers.ModernBertForSequenceClassification(config)
    save_model(model, tiny_backbone().tokenizer, tmp_path / "teacher")
    backbone = thinned(load_backbone(str(tmp_path / "teacher")), 3)
    assert list(backbone.config.layer_types) == [config.layer_types[n] for n in (0, 2, 5)]
    student, _ = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    save_model(student, tiny_backbone().tokenizer, tmp_path / "student")
    loaded, _ = load_backbone(str(tmp_path / "student")).build("AutoModelForSequenceClassification", seed=1)
    ids = torch.randint(5, 300, (2, 40))
    with torch.no_grad():
        one, other = (m.eval()(input_ids=ids).logits for m in (student, loaded))
    torch.testing.assert_close(one, other)
