"""What a person forwards names neither a folder of this machine, nor who uses it, nor the machine."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_samples import evaluation, passport, record

import pretune
from conftest import make_rows, write_csv
from pretune.forwarded import places_in, shown_place
from pretune.report.card import model_card

HOST, USER = "tower-of-ada", "ada-lovelace"
TELLING = (HOST, USER)
_MODEL_FILES = 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run and all that is made from it, every place named by its whole path, below a person's own folder."""
    base = tmp_path_factory.mktemp("disk") / USER / "private"
    base.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: HOST)
        patch.setenv("HOME", str(base))
        patch.setenv("USER", USER)
        data = write_csv(base / "news.csv", make_rows(90))
        kept = os.umask(0o022)
        pretune.finetune("scratch:bert-tiny", data=str(data), out=str(base / "runs/news"), max_steps=2, threads=1)
        run = str(base / "runs/news")
        pretune.evaluate(run, threads=1)
        pretune.export(run, out=str(base / "runs/graph"), threads=1)
        pretune.report(run)
        pretune.report(str(base / "runs/graph"))
        pretune.inspect(str(data), out=str(base / "passport"))
        pretune.explain(run, "the striker scored", out=str(base / "why.html"), threads=1)
        os.umask(kept)
        yield base


def forwarded(home: Path) -> list[Path]:
    folders = (home / "runs/news/model", home / "runs/graph/model", home / "passport")
    pages = [home / "why.html", *home.glob("runs/*/report.html")]
    return [*pages, *(path for folder in folders for path in folder.rglob("*") if path.is_file())]


@pytest.mark.filterwarnings("ignore::pretune.errors.PretuneWarning")
def test_nothing_that_is_forwarded_names_this_machine(home: Path) -> None:
    found = forwarded(home)
    assert len(found) > 2 * _MODEL_FILES
    told = [
        f"{path.relative_to(home)}: {word}"
        for path in found
        for word in (*TELLING, str(home.parents[1]))
        if word.encode() in path.read_bytes()
    ]
    assert told == []


def test_the_record_of_the_run_has_the_whole_paths(home: Path) -> None:
    written = (home / "runs/news/run.json").read_text()
    assert str(home / "news.csv") in written
    page = (home / "runs/news/report.html").read_text()
    assert "--data news.csv" in page
    assert "run.json in the run&#39;s folder has them whole" in page
    assert "finetune scratch:bert-tiny --out news --data news.csv" in (home / "runs/news/model/README.md").read_text()


def test_the_lock_of_a_run_that_ended_says_nothing(home: Path) -> None:
    assert (home / "runs/news/.lock").read_bytes() == b""


def test_files_of_a_run_are_readable_as_the_umask_says(home: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in home.rglob("*") if path.is_file() and path.name != ".lock"}
    assert modes == {0o644}


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/home/ada/news.csv", "news.csv"),
        ("/home/ada/photos/", "photos"),
        ("../ada/news.csv", "news.csv"),
        ("~ada/news.csv", "news.csv"),
        ("C:\\Users\\ada\\news.csv", "news.csv"),
        ("data/news.csv", "data/news.csv"),
        ("hub:owner/name", "hub:owner/name"),
        ("scratch:bert-tiny", "scratch:bert-tiny"),
        ("-", "-"),
        ("/", "/"),
    ],
)
def test_a_place_is_shown_by_its_last_part_where_it_tells_of_the_machine(place: str, shown: str) -> None:
    assert shown_place(place) == shown


def test_places_are_found_in_commands_and_options_and_nowhere_else() -> None:
    told = {
        "settings": {"tasks": ["intent=/home/ada/atis/,column=label=label"], "group_from": "/(\\d+)/"},
        "command": "pretune multitask /opt/models/minilm 'intent=/home/ada/my rows/atis/'",
        "parents": ["/home/ada/runs/news", "/home/ada/runs/news-int8"],
    }
    places = places_in(told)
    assert places.shown(told["settings"]["tasks"]) == ["intent=atis/,column=label=label"]  # type: ignore[index]
    assert places.shown("/home/ada/runs/news-int8 from /home/ada/runs/news.") == "news-int8 from news."
    assert places.shown("/opt/models/minilm/config.json") == "minilm/config.json"
    assert (
        places.shown("a row that says /home/bob/x, /m/0abc and /(\\d+)/")
        == "a row that says /home/bob/x, /m/0abc and /(\\d+)/"
    )


def test_a_card_names_the_folders_by_their_last_part() -> None:
    told = record(
        command="pretune finetune /srv/ada/base --data /srv/ada/news.csv",
        settings={"backbone": "/srv/ada/base", "data": "/srv/ada/news.csv"},
    )
    card = model_card(told, {"test": evaluation()}, passport())
    assert "/srv" not in card
    assert "beginning from base" in card
    assert "Learnt from news.csv" in card
