"""What was left out while reading is counted, told by every verb that learns or answers, and refused where it is most of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import make_rows, write_csv
from pretune.config import DataSettings
from pretune.data.losses import losses, notes_of, refuse_mostly_lost
from pretune.data.read import read
from pretune.errors import DataError
from pretune.files import write_json
from pretune.interface.outcome import Silent
from pretune.runfolder import RunFolder
from pretune.training.settings import FinetuneSettings
from pretune.verbs.evaluate.story import EvaluateSettings, _rows_to_score
from pretune.verbs.finetune.story import read_labelled
from pretune.verbs.pretrain import story as pretrain
from pretune.verbs.pretrain.story import PretrainSettings
from pretune.verbs.probe.story import ProbeSettings
from pretune.verbs.probe.story import _data as read_to_probe


def facts(**changes: Any) -> dict[str, Any]:
    found = {
        "place": "photos", "rows": {"train": 10}, "counts": {}, "left_out": [], "moved_to_unlabelled": {},
        "media": {"kind": "image", "left_out": {}},
    }  # fmt: skip
    return {**found, **changes}


def left_out(count: int, code: str = "unread") -> dict[str, Any]:
    return {
        "why": "of kinds that are not read",
        "count": count,
        "files": ["a.heic"],
        "code": code,
        "fix": "convert them",
        "rows": bool(code),
    }


def test_every_kind_of_loss_counts_towards_most() -> None:
    """Damaged pictures alone were counted: six of them and five of an unread kind passed beside ten that were read."""
    damaged = {"broken": {"count": 6, "files": ["x.png"]}}
    media = {"kind": "image", "left_out": damaged}
    refuse_mostly_lost(facts(media=media))
    refuse_mostly_lost(facts(left_out=[left_out(5)]))
    with pytest.raises(
        DataError, match=r"photos: 11 of 21 rows would be lost: 6 pictures are damaged .*; 5 files"
    ) as caught:
        refuse_mostly_lost(facts(media=media, left_out=[left_out(5)]))
    assert caught.value.fix.startswith("convert them")
    refuse_mostly_lost(facts(media=media, left_out=[left_out(500, code="")]))


def test_files_beside_a_table_are_told_but_are_no_rows() -> None:
    told = facts(media={}, left_out=[left_out(50, code="")], rows={"train": 10})
    refuse_mostly_lost(told)
    assert [loss.count for loss in losses(told)] == [50]


def test_labels_and_rows_without_one_are_losses() -> None:
    told = facts(counts={"labels_literally_missing": 3}, moved_to_unlabelled={"train": 4})
    assert [(loss.count, loss.rows) for loss in losses(told)] == [(3, False), (4, False)]


def test_what_was_cleaned_is_told_before_the_rest() -> None:
    """``--drop-leaks`` did not say how many."""
    cleaning = {"notes": ["--drop-leaks: 2 rows of train that also stand in validation or test were dropped."]}
    told = notes_of({"read": {"notes": ["Left out: a (b).", "ids restart"]}, "cleaning": cleaning})
    assert told == [*cleaning["notes"], "ids restart"]


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A table of 60 rows whose class ``None`` is written where others are words, in a column that needs to be named."""
    rows = [
        {"title": row["text"], "url": f"x{place}", "topic": row["label"]} for place, row in enumerate(make_rows(60))
    ]
    for row in rows[::10]:
        row["topic"] = ""
    return write_csv(tmp_path / "news.csv", rows)


COLUMNS = ("text=title", "label=topic")


def told_by(verb: str, data: Path) -> Silent:
    say = Silent()
    if verb == "finetune":
        read_labelled(FinetuneSettings(backbone="scratch:bert-tiny", data=str(data), column=COLUMNS), say)
    elif verb == "pretrain":
        pretrain.read_corpus(PretrainSettings(backbone="scratch:bert-tiny", data=str(data), column=COLUMNS), say)
    else:
        read_to_probe(
            ProbeSettings(backbone="scratch:bert-tiny", data=str(data), column=COLUMNS, clean=(), redact=False),
            None,
            say,
        )
    return say


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "probe"])
def test_verbs_that_learn_tell_what_was_read_and_left_out(verb: str, messy: Path) -> None:
    say = told_by(verb, messy)
    assert any("reading news.csv: column title as text, column topic as label" in note for note in say.notes)
    assert any("columns left out: url" in note for note in say.notes)
    assert any("6 rows of train have no label" in warning for warning in say.warnings)


def test_evaluate_tells_what_was_left_out_of_the_runs_own_data(messy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pretune.data.load import load_splits
    from pretune.runs import reading

    data = load_splits(DataSettings(data=str(messy), column=COLUMNS))
    monkeypatch.setattr(reading, "own_data", lambda run: data)
    settings = FinetuneSettings(backbone="b", data=str(messy), column=COLUMNS).to_dict()
    write_json(messy.parent / "run.json", {"verb": "finetune", "settings": settings})
    say, run = Silent(), RunFolder(messy.parent)
    _rows_to_score(EvaluateSettings(run="runs/x"), run, say)
    assert say.warnings == ["data: 6 rows of train have no label: they are in the split unlabelled"]


def test_pictures_that_are_lost_are_told(tmp_path: Path) -> None:
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for number in range(6):
            Image.new("RGB", (9, 7), (number * 40, 0, 0)).save(tmp_path / label / f"{number}.png")
        (tmp_path / label / "x.png").write_bytes(b"junk")
    told = [loss.sentence for loss in losses(read(DataSettings(data=str(tmp_path))).facts["read"])]
    assert len(told) == 1
    assert told[0].startswith("2 pictures are of no kind that can be read (")
