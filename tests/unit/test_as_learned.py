"""A model's rows are read as they were when it learned: by predict, evaluate, serve, explain, distil and probe."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pretune
from conftest import make_rows, write_csv
from export_cases import SPLITS, finished_run
from pretune.answers import ANSWERS
from pretune.config import AsCleanedSettings, DataSettings
from pretune.data.formats.base import Table
from pretune.data.load import load_splits
from pretune.data.reading import Reading
from pretune.errors import DataError
from pretune.files import read_json, write_json
from pretune.interface.outcome import Silent
from pretune.modalities import Modality
from pretune.runfolder import RunFolder
from pretune.runs.reading import learned_by
from pretune.serve.intake import Takes, rows_of
from pretune.serve.limits import Limits
from pretune.serve.problems import Problem
from pretune.sums import Sums
from pretune.tasks import TextClassification
from pretune.verbs.distill.rows import rows_to_learn
from pretune.verbs.distill.story import DistillSettings
from pretune.verbs.explain import subject as explaining
from pretune.verbs.explain.story import ExplainSettings
from pretune.verbs.probe.setup import as_the_backbone_reads
from pretune.verbs.probe.story import ProbeSettings
from tiny import LABELS, tiny_backbone, tiny_encoder


def html(text: str, place: int) -> str:
    """The text in mark-up that holds other words, and more of them."""
    return f'<p class="{make_rows(place + 1, seed=3)[-1]["text"] * 3}">{text}</p>'


def rows_with_noise(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Rows whose ``text`` is another row's, and whose ``summary``, in HTML, is the text that the label is of."""
    rows, others = make_rows(count, seed=seed), make_rows(count, seed=seed + 50)
    return [
        {"review": row["id"], "text": other["text"], "summary": html(row["text"], place), "label": row["label"]}
        for place, (row, other) in enumerate(zip(rows, others, strict=True))
    ]


READ = {"column": ("text=summary", "id=review"), "clean": ("html", "whitespace")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that learned from the column ``summary``, cleaned of HTML."""
    place = tmp_path_factory.mktemp("as-learned")
    rows = rows_with_noise(sum(SPLITS.values()))
    (place / "data").mkdir()
    for name, count in SPLITS.items():
        part, rows = rows[:count], rows[count:]
        write_csv(place / "data" / f"{name}.csv", part)
    backbone = tiny_backbone("bert")
    task = TextClassification(LABELS, tiny_encoder(backbone, max_length=64), temperature=1.3)
    return finished_run(place / "run", task, backbone, place / "data", **READ)


@pytest.fixture(scope="module")
def new(run: RunFolder) -> Path:
    """Rows that the run has not seen, labelled."""
    return write_csv(run.path.with_name("new.csv"), rows_with_noise(30, seed=9))


def answers_of(outcome: Any) -> dict[str, Any]:
    return {row["id"]: row for row in outcome.rows}


def scored(run: RunFolder, new: Path, **options: Any) -> dict[str, Any]:
    """What evaluate says of each row."""
    pretune.evaluate(run.path, data=new, baselines=False, resamples=100, precision="fp32", threads=1, **options)
    lines = (run.path / run.predictions_name("test-other")).read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def alike(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    assert found.keys() == wanted.keys()
    return all(found[name]["label"] == wanted[name]["label"] for name in wanted)


def test_the_reading_lies_beside_the_model(run: RunFolder) -> None:
    kept = read_json(run.model_dir / "pretune.json")["reading"]
    assert kept["columns"] == {"text": "summary", "id": "review"}
    assert kept["clean"] == ["html", "whitespace"]
    assert Reading.from_dict(kept).to_dict() == kept


def test_predict_answers_as_evaluate_does(run: RunFolder, new: Path) -> None:
    """Half of the answers were other ones: the column ``text`` was read, and mark-up with it."""
    wanted = scored(run, new)
    say = Silent()
    found = answers_of(pretune.predict(run.path, new, precision="fp32", threads=1, say=say))
    assert alike(found, wanted)
    assert "reading new.csv: column summary as text, cleaned: html, whitespace" in say.notes
    assert say.warnings == []


def test_what_this_call_says_goes_before(run: RunFolder, new: Path) -> None:
    wanted = scored(run, new)
    say = Silent()
    other = answers_of(pretune.predict(run.path, new, column="text=text", precision="fp32", threads=1, say=say))
    assert not alike(other, wanted)
    assert say.warnings == ["new.csv: text is read from the column text; the model learned it from summary"]
    marked = answers_of(pretune.predict(run.path, new, clean="none", precision="fp32", threads=1))
    assert not alike(marked, wanted)
    assert alike(marked, scored(run, new, clean=("none",)))


def test_an_older_model_reads_as_its_record_tells(run: RunFolder, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.model_dir / "pretune.json"
    about = read_json(path)
    write_json(path, {key: value for key, value in about.items() if key != "reading"})
    Sums(run.model_dir).seal()
    try:
        assert alike(answers_of(pretune.predict(run.path, new, precision="fp32", threads=1)), scored(run, new))
    finally:
        write_json(path, about)
        Sums(run.model_dir).seal()


def test_json_lines_and_plain_lines(run: RunFolder, new: Path, tmp_path: Path) -> None:
    """An object may call the text as the run's data did, or plainly; a line is the text."""
    rows = rows_with_noise(6, seed=9)
    for name, key in (("own", "summary"), ("plain", "text")):
        lines = (json.dumps({"id": row["review"], key: row["summary"]}) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "lines.txt").write_text("\n".join(row["summary"] for row in rows), encoding="utf-8")
    say = Silent()
    own, plain, lines = (
        [row["label"] for row in pretune.predict(run.path, tmp_path / name, threads=1, say=say).rows or ()]
        for name in ("own.jsonl", "plain.jsonl", "lines.txt")
    )
    assert own == plain == lines
    assert own == [row["label"] for row in [*answers_of(pretune.predict(run.path, new, threads=1)).values()][:6]]
    assert say.warnings == ["plain.jsonl: text is read from the column text; the model learned it from summary"]


def test_a_column_that_is_not_there_is_named(run: RunFolder, tmp_path: Path) -> None:
    write_csv(tmp_path / "new.csv", [{"headline": "a", "body": "b"}, {"headline": "c", "body": "d"}])
    with pytest.raises(DataError, match="no column 'summary', from which the model learned its texts") as caught:
        list(pretune.predict(run.path, tmp_path / "new.csv").rows or ())
    assert "--column text=NAME" in caught.value.fix


def test_an_option_of_old_that_does_not_fit_says_where_it_is_from(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in make_rows(41)]
    (tmp_path / "data").mkdir()
    for name, count in SPLITS.items():
        lines = [f"{row['text']};{row['label']}" for row in rows[:count]]
        (tmp_path / "data" / f"{name}.csv").write_text("\n".join(["text;label", *lines]) + "\n")
    backbone = tiny_backbone("bert")
    task = TextClassification(LABELS, tiny_encoder(backbone, max_length=64))
    run = finished_run(tmp_path / "run", task, backbone, tmp_path / "data", delimiter=";")
    write_csv(tmp_path / "new.csv", rows)
    with pytest.raises(DataError) as caught:
        list(pretune.predict(run.path, tmp_path / "new.csv").rows or ())
    assert "learned from data with --delimiter ;" in caught.value.fix
    assert len([*(pretune.predict(run.path, tmp_path / "new.csv", delimiter="auto").rows or ())]) == 41


def test_a_service_cleans_and_refuses_what_is_empty(run: RunFolder) -> None:
    reading = learned_by(run)
    takes = Takes(Modality.TEXT, False, reading.clean, reading.cleaned)
    body = json.dumps({"rows": [{"text": "<p>a <b>fine</b>\n film</p>"}]}).encode()
    (row,) = rows_of(body, "application/json", None, takes, Limits())
    assert row["text"] == "a fine film"
    with pytest.raises(Problem, match="holds no text after cleaning"):
        rows_of(b'{"text": "<br>"}', "application/json", None, takes, Limits())


def test_an_explanation_is_of_the_text_as_it_was_learned(run: RunFolder) -> None:
    notes: list[str] = []
    given = ExplainSettings(run=str(run.path), example="<p>a fine film</p>")
    example, _ = explaining._example(given, run, Modality.TEXT, notes)
    assert example.inputs["text"] == "a fine film"
    assert notes == ["The text was cleaned as the model learned: html, whitespace."]
    as_it_is, _ = explaining._example(replace(given, clean=("none",)), run, Modality.TEXT, notes)
    assert as_it_is.inputs["text"] == "<p>a fine film</p>"


def test_a_student_reads_as_its_teacher_and_held_out_rows_are_found(run: RunFolder, tmp_path: Path) -> None:
    """Rows of the teacher's test that came as --unlabelled passed: their mark-up was left in, and another column read."""
    held = load_splits(DataSettings(data=str(run.path.with_name("data"))))["test"].num_rows
    rows = [{key: value for key, value in row.items() if key != "label"} for row in rows_with_noise(50)]
    write_csv(tmp_path / "more.csv", rows)  # the teacher's own 41 rows, and 9 others
    settings = DistillSettings(run=str(run.path), student="layers:1", unlabelled=str(tmp_path / "more.csv"))
    learned = rows_to_learn(settings, run, Silent(), unlabelled=settings.unlabelled)
    texts = learned.data["unlabelled"]["text"][:]
    assert not any("<p" in text for text in texts)
    held_out = {text for name in ("validation", "test") for text in learned.data[name]["text"]}
    assert held == SPLITS["test"]
    assert not held_out & set(texts)
    assert any("29 of 50 rows" in note for note in learned.notes), learned.notes


def test_a_probe_reads_as_its_backbone(run: RunFolder, tmp_path: Path) -> None:
    say = Silent()
    settings, reading = as_the_backbone_reads(ProbeSettings(backbone=str(run.path), data="d.csv"), say)
    assert settings.clean == ("html", "whitespace")
    assert reading is not None
    assert {"review", "summary"} <= {*reading.names}
    assert say.notes == [f"texts are cleaned as {run.path} learned: html, whitespace"]
    settings, reading = as_the_backbone_reads(ProbeSettings(backbone="scratch:bert-tiny", data="d.csv"), say)
    assert (settings.clean, reading) == ((), None)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({}, ("html", "redact")),
        ({"clean": ("none",)}, ("redact",)),
        ({"redact": False}, ("html",)),
        ({"clean": ("whitespace",), "redact": True}, ("whitespace", "redact")),
    ],
)
def test_cleaning_can_be_told_otherwise(asked: dict[str, Any], steps: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    about = {"task": "masked-language-modelling", "reading": Reading(clean=("html", "redact")).to_dict()}
    write_json(tmp_path / "model" / "pretune.json", about)
    assert learned_by(RunFolder(tmp_path), AsCleanedSettings(**asked)).clean == steps


def table(*columns: str, named: bool = True, roles: Mapping[str, str] | None = None) -> Table:
    return Table(columns, named, iter(()), roles=roles or {})


LEARNED = Reading(
    columns={"text": "summary", "group": ""}, found={"text": "summary", "label": "topic", "id": "Row Id"},
    needed=("text", "label"),
)  # fmt: skip


OTHERS = dict.fromkeys((kind for kind in ANSWERS if kind not in ("label", "text", "audio")), "")


def test_columns_of_old_are_asked_for_where_they_are() -> None:
    assert LEARNED.asked(table("Summary", "row_id", "topic"), {}, "t") == {
        "group": "", **OTHERS, "text": "Summary", "label": "topic", "id": "row_id",
    }  # fmt: skip
    assert LEARNED.asked(table("text", "other"), {}, "t")["text"] == "text", "called as the role is"
    assert LEARNED.asked(table("0", named=False, roles={"text": "0"}), {}, "t") == {**OTHERS, "group": ""}
    assert LEARNED.asked(table("summary", "body"), {"text": "body"}, "t")["text"] == "body"
    with pytest.raises(DataError, match="has no column 'summary'"):
        LEARNED.asked(table("title", "body"), {}, "t")


def test_columns_without_names_are_taken_by_place_in_tables_as_wide() -> None:
    learned = Reading(found={"label": "0", "text": "1"}, width=2, needed=("text", "label"))
    assert learned.asked(table("0", "1", named=False), {}, "t") == {**OTHERS, "label": "0", "text": "1"}
    assert learned.asked(table("0", named=False), {}, "t") == OTHERS
    assert learned.asked(table("text", "label"), {}, "t") == OTHERS, "found by name then"


def test_second_texts_are_refused_where_single_ones_were_found() -> None:
    learned = Reading(found={"text": "text"}, pairs=False, needed=("text",))
    with pytest.raises(DataError, match="t has a column text_pair, and the model learned from single texts"):
        learned.asked(table("text", "text_pair"), {}, "t")
    wanted = {**OTHERS, "label": "", "text": "text"}
    assert learned.asked(table("text", "text_pair"), {"text": "text"}, "t") == wanted, "said which one"
    told = replace(learned, columns={"text": "text"})
    assert told.asked(table("text", "text_pair"), {}, "t") == wanted, "left out of what it learned from too"


def test_answers_are_not_asked_of_rows_to_predict() -> None:
    learned = replace(LEARNED, columns={"text": "summary", "label": "topic"}, needed=("text",))
    assert learned.asked(table("summary", "topic"), {}, "t") == {**OTHERS, "label": "", "text": "summary"}


def test_a_reading_is_made_of_settings_and_passport() -> None:
    settings: Any = SimpleNamespace(
        column=("text=1",), group=None, header="no", delimiter="\t", encoding=None, format="auto", clean=("html",), redact="mask"
    )  # fmt: skip
    file = {"columns": {"text": "1", "label": "0", "image": "2"}, "width": 2}
    how = {"text": "--column", "label": "what it holds", "image": "the format"}
    passport = {
        "splits": {"train": {"columns": ["id", "text", "text_pair"]}},
        "facts": {"read": {"files": [{**file, "columns_found_by": how}]}},
    }
    found = Reading.of(settings, passport)
    assert found == Reading(
        columns={"text": "1"}, found={"text": "1", "label": "0"}, width=2, how={"header": "no", "delimiter": "\t"},
        clean=("html", "redact"), pairs=True,
    )  # fmt: skip
    assert Reading.from_dict({**found.to_dict(), "of a newer version": 1}) == found
    assert found.options(delimiter="auto", encoding="latin1") == {"header": "no", "encoding": "iso8859-1"}


def test_lines_of_a_table_that_come_through_a_pipe_are_said_to_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text may hold a comma, so no table is made of them; that was not said."""
    from pretune.data.stream import stream_rows

    learned = Reading(found={"label": "0", "text": "1"}, width=2, how={"header": "no"}, needed=("text",))
    told: list[Mapping[str, str]] = []
    for flags in ({}, {"delimiter": ","}):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"good,a film\nbad,no film\n")))
        rows = list(stream_rows("-", learned=learned, on_read=lambda _, columns: told.append(columns), **flags))
        assert rows[0]["text"] == ("a film" if flags else "good,a film")
    assert told == [{"text": ""}, {"text": "1"}]
    (warning,) = learned.differences(told[0])
    assert warning.startswith("text is each line as a whole (a table: give --delimiter)")
    assert learned.differences(told[1]) == []
    assert learned.sentence(told[0]) == "each line as text"
