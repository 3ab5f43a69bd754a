"""Every task and objective says which settings it reads, says so truly, and refuses the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.contract.cases import TASK_CASES

from pretune.backbones.load import load_backbone
from pretune.config import (
    AudioSettings,
    AugmentSettings,
    DecodingSettings,
    ImageSettings,
    PretrainingSettings,
    TaskSettings,
    TextSettings,
)
from pretune.data.splits import Splits
from pretune.errors import UsageError
from pretune.objectives import PRETRAININGS
from pretune.objectives import check_settings as check_pretraining
from pretune.objectives.pretraining import Pretraining
from pretune.options import Settings, flag_of
from pretune.tasks import TASKS, Task, check_settings
from pretune.training.settings import FinetuneSettings
from pretune.verbs.pretrain.story import PretrainSettings
from tiny import (
    dataset_of,
    tiny_audio_backbone,
    tiny_backbone,
    tiny_clips,
    tiny_image_backbone,
    tiny_pictures,
    tiny_writer_backbone,
    uneven_rows,
)

SHARED = (TextSettings, ImageSettings, AudioSettings, AugmentSettings)
PARTICULAR = (
    {"class_weights", "label_smoothing"},
    {"mask_fraction", "mask_whole_words", "bag_of_words", "embeddings", "pack"},
)
OTHER_VALUES: dict[str, Any] = {
    "max_length": 32, "long_text": "windows", "tokenizer": "bpe", "vocab_size": 500, "group_by_length": False,
    "image_size": 32, "sampling_rate": 8000, "augment": "light", "beam_size": 4, "class_weights": "auto",
    "label_smoothing": 0.1, "mask_fraction": 0.5, "mask_whole_words": True, "bag_of_words": 0.5, "embeddings": "random",
    "pack": "yes", "pooling": "mean", "head": "deeplabv3plus",
    "length_penalty": 0.5, "no_repeat_ngram": 3, "max_new_tokens": 9,
}  # fmt: skip
MADE = [
    *((FinetuneSettings, TASKS, task, task.name, check_settings) for task in TASKS),
    *((PretrainSettings, PRETRAININGS.values(), kind, word, check_pretraining) for word, kind in PRETRAININGS.items()),
]


OF_ANSWERING = {"temperature", "top_p", "top_k", "stop", "sampling_seed", "take", "vocoder"}
"""Settings of tasks that only verbs which answer have: how a text or a voice is drawn."""


READ_ELSEWHERE = {"sampling_rate", "group_by_length", *OF_ANSWERING}
"""Settings that are looked at where the backbone is made, the batches are, or answers."""


def read_by_any(kinds: Any) -> set[str]:
    return {name for kind in kinds for name in kind.reads} - OF_ANSWERING


@pytest.mark.parametrize(("settings", "kinds", "kind", "word", "check"), MADE, ids=[made[3] for made in MADE])
def test_what_is_not_read_is_refused_and_what_is_read_is_not(
    settings: type[Settings], kinds: Any, kind: Any, word: str, check: Any
) -> None:
    for name in read_by_any(kinds):
        given = settings(backbone="scratch:x", data="rows", **{name: OTHER_VALUES[name]})  # type: ignore[call-arg]
        if name in kind.reads:
            check(given, kind)
        else:
            with pytest.raises(UsageError, match=f"{flag_of(name)} does nothing for {word}: it is for ") as caught:
                check(given, kind)
            assert caught.value.exit_code == 2
    check(settings(backbone="scratch:x", data="rows"), kind)  # type: ignore[call-arg]


def test_every_setting_of_the_groups_is_read_by_something() -> None:
    shared = {spec.name for group in SHARED for spec in dataclasses.fields(group)}
    decoding = {spec.name for spec in dataclasses.fields(DecodingSettings)}
    assert read_by_any(TASKS) >= shared | decoding | PARTICULAR[0]
    assert read_by_any(PRETRAININGS.values()) >= shared | PARTICULAR[1]
    known = {spec.name for spec in dataclasses.fields(FinetuneSettings)}
    assert known >= read_by_any(TASKS)
    assert {spec.name for spec in dataclasses.fields(PretrainSettings)} >= read_by_any(PRETRAININGS.values())


class Watched:
    """Settings that remember which of them were looked at."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.seen = settings, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(self.settings, name)


def world_of(kind: type[Pretraining]) -> tuple[Splits, Any]:
    """Rows of the kind's modality and a tiny backbone that it suits."""
    rows, backbones = {
        "text": (uneven_rows(12), [tiny_backbone(), tiny_writer_backbone("t5-tiny")]),
        "audio": (
            tiny_clips(12),
            [
                tiny_audio_backbone(),
                tiny_audio_backbone("features"),
                load_backbone("scratch:wavenet-tiny", sampling_rate=8_000),
            ],
        ),
        "image": (tiny_pictures(12), [tiny_image_backbone()]),
    }[kind.modalities[0]]
    backbone = next((one for one in backbones if kind.suits(one.config)), backbones[0])
    return Splits({"train": dataset_of(rows)}, {}), backbone


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_look_at_nothing_that_they_do_not_declare(task: type[Task]) -> None:
    case = next(made for kind, made in TASK_CASES.values() if kind is task)()
    watched: Any = Watched(TaskSettings())
    task.start(Splits({"train": case.dataset}, {}), case.backbone, watched)
    assert watched.seen & read_by_any(TASKS) <= set(task.reads)
    assert watched.seen & set(task.reads) or set(task.reads) <= READ_ELSEWHERE


@pytest.mark.parametrize("kind", PRETRAININGS.values(), ids=list(PRETRAININGS))
def test_objectives_look_at_nothing_that_they_do_not_declare(kind: type[Pretraining]) -> None:
    data, backbone = world_of(kind)
    watched: Any = Watched(PretrainingSettings())
    kind.start(data, backbone, watched, seed=0)
    assert watched.seen & read_by_any(PRETRAININGS.values()) <= set(kind.reads)
    assert watched.seen & set(kind.reads) or set(kind.reads) <= READ_ELSEWHERE
