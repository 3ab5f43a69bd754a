"""Where a model that writes looks: cross attention of a source and of what is written for it, and the attention of a decoder.

Source and written tokens stand one after the other in one sequence, so that a page shows them as it shows any attention: rows of source
tokens are the encoder's self-attention, rows of written ones the decoder's cross attention (each the row of the step that wrote the
token). Shapes: H heads of a layer, S source tokens, L written ones, T = S + L.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from pretune.errors import UsageError
from pretune.explain.attention import Attention, attention_of, check_size, checked_difference, rollout, rows_of
from pretune.explain.reading import Reading, read_example, reader_of
from pretune.modalities import Modality
from pretune.tasks.base import Task
from pretune.tasks.predicting import predict_items
from pretune.tasks.protocols import Steps
from pretune.types import Example

__all__ = ["WrittenAttention", "token_names", "written_attention"]

_WRITTEN = "→ "


@dataclasses.dataclass(frozen=True)
class WrittenAttention:
    """What was written, and the attention of source and answer; None where the model shows no weights."""

    text: str
    attention: Attention | None


def written_attention(
    task: Task, plain: torch.nn.Module, ordinary: torch.nn.Module, example: Example, device: Any
) -> WrittenAttention:
    """What the model of a task that writes token by token writes for an example, and where it looks. Raises as :func:`attention_of`, and
    :class:`UsageError` where nothing is written.
    """
    (item,) = task.encode(example)
    (prediction,) = predict_items(task, ordinary, [item], device)
    reader: Any = reader_of(task)
    steps = task.steps_of(example, prediction.answer)
    if steps.read_T is not None:
        return WrittenAttention(prediction.answer, attention_of(plain, ordinary, _told(reader.tokenizer, steps.read_T)))
    if not prediction.answer:
        raise UsageError("the model writes nothing for this text", "explain a text that it writes something for")
    reading = read_example(reader, example, plain.config)
    return WrittenAttention(prediction.answer, _cross_attention(reader.tokenizer, plain, ordinary, reading, steps))


def _told(tokenizer: Any, ids_T: np.ndarray) -> Reading:
    """A prompt and what follows, as a decoder reads them."""
    special = {*tokenizer.all_special_ids}
    ids = torch.from_numpy(ids_T.astype(np.int64))[None]
    return Reading(
        kind=Modality.TEXT, inputs={"input_ids": ids, "attention_mask": torch.ones_like(ids)}, tokens=token_names(tokenizer, ids_T),
        is_special=tuple(int(one) in special for one in ids_T),
    )  # fmt: skip


def token_names(tokenizer: Any, ids_T: np.ndarray) -> tuple[str, ...]:
    """Each token as its letters; those that are blanks or parts of a letter as the tokenizer calls them."""
    special = {*tokenizer.all_special_ids}
    called = tokenizer.convert_ids_to_tokens(ids_T.tolist())
    said = [name if one in special else tokenizer.decode([one]).strip() for one, name in zip(ids_T.tolist(), called, strict=True)]  # fmt: skip
    return tuple(name if not text or "\ufffd" in text else text for text, name in zip(said, called, strict=True))


def _cross_attention(
    tokenizer: Any, plain: Any, ordinary: torch.nn.Module, reading: Reading, steps: Steps
) -> Attention | None:
    source = len(reading.tokens)
    names = token_names(tokenizer, steps.written_L)
    special = {*tokenizer.all_special_ids}
    both = dataclasses.replace(
        reading, tokens=(*reading.tokens, *(f"{_WRITTEN}{name}" for name in names)),
        is_special=(*reading.is_special, *(int(one) in special for one in steps.written_L)),
    )  # fmt: skip
    check_size(plain.config, len(both.tokens))
    device = next(ordinary.parameters()).device
    inputs = {name: reading.inputs[name].to(device) for name in ("input_ids", "attention_mask")}
    inputs["decoder_input_ids"] = torch.from_numpy(steps.before_L.astype(np.int64))[None].to(device)
    plain.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = ordinary.eval()(**inputs).logits.float()
        outputs = plain.to(device).eval()(**inputs, output_attentions=True)
    if not outputs.cross_attentions or not outputs.encoder_attentions:
        return None
    difference = checked_difference(outputs.logits.float(), expected, plain.config.model_type)
    reads = [rows_of(layer, source, source, plain.config.model_type) for layer in outputs.encoder_attentions]
    looks = [rows_of(layer, len(names), source, plain.config.model_type) for layer in outputs.cross_attentions]
    if [len(one) for one in reads] != [len(one) for one in looks]:
        both = dataclasses.replace(
            both, notes=(*both.notes, "Encoder and decoder have different layers: of the source's own attention nothing is shown.")
        )  # fmt: skip
        reads = [np.broadcast_to(np.eye(source, dtype=np.float32), (len(one), source, source)) for one in looks]
    layers = tuple(_together(read, look) for read, look in zip(reads, looks, strict=True))
    return Attention(reading=both, layers=layers, rolled=tuple(_rolled(reads, looks)), difference=difference)


def _together(read_HSS: np.ndarray, look_HLS: np.ndarray) -> np.ndarray:
    """(H, T, T): no token of the source looks at what is written, no written one at another."""
    heads, written, source = look_HLS.shape
    whole = np.zeros((heads, source + written, source + written), dtype=np.float32)
    whole[:, :source, :source], whole[:, source:, :source] = read_HSS, look_HLS
    return whole


def _rolled(reads: list[np.ndarray], looks: list[np.ndarray]) -> list[np.ndarray]:
    """The rollout: cross attention of every layer looks at what the encoder's last layer has mixed, and a written token keeps a half of
    what it is at each layer.
    """
    source, written = looks[0].shape[2], looks[0].shape[1]
    mixed = rollout(reads)
    found, held_LT = [], np.concatenate([np.zeros((written, source)), np.eye(written)], axis=1)
    for read_SS, look in zip(mixed, looks, strict=True):
        seen_LS = look.mean(axis=0, dtype=np.float64) @ mixed[-1]
        held_LT = 0.5 * held_LT + 0.5 * np.concatenate([seen_LS, np.zeros((written, written))], axis=1)
        top = np.concatenate([read_SS, np.zeros((source, written))], axis=1)
        found.append(np.concatenate([top, held_LT]))
    return found
