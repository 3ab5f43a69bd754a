"""A mistyped path or preset does not go to the hub; what may be the hub's is asked for once, quietly, and not for long."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from pretune import hub
from pretune.backbones.loading.folder import find_folder
from pretune.config import DataSettings
from pretune.data.read import read
from pretune.errors import DataError, ModelError


class Network:
    """What is asked of the hub, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = ConnectionError("[Errno -2] Name or service not known")

    def repo_info(self, _api: Any, name: str, *, repo_type: str, timeout: float) -> None:
        assert 0 < timeout <= 5
        self.asked.append(f"{repo_type} {name}")
        logging.getLogger("huggingface_hub").warning("a library's own line")
        if self.error is not None:
            raise self.error


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    network = Network()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        huggingface_hub.HfApi, "repo_info", lambda api, name, **rest: network.repo_info(api, name, **rest)
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return network


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bert-tinny", "did you mean scratch:bert-tiny?"),
        ("bert-tiny", "did you mean scratch:bert-tiny?"),
        ("resnet-19", "did you mean scratch:resnet-"),
        ("some/modle", "did you mean some/model?"),
        ("some/other", "some is a folder here, and holds no other"),
        ("my-moddel", "did you mean my-model?"),
        ("soem/model", "did you mean some/model?"),
        ("model.safetensors", "that is the name of a file"),
        ("owner/rows.csv", "that is the name of a file"),
    ],
)
def test_a_mistyped_backbone_is_not_asked_for(network: Network, name: str, told: str):
    Path("some/model").mkdir(parents=True)
    Path("my-model").mkdir()
    with pytest.raises(ModelError) as caught:
        find_folder(name)
    assert told in caught.value.fix
    assert f"hub:{name}" in caught.value.fix, "and how the hub's is meant"
    assert network.asked == []


@pytest.mark.parametrize("name", ["runs/news", "scratch/bert", "a/b/c", "../model", "scratch:bert-tinny"])
def test_what_cannot_be_an_id_is_not_asked_for(network: Network, name: str):
    with pytest.raises(ModelError, match="there is no folder"):
        find_folder(name)
    assert network.asked == []


@pytest.mark.parametrize("name", ["gpt2", "bert-base-uncased", "owner/model", "hub:bert-tinny", "hub:some/model"])
def test_what_may_be_the_hubs_is_asked_for_once(
    network: Network, name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with pytest.raises(ModelError) as caught:
        find_folder(name)
    assert "the hub did not give it: ConnectionError: [Errno -2]" in caught.value.problem
    assert network.asked == [f"model {name.removeprefix('hub:')}"]
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_what_the_hub_does_not_have_is_not_downloaded(network: Network):
    network.error = HFValidationError("no such")
    with pytest.raises(ModelError, match="it has none of this name"):
        find_folder("owner/model")
    assert len(network.asked) == 1


def test_what_was_downloaded_before_serves_without_a_network(network: Network, tmp_path: Path):
    commit = "0" * 40
    place = tmp_path / "hub" / "models--owner--model" / "snapshots" / commit
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place.parents[1] / "refs").mkdir()
    (place.parents[1] / "refs" / "main").write_text(commit)
    assert find_folder("owner/model") == place
    assert len(network.asked) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("some/dta", "some/dta does not exist"),
        ("soem/data", "soem/data does not exist"),
        ("data.csv", "data.csv does not exist"),
        ("owner/data.csv", "owner/data.csv does not exist"),
        ("none", "none does not exist"),
    ],
)
def test_a_mistyped_place_of_data_is_not_asked_for(network: Network, name: str, told: str):
    Path("some/data").mkdir(parents=True)
    with pytest.raises(DataError, match=told):
        read(DataSettings(data=name))
    assert network.asked == []


def test_data_that_may_be_the_hubs_is_asked_for_once(network: Network, capfd: pytest.CaptureFixture[str]):
    for name in ("owner/data", "hub:owner/data"):
        with pytest.raises(DataError) as caught:
            read(DataSettings(data=name))
        assert "could not be loaded as a hub id: ConnectionError: [Errno -2]" in caught.value.problem
    assert network.asked == ["dataset owner/data"] * 2
    assert capfd.readouterr() == ("", "")


def test_switched_off_it_is_not_asked_at_all(network: Network, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.ask("owner/model", "model") == (hub.Answer.UNREACHABLE, "HF_HUB_OFFLINE is set")
    assert network.asked == []
