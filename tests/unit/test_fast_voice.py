"""A voice that says all frames at once: where letters lie in a clip, how long they last, the same alone and in a batch, as graphs too."""

from __future__ import annotations

import base64
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.answers import Wave
from pretune.backbones.audio.fastspeech import lasting, placed, stretched
from pretune.backbones.load import Backbone, load_backbone
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import ModelError, UsageError
from pretune.export.graphs.at_once import GraphAtOnce
from pretune.export.graphs.writer import open_graph
from pretune.export.speaking_graphs import export_speaker
from pretune.modalities.audio.speech_lengths import MOST_FRAMES
from pretune.tasks.rows.spoken_data import refuse_untaught
from pretune.tasks.shown.alignment import aligned
from pretune.tasks.speech.letter_lengths import UNKNOWN, durations_of, letters_of_frames
from pretune.tasks.speech.text_to_speech import TextToSpeech
from pretune.types import Example
from tiny import EvenTeaching, dataset_of, spoken_rows, tiny_fast_voice, tiny_voice


def every_way(frames: int, letters: int) -> list[list[int]]:
    """All ways from the first letter to the last that go on by none or one."""
    found = []
    for places in itertools.combinations(range(1, frames), letters - 1):
        way = np.zeros(frames, dtype=int)
        way[list(places)] = 1
        found.append(np.cumsum(way).tolist())
    return found


@pytest.mark.parametrize(("frames", "letters", "seed"), [(6, 3, 0), (7, 4, 1), (5, 5, 2), (4, 1, 3), (8, 2, 4)])
def test_the_way_through_the_letters_is_the_best_of_all(frames: int, letters: int, seed: int) -> None:
    weights_FL = np.random.default_rng(seed).dirichlet(np.ones(letters), frames)
    best = max(every_way(frames, letters), key=lambda way: sum(math.log(weights_FL[f, w]) for f, w in enumerate(way)))
    way_F = aligned(weights_FL)
    assert way_F is not None
    assert way_F.tolist() == best


def test_every_letter_gets_a_frame_or_the_clip_none() -> None:
    skipping_FL = np.zeros((6, 4))
    skipping_FL[:3, 0] = skipping_FL[3:, 3] = 1.0
    way_F = aligned(skipping_FL)
    assert way_F is not None
    assert np.bincount(way_F, minlength=4).min() == 1
    assert aligned(np.ones((2, 3))) is None


def test_attention_that_goes_no_way_is_unknown_and_the_rest_sums_to_the_frames() -> None:
    clear_SL, vague_SL = np.eye(3)[[0, 0, 1, 2]], np.full((4, 3), 1 / 3)
    attention = torch.tensor(np.stack([clear_SL, vague_SL, clear_SL]), dtype=torch.float32)
    frames_B, letters_B = torch.tensor([8, 8, 2]), torch.tensor([3, 3, 3])
    letters_BF = letters_of_frames(attention, frames_B, letters_B, 2)
    assert letters_BF[0].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert set(letters_BF[1].tolist()) == {UNKNOWN}
    durations_BL = durations_of(letters_BF, frames_B, 3)
    assert durations_BL.tolist() == [[4, 2, 2], [0, 0, 0], [0, 0, 0]]


def test_letters_are_laid_over_frames() -> None:
    mask_BL = torch.tensor([[True, True, True], [True, True, False]])
    logs_BL = torch.tensor([[0.0, math.log(2.6), -3.0], [math.log(4.0), 20.0, 5.0]])
    assert lasting(logs_BL, mask_BL).tolist() == [[1, 3, 1], [4, MOST_FRAMES, 0]]
    durations_BL = torch.tensor([[1, 3, 1], [4, 0, 0]])
    letters_BF, through_BF = placed(durations_BL, torch.arange(5))
    assert letters_BF[0].tolist() == [0, 1, 1, 1, 2]
    assert letters_BF[1, :4].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(through_BF[0], torch.tensor([0.5, 1 / 6, 0.5, 5 / 6, 0.5]))
    known_BL = stretched(logs_BL, mask_BL, torch.tensor([10, 7]))
    assert known_BL.sum(dim=1).tolist() == [10, 7]
    assert (known_BL[0, 1] > known_BL[0, 0], known_BL[1, 2]) == (True, 0)


def loud() -> tuple[TextToSpeech, Any, Backbone]:
    """A voice that was never trained, whose letters last unlike."""
    task, backbone = tiny_fast_voice()
    model = task.build(backbone, seed=0)[0].eval()
    with torch.no_grad():
        model.fastspeech.duration.weight.mul_(4)
        model.fastspeech.duration.bias.fill_(1.2)
    return task, model, backbone


def batch_of(task: TextToSpeech, count: int = 6) -> Any:
    examples = []
    for row in spoken_rows(count):
        clip = "data:audio/wav;base64," + base64.b64encode(row["audio"]["bytes"]).decode()
        examples.append(Example(row["id"], {"text": row["text"], "speaker": row["speaker"]}, Wave(clip)))
    return task.collate([item for example in examples for item in task.encode(example)])


def test_a_text_is_said_alike_alone_and_in_a_batch() -> None:
    task, model, _ = loud()
    items = [
        item for n, row in enumerate(spoken_rows(6)) for item in task.encode(Example(str(n), {"text": row["text"]}))
    ]
    together = task.said(model, task.collate(items))
    assert len({len(one.mel_FM) for one in together}) > 1
    for item, one in zip(items, together, strict=True):
        (alone,) = task.said(model, task.collate([item]))
        np.testing.assert_allclose(one.mel_FM, alone.mel_FM, atol=1e-5)
        assert (one.way_SL.sum(axis=1) == 1).all()
        assert one.way_SL.sum() == len(one.mel_FM)
    assert "stopped" not in task.predict(model, task.collate(items))[0].detail


def test_clips_of_which_letters_are_unknown_weigh_nothing() -> None:
    task, model, _ = loud()
    batch = batch_of(task)
    lesson = EvenTeaching().of([], [], batch).logits
    lesson[1, :, -1] = UNKNOWN
    task.learned_from(batch, lesson)
    assert task.item_weights(batch).tolist()[1] == 0.0
    losses_B = task.soft_losses(task.logits_of(model, batch), lesson, batch, 1.0)
    assert [bool(value > 0) for value in losses_B] == [True, False, True, True, True, True]
    told = task.lessons_told([lesson[0].numpy(), lesson[1].numpy()])
    assert told.startswith("1 of 2 clips are not learned from")
    with pytest.raises(ModelError, match="no clear way"):
        task.lessons_told([lesson[1].numpy()])


def test_a_teacher_tells_the_letters_of_frames() -> None:
    task, backbone = tiny_voice()
    model = task.build(backbone, seed=0)[0].eval()
    batch = batch_of(task)
    with torch.inference_mode():
        lesson, logits = task.lesson(model, batch), task.logits_of(model, batch)
    torch.testing.assert_close(lesson[..., :-1], logits)
    assert lesson.shape[-1] == logits.shape[-1] + 1


def test_what_it_cannot_learn_from_is_refused() -> None:
    fast, backbone = tiny_fast_voice()
    with pytest.raises(UsageError, match="from a trained voice"):
        refuse_untaught(load_backbone("scratch:fastspeech-tiny"))
    with pytest.raises(UsageError, match="no attention"):
        fast.check_teacher(fast)
    with pytest.raises(UsageError, match="one way only"):
        TextToSpeech(fast.spelling, backbone.config, take=1)
    data = Splits({"train": dataset_of([{**row, "text": "ξ"} for row in spoken_rows(2)])})
    with pytest.raises(ModelError, match="letters that the teacher never learned"):
        tiny_voice()[0].student(data, load_backbone("scratch:fastspeech-tiny"), TaskSettings(task=fast.name))
    assert not fast.learns_alone


@pytest.mark.slow
def test_its_graphs_say_the_frames_of_the_model(tmp_path: Path) -> None:
    task, model, _ = loud()
    path = tmp_path / "model.onnx"
    signature = export_speaker(model, path)
    assert {one["name"] for one in signature["lengths"]["inputs"]} == {"input_ids", "letter_mask", "voice_ids"}
    graph = open_graph(path, threads=1).eval()
    assert isinstance(graph, GraphAtOnce)
    batch = batch_of(task)
    with torch.inference_mode():
        theirs, forced, losses_B = task.said(model, batch), task.outputs(model, batch), task.watched(model, batch)[0]
        for alone in (False, True):
            graph.alone = alone
            torch.testing.assert_close(task.outputs(graph, batch), forced, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(task.watched(graph, batch)[0], losses_B, atol=1e-3, rtol=1e-4)
            for one, other in zip(task.said(graph, batch), theirs, strict=True):
                np.testing.assert_allclose(one.mel_FM, other.mel_FM, atol=1e-4)
    feed = graph.feeds(batch.inputs)
    for session in (graph.graphs._frames, graph.graphs._lengths):
        found = session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
        assert all(np.isfinite(one).all() for one in found)
