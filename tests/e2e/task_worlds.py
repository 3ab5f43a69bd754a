"""A small world for each task: data as a person has it, and the flags that make its runs small. A new task is one entry here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from box_files import made_rows, voc

__all__ = ["WORLDS", "World"]

COLOURS = {"brick": (200, 60, 40), "grass": (40, 160, 60), "water": (40, 80, 200)}
TEXTS = {
    "money": "the bank raised its rate",
    "science": "the probe reached a moon",
    "sport": "the team won its match",
}
TONES = {"low": 300, "mid": 900, "high": 1_800}
ROWS = 60


@dataclass(frozen=True)
class World:
    """``write(folder)`` makes the data and gives its place; ``model`` and ``flags`` go to ``finetune``, ``fresh`` and ``columns`` to
    every verb that builds a model or reads the data, ``student`` to ``distill``; ``row(folder)`` is what ``predict`` is asked.
    """

    write: Callable[[Path], Path]
    model: str
    row: Callable[[Path], Path]
    columns: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    student: str = "layers:1"
    fresh: tuple[str, ...] = ()


def lines(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


def asked_text(folder: Path) -> Path:
    return lines(folder / "asked.jsonl", [{"id": "a", "text": "Ann Lee said that the bank raised its rate"}])


def texts(answer: Callable[[str, int], dict[str, Any]]) -> Callable[[Path], Path]:
    """Rows of one sentence on a topic, with what ``answer(topic, number)`` adds."""

    def write(folder: Path) -> Path:
        names = sorted(TEXTS)
        rows = [
            {"text": f"{TEXTS[name]} ({number})", **answer(name, number)}
            for number in range(ROWS)
            for name in [names[number % len(names)]]
        ]
        return lines(folder / "rows.jsonl", rows)

    return write


def two(name: str, number: int, all_names: dict[str, Any]) -> str:
    """One or two names of a kind."""
    other = sorted(all_names)[(number // 3) % 3]
    return name if other == name else f"{name}|{other}"


def tags(folder: Path) -> Path:
    rng = random.Random(0)
    rows = []
    for number in range(ROWS):
        who, where = rng.choice(["Ann Lee", "Bob"]).split(), rng.choice(["Oslo", "New York"]).split()
        words = [*who, "went", "to", *where, str(number)]
        inside = [*("I-PER" if at else "B-PER" for at in range(len(who))), "O", "O", *("I-LOC" if at else "B-LOC" for at in range(len(where))), "O"]  # fmt: skip
        rows.append("\n".join(map(" ".join, zip(words, inside, strict=True))))
    place = folder / "rows.conll"
    place.write_text("\n\n".join(rows) + "\n", encoding="utf-8")
    return place


def pictures(answer: Callable[[str, int], dict[str, Any]]) -> Callable[[Path], Path]:
    """A table of pictures of one colour with noise, with what ``answer(colour, number)`` adds."""

    def write(folder: Path) -> Path:
        rng, names, rows = np.random.default_rng(0), sorted(COLOURS), []
        for number in range(ROWS):
            name = names[number % len(names)]
            noise = rng.integers(-30, 30, (32, 32, 3))
            Image.fromarray((np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)).save(
                folder / f"{number}.png"
            )
            rows.append({"file_name": f"{number}.png", **answer(name, number)})
        return lines(folder / "rows.jsonl", rows)

    return write


def clips(answer: Callable[[str, int], dict[str, Any]]) -> Callable[[Path], Path]:
    """A manifest of clips of one tone with noise, with what ``answer(tone, number)`` adds."""

    def write(folder: Path) -> Path:
        rng, names, rows = np.random.default_rng(0), sorted(TONES), []
        for number in range(ROWS):
            name, samples = names[number % len(names)], np.arange(3_200 + 40 * (number % 7))
            tone = 0.3 * np.sin(2 * np.pi * TONES[name] * samples / 8_000) + 0.02 * rng.standard_normal(len(samples))
            soundfile.write(folder / f"{number}.wav", tone, 8_000)
            rows.append({"audio_filepath": f"{number}.wav", **answer(name, number)})
        return lines(folder / "rows.jsonl", rows)

    return write


def questions(folder: Path) -> Path:
    """Who went where, each asked of a passage of its own."""
    rows = []
    for number in range(2 * ROWS):
        who, where = ("Ann", "Bob", "Carla")[number % 3], ("Oslo", "Rio")[number % 2]
        passage = f"In May {who} went to {where}. It rained there for {number} days."
        answers = {"text": [where], "answer_start": [passage.index(where)]}
        rows.append({"question": f"Where did {who} go?", "context": passage, "answers": answers})
    return lines(folder / "rows.jsonl", rows)


def asked_question(folder: Path) -> Path:
    row = {"id": "a", "text": "Where did Bob go?", "text_pair": "In May Bob went to Rio."}
    return lines(folder / "asked.jsonl", [row])


def translations(folder: Path) -> Path:
    """Sentences of one made-up language and their words in another."""
    rng = random.Random(0)
    rows = [[rng.randrange(10) for _ in range(rng.randrange(2, 5))] for _ in range(2 * ROWS)]
    pairs = [{"text": " ".join(f"w{one}" for one in row), "target": " ".join(f"z{one}" for one in row)} for row in rows]
    return lines(folder / "rows.jsonl", pairs)


def pairs(folder: Path) -> Path:
    """Two sentences each that say the same number of things of one kind."""
    rng, rows = random.Random(0), []
    for _ in range(2 * ROWS):
        things = [rng.randrange(10) for _ in range(3)]
        rows.append({"text": " ".join(f"w{one}" for one in things), "other": " ".join(f"z{one}" for one in things)})
    return lines(folder / "rows.jsonl", rows)


def chats(folder: Path) -> Path:
    """Conversations of one exchange or two, in which the answer says the question's words in another language."""
    rng, rows = random.Random(0), []
    for number in range(2 * ROWS):
        turns = []
        for _ in range(1 + number % 2):
            said = [rng.randrange(10) for _ in range(rng.randrange(2, 5))]
            turns += [
                {"role": "user", "content": " ".join(f"w{one}" for one in said)},
                {"role": "assistant", "content": " ".join(f"z{one}" for one in said)},
            ]
        rows.append({"messages": turns})
    return lines(folder / "rows.jsonl", rows)


def masks(folder: Path) -> Path:
    """Pictures of two colours, and the class of each pixel."""
    rng, names = np.random.default_rng(0), sorted(COLOURS)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for number in range(ROWS):
        pixels = np.full((40, 48), number % 3, dtype=np.uint8)
        pixels[:, 20 + number % 10 :] = (number + 1) % 3
        coloured = np.array([COLOURS[name] for name in names])[pixels] + rng.integers(-30, 30, (40, 48, 3))
        Image.fromarray(coloured.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(pixels).save(folder / "masks" / f"{number}.png")
    return folder


def poses(folder: Path) -> Path:
    """Pictures with a bright dot and a dark one, and a table of where they are."""
    rng, rows = np.random.default_rng(0), ["file,left_dot_x,left_dot_y,right_dot_x,right_dot_y"]
    for number in range(ROWS):
        pixels = rng.integers(100, 150, (48, 64, 3)).astype(np.uint8)
        left, right = rng.integers(6, (58, 42)), rng.integers(6, (58, 42))
        for (x, y), shade in ((left, 255), (right, 0)):
            pixels[y - 3 : y + 4, x - 3 : x + 4] = shade
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{left[0] + 0.5},{left[1] + 0.5},{right[0] + 0.5},{right[1] + 0.5}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "rows.csv"


VOCABULARY = ("--vocab-size", "300")
SMALL_TEXT = ("--max-steps", "12", "--learning-rate", "0.001")
SMALL = ("--max-steps", "4", "--batch-size", "8")
TEXT, PICTURE, CLIP = "scratch:bert-tiny", "scratch:resnet-10", "scratch:wav2vec2-tiny"
ONE_LABEL, LABELS, VALUE = (), ("--column", "labels=names"), ("--column", "value=amount")

WORLDS: dict[str, World] = {  # by the task's name, and behind a blank what is special
    "text-classification": World(
        texts(lambda name, _: {"label": name}), TEXT, asked_text, flags=SMALL_TEXT, fresh=VOCABULARY
    ),
    "text-multilabel-classification": World(
        texts(lambda name, number: {"names": two(name, number, TEXTS)}), TEXT, asked_text, LABELS, SMALL_TEXT, fresh=VOCABULARY
    ),
    "text-regression": World(
        texts(lambda name, number: {"amount": len(name) + number / 7}), TEXT, asked_text, VALUE, SMALL_TEXT, fresh=VOCABULARY
    ),
    "token-classification": World(tags, TEXT, asked_text, flags=SMALL_TEXT, fresh=VOCABULARY),
    "image-classification": World(
        pictures(lambda name, _: {"label": name}), PICTURE, lambda folder: folder / "1.png", flags=SMALL, student=PICTURE
    ),
    "image-multilabel-classification": World(
        pictures(lambda name, number: {"names": two(name, number, COLOURS)}),
        PICTURE, lambda folder: folder / "1.png", LABELS, SMALL, PICTURE,
    ),
    "image-regression": World(
        pictures(lambda name, number: {"amount": COLOURS[name][0] + number / 7}),
        PICTURE, lambda folder: folder / "1.png", VALUE, SMALL, PICTURE,
    ),
    "audio-classification": World(
        clips(lambda name, _: {"label": name}), CLIP, lambda folder: folder / "1.wav", flags=SMALL
    ),
    "audio-multilabel-classification": World(
        clips(lambda name, number: {"names": two(name, number, TONES)}), CLIP, lambda folder: folder / "1.wav", LABELS, SMALL
    ),
    "audio-regression": World(
        clips(lambda name, number: {"amount": TONES[name] + number / 7}), CLIP, lambda folder: folder / "1.wav", VALUE, SMALL
    ),
    "speech-recognition": World(
        clips(lambda name, _: {"text": name}), CLIP, lambda folder: folder / "1.wav", flags=SMALL
    ),
    "text-to-text": World(
        translations, "scratch:t5-tiny", lambda folder: lines(folder / "asked.jsonl", [{"id": "a", "text": "w1 w2 w3"}]),
        ("--column", "text=text", "--column", "target=target"), ("--max-steps", "6"), "scratch:t5-tiny", ("--vocab-size", "320"),
    ),
    "conversation": World(
        chats, "scratch:llama-tiny", lambda folder: lines(folder / "asked.jsonl", [{"id": "a", "text": "w1 w2 w3"}]),
        flags=("--max-steps", "6", "--max-new-tokens", "8"), student="scratch:llama-tiny", fresh=("--vocab-size", "320"),
    ),
    "keypoint-detection": World(
        poses, PICTURE, lambda folder: folder / "1.png", flags=("--max-steps", "6", "--batch-size", "8"), student=PICTURE
    ),
    "semantic-segmentation": World(
        masks, PICTURE, lambda folder: folder / "images" / "1.png", flags=("--max-steps", "6", "--batch-size", "8"), student=PICTURE
    ),
    "question-answering": World(questions, TEXT, asked_question, flags=SMALL_TEXT, fresh=VOCABULARY),
    "sentence-embedding": World(
        pairs, TEXT, asked_text, ("--column", "text=text", "--column", "target=other"), SMALL_TEXT, fresh=VOCABULARY
    ),
    "object-detection": World(
        lambda folder: voc(folder, made_rows(pictures=16)), PICTURE, lambda folder: folder / "JPEGImages" / "test_0.png",
        flags=("--max-steps", "6", "--batch-size", "8"), student=PICTURE, fresh=("--image-size", "96"),
    ),
    "object-detection faster-rcnn": World(
        lambda folder: voc(folder, made_rows(pictures=16)), PICTURE, lambda folder: folder / "JPEGImages" / "test_0.png",
        flags=("--head", "faster-rcnn", "--max-steps", "6", "--batch-size", "8"), student=PICTURE, fresh=("--image-size", "96"),
    ),
}  # fmt: skip
