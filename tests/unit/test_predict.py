"""``pretune predict``: rows without a text, several places, broken files, tables: what is not answered is named and counted."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import pretune
from conftest import make_rows, write_csv
from export_cases import RUNS
from pretune.cli import _print_row, main
from pretune.errors import DataError, UsageError
from pretune.interface.outcome import Silent
from pretune.runfolder import RunFolder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RUNS["electra"](tmp_path_factory.mktemp("texts") / "run")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RUNS["bert-labels"](tmp_path_factory.mktemp("several") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RUNS["vit"](tmp_path_factory.mktemp("pictures") / "run")


def ended(outcome: Any) -> tuple[list[dict[str, Any]], Any]:
    """The rows, and the outcome that is known at their end."""
    rows = list(outcome.rows)
    return rows, outcome.at_end()


EMPTY = [
    {"id": "a", "text": "the striker scored twice"},
    {"id": "b", "text": None},
    {"id": "c", "text": ""},
    {"id": "d", "text": "  "},
    {"id": "e", "text": ["the bank", "raised interest"]},
    {"id": "f"},
    {"id": "g", "text": {"deep": 1}},
    {"id": "h", "text": 7},
    {"id": "i", "text": "the telescope"},
]


@pytest.mark.parametrize("from_input", [False, True])
def test_rows_without_a_text_are_told_and_the_others_answered(
    texts: RunFolder, tmp_path: Path, from_input: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each got a label without a word; the one without the key stopped the whole."""
    lines = "".join(json.dumps(row) + "\n" for row in EMPTY)
    (tmp_path / "new.jsonl").write_text(lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    say = Silent()
    rows, end = ended(pretune.predict(texts.path, "-" if from_input else tmp_path / "new.jsonl", threads=1, say=say))
    assert [row["id"] for row in rows] == ["a", "e", "h", "i"]
    assert (end.exit_code, end.facts) == (1, {"not_answered": 5})
    told = "\n".join(say.warnings)
    assert "not answered: row b has no text (null)" in told
    assert "not answered: row f has no text (the key is absent)" in told
    assert "not answered: row g has a dict where a text is needed" in told
    assert "1 text is a list; its parts were joined by line ends" in told
    assert say.warnings[-1] == "5 of 9 rows were not answered"


def test_many_rows_without_a_text_are_counted_and_the_first_named(texts: RunFolder, tmp_path: Path) -> None:
    rows = [{"text": row["text"] if place % 2 else " "} for place, row in enumerate(make_rows(40))]
    write_csv(tmp_path / "new.csv", rows)
    say = Silent()
    found, end = ended(pretune.predict(texts.path, tmp_path / "new.csv", threads=1, say=say))
    assert (len(found), end.exit_code) == (20, 1)
    assert say.warnings == [
        *(f"not answered: new.csv:{line} has no text" for line in (2, 4, 6, 8, 10)),
        "20 of 40 rows were not answered",
    ]


def test_nothing_that_can_be_answered_is_an_error(texts: RunFolder, tmp_path: Path) -> None:
    write_csv(tmp_path / "new.csv", [{"text": " "}, {"text": ""}])
    with pytest.raises(DataError, match=r"nothing to predict: new\.csv:2 has no text"):
        list(pretune.predict(texts.path, tmp_path / "new.csv").rows or ())


def table_of(path: Path, delimiter: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_a_table_by_the_suffix(texts: RunFolder, several: RunFolder, tmp_path: Path) -> None:
    """JSON lines were written to a file called .csv."""
    write_csv(tmp_path / "new.csv", make_rows(5))
    wanted = list(pretune.predict(texts.path, tmp_path / "new.csv", threads=1).rows or ())
    end = pretune.predict(texts.path, tmp_path / "new.csv", out=tmp_path / "found.CSV", threads=1)
    assert end.facts["rows"] == 5
    found = table_of(tmp_path / "found.CSV", ",")
    assert [row["label"] for row in found] == [row["label"] for row in wanted]
    assert [row["id"] for row in found] == [row["id"] for row in wanted]
    for row, one in zip(found, wanted, strict=True):
        for label, probability in one["probabilities"].items():
            assert float(row[f"probability of {label}"]) == pytest.approx(probability, abs=1e-5)
    pretune.predict(texts.path, tmp_path / "new.csv", out=tmp_path / "found.jsonl", threads=1)
    assert [json.loads(line) for line in (tmp_path / "found.jsonl").read_text(encoding="utf-8").splitlines()] == wanted
    with pytest.raises(UsageError, match=r"ends in \.xlsx"):
        pretune.predict(texts.path, tmp_path / "new.csv", out=tmp_path / "found.xlsx")
    pretune.predict(several.path, tmp_path / "new.csv", out=tmp_path / "several.tsv", threads=1)
    lines = table_of(tmp_path / "several.tsv", "\t")
    wanted = list(pretune.predict(several.path, tmp_path / "new.csv", threads=1).rows or ())
    assert [line["labels"].split(";") if line["labels"] else [] for line in lines] == [row["labels"] for row in wanted]


def test_answers_in_a_table_are_read_again(texts: RunFolder, tmp_path: Path) -> None:
    from pretune.config import DataSettings
    from pretune.data.read import read
    from pretune.verbs.predict.tables import _joined

    rows = [["a, b"], ["c;d", "e"], ["f", "g"], []]
    lines = [{"text": f"row {place}", "labels": _joined(names)} for place, names in enumerate(rows)]
    write_csv(tmp_path / "again.csv", lines)
    found = read(DataSettings(data=str(tmp_path / "again.csv"), column=("labels=labels",)))
    assert found["train"]["labels"][:] == rows


def picture_of(run: RunFolder, number: int = 0) -> Path:
    return sorted((run.path.with_name("run-data")).rglob("*.png"))[number]


def test_several_places_and_the_path_is_the_id(pictures: RunFolder, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copyfile(picture_of(pictures, ord(name[0]) - 97), tmp_path / name)
    (tmp_path / "deep").mkdir()
    shutil.copyfile(picture_of(pictures, 3), tmp_path / "deep" / "a.png")
    places = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "deep"]
    rows, end = ended(pretune.predict(pictures.path, *places, threads=1))
    assert [row["id"] for row in rows] == [*map(str, places[:2]), str(tmp_path / "deep" / "a.png")]
    assert end.exit_code == 0
    (alone,) = pretune.predict(pictures.path, tmp_path / "a.png", threads=1).rows or ()
    assert (alone["id"], alone["label"]) == (rows[0]["id"], rows[0]["label"])
    assert alone["probabilities"] == pytest.approx(rows[0]["probabilities"], abs=1e-5)


def test_broken_files_are_named_and_the_others_answered(pictures: RunFolder, tmp_path: Path) -> None:
    good, cut = tmp_path / "a.png", tmp_path / "cut.png"
    shutil.copyfile(picture_of(pictures), good)
    cut.write_bytes(good.read_bytes()[:200])
    say = Silent()
    places = (good, cut, tmp_path / "gone.png", good)
    rows, end = ended(pretune.predict(pictures.path, *places, threads=1, say=say))
    assert [row["id"] for row in rows] == [str(good), str(good)]
    assert (end.exit_code, end.facts) == (1, {"not_answered": 2})
    assert "cut.png is damaged or cut off" in say.warnings[0]
    assert "gone.png does not exist" in say.warnings[1]
    assert say.warnings[-1] == "2 of 4 rows were not answered"
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        list(pretune.predict(pictures.path, tmp_path / "gone.png").rows or ())


def test_paths_on_standard_input(pictures: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their ids were "standard input:1"."""
    paths = [str(picture_of(pictures, number)) for number in range(2)]
    lines = "".join(f"{path}\n" for path in [paths[0], str(tmp_path / "gone.png"), paths[1]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    rows, end = ended(pretune.predict(pictures.path, "-", threads=1))
    assert [row["id"] for row in rows] == paths
    assert end.exit_code == 1


def test_tables_of_several_places_have_ids_of_their_own(texts: RunFolder, tmp_path: Path) -> None:
    places = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = [{"text": row["text"]} for row in make_rows(2)]
        places.append(write_csv(tmp_path / name / "new.csv", rows))
    rows, _ = ended(pretune.predict(texts.path, *places, threads=1))
    assert [row["id"] for row in rows] == [f"{place}:{line}" for place in places for line in (2, 3)]


def test_parts_are_together_the_whole(texts: RunFolder, tmp_path: Path) -> None:
    place = write_csv(tmp_path / "new.csv", make_rows(11))
    whole, _ = ended(pretune.predict(texts.path, place, threads=1))
    parts = [ended(pretune.predict(texts.path, place, threads=1, part=f"{k}/3"))[0] for k in (1, 2, 3)]
    assert [len(part) for part in parts] == [4, 4, 3]
    said = {row["id"]: row["label"] for part in parts for row in part}
    assert said == {row["id"]: row["label"] for row in whole}
    assert [row["id"] for row in parts[1]] == ["row-2", "row-5", "row-8", "row-11"]


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "1/0", "a/b"])
def test_what_is_no_part_is_refused(texts: RunFolder, part: str) -> None:
    with pytest.raises(UsageError, match="is no part"):
        pretune.predict(texts.path, "new.csv", part=part)


def test_a_part_of_prompts_is_refused(texts: RunFolder) -> None:
    with pytest.raises(UsageError, match="rows in files"):
        pretune.predict(texts.path, prompt=("a film",), part="1/2")


def test_the_exit_code_of_the_command(texts: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "a film"}\n{"text": ""}\n')
    assert main(["predict", str(texts.path), str(tmp_path / "new.jsonl"), "--threads", "1", "--json"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert json.loads(said.err.splitlines()[-1]) == {"not_answered": 1, "exit_code": 1}
    assert (
        main(["predict", str(texts.path), str(tmp_path / "new.jsonl"), "--threads", "1", "--out", "/dev/null/x"]) == 2
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_lacks_signs_gets_valid_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs beyond the first 65,536 were written as \\U0001f600, which is no JSON."""
    row = {"id": "坏", "label": "\U0001f600 é"}
    held = io.BytesIO()
    stream = io.TextIOWrapper(held, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    _print_row(row)
    stream.flush()
    assert json.loads(held.getvalue().decode(encoding)) == row
