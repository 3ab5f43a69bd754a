"""An example as a model reads it: its inputs, and a name for each position of them.

Shapes: T positions of an item (tokens, patches with class tokens before them, frames).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.load import Backbone
from pretune.backbones.text.limits import encoder_for
from pretune.config import TextSettings
from pretune.data.media.image import decode_image
from pretune.errors import ModelError, UsageError
from pretune.modalities import Modality
from pretune.modalities.audio.clips import AudioSpec, collate_clips
from pretune.modalities.image.transform import ImageTransform, centre_crop, collate_pixels, image_transform_of, resized
from pretune.modalities.text.encoder import TextEncoder, collate_text
from pretune.tasks.base import Task
from pretune.tasks.rows.audio import clip_of
from pretune.tasks.shown.audio import LONGEST_SECONDS, shown_clip
from pretune.tasks.shown.text_parts import cut_note, shown_tokens
from pretune.tasks.shown.thumbnails import picture_address
from pretune.types import Example
from pretune.wording import agree, counted

__all__ = ["Reader", "Reading", "read_example", "reader_of", "reader_of_backbone"]

Reader: TypeAlias = TextEncoder | ImageTransform | AudioSpec
"""What makes a model's inputs: of texts, of pictures, of clips."""

SHOWN_SIDE = 480


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One example, ready for a model: a batch of one without padding that counts.

    ``tokens`` (T,) names the positions and ``is_special`` (T,) says which are no
    part of the example. Positions from ``prefix`` on lie on a ``grid`` of rows and columns, for pictures and clips; ``picture``
    is the address of what lies under it, ``seconds`` how long a clip lasts.
    """

    kind: Modality
    inputs: dict[str, torch.Tensor]
    tokens: tuple[str, ...]
    is_special: tuple[bool, ...]
    prefix: int = 0
    grid: tuple[int, int] = (0, 0)
    picture: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def has_grid(self) -> bool:
        """Do its positions lie on a picture or a spectrum? Else they are tokens."""
        return self.grid[1] > 0


_READERS = {Modality.TEXT: "encoder", Modality.IMAGE: "geometry", Modality.AUDIO: "hearing"}
"""What tasks call it."""


def reader_of(task: Task) -> Reader:
    """What makes the inputs of the task's model."""
    return getattr(task, _READERS[task.modality])


def reader_of_backbone(backbone: Backbone, about: dict[str, Any]) -> Reader:
    """The same for a pre-trained model; ``about`` is its ``pretune.json``."""
    made: Mapping[Modality, Callable[[], Reader]] = {
        Modality.TEXT: lambda: encoder_for(backbone, TextSettings(max_length=about.get("max_length"))),
        Modality.IMAGE: lambda: image_transform_of(backbone.processor).at(about.get("image_size")),
        Modality.AUDIO: lambda: audio_spec_of(backbone),
    }
    return made[backbone.modality]()


def read_example(reader: Reader, example: Example, config: Any) -> Reading:
    """The example's first item, as a batch of one. ``config`` is the model's. Raises :class:`UsageError` for an empty text, and
    :class:`ModelError` for a picture model whose patches are not known."""
    if isinstance(reader, TextEncoder):
        return _read_text(reader, example)
    if isinstance(reader, AudioSpec):
        return _read_clip(reader, example.inputs["audio"])
    return _read_picture(reader, example.inputs["image"], config)


def _read_text(encoder: TextEncoder, example: Example) -> Reading:
    texts = [example.inputs[key] for key in ("text", "text_pair") if example.inputs.get(key) is not None]
    located = encoder.locate(*texts)
    piece, places = located[0]
    if all(place is None for place in places):
        raise UsageError("there is nothing to explain: the text is empty", "give a text with a word in it")
    return Reading(
        kind=Modality.TEXT,
        inputs=collate_text([piece], encoder.padding).inputs,
        tokens=shown_tokens(piece, places, texts, encoder.tokenizer),
        is_special=tuple(place is None for place in places),
        notes=(*cut_note(encoder, located, texts), *_unknown_note(encoder, piece.input_ids)),
    )


def _unknown_note(encoder: TextEncoder, ids_T: np.ndarray) -> tuple[str, ...]:
    unknown = 0 if encoder.tokenizer.unk_token_id is None else int((ids_T == encoder.tokenizer.unk_token_id).sum())
    if not unknown:
        return ()
    return (f"{unknown} of {counted(len(ids_T), 'token')} {agree(unknown, 'are', 'is')} unknown to the model.",)


def _read_picture(geometry: ImageTransform, image: dict[str, Any], config: Any) -> Reading:
    pixels = resized(decode_image(image), geometry)
    side: Any = getattr(config, "patch_size", None)
    sides: tuple[Any, ...] = tuple(side) if isinstance(side, (list, tuple)) else (side, side)
    if not all(isinstance(one, int) and one > 0 for one in sides) or len(sides) != 2:
        raise ModelError(
            f"the patches of {config.model_type} are not known, so no map of their attention can be drawn",
            "the attributions of a fine-tuned run need no patches",
        )
    rows, columns = (length // one for length, one in zip(geometry.crop, sides, strict=True))
    patches = tuple(f"row {r + 1}, column {c + 1}" for r in range(rows) for c in range(columns))
    return Reading(
        kind=Modality.IMAGE,
        inputs={"pixel_values": collate_pixels([pixels], geometry)},
        tokens=patches,
        is_special=(False,) * len(patches),
        grid=(rows, columns),
        picture=picture_address(centre_crop(pixels, geometry.crop), SHOWN_SIDE),
    )


def _read_clip(hearing: AudioSpec, audio: dict[str, Any]) -> Reading:
    clip = clip_of(audio, hearing)
    inputs, _ = collate_clips([clip], hearing)
    if not hearing.masked:
        inputs = {"input_values": inputs["input_values"][:, : len(clip)]}
    frames, seconds = hearing.frames(len(clip)), len(clip) / hearing.rate
    return Reading(
        kind=Modality.AUDIO,
        inputs=inputs,
        tokens=tuple(f"{(frame + 0.5) * seconds / frames:.2f} s" for frame in range(frames)),
        is_special=(False,) * frames,
        grid=(1, frames),
        picture=shown_clip(audio, hearing.rate)["image"] if seconds <= LONGEST_SECONDS else "",
        seconds=seconds,
    )
