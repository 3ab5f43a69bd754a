"""A run to the hub: the card says what it is, a dry run sends nothing, and what is sent is the model's folder and no more."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import errors
from report_samples import evaluation, passport, record

import pretune
from conftest import make_rows, write_csv
from pretune.errors import CheckFailed, CorruptFile, RunError, UsageError
from pretune.report.card import model_card

pytestmark = pytest.mark.filterwarnings("ignore:data")


class Hub:
    """Stands for ``HfApi``: keeps what it is asked, and fails where it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.asked = failure, list[tuple[str, dict[str, Any]]]()

    def create_repo(self, name: str, **options: Any) -> Any:
        self.asked.append(("create", {"name": name, **options}))
        if self.failure:
            raise self.failure
        return type("Url", (str,), {"repo_id": f"me/{name.rpartition('/')[2]}"})(f"https://hub/{name}")

    def upload_folder(self, **options: Any) -> None:
        folder = Path(options["folder_path"])
        found = {name: (folder / name).read_bytes() for name in options["allow_patterns"]}
        self.asked.append(("upload", {**options, "found": found}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("push")
    data = write_csv(base / "news.csv", make_rows(60))
    pretune.finetune("linear:tfidf", data=data, out=base / "news", threads=1)
    pretune.evaluate(base / "news", threads=1, resamples=100)
    return base / "news"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "news"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    one = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: one)
    return one


def front_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---")[1])


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(run: Path, hub: Hub) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = pretune.push(run, "me/news", license="mit", language=("en",), datasets="me/headlines", dry_run=True)
    assert hub.asked == []
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert {one["name"] for one in done.facts["files"]} >= {
        "README.md",
        "model.safetensors",
        "config.json",
        "pretune.json",
    }
    assert "would be sent to me/news" in done.text
    assert done.text.endswith("Nothing was sent.")
    front = front_of(done.facts["card"])
    assert (front["license"], front["language"], front["datasets"]) == ("mit", ["en"], ["me/headlines"])
    [result] = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": "news.csv", "type": "me/headlines", "split": "test"}
    accuracy = result["metrics"][0]
    assert accuracy["type"] == "accuracy"
    assert accuracy["value"] == pretune.load(run).scores["test"]["accuracy"]["value"]
    assert "[" in accuracy["name"]
    assert "n = " in accuracy["name"]


def test_the_folder_is_sent_with_its_card_and_what_was_told_is_kept(run: Path, hub: Hub) -> None:
    (run / "model" / ".cache").mkdir()
    (run / "model" / ".cache" / "note").write_text("mine")
    done = pretune.push(run, "news", license="mit", base_model="me/base", private=True)
    (created, options), (uploaded, sent) = hub.asked
    assert (created, options) == ("create", {"name": "news", "private": True, "exist_ok": True})
    assert (uploaded, sent["repo_id"], sent["commit_message"]) == ("upload", "me/news", "finetune with pretune")
    assert not [name for name in sent["found"] if name.startswith(".")]
    card = sent["found"]["README.md"].decode()
    assert card == done.facts["card"] == (run / "model" / "README.md").read_text()
    assert front_of(card)["base_model"] == "me/base"
    assert done.facts["url"] == "https://hub/news"
    again = pretune.push(run, "news", language="de", dry_run=True).facts["card"]
    assert (front_of(again)["license"], front_of(again)["language"]) == ("mit", ["de"])
    pretune.evaluate(run, threads=1, resamples=100)
    assert front_of((run / "model" / "README.md").read_text())["license"] == "mit", "an evaluation keeps what was told"


def test_a_missing_licence_is_warned_of(run: Path, hub: Hub) -> None:
    with pytest.warns(pretune.PretuneWarning, match="--license"):
        pretune.push(run, "me/news", dry_run=True)


@pytest.mark.parametrize("name", ["me/you/news", "../news", "me/ne ws", "me/a..b", "-news", "me/a--b"])
def test_names_that_the_hub_does_not_take(name: str, run: Path, hub: Hub) -> None:
    with pytest.raises(UsageError, match="which the hub does not take"):
        pretune.push(run, name, license="mit")


def test_nothing_unfinished_or_damaged_is_sent(run: Path, hub: Hub, tmp_path: Path) -> None:
    (run / "model" / "config.json").write_text("{}")
    with pytest.raises(CorruptFile, match=r"config\.json"):
        pretune.push(run, "me/news", license="mit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError):
        pretune.push(tmp_path / "empty", "me/news", license="mit")
    assert hub.asked == []


def refusal(status: int) -> Exception:
    answer = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError("no such right\nRequest ID: 1", response=answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (errors.LocalTokenNotFoundError("x"), UsageError, "hf auth login"),
        (refusal(403), UsageError, "does not let you write to me/news: no such right"),
        (refusal(500), CheckFailed, "did not take it"),
        (ConnectionError("no route"), CheckFailed, "cannot be reached: no route"),
        (errors.OfflineModeIsEnabled("offline"), CheckFailed, "cannot be reached: offline"),
    ],
)
def test_what_the_hub_refuses_is_said(
    failure: Exception, kind: type[Exception], words: str, run: Path, hub: Hub
) -> None:
    hub.failure = failure
    with pytest.raises(kind) as caught:
        pretune.push(run, "me/news", license="mit")
    assert words in str(caught.value)
    assert "Request ID" not in str(caught.value)


def test_ids_of_the_hub_are_known_by_their_prefix_alone() -> None:
    told = record(settings={"backbone": "hub:me/base", "data": "hub:me/rows", "out": "runs/news"})
    front = front_of(model_card(told, {"test": evaluation()}, passport()))
    assert (front["base_model"], front["datasets"]) == ("me/base", "me/rows")
    other = front_of(model_card(record(settings={"backbone": "models/base", "data": "my/rows"}), {}, {}))
    assert not {"base_model", "datasets", "model-index", "metrics"} & other.keys()
