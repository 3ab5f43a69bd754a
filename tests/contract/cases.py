"""The table of what is held to the contract. A new task or objective is one entry here with a tiny fixture.

An entry makes a small world: a model without dropout, eight or more rows, and what a hand would count. The checks know
nothing of text, labels or masks.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conftest import make_rows
from pretune.answers import AnswerSpan, Boxes, Keypoints, Label, Labels, Mask, Tags, TargetText, Text, Value, Wave
from pretune.backbones.blocks import BlockEncoder
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.load import Backbone, load_backbone
from pretune.backbones.places.fitted import fitted_transform
from pretune.backbones.text.limits import max_length_of
from pretune.backbones.writing.generation import Generation, marks_of
from pretune.modalities.image.transform import image_transform_of
from pretune.modalities.text.chat import ChatEncoder
from pretune.modalities.text.encoder import TextEncoder
from pretune.tasks import (
    AudioClassification,
    AudioMultilabelClassification,
    AudioRegression,
    Conversation,
    ImageClassification,
    ImageMultilabelClassification,
    ImageRegression,
    KeypointDetection,
    ObjectDetection,
    QuestionAnswering,
    SemanticSegmentation,
    SentenceEmbedding,
    SpeechRecognition,
    Task,
    TextClassification,
    TextGeneration,
    TextMultilabelClassification,
    TextRegression,
    TextToSpeech,
    TextToText,
    TokenClassification,
)
from pretune.tasks.written.writing import Writing
from pretune.types import Encoded, Example, Target
from tiny import (
    LABELS,
    POINTS,
    TAGS,
    WORDS,
    Rig,
    asked,
    chatted,
    dataset_of,
    numbered,
    several_labels,
    spoken_rows,
    tagged,
    tiny_backbone,
    tiny_boxed_task,
    tiny_boxes,
    tiny_clips,
    tiny_encoder,
    tiny_fast_voice,
    tiny_image_backbone,
    tiny_masks,
    tiny_pictures,
    tiny_poses,
    tiny_sound_task,
    tiny_voice,
    tiny_writer_backbone,
    uneven_rows,
    written,
)
from tiny_detectors import tiny_query_backbone

# --- tasks ------------------------------------------------------------------------------------------------------------


@dataclass
class TaskCase:
    """A task with a model, labelled examples, the same rows as a data set, and an unlabelled example.

    ``perfect(example)`` is the line of a predictions file that a perfect model would write.
    """

    task: Task
    model: torch.nn.Module
    examples: list[Example]
    dataset: Any
    unlabelled: Example
    perfect: Callable[[Example], Mapping[str, Any]]
    load: Callable[[Any], torch.nn.Module]
    fingerprint: str
    backbone: Any


def _perfect(example: Example) -> Mapping[str, Any]:
    target = example.target
    if isinstance(target, Value):
        return {"id": example.id, "truth": target.number, "value": target.number}
    if isinstance(target, Boxes):
        told = [{**box, "score": 0.9} for box in target.to_json()]
        return {"id": example.id, "truth": target.to_json(), "boxes": told}
    if isinstance(target, Wave):
        heard = {"text": example.inputs["text"], "heard": example.inputs["text"], "heard_true": example.inputs["text"]}
        letters = {
            "letters": 5,
            "covered": 5,
            "steps": 4,
            "monotone": 4,
            "peaks": 4.0,
            "stopped": True,
        }
        near = {"mel_distance": 0.0, "mcd": 0.0, "seconds_off": 0.0, "true_seconds": 1.0}
        truth = {"clip": target.cell(), "text": example.inputs["text"]}
        return {"id": example.id, "audio": target.place, "truth": truth, **heard, **letters, **near}
    if isinstance(target, Tags):
        return {"id": example.id, "truth": list(target.values), "tags": list(target.values)}
    if isinstance(target, TargetText):
        truth = target.values[0] if len(target.values) == 1 else list(target.values)
        return {"id": example.id, "truth": truth, "target": target.values[0]}
    if isinstance(target, AnswerSpan):
        best = target.references[0] if target.references else None
        span = (
            {"text": best.text, "start": best.start, "end": best.start + len(best.text)}
            if best
            else {"text": "", "start": -1, "end": -1}
        )
        return {"id": example.id, "truth": target.to_json(), "span": span}
    if isinstance(target, Text):
        return {"id": example.id, "truth": target.value, "text": target.value}
    if isinstance(target, Mask):
        return {"id": example.id, "truth": target.to_json(), "mask": target.to_json()}
    if isinstance(target, Keypoints):
        return {"id": example.id, "truth": target.to_json(), "keypoints": target.to_json()}
    assert target is not None
    names = [target.name] if isinstance(target, Label) else sorted(target.values)
    answer = {"truth": names[0]} if isinstance(target, Label) else {"truth": names, "labels": names}
    return {"id": example.id, **answer, "probabilities": {name: float(name in names) for name in LABELS}}


def _target(row: Mapping[str, Any]) -> Target:
    if "value" in row:
        return Value(row["value"])
    return Labels(tuple(row["labels"])) if "labels" in row else Label(row["label"])


SCALE = {"mean": 9.0, "spread": 10.0}


def _classification(
    *,
    several: bool = False,
    numbers: bool = False,
    pair: bool = False,
    max_length: int = 48,
    long_text: str = "truncate",
    **options: Any,
) -> TaskCase:
    backbone = tiny_backbone()
    made = TextRegression if numbers else TextMultilabelClassification if several else TextClassification
    task = made(
        () if numbers else LABELS, tiny_encoder(backbone, max_length=max_length, long_text=long_text), **options
    )
    model, _ = task.build(backbone, seed=0)
    rows: list[dict[str, Any]] = []
    for row, other in zip(uneven_rows(12), make_rows(12, seed=3), strict=True):
        rows.append(
            {
                "id": row["id"],
                "text": row["text"],
                **({"text_pair": other["text"]} if pair else {}),
                "label": row["label"],
            }
        )
    rows = several_labels(rows) if several else numbered(rows) if numbers else rows
    examples = [
        Example(row["id"], {k: v for k, v in row.items() if k.startswith("text")}, _target(row)) for row in rows
    ]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(folder)

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task,
        make_fast(model).eval(),
        examples,
        dataset_of(rows),
        unlabelled,
        _perfect,
        load,
        f"contract-{pair}-{several}-{numbers}",
        backbone,
    )


def _tagged(**options: Any) -> TaskCase:
    """Every word tagged by its letters, so that the tags can be learned."""
    backbone = tiny_backbone()
    task = TokenClassification(TAGS, tiny_encoder(backbone, long_text="windows", **options))
    model, _ = task.build(backbone, seed=0)
    rows = tagged(uneven_rows(12))
    examples = [
        Example(row["id"], {"text": row["text"], "words": row["words"]}, Tags(tuple(row["tags"]))) for row in rows
    ]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", {"text": examples[0].inputs["text"]})
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-tags-{options}", backbone
    )  # fmt: skip


def _written(preset: str = "seq2seq-tiny", **options: Any) -> TaskCase:
    """The first words the other way round, some in two forms."""
    backbone = tiny_writer_backbone(preset)
    marks = marks_of(backbone.config, backbone.tokenizer)
    task = TextToText(tiny_encoder(backbone), marks, most=max_length_of(backbone), **options)
    model, _ = task.build(backbone, seed=0)
    rows = written(uneven_rows(12))
    examples = [Example(row["id"], {"text": row["text"]}, TargetText(tuple(row["target"]))) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    name = f"contract-written-{preset}-{options}"
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, _perfect, load, name, backbone
    )


def _asked(family: str = "bert", **options: Any) -> TaskCase:
    """Passages with a question each, some without an answer."""
    backbone = tiny_backbone(family)
    encoder = tiny_encoder(backbone, long_text="windows", **options)
    encoder.slides_last = True
    task = QuestionAnswering(encoder, longest=40, answers_all=False, augment="light")
    model, _ = task.build(backbone, seed=0)
    rows = asked(uneven_rows(12))
    inputs = [{name: row[name] for name in ("text", "text_pair")} for row in rows]
    examples = [
        Example(row["id"], given, AnswerSpan.from_json(row["span"])) for row, given in zip(rows, inputs, strict=True)
    ]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), Example("nobody-knows", inputs[0]), _perfect, load,
        f"contract-asked-{family}-{options}", backbone,
    )  # fmt: skip


def _paired(*, scored: bool = False) -> TaskCase:
    """Texts with another about the same; scored, by how long they are."""
    backbone = tiny_backbone()
    scale = (0.0, 5.0) if scored else None
    task = SentenceEmbedding(tiny_encoder(backbone), pooling=("mean",), width=backbone.config.hidden_size, scale=scale)
    model, _ = task.build(backbone, seed=0)
    rows: list[dict[str, Any]] = [
        {"id": row["id"], "text": row["text"], **({"text_pair": other["text"], "value": float(number % 6)} if scored else {"target": [other["text"]]})}
        for number, (row, other) in enumerate(zip(uneven_rows(12), make_rows(12, seed=3), strict=True))
    ]  # fmt: skip
    examples = [
        Example(
            row["id"], {name: row[name] for name in ("text", "text_pair") if name in row},
            Value(row["value"]) if scored else TargetText((row["target"][0],)),
        )
        for row in rows
    ]  # fmt: skip

    def perfect(example: Example) -> Mapping[str, Any]:
        number = float(example.target.number) if isinstance(example.target, Value) else 0.0
        known = {"truth": number, "similarity": number / 5} if scored else {"truth": "a text", "rank": 1}
        return {"id": example.id, "vector": [1.0], "pair_vector": [1.0], **known}

    def load(folder: Any) -> torch.nn.Module:
        backbone.tokenizer.save_pretrained(str(folder))
        return task.build(load_backbone(str(folder)), seed=0)[0].eval()

    unlabelled = Example("nobody-knows", {"text": examples[0].inputs["text"]})
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, perfect, load, f"contract-paired-{scored}", backbone
    )  # fmt: skip


def _going_on(family: str, **options: Any) -> TaskCase:
    """Texts that are told whole; those without a target are prompts."""
    backbone = tiny_backbone(family)
    task = TextGeneration(
        BlockEncoder(backbone.tokenizer, max_length=options.get("max_length", 128)), Writing(max_new_tokens=6)
    )
    model, _ = task.build(backbone, seed=0)
    rows = [{"id": row["id"], "text": row["text"]} for row in uneven_rows(12)]
    examples = [Example(row["id"], {"text": row["text"]}, Text(row["text"])) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder).eval()

    def perfect(example: Example) -> Mapping[str, Any]:
        size = len(example.inputs["text"].encode())
        return {
            "id": example.id,
            "truth": example.inputs["text"],
            "text": "",
            "nll": 0.0,
            "tokens": 9,
            "bytes": size,
            "right": 9,
        }

    unlabelled = Example("nobody-knows", {"text": "the coach"})
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, perfect, load, f"contract-writing-{options}", backbone
    )  # fmt: skip


def _chatting(family: str, **options: Any) -> TaskCase:
    """Conversations of one exchange or two, with a turn of the system or without; those without a target are answered."""
    backbone = tiny_backbone(family)
    encoder = ChatEncoder(backbone.tokenizer, max_length=options.get("max_length", 128))
    task = Conversation(encoder, Writing(temperature=0.0, max_new_tokens=6))
    model, _ = task.build(backbone, seed=0)
    rows = chatted(uneven_rows(12))
    examples = [
        Example(row["id"], {"text": row["text"], "turns": row["turns"]}, TargetText(tuple(row["target"])))
        for row in rows
    ]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder).eval()

    def perfect(example: Example) -> Mapping[str, Any]:
        likely = {"nll": 0.0, "tokens": 9, "bytes": 40, "right": 9, "finish_reason": "end"}
        return {**_perfect(example), **likely}

    unlabelled = Example("nobody-knows", {"text": "the coach"})
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, perfect, load, f"contract-chat-{family}-{options}", backbone
    )  # fmt: skip


def _pictures(preset: str, *, several: bool = False, numbers: bool = False, **options: Any) -> TaskCase:
    backbone = tiny_image_backbone(preset)
    made = ImageRegression if numbers else ImageMultilabelClassification if several else ImageClassification
    task = made(() if numbers else LABELS, image_transform_of(backbone.processor), **options)
    model, _ = task.build(backbone, seed=0)
    rows = several_labels(tiny_pictures(12)) if several else tiny_pictures(12)
    rows = numbered(rows) if numbers else rows
    examples = [Example(row["id"], {"image": row["image"]}, _target(row)) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForImageClassification

        return AutoModelForImageClassification.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, model.eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-{preset}-{several}-{numbers}", backbone
    )  # fmt: skip


def _masks(preset: str, head: str, *, weighted: bool = False, **options: Any) -> TaskCase:
    backbone = tiny_image_backbone(preset)
    geometry = fitted_transform(image_transform_of(backbone.processor), (32, 64))
    task = SemanticSegmentation(LABELS, geometry, head=head, **options)
    task.weights_C = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    model, _ = task.build(backbone, seed=0)
    rows = tiny_masks(12)
    examples = [Example(row["id"], {"image": row["image"]}, Mask.from_json(row["mask"])) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForSemanticSegmentation

        return AutoModelForSemanticSegmentation.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, model.eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-{preset}-{head}", backbone
    )  # fmt: skip


def _boxed(preset: str = "resnet-10", *, backbone: Any = None, **options: Any) -> TaskCase:
    """Small, middle and large boxes; one picture in four has none."""
    rows = tiny_boxes(12)
    task, backbone = tiny_boxed_task(preset, backbone=backbone, **options)
    model, _ = task.build(backbone, seed=0)
    examples = [Example(row["id"], {"image": row["image"]}, Boxes.from_json(row["boxes"])) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForObjectDetection

        return AutoModelForObjectDetection.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, model.eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-boxes-{backbone.name}-{options}", backbone
    )  # fmt: skip


def _poses(preset: str, **options: Any) -> TaskCase:
    backbone = tiny_image_backbone(preset)
    geometry = fitted_transform(image_transform_of(backbone.processor), (32, 64))
    task = KeypointDetection(POINTS, geometry, head="heatmap", **options)
    model, _ = task.build(backbone, seed=0)
    rows = tiny_poses(12)
    examples = [Example(row["id"], {"image": row["image"]}, Keypoints.from_json(row["keypoints"])) for row in rows]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForSemanticSegmentation

        return AutoModelForSemanticSegmentation.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, model.eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-{preset}-poses", backbone
    )  # fmt: skip


def _clips(kind: str, **options: Any) -> TaskCase:
    task, backbone = tiny_sound_task(kind, **options)
    model, _ = task.build(backbone, seed=0)
    rows = several_labels(tiny_clips(12)) if kind == "sound-labels" else tiny_clips(12)
    rows = numbered(rows) if kind == "sound-number" else rows
    targets = [Text(row["text"]) if kind == "speech" else _target(row) for row in rows]
    examples = [Example(row["id"], {"audio": row["audio"]}, target) for row, target in zip(rows, targets, strict=True)]

    def load(folder: Any) -> torch.nn.Module:
        import transformers

        auto = transformers.AutoModelForCTC if kind == "speech" else transformers.AutoModelForAudioClassification
        return auto.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-{kind}-{options}", backbone
    )  # fmt: skip


def _spoken(made: Callable[[], tuple[TextToSpeech, Backbone]]) -> TaskCase:
    """Words said by two voices."""
    task, backbone = made()
    model, _ = task.build(backbone, seed=0)
    rows = spoken_rows(12)
    clips = ["data:audio/wav;base64," + base64.b64encode(row["audio"]["bytes"]).decode() for row in rows]
    examples = [
        Example(row["id"], {"text": row["text"], "speaker": row["speaker"]}, Wave(clip))
        for row, clip in zip(rows, clips, strict=True)
    ]

    def load(folder: Any) -> torch.nn.Module:
        from transformers import AutoModelForTextToSpectrogram

        return AutoModelForTextToSpectrogram.from_pretrained(folder).eval()

    unlabelled = Example("nobody-knows", examples[0].inputs)
    return TaskCase(
        task, make_fast(model).eval(), examples, dataset_of(rows), unlabelled, _perfect, load, f"contract-spoken-{backbone.name}", backbone
    )  # fmt: skip


TASK_CASES: dict[str, tuple[type[Task], Callable[[], TaskCase]]] = {
    "text-classification": (TextClassification, _classification),
    "text-classification pairs": (TextClassification, lambda: _classification(pair=True)),
    "text-classification windows": (TextClassification, lambda: _classification(max_length=12, long_text="windows")),
    "text-classification varied": (TextClassification, lambda: _classification(augment="strong")),
    "text-classification weighted": (
        TextClassification,
        lambda: _classification(class_weights=(0.5, 1.0, 3.0), label_smoothing=0.1),
    ),
    "text-multilabel": (TextMultilabelClassification, lambda: _classification(several=True)),
    "text-multilabel windows weighted": (
        TextMultilabelClassification,
        lambda: _classification(
            several=True, max_length=12, long_text="windows", positive_weights=(0.5, 2.0, 9.0), threshold=0.4
        ),
    ),
    "audio-multilabel": (AudioMultilabelClassification, lambda: _clips("sound-labels", augment="light")),
    "image-multilabel": (ImageMultilabelClassification, lambda: _pictures("resnet-10", several=True, augment="light")),
    "audio-classification": (AudioClassification, lambda: _clips("sound", augment="light")),
    "audio-classification not told of padding": (AudioClassification, lambda: _clips("sound", hears="untold")),
    "audio-classification of features": (
        AudioClassification,
        lambda: _clips("sound", hears="features", augment="light"),
    ),
    "speech-recognition": (SpeechRecognition, lambda: _clips("speech", augment="strong")),
    "audio-classification of bands": (AudioClassification, lambda: _clips("sound", hears="bands", augment="strong")),
    "speech-recognition of features": (
        SpeechRecognition,
        lambda: _clips("speech", hears="features", augment="strong"),
    ),
    "audio-classification of a WaveNet": (AudioClassification, lambda: _clips("sound", hears="waves", augment="light")),
    "speech-recognition of a WaveNet": (SpeechRecognition, lambda: _clips("speech", hears="waves", augment="strong")),
    "speech-recognition beam": (SpeechRecognition, lambda: _clips("speech", beam_size=4)),
    "speech-recognition not told of padding": (SpeechRecognition, lambda: _clips("speech", hears="untold")),
    "image-classification vit": (ImageClassification, lambda: _pictures("vit-micro")),
    "text-regression windows": (
        TextRegression,
        lambda: _classification(numbers=True, max_length=12, long_text="windows", **SCALE),
    ),
    "text-regression pairs": (TextRegression, lambda: _classification(numbers=True, pair=True, **SCALE)),
    "image-regression": (ImageRegression, lambda: _pictures("resnet-10", numbers=True, augment="light", **SCALE)),
    "audio-regression": (AudioRegression, lambda: _clips("sound-number", augment="light", **SCALE)),
    "object-detection": (ObjectDetection, lambda: _boxed(augment="light")),
    "object-detection pyramid": (ObjectDetection, lambda: _boxed(head="ssd-fpn")),
    "object-detection two stages": (ObjectDetection, lambda: _boxed(head="faster-rcnn", augment="light")),
    "object-detection queries": (
        ObjectDetection,
        lambda: _boxed(head="queries", backbone=tiny_query_backbone(), augment="light"),
    ),
    "object-detection queries by softmax": (
        ObjectDetection,
        lambda: _boxed(head="queries", backbone=tiny_query_backbone("detr"), threshold=0.3),
    ),
    "object-detection vit": (ObjectDetection, lambda: _boxed("vit-micro", augment="strong", threshold=0.3)),
    "text-to-speech": (TextToSpeech, lambda: _spoken(tiny_voice)),
    "text-to-speech at once": (TextToSpeech, lambda: _spoken(tiny_fast_voice)),
    "token-classification": (TokenClassification, _tagged),
    "token-classification windows": (TokenClassification, lambda: _tagged(max_length=12)),
    "text-to-text": (TextToText, _written),
    "text-to-text of T5 with beams": (
        TextToText,
        lambda: _written("t5-tiny", generation=Generation(beam_size=3, no_repeat_ngram=2)),
    ),
    "keypoint-detection": (KeypointDetection, lambda: _poses("resnet-10", augment="light")),
    "semantic-segmentation unet": (SemanticSegmentation, lambda: _masks("resnet-10", "unet", augment="light")),
    "semantic-segmentation deeplabv3plus weighted": (
        SemanticSegmentation,
        lambda: _masks("vit-micro", "deeplabv3plus", weighted=True),
    ),
    "question-answering": (QuestionAnswering, _asked),
    "question-answering windows": (QuestionAnswering, lambda: _asked(max_length=24)),
    "question-answering roberta": (QuestionAnswering, lambda: _asked("roberta", max_length=40)),
    "sentence-embedding": (SentenceEmbedding, _paired),
    "sentence-embedding scored": (SentenceEmbedding, lambda: _paired(scored=True)),
    "text-generation": (TextGeneration, lambda: _going_on("gpt")),
    "text-generation blocks": (TextGeneration, lambda: _going_on("llama", max_length=12)),
    "conversation": (Conversation, lambda: _chatting("llama")),
    "conversation in a short context": (Conversation, lambda: _chatting("gpt", max_length=24)),
    "image-classification resnet": (ImageClassification, lambda: _pictures("resnet-10", augment="light")),
}

# --- objectives -------------------------------------------------------------------------------------------------------


@dataclass
class LearnCase:
    """An objective on a small model. ``rows`` are places of its stream; ``wide(rows)`` is their batch with more padding
    (None: nothing is ever padded).

    ``items(rows)`` counts by hand what the loss of these rows is a sum over. ``least`` is the loss that a batch learned by
    heart in ``updates`` at the learning rate ``rate`` may keep.
    """

    rig: Rig
    rows: Sequence[int]
    wide: Callable[[Sequence[int]], Any] | None
    items: Callable[[Sequence[int]], float]
    least: float = 0.0
    rate: float = 2e-2
    updates: int = 60


@contextmanager
def _padded_to(multiple: int) -> Iterator[None]:
    before = TextEncoder.padding
    assert isinstance(before, property)
    read = before.fget
    assert read is not None
    TextEncoder.padding = property(lambda self: dataclasses.replace(read(self), multiple=multiple))  # type: ignore[assignment]
    try:
        yield
    finally:
        TextEncoder.padding = before  # type: ignore[assignment]


def _learn(
    kind: str, items: Callable[[Rig, Sequence[int]], float], *, least: float = 0.0, updates: int = 60, **options: Any
) -> LearnCase:
    rig = Rig(kind, **options)
    with _padded_to(160):
        stretched = Rig(kind, **options)

    def wide(rows: Sequence[int]) -> Any:
        with _padded_to(160):
            return stretched.batch(rows)

    rows = range(min(9, len(next(iter(rig.streams.values())).lengths_N)))
    return LearnCase(rig, rows, wide, lambda chosen: items(rig, chosen), least, updates=updates)


def _learn_pictures(kind: str, preset: str, *, least: float = 0.0, **options: Any) -> LearnCase:
    rig = Rig(kind, family=preset, **options)

    def items(rows: Sequence[int]) -> float:
        patches = (32 // 4) ** 2
        return float(len(rows) * (patches - patches // 4 if kind == "masked-image" else 1))

    return LearnCase(rig, range(9), None, items, least)


def _weights_by_hand(_rig: Rig, rows: Sequence[int]) -> float:
    weight = {"money": 0.5, "science": 1.0, "sport": 3.0}
    made = uneven_rows(24)
    return sum(weight[made[row]["label"]] for row in rows)


def _weights_without_label(rig: Rig, rows: Sequence[int]) -> float:
    """A row without a label weighs 1."""
    return sum(1.0 if row % 4 == 1 else _weights_by_hand(rig, [row]) for row in rows)


def _words(_rig: Rig, rows: Sequence[int]) -> float:
    """Words of the rows, those too that have no tags."""
    made = tagged(uneven_rows(24))
    return float(sum(len(made[row]["words"]) for row in rows))


def _tokens_written(rig: Rig, rows: Sequence[int]) -> float:
    """Tokens of the target texts, an end mark behind each."""
    tokenizer, made = rig.objective.task.encoder.tokenizer, written(uneven_rows(24))
    return float(sum(len(tokenizer(made[row]["target"][0]).input_ids) for row in rows))


def _masked_places(rig: Rig, rows: Sequence[int]) -> float:
    """Different places that carry a target, each row alone."""
    return float(sum(len(set(rig.batch([row]).extras["positions"].tolist())) for row in rows))


def _told_tokens(_rig: Rig, rows: Sequence[int]) -> float:
    """Tokens of the rows' texts, and an end mark."""
    encoder = _rig.objective.encoder
    pieces = [piece for row in encoder.encode([one["text"] for one in uneven_rows(24)]) for piece in row]
    assert len(pieces) == 24
    return float(sum(len(pieces[row].input_ids) - 1 for row in rows))


def _told_in_packs(rig: Rig, rows: Sequence[int]) -> float:
    return float(sum(len(rig.batch([row]).targets) for row in rows))


def _learn_sound(kind: str, *, least: float = 0.0, rate: float = 5e-3, updates: int = 60, **options: Any) -> LearnCase:
    rig = Rig(kind, **options)

    def wide(rows: Sequence[int]) -> Any:
        """As if the batch had been padded for a clip that is a second longer."""
        batch = rig.batch([*rows])
        made = rig.objective.reader if kind == "distil-clips" else rig.objective
        hearing = made.hearing if hasattr(made, "hearing") else made.task.hearing
        longer = [0, 0] * (batch.inputs[hearing.reads].ndim - 2) + [0, hearing.places_per_second]
        inputs = {
            hearing.reads: torch.nn.functional.pad(batch.inputs[hearing.reads], longer),
            "attention_mask": torch.nn.functional.pad(batch.inputs["attention_mask"], (0, hearing.places_per_second)),
        }
        mask_BF = batch.inputs["mask_time_indices"]
        frames = hearing.frames_of(inputs)
        inputs["mask_time_indices"] = torch.nn.functional.pad(mask_BF, (0, frames - mask_BF.shape[1]))
        extras = dict(batch.extras)
        for name in ("positions", "teacher_logits", "teacher_states"):
            if name in extras:
                longer = [0, 0] * (extras[name].ndim - 2) + [0, frames - mask_BF.shape[1]]
                extras[name] = torch.nn.functional.pad(extras[name], longer)
        return dataclasses.replace(batch, inputs=inputs, extras=extras, num_padded=batch.num_padded + 50 * len(rows))

    def items(rows: Sequence[int]) -> float:
        if kind == "speech":
            return float(sum(len(WORDS[LABELS[row % 3]]) for row in rows))
        if kind == "sound":
            return float(len(rows))
        if kind == "distil-clips":
            return float(sum(rig.objective.reader.hearing.frames(2400 + 700 * (row % 4)) for row in rows))
        if kind == "distil-speech":
            return float(sum(rig.objective.task.hearing.frames(2400 + 700 * (row % 4)) for row in rows))
        return float(sum(rig.batch([row]).inputs["mask_time_indices"].sum() for row in rows))

    return LearnCase(rig, range(9), wide, items, least, rate, updates)


def _learn_pieces(**options: Any) -> LearnCase:
    rig = Rig("contrastive-clips", **options)
    more = rig.objective.hearing.places_per_second

    def wide(rows: Sequence[int]) -> Any:
        """As if both pieces had been padded for a clip that is a second longer."""
        batch, pad = rig.batch([*rows]), torch.nn.functional.pad
        inputs = {
            side: {name: pad(one, [0, 0] * (one.ndim - 2) + [0, more]) for name, one in told.items()}
            for side, told in batch.inputs.items()
        }
        return dataclasses.replace(batch, inputs=inputs, num_padded=batch.num_padded + 50 * len(rows))

    return LearnCase(rig, range(9), wide, lambda rows: float(len(rows)), 0.1, 5e-3)


def _learn_voice(kind: str, *, least: float, updates: int) -> LearnCase:
    rig = Rig(kind)

    def wide(rows: Sequence[int]) -> Any:
        """As if a longer text and a longer clip stood in the batch."""
        batch = rig.batch([*rows])
        inputs = {
            name: torch.nn.functional.pad(value, (0, 7)) if value.ndim == 2 else value
            for name, value in batch.inputs.items()
        }
        targets = torch.nn.functional.pad(batch.targets, (0, 0, 0, 9))
        for name, more in (("durations", (0, 7)), ("teacher_logits", (0, 0, 0, 9))):
            if name in batch.extras:
                batch.extras[name] = torch.nn.functional.pad(batch.extras[name], more)
        return dataclasses.replace(batch, inputs=inputs, targets=targets, num_padded=batch.num_padded + 9 * len(rows))

    def items(rows: Sequence[int]) -> float:
        """Frames of 100 samples, and what a whole step of three needs more."""
        return float(sum(3 * math.ceil((1 + (2400 + 700 * (row % 4)) // 100) / 3) for row in rows))

    return LearnCase(rig, range(9), wide, items, least=least, rate=5e-3, updates=updates)


def _learn_samples() -> LearnCase:
    rig = Rig("next-sample")

    def wide(rows: Sequence[int]) -> Any:
        """As if a longer clip stood in the batch."""
        batch = rig.batch([*rows])
        inputs = {**batch.inputs, "codes": torch.nn.functional.pad(batch.inputs["codes"], (0, 900))}
        inputs["frames"] = torch.nn.functional.pad(batch.inputs["frames"], (0, 0, 0, 9))
        real = torch.nn.functional.pad(batch.extras["real"], (0, 900))
        return dataclasses.replace(
            batch, inputs=inputs, extras={"real": real}, num_padded=batch.num_padded + 900 * len(rows)
        )

    def items(rows: Sequence[int]) -> float:
        return 800.0 * len(rows)  # pieces of 0.1 s

    return LearnCase(rig, range(9), wide, items, least=3.5, rate=1e-2, updates=90)


LEARN_CASES: dict[str, Callable[[], LearnCase]] = {
    "supervised text classification": lambda: _learn("finetune", lambda _, rows: float(len(rows))),
    "supervised text classification varied": lambda: _learn(
        "finetune", lambda _, rows: float(len(rows)), augment="strong"
    ),
    "supervised with class weights": lambda: _learn(
        "finetune", _weights_by_hand, least=0.45, class_weights=(0.5, 1.0, 3.0), label_smoothing=0.1
    ),
    "supervised several labels": lambda: _learn("multilabel", lambda _, rows: float(len(rows))),
    "supervised several labels weighted": lambda: _learn(
        "multilabel",
        lambda _, rows: float(len(rows)),
        least=0.25,
        positive_weights=(0.5, 1.0, 3.0),
        label_smoothing=0.1,
    ),
    "supervised numbers": lambda: _learn("numbers", lambda _, rows: float(len(rows))),
    "supervised text to speech": lambda: _learn_voice("voice", least=1.6, updates=80),
    "distilled text to speech": lambda: _learn_voice("distil-voice", least=0.9, updates=80),
    "next sample": _learn_samples,
    "supervised tags": lambda: _learn("tags", _words),
    "supervised tags roberta": lambda: _learn("tags", _words, family="roberta"),
    "supervised writing": lambda: _learn("writing", _tokens_written, least=1.1, label_smoothing=0.1),
    "supervised answers": lambda: _learn("span", lambda _, rows: float(len(rows)), augment="light"),
    "supervised answers roberta": lambda: _learn("span", lambda _, rows: float(len(rows)), family="roberta"),
    "distilled answers": lambda: _learn("distil-span", lambda _, rows: float(len(rows)), least=0.2),
    "distilled numbers": lambda: _learn("distil-numbers", lambda _, rows: float(len(rows)), least=0.2),
    "distilled tags": lambda: _learn("distil-tags", _words, least=0.2),
    "distilled text": lambda: _learn(
        "distil", lambda _, rows: float(len(rows)), least=0.5, hidden=True, attention=True
    ),
    "distilled text, answers alone": lambda: _learn("distil", lambda _, rows: float(len(rows)), least=0.2),
    "distilled several labels": lambda: _learn("distil-multilabel", lambda _, rows: float(len(rows)), least=0.2),
    "distilled with class weights, live": lambda: _learn(
        "distil", _weights_without_label, least=0.3, class_weights=(0.5, 1.0, 3.0), live=True
    ),
    "distilled speech": lambda: _learn_sound("distil-speech", least=0.3, hidden=True, attention=True),
    "distilled masked text": lambda: _learn("distil-masked", _masked_places, least=0.6),
    "distilled masked text, answers alone": lambda: _learn(
        "distil-masked", _masked_places, least=0.3, hidden=False, attention=False
    ),
    "distilled features of pictures": lambda: _learn_pictures("distil-pictures", "vit-micro", least=0.2),
    "distilled features of clips": lambda: _learn_sound("distil-clips", least=0.2),
    "supervised roberta": lambda: _learn("finetune", lambda _, rows: float(len(rows)), family="roberta"),
    "masked image": lambda: _learn_pictures("masked-image", "vit-micro", least=0.5),
    "contrastive image resnet": lambda: _learn_pictures("contrastive-image", "resnet-10"),
    "contrastive image vit": lambda: _learn_pictures("contrastive-image", "vit-micro"),
    "self-distillation image resnet": lambda: _learn_pictures("self-distillation-image", "resnet-10"),
    "supervised audio classification": lambda: _learn_sound("sound", augment="light"),
    "supervised speech recognition": lambda: _learn_sound("speech", rate=3e-3, updates=150),
    "supervised audio classification of features": lambda: _learn_sound("sound", hears="features", augment="light"),
    "supervised speech recognition of features": lambda: _learn_sound("speech", updates=150, hears="features"),
    "supervised audio classification of a WaveNet": lambda: _learn_sound("sound", hears="waves", augment="light"),
    "contrastive audio": lambda: _learn_sound("contrastive-audio", least=1.0, diversity_weight=0.0),
    "contrastive audio with diversity": lambda: _learn_sound("contrastive-audio", least=1.0, diversity_weight=1.0),
    "masked audio": lambda: _learn_sound("masked-audio", least=1.0),
    "contrastive clips": _learn_pieces,
    "masked text padded": lambda: _learn("pretrain", _masked_places),
    "masked text whole words": lambda: _learn("pretrain", _masked_places, mask_whole_words=True),
    # What one position says of several masked tokens has their entropy at least.
    "masked text with a bag of words": lambda: _learn("pretrain", _masked_places, least=0.5, bag_of_words=0.5),
    "masked text packed with a bag of words": lambda: _learn(
        "pretrain", _masked_places, least=1.0, pack_tokens=64, bag_of_words=1.0
    ),
    "masked text packed": lambda: _learn("pretrain", _masked_places, pack_tokens=64),
    "contrastive text": lambda: _learn("contrastive-text", lambda _, rows: float(len(rows))),
    "span text": lambda: _learn("span-text", _told_in_packs, family="t5"),
    "permuted text": lambda: _learn("permuted-text", _told_in_packs, family="xlnet", updates=90),
    "causal text": lambda: _learn("causal-text", _told_tokens, family="gpt", max_length=128, least=1.2),
    "causal text llama": lambda: _learn("causal-text", _told_tokens, family="llama", max_length=128, least=1.2),
    "causal text packed": lambda: _learn(
        "causal-text", _told_in_packs, family="gpt", pack="yes", max_length=128, least=1.2
    ),
    "masked text packed roberta": lambda: _learn("pretrain", _masked_places, pack_tokens=128, family="roberta"),
}


def every_window(case: TaskCase) -> list[list[Encoded]]:
    """The items of each example."""
    return [case.task.encode(example) for example in case.examples]


def as_arrays(item: Encoded) -> tuple[Any, ...]:
    """An item as comparable values."""
    arrays = {name: np.asarray(array).tolist() for name, array in item.arrays.items()}
    target = item.target.tolist() if isinstance(item.target, np.ndarray) else item.target
    return item.id, arrays, item.cost, target, item.weight
