"""What is asked of the attention of a model that has none is refused before anything that takes long."""

from __future__ import annotations

from pathlib import Path

import pytest

import pretune
from export_cases import RUNS
from pretune.errors import UsageError
from pretune.runfolder import RunFolder
from pretune.verbs.explain import subject as explaining


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RUNS["resnet-labels"](tmp_path_factory.mktemp("net") / "run")


@pytest.mark.parametrize("asked", [{"png": "a.png"}, {"svg": "a.svg"}, {"layer": 1}, {"head": 2}])
def test_stills_of_a_convolutional_net_are_refused_before_its_weights_are_loaded(
    net: RunFolder, asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "load_subject", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UsageError, match="is about attention, and this model has none to show"):
        pretune.explain(net.path, "no-file.png", **asked)


def test_attention_is_looked_for_before_the_answer_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the config promises attention and the model shows none (those of other libraries)."""
    run = RUNS["vit"](tmp_path / "run")
    monkeypatch.setattr(explaining.Subject, "attention", lambda _: None)
    monkeypatch.setattr(explaining.Subject, "attribution", lambda *_: pytest.fail("it was explained"))
    picture = next((tmp_path).rglob("*.png"))
    with pytest.raises(UsageError, match="none to show"):
        pretune.explain(run.path, picture, png=tmp_path / "a.png")
