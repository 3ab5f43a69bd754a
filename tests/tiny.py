"""Tiny models and rows that tests of learning share: a second or less for anything here."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conftest import make_rows
from pretune.answers.schemes import to_iob2
from pretune.backbones.adaptation.adapt import LORA, Adaptation, adapt_low_rank, plan_adaptation
from pretune.backbones.adaptation.lora import LowRankSpec
from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.load import Backbone, load_backbone, save_model
from pretune.backbones.text.characters import new_vocabulary
from pretune.backbones.text.limits import position_offset
from pretune.backbones.writing.generation import marks_of
from pretune.config import PretrainingSettings, TaskSettings
from pretune.data.splits import Splits
from pretune.data.text.words import words_of
from pretune.engine.batching import Feeds, Stream
from pretune.engine.devices import Device
from pretune.engine.fit import Budget, fit
from pretune.engine.optim import Optim
from pretune.engine.parallel import Cluster
from pretune.modalities.image.letterbox import Canvas
from pretune.modalities.image.transform import image_transform_of
from pretune.modalities.text.encoder import TextEncoder
from pretune.modalities.text.store import encode_dataset
from pretune.objectives.audio.contrastive_audio import ContrastiveAudio
from pretune.objectives.audio.contrastive_clips import ContrastiveClips
from pretune.objectives.audio.masked_audio import MaskedAudio
from pretune.objectives.audio.next_sample import NextSample
from pretune.objectives.distilling.distil import Distil
from pretune.objectives.distilling.features import DistilFeatures
from pretune.objectives.distilling.masked_text import DistilMaskedText
from pretune.objectives.distilling.matched_student import ready
from pretune.objectives.distilling.teaching import TaughtSettings
from pretune.objectives.image.contrastive_image import ContrastiveImage
from pretune.objectives.image.masked_image import MaskedImage
from pretune.objectives.image.self_distil_image import SelfDistilImage
from pretune.objectives.mixed import Mixed
from pretune.objectives.supervised import Supervised
from pretune.objectives.text.causal_text import CausalText
from pretune.objectives.text.contrastive_text import ContrastiveText
from pretune.objectives.text.masked_text import MaskedText
from pretune.objectives.text.permuted_text import PermutedText
from pretune.objectives.text.replaced_text import ReplacedText
from pretune.objectives.text.span_text import SpanText
from pretune.tasks import (
    AudioClassification,
    AudioMultilabelClassification,
    AudioRegression,
    ObjectDetection,
    QuestionAnswering,
    SpeechRecognition,
    TextClassification,
    TextMultilabelClassification,
    TextRegression,
    TextToSpeech,
    TextToText,
    TokenClassification,
)
from pretune.tasks.places.detection.kinds import HEADS
from pretune.tasks.rows.audio import frame_mask_of
from pretune.tasks.rows.spoken_data import letters_of
from pretune.tasks.teacher import CachedTeaching, LiveTeaching, Teacher, TeacherOutput, cache_teaching
from pretune.types import Batch, Encoded, Loss, Step

CPU = Device(torch.device("cpu"), "fp32", 1)
LABELS = ("money", "science", "sport")


@functools.cache
def _trained(family: str) -> Backbone:
    texts = [row["text"] for row in make_rows(150, seed=5)]
    return load_backbone(f"scratch:{family}-tiny", texts=lambda: texts, vocab_size=320)


def tiny_backbone(family: str = "bert", *, layers: int = 2, dropout: float = 0.0) -> Backbone:
    """32 wide, two heads; its tokenizer knows the words of ``make_rows``."""
    trained = _trained(family)
    config = trained.config.__class__.from_dict(trained.config.to_dict())
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 32, 64, layers
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", *_DROPOUTS.get(family, ())):
        setattr(config, name, dropout)
    for name, value in _NARROW.get(family, {}).items():
        setattr(config, name, value)
    return Backbone(trained.name, trained.kind, config, trained.tokenizer)


@functools.cache
def _trained_writer(preset: str) -> Backbone:
    rows = written(make_rows(150, seed=5))
    texts = [text for row in rows for text in (row["text"], *row["target"])]
    return load_backbone(f"scratch:{preset}", texts=lambda: texts, vocab_size=320)


def tiny_writer_backbone(preset: str = "seq2seq-tiny") -> Backbone:
    """An encoder-decoder 32 wide, two heads, two layers on each side, without dropout."""
    trained = _trained_writer(preset)
    config: Any = trained.config.__class__.from_dict(trained.config.to_dict())
    config.d_model = 32
    if preset.startswith("t5"):
        config.d_ff, config.num_layers, config.num_decoder_layers, config.num_heads, config.d_kv = 64, 2, 2, 2, 16
        config.dropout_rate = 0.0
    else:
        config.encoder_layers = config.decoder_layers = config.encoder_attention_heads = (
            config.decoder_attention_heads
        ) = 2
        config.encoder_ffn_dim, config.decoder_ffn_dim, config.dropout = 64, 64, 0.0
    return Backbone(trained.name, trained.kind, config, trained.tokenizer)


_NARROW: dict[str, dict[str, int]] = {
    "gpt": {"n_inner": 64}, "llama": {"head_dim": 16, "num_key_value_heads": 2}, "xlnet": {"d_inner": 64, "d_head": 16},
}  # fmt: skip
_DROPOUTS = {"gpt": ("resid_pdrop", "embd_pdrop", "attn_pdrop"), "xlnet": ("dropout", "summary_last_dropout")}


def tiny_image_backbone(preset: str = "vit-micro") -> Backbone:
    """For pictures of 32 pixels; a ViT of two layers 32 wide, or a ResNet of four narrow stages."""
    found = load_backbone(f"scratch:{preset}", image_size=32)
    if preset.startswith("vit"):
        found.config.hidden_size, found.config.intermediate_size = 32, 64
        found.config.num_hidden_layers, found.config.num_attention_heads = 2, 2
        found.config.hidden_dropout_prob = found.config.attention_probs_dropout_prob = 0.0
    else:
        found.config.embedding_size, found.config.hidden_sizes = 8, [8, 16, 16, 32]
    return found


def tiny_pictures(count: int, *, side: int = 32, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of PNG bytes: a class is a colour with noise, so that a model can learn it by heart."""
    import io

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        pixels = rng.integers(0, 120, (side + number % 5, side + number % 3, 3), dtype=np.uint8)
        pixels[..., number % len(LABELS)] += 100
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "PNG")
        image = {"bytes": held.getvalue(), "path": f"{number}.png"}
        rows.append({"id": str(number), "image": image, "label": label})
    return rows


def tiny_masks(count: int, *, sides: tuple[int, int] = (40, 56), seed: int = 0) -> list[dict[str, Any]]:
    """Rows of PNG bytes with a mask: blocks of 8 pixels, whose colour says their class; a corner has none."""
    import io

    import numpy as np
    from PIL import Image

    from pretune.answers import Mask
    from pretune.answers.mask import NONE

    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        height, width = sides[0] + 8 * (number % 2), sides[1]
        classes = rng.integers(0, len(LABELS), (height // 8, width // 8))
        classes.flat[: len(LABELS)] = range(len(LABELS))
        pixels = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        mask = np.kron(classes, np.ones((8, 8), dtype=int)).astype(np.uint8)
        pixels[np.arange(height)[:, None], np.arange(width)[None], mask] += 150
        mask[-4:, -4:] = NONE
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "PNG")
        image = {"bytes": held.getvalue(), "path": f"{number}.png"}
        rows.append(
            {"id": str(number), "image": image, "mask": Mask.of(mask, LABELS).to_json(), "width": width, "height": height}
        )  # fmt: skip
    return rows


def tiny_boxes(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Pictures of 128 x 112 pixels with a box of each size or none: a class is a colour, so that a model can learn it by heart."""
    import io

    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        pixels = rng.integers(0, 60, (112, 128, 3), dtype=np.uint8)
        boxes = []
        for place, side in enumerate((100, 40, 12) if number % 4 == 1 else (12, 40) if number % 4 else ()):
            label = (number + place) % len(LABELS)
            x, y = int(rng.integers(0, 128 - side)), int(rng.integers(0, 112 - side))
            pixels[y : y + side, x : x + side, label] += 150
            boxes.append({"label": LABELS[label], "box": [float(x), float(y), float(x + side), float(y + side)]})
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "PNG")
        image = {"bytes": held.getvalue(), "path": f"{number}.png"}
        rows.append({"id": str(number), "image": image, "boxes": boxes, "width": 128, "height": 112})
    return rows


def tiny_boxed_task(
    preset: str = "resnet-10", *, head: str = "ssd", backbone: Backbone | None = None, **options: Any
) -> tuple[ObjectDetection, Backbone]:
    """Finds the boxes of :func:`tiny_boxes` on a canvas of 64 x 64 pixels."""
    backbone = backbone or tiny_image_backbone(preset)
    canvas = Canvas(64, 64, image_transform_of(backbone.processor))
    shapes = [[[10.0, 10.0], [16.0, 16.0]], [[24.0, 24.0], [20.0, 28.0]], [[50.0, 50.0], [40.0, 60.0]]]
    learner = HEADS[head].restored({"shapes": shapes}, canvas.sides, len(LABELS), backbone)
    return ObjectDetection(LABELS, canvas, learner, head=head, **options), backbone


POINTS = ("left_hand", "right_hand", "nose")
"""The points of a tiny pose."""


def tiny_poses(count: int, *, sides: tuple[int, int] = (40, 56), seed: int = 0) -> list[dict[str, Any]]:
    """Rows of PNG bytes with a red, a green and a blue square, and where their middles are; the last is unknown in every fourth."""
    import io

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        height, width = sides[0] + 8 * (number % 2), sides[1]
        pixels = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        points = []
        for channel in range(len(POINTS)):
            x, y = (int(one) for one in rng.integers(4, (width - 4, height - 4)))
            pixels[y - 3 : y + 3, x - 3 : x + 3, channel] = 255
            points.append([float(x), float(y), 1.0])
        if number % 4 == 3:
            points[-1] = [0.0, 0.0, 0.0]
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "PNG")
        image = {"bytes": held.getvalue(), "path": f"{number}.png"}
        rows.append({"id": str(number), "image": image, "keypoints": points, "width": width, "height": height})
    return rows


WORDS = {"money": "see", "science": "oh no", "sport": "ay"}
"""What a clip of a class says: with a letter twice, with a space, and a short one."""


def tiny_audio_backbone(hears: str = "samples") -> Backbone:
    """For sound of 8 kHz; a wav2vec 2.0 of two layers 32 wide, frames of 20 ms, without dropout.

    ``hears`` else: ``untold``, one whose norm runs over time and that is not told of padding; ``features``, a conformer on log-mel features of
    sound of 16 kHz, as small; ``bands``, a residual network on those; ``waves``, a WaveNet of four layers.
    """
    made = {"features": _tiny_conformer, "bands": _tiny_mel_resnet, "waves": _tiny_wavenet}
    if hears in made:
        return made[hears]()
    assert hears in ("samples", "untold"), hears
    found = load_backbone("scratch:wav2vec2-tiny", sampling_rate=8_000)
    config = found.config
    config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads = 32, 64, 2, 2
    config.conv_dim, config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups = (16,) * 4, 8, 4
    config.classifier_proj_size = config.codevector_dim = config.proj_codevector_dim = 32
    config.num_codevectors_per_group, config.num_negatives = 8, 10
    config.hidden_dropout = config.attention_dropout = config.final_dropout = 0.0
    if hears == "untold":
        config.feat_extract_norm, config.do_stable_layer_norm = "group", False
        found.processor.return_attention_mask = False
    return found


def _tiny_conformer() -> Backbone:
    found = load_backbone("scratch:w2v-bert-tiny")
    config = found.config
    config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads = 32, 64, 2, 2
    config.output_hidden_size = config.classifier_proj_size = 32
    config.conv_depthwise_kernel_size = 5
    config.left_max_position_embeddings = config.right_max_position_embeddings = 8
    config.hidden_dropout = config.conformer_conv_dropout = config.final_dropout = 0.0
    return found


def _tiny_wavenet() -> Backbone:
    found = load_backbone("scratch:wavenet-tiny", sampling_rate=8_000)
    config: Any = found.config
    config.residual_size, config.hidden_size, config.stack_depth, config.num_stacks = 16, 24, 4, 1
    config.context_size, config.final_dropout = 32, 0.0
    return found


def _tiny_mel_resnet() -> Backbone:
    found = load_backbone("scratch:mel-resnet-tiny")
    config: Any = found.config
    config.hidden_sizes, config.inner_sizes, config.depths, config.final_dropout = [8, 16], [8, 12], [1, 2], 0.0
    return found


def tiny_clips(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of WAV bytes, 0.3 to 0.6 seconds: a class is a tone with noise, so that a model can learn it by heart."""
    import io

    import soundfile

    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        time_T = np.arange(2400 + 700 * (number % 4)) / 8_000
        tone = 0.4 * np.sin(2 * np.pi * 300 * (1 + 2 * (number % len(LABELS))) * time_T)
        held = io.BytesIO()
        soundfile.write(held, tone + 0.02 * rng.standard_normal(len(time_T)), 8_000, format="WAV", subtype="PCM_16")
        audio = {"bytes": held.getvalue(), "path": f"{number}.wav"}
        seconds = len(time_T) / 8_000
        rows.append(
            {"id": str(number), "text": WORDS[label], "audio": audio, "label": label, "seconds": seconds, "rate": 8_000}
        )
    return rows


def tiny_encoder(backbone: Backbone, *, max_length: int = 128, long_text: str = "truncate") -> TextEncoder:
    return TextEncoder(backbone.tokenizer, max_length=max_length, long_text=long_text, segments=backbone.uses_segments)


def uneven_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows of quite different lengths: every third is doubled, every fifth is cut to three words."""
    rows = make_rows(count, seed)
    for number, row in enumerate(rows):
        if number % 3 == 0:
            row["text"] = f"{row['text']} {row['text']}"
        if number % 5 == 0:
            row["text"] = " ".join(row["text"].split()[:3])
    return rows


def several_labels(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a list of labels in place of one: its own, with the next one every fifth time; every fourth row has none."""
    found = []
    for number, row in enumerate(rows):
        own = row["label"]
        names = [own, LABELS[(LABELS.index(own) + 1) % len(LABELS)]][: 1 + (number % 5 == 0)]
        rest = {key: value for key, value in row.items() if key != "label"}
        found.append({**rest, "labels": [] if number % 4 == 3 else names})
    return found


def numbered(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a number in place of the label: mostly its class, and a little by chance."""
    return [
        {
            **{key: cell for key, cell in row.items() if key != "label"},
            "value": 20.0 * LABELS.index(row["label"]) + number * 5 % 7,
        }
        for number, row in enumerate(rows)
    ]


TAGS = ("O", "B-MONEY", "I-MONEY", "B-SPORT", "I-SPORT")


def tagged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their words and a tag for each in place of the label, which its letters give."""
    found = []
    for row in rows:
        words, text = words_of(row["text"]), row["text"]
        tags = to_iob2([TAGS[(len(text[start:end]) * 7) % len(TAGS)] for start, end in words], "IOB2")
        found.append({"id": row["id"], "text": text, "words": words, "tags": tags})
    return found


def chatted(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as conversations: every third of two exchanges, every fourth with a turn of the system, the answers the first words."""
    found = []
    for number, row in enumerate(rows):
        words = row["text"].split()
        turns = [{"role": "system", "content": "say it"}] if number % 4 == 0 else []
        if number % 3 == 0:
            turns += [{"role": "user", "content": "the coach"}, {"role": "assistant", "content": words[0]}]
        turns.append({"role": "user", "content": row["text"]})
        text = "\n".join(turn["content"] for turn in turns)
        found.append({"id": row["id"], "text": text, "turns": turns, "target": [" ".join(words[:3])]})
    return found


def written(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a text to be written in place of the label: the first words the other way round, every fourth in two forms."""
    found = []
    for number, row in enumerate(rows):
        words = row["text"].split()[:4][::-1]
        texts = [" ".join(words), " ".join(words[1:]) or words[0]]
        found.append({"id": row["id"], "text": row["text"], "target": texts if number % 4 == 0 else texts[:1]})
    return found


def asked(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as passages with a question: the word after the one that it names; every fourth has no answer."""
    found = []
    for number, row in enumerate(rows):
        passage, words = row["text"], words_of(row["text"])
        place = (number * 5) % len(words)
        start, stop = words[place]
        before = passage[slice(*words[place - 1])] if place else "the start"
        answers = [] if number % 4 == 3 else [{"text": passage[start:stop], "start": start}]
        found.append(
            {
                "id": row["id"],
                "text": f"what follows {before}?",
                "text_pair": passage,
                "span": answers,
                "group": f"g{number // 2}",
            }
        )
    return found


def unlabelled(rows: Sequence[Mapping[str, Any]], answer: str) -> list[dict[str, Any]]:
    """The rows, every fourth without its ``answer``."""
    return [{**row, answer: None if number % 4 == 1 else row[answer]} for number, row in enumerate(rows)]


def dataset_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def largest_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


TEXT_KINDS: dict[str, Any] = {
    "causal-text": CausalText,
    "permuted-text": PermutedText,
    "span-text": SpanText,
    "replaced-text": ReplacedText,
    "contrastive-text": ContrastiveText,
}
"""Objectives that learn from texts without labels, made of a backbone and their own options."""
PICTURE_KINDS: dict[str, Any] = {kind.name: kind for kind in (MaskedImage, ContrastiveImage, SelfDistilImage)}


def tiny_sound_task(kind: str, *, hears: str = "samples", **options: Any) -> tuple[Any, Backbone]:
    """``speech`` (recognition), ``sound`` (classification) or ``sound-labels`` (several labels a clip), and its backbone."""
    backbone = tiny_audio_backbone(hears)
    shared = {"mask": frame_mask_of(backbone), **options}
    if kind == "speech":
        return SpeechRecognition(new_vocabulary(WORDS.values()), audio_spec_of(backbone), **shared), backbone
    if kind == "sound-number":
        return AudioRegression((), audio_spec_of(backbone), **shared), backbone
    made = AudioMultilabelClassification if kind == "sound-labels" else AudioClassification
    return made(LABELS, audio_spec_of(backbone), **shared), backbone


def tiny_voice() -> tuple[TextToSpeech, Backbone]:
    """A small voice of two speakers for the rows of :func:`tiny_clips`, without dropout."""
    backbone = load_backbone("scratch:tacotron-tiny", sampling_rate=8_000)
    config: Any = backbone.config
    config.hidden_size, config.decoder_size, config.prenet_size, config.postnet_size = 32, 48, 16, 24
    config.dropout, config.prenet_dropout, config.state_dropout, config.num_postnet_layers = 0.0, 0.0, 0.0, 2
    spelling = letters_of([*WORDS.values()])
    config.tokens, config.vocab_size, config.speakers = list(spelling.tokens), len(spelling.tokens) + 1, ["ann", "bob"]
    return TextToSpeech(spelling, config), backbone


def tiny_fast_voice() -> tuple[TextToSpeech, Backbone]:
    """A small student of :func:`tiny_voice` that says all frames at once, without dropout."""
    voice, _ = tiny_voice()
    backbone = load_backbone("scratch:fastspeech-tiny", sampling_rate=8_000)
    config: Any = backbone.config
    config.hidden_size, config.intermediate_size, config.num_encoder_layers, config.num_decoder_layers = 32, 48, 1, 2
    config.dropout = config.duration_dropout = 0.0
    data = Splits({"train": dataset_of(spoken_rows(4))})
    return voice.student(data, backbone, TaskSettings(task=voice.name)), backbone


class EvenTeaching:
    """A teacher of voices that says the true frames, and lets every letter last alike."""

    def of(self, _places: Sequence[int], _items: Sequence[Encoded], batch: Batch) -> TeacherOutput:
        """See :class:`pretune.tasks.teacher.Teaching`."""
        frames_B, letters_B = batch.extras["frames"], batch.extras["letters"]
        letters_BF = torch.arange(batch.targets.shape[1])[None] * letters_B[:, None] // frames_B[:, None]
        places_BF1 = letters_BF.minimum(letters_B[:, None] - 1)[..., None].float()
        ends_BF2 = torch.zeros(*letters_BF.shape, 2)
        return TeacherOutput(torch.cat([batch.targets, batch.targets, ends_BF2, places_BF1], dim=-1), None)


def spoken_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """:func:`tiny_clips` said by two speakers in turn."""
    return [
        {**row, "speaker": "ab"[number % 2] + ("nn" if number % 2 == 0 else "ob")}
        for number, row in enumerate(tiny_clips(count, seed=seed))
    ]


TEACHING = {"distil-masked": "text", "distil-pictures": "image", "distil-clips": "audio"}
"""Objectives that pre-train a student, and what their rows are."""


@functools.cache
def saved_teacher(modality: str, auto_class: str = "") -> str:
    """A folder with a pre-trained model of four layers, 64 wide."""
    backbone = {"text": tiny_backbone, "image": tiny_image_backbone, "audio": tiny_audio_backbone}[modality]()
    backbone.config.hidden_size, backbone.config.num_hidden_layers = 64, 4
    model, _ = backbone.build(auto_class or {"text": "AutoModelForMaskedLM"}.get(modality, "AutoModel"), seed=7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.ndim > 1 else 1.0)
    folder = Path(tempfile.mkdtemp(prefix="pretune-teacher-"))
    save_model(model, backbone.processor, folder)
    return str(folder)


TEXT_TASKS: dict[str, Any] = {
    "label": TextClassification,
    "multilabel": TextMultilabelClassification,
    "numbers": TextRegression,
    "tags": TokenClassification,
    "writing": TextToText,
    "span": QuestionAnswering,
}
"""Tasks of texts by the kind of their answers."""
ANSWERED: dict[str, Any] = {
    "label": list,
    "multilabel": several_labels,
    "numbers": numbered,
    "tags": tagged,
    "writing": written,
    "span": asked,
}
"""What gives rows of classes answers of that kind."""
_TOLD: dict[str, dict[str, Any]] = {
    "numbers": {"labels": (), "mean": 20.0, "spread": 20.0},
    "tags": {"labels": TAGS},
}


def text_task(answer: str, encoder: TextEncoder, **options: Any) -> Any:
    """The task of texts with answers of this kind, as the rows of :data:`ANSWERED` need it."""
    if answer in ("tags", "span"):
        encoder = TextEncoder(
            encoder.tokenizer, max_length=encoder.max_length, long_text="windows", segments=encoder.segments,
            slides_last=answer == "span",
        )  # fmt: skip
    if answer == "span":
        return QuestionAnswering(encoder, longest=40, answers_all=False, **options)
    if answer == "writing":
        return TextToText(encoder, **options)
    return TEXT_TASKS[answer](encoder=encoder, **{"labels": LABELS, **_TOLD.get(answer, {}), **options})


class Rig:
    """A tiny run of an objective: everything ``fit`` needs, built anew from the same seed."""

    def __init__(
        self,
        kind: str = "finetune",
        *,
        family: str = "bert",
        layers: int = 2,
        dropout: float = 0.0,
        adapt: str = "full",
        rows: int = 24,
        batch_size: int = 8,
        micro_batch_size: int | None = None,
        steps: int = 10,
        seconds: float | None = None,
        schedule: str = "linear",
        warmup: float = 0.1,
        learning_rate: float = 1e-3,
        clip: float = 1.0,
        seed: int = 0,
        cluster: Cluster | None = None,
        fast: bool = True,
        sparse: bool = False,
        **options: Any,
    ) -> None:
        self.cluster = cluster or Cluster()
        self.seed = seed
        self.objective: Any
        if kind in PICTURE_KINDS:
            backbone = tiny_image_backbone(family)
            self.objective = PICTURE_KINDS[kind](backbone, image_transform_of(backbone.processor), seed=seed, **options)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored: Any = self.objective.encode_rows(dataset_of(tiny_pictures(rows)), fingerprint=f"rig-{rows}")
        elif kind == "contrastive-audio":
            self.objective = ContrastiveAudio(tiny_audio_backbone(), seed=seed, **options)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"rig-{rows}")
        elif kind == "contrastive-clips":
            self.objective = ContrastiveClips(tiny_audio_backbone("bands"), seed=seed, **options)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"rig-{rows}")
        elif kind == "masked-audio":
            self.objective = MaskedAudio(tiny_audio_backbone("features"), seed=seed, **options)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"rig-{rows}")
            self.objective.begin(stored, fingerprint=f"rig-{rows}")
        elif kind in TEXT_KINDS:
            is_t5 = family == "t5"
            backbone = (
                tiny_writer_backbone("t5-tiny") if is_t5 else tiny_backbone(family, layers=layers, dropout=dropout)
            )
            made: dict[str, Any] = (
                {"max_length": 48} if kind == "causal-text" else {"encoder": tiny_encoder(backbone, max_length=160)}
            )
            self.objective = TEXT_KINDS[kind](backbone, seed=seed, **{**made, **options})
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(dataset_of(uneven_rows(rows)), fingerprint=f"rig-{rows}")
        elif kind == "mixed":
            data = dataset_of(uneven_rows(rows))
            settings = PretrainingSettings(max_length=160, pack="no", **options)
            self.objective = Mixed.start(Splits({"train": data}), tiny_backbone(dropout=dropout), settings, seed=seed)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(data, fingerprint=f"rig-{rows}")
        elif kind in ("speech", "sound"):
            stored = self._sound(kind, adapt, rows, fast, options)
        elif kind == "next-sample":
            self.objective = NextSample(tiny_audio_backbone("waves"), seed=seed)
            self.model = self.objective.model
            self.objective.adaptation = self._adaptation(adapt, fast)
            stored = self.objective.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"rig-{rows}")
        elif kind == "voice":
            task, backbone = tiny_voice()
            self.model, _ = task.build(backbone, seed=seed)
            self.objective = Supervised(task, self._adaptation(adapt, fast))
            stored = task.encode_rows(dataset_of(spoken_rows(rows)), fingerprint=f"rig-{rows}")
        elif kind == "distil-voice":
            task, backbone = tiny_fast_voice()
            self.model, _ = task.build(backbone, seed=seed)
            self.objective = Distil(task, self._adaptation(adapt, fast), EvenTeaching())
            stored = task.encode_rows(dataset_of(spoken_rows(rows)), fingerprint=f"rig-{rows}")
        elif kind in TEACHING:
            stored = self._taught(kind, family, dropout, adapt, rows, fast, options)
        elif kind.startswith("distil"):
            stored = self._distil(kind, dropout, adapt, rows, fast, options)
        else:
            stored = self._text(kind, family, layers, dropout, adapt, rows, fast, options)
        for module in self.model.modules() if sparse else ():
            if isinstance(module, torch.nn.Embedding):
                module.sparse = True
        self.streams: dict[str, Stream] = self.objective.streams(stored, batch_size=batch_size, group_by_length=True)
        self.feeds = Feeds(
            self.streams, seed=seed, max_tokens=16_384, micro_batch_size=micro_batch_size,
            rank=self.cluster.rank, world=self.cluster.world,
        )  # fmt: skip
        self.optim = Optim(
            self.objective.adaptation.groups, learning_rate=learning_rate, schedule=schedule, warmup=warmup, clip=clip
        )
        self.budget = Budget(steps, seconds)

    def _sound(self, kind: str, adapt: str, rows: int, fast: bool, options: dict[str, Any]) -> Any:
        task, backbone = tiny_sound_task(kind, **options)
        self.model, _ = task.build(backbone, seed=self.seed)
        self.objective = Supervised(task, self._adaptation(adapt, fast))
        return task.encode_rows(dataset_of(tiny_clips(rows)), fingerprint=f"rig-{rows}")

    def _taught(
        self, kind: str, family: str, dropout: float, adapt: str, rows: int, fast: bool, options: dict[str, Any]
    ) -> Any:
        """A student that is pre-trained by a teacher of another width."""
        data = dataset_of({"text": uneven_rows, "image": tiny_pictures, "audio": tiny_clips}[TEACHING[kind]](rows))
        backbone = {
            "text": lambda: tiny_backbone(dropout=dropout),
            "image": lambda: tiny_image_backbone(family),
            "audio": tiny_audio_backbone,
        }[TEACHING[kind]]()
        settings = TaughtSettings(teacher=saved_teacher(TEACHING[kind]), pack="no", **options)
        made = DistilMaskedText if kind == "distil-masked" else DistilFeatures
        self.objective = made.start(Splits({"train": data}), backbone, settings, seed=self.seed)
        self.model = self.objective.model
        self.objective.adaptation = self._adaptation(adapt, fast)
        return self.objective.encode_rows(data, fingerprint=f"rig-{rows}")

    def _distil(self, kind: str, dropout: float, adapt: str, rows: int, fast: bool, options: dict[str, Any]) -> Any:
        """A student of two layers and a teacher of four, twice as wide; every fourth row has no label."""
        inside = {name: options.pop(name, False) for name in ("hidden", "attention")}
        losses = {name: options.pop(name) for name in ("temperature", "hard_weight") if name in options}
        live = options.pop("live", False)
        if kind == "distil-speech":
            task, backbone = tiny_sound_task("speech", **options)
            big = tiny_audio_backbone()
            data = unlabelled(tiny_clips(rows), "text")
        else:
            backbone, big = tiny_backbone(dropout=dropout), tiny_backbone(layers=4)
            made = uneven_rows(rows)
            answer = kind.partition("-")[2] or "label"
            data = unlabelled(ANSWERED[answer](made), TEXT_TASKS[answer].answer)
            task = text_task(answer, tiny_encoder(backbone, max_length=160), **options)
        big.config.hidden_size, big.config.num_hidden_layers = 64, 4
        self.student, _ = task.build(backbone, seed=self.seed)
        grown, _ = task.build(big, seed=self.seed + 100)
        with torch.no_grad():
            for weight in grown.parameters():
                weight.mul_(4.0 if weight.ndim > 1 else 1.0)  # one that has something to say
        teacher = Teacher(task, grown, CPU)
        stored = task.encode_rows(dataset_of(data), fingerprint=f"rig-{rows}-distil")
        lesson = ready(task, self.student, teacher, stored, seed=self.seed, **inside)
        assert not lesson.left_out
        assert lesson.teacher is not None
        self.model, self.teacher = lesson.model, lesson.teacher
        kept = cache_teaching(lesson.teacher, stored, stored, is_alike=True, fingerprint=f"rig-{rows}-{kind}")
        assert kept is not None
        teaching = LiveTeaching(lesson.teacher) if live else CachedTeaching([kept])
        self.objective = Distil(
            task, self._adaptation(adapt, fast), teaching, matching=lesson.matching, **losses
        )  # fmt: skip
        return stored

    def _text(
        self,
        kind: str,
        family: str,
        layers: int,
        dropout: float,
        adapt: str,
        rows: int,
        fast: bool,
        options: dict[str, Any],
    ) -> Any:
        backbone = (
            tiny_writer_backbone() if kind == "writing" else tiny_backbone(family, layers=layers, dropout=dropout)
        )
        encoder = tiny_encoder(backbone, max_length=160)
        if kind == "writing":
            options |= {"marks": marks_of(backbone.config, backbone.tokenizer), "most": 160}
        made = uneven_rows(rows)
        answer = "label" if kind == "finetune" else kind
        data = dataset_of(ANSWERED.get(answer, list)(made))
        if answer in TEXT_TASKS:
            task = text_task(answer, encoder, **options)
            self.model, _ = task.build(backbone, seed=self.seed)
            self.objective = Supervised(task, self._adaptation(adapt, fast))
            return task.encode_rows(data, fingerprint=f"rig-{rows}")
        self.model, _ = backbone.build("AutoModelForMaskedLM", seed=self.seed)
        self.objective = MaskedText(
            encoder, self._adaptation(adapt, fast), position_offset=position_offset(self.model), **options
        )
        return encode_dataset(data, encoder, fingerprint=f"rig-{rows}")

    def _adaptation(self, adapt: str, fast: bool) -> Adaptation:
        if adapt == LORA:
            adapt_low_rank(self.model, LowRankSpec(rank=4, alpha=8.0), seed=self.seed)
        if fast:
            make_fast(self.model)
        return plan_adaptation(self.model, adapt, weight_decay=0.01)

    def steps(self, start_step: int = 0, objective: Any = None) -> Any:
        return fit(
            self.model, self.feeds, objective or self.objective, self.optim, self.budget,
            device=CPU, cluster=self.cluster, seed=self.seed, start_step=start_step,
        )  # fmt: skip

    def train(self) -> list[Step]:
        return list(self.steps())

    def batch(self, rows: Sequence[int] | np.ndarray, epoch: int = 0) -> Any:
        """The batch of these rows (packs) as the loop would collate it."""
        from pretune.engine.randomness import row_keys

        (name, stream), rows_R = next(iter(self.streams.items())), np.asarray(rows)
        return stream.collate(rows_R, row_keys(self.seed, name, epoch, rows_R))[name]

    def loss(self, batch: Any) -> Loss:
        return self.objective.loss(self.model, {next(iter(self.streams)): batch}, torch.Generator())
