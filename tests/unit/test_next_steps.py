"""The line that comes next works when it is pasted, and begins with what suits the rows; counts agree with their nouns."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from conftest import make_rows, write_csv
from pretune.config import CleanSettings
from pretune.data.changes.clean import clean
from pretune.data.splits import Splits
from pretune.interface.declare import load_verb
from pretune.interface.flags import parse_flags
from pretune.interface.next_steps import next_line, proposed_start
from pretune.training.settings import FinetuneSettings
from pretune.verbs.distill.story import DistillSettings
from pretune.verbs.inspect.story import InspectSettings, inspect
from pretune.wording import agree, counted
from tiny import dataset_of


def pasted(line: str) -> tuple[str, Any]:
    """The verb and the settings of the line, as a shell and the command line read it."""
    first, program, verb, *words = shlex.split(line)
    assert (first, program) == ("Next:", "pretune")
    return verb, parse_flags(load_verb(verb), words)[0]


def test_reading_and_cleaning_go_along_and_nothing_else() -> None:
    given = InspectSettings(
        data="my data/a'b.csv", column=("text=Title (en)", "label=#1"), clean=("html", "whitespace"), deduplicate=True,
        drop_leaks=True, group="site", delimiter=";", encoding="latin-1", header="no", out="passport", strict=True,
    )  # fmt: skip
    verb, found = pasted(next_line("finetune", given, backbone="scratch:bert-tiny", data=given.data))
    assert verb == "finetune"
    wanted = FinetuneSettings(
        backbone="scratch:bert-tiny", data="my data/a'b.csv", column=("text=Title (en)", "label=#1"), clean=("html", "whitespace"),
        deduplicate=True, drop_leaks=True, group="site", delimiter=";", encoding="latin-1", header="no",
    )  # fmt: skip
    assert found == wanted
    assert pasted(next_line("finetune", given.to_dict(), backbone="b", data="d"))[1].column == given.column


@pytest.mark.parametrize(
    ("verb", "values"),
    [("report", {"run": "runs/it's mine"}), ("evaluate", {"run": "$HOME;&"}), ("benchmark", {"runs": ("a b", "c")})],
)
def test_places_are_quoted(verb: str, values: dict[str, Any]) -> None:
    found, settings = pasted(next_line(verb, **values))
    assert found == verb
    assert {name: getattr(settings, name) for name in values} == values


def test_what_was_not_said_is_left_to_the_next_verb() -> None:
    """A student's header or cleaning is None where it is as the teacher learned: no such word can be pasted."""
    student = DistillSettings(run="eyes", data="photos", student="scratch:vit-tiny")
    assert student.header is None
    verb, read = pasted(next_line("finetune", student, backbone="runs/student", data="photos"))
    assert (verb, read.header, read.format, read.clean) == ("finetune", "auto", "auto", ())


def test_inspect_proposes_a_line_for_these_rows(tmp_path: Path) -> None:
    rows = [{"title": row["text"], "category": row["label"]} for row in make_rows(60)]
    folder = tmp_path / "my rows"
    folder.mkdir()
    write_csv(folder / "train.csv", rows[:50])
    write_csv(folder / "test.csv", rows[45:])
    said = inspect(str(folder), column=("text=title", "label=category"), drop_leaks=True).text
    assert "--drop-leaks: 5 rows of train that also stand in validation or test were dropped." in said
    *_, last = said.splitlines()
    verb, settings = pasted(last)
    assert (verb, settings.backbone, settings.data) == ("finetune", "linear:tfidf", str(folder))
    assert (settings.column, settings.drop_leaks) == (("text=title", "label=category"), True)


def test_what_is_written_begins_with_a_writer(tmp_path: Path) -> None:
    talks = [{"messages": [{"role": "user", "content": f"how is day {n}"}, {"role": "assistant", "content": f"fine, {n}"}]} for n in range(30)]  # fmt: skip
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"day {n}\tTag {n}\n" for n in range(30)))
    for name, start in (("talks.jsonl", "scratch:gpt-nano"), ("pairs.tsv", "scratch:seq2seq-tiny")):
        verb, settings = pasted(inspect(str(tmp_path / name)).text.splitlines()[-1])
        assert (verb, settings.backbone) == ("finetune", start)


def test_the_start_follows_the_size_of_the_data() -> None:
    assert proposed_start("finetune", "text", 160) != "scratch:bert-mini"
    assert proposed_start("finetune", "text", 50_000) == "scratch:bert-mini"
    assert proposed_start("finetune", "text", 50_000, classes=True) == "scratch:bert-mini"
    assert proposed_start("finetune", "audio", 400, classes=True) == "linear:log-mel"
    assert proposed_start("finetune", "audio", 400) == "scratch:w2v-bert-tiny", "transcripts are no classes"
    assert proposed_start("pretrain", "image", 400, classes=True) == "scratch:vit-mini"
    for verb in ("finetune", "pretrain"):
        for modality in ("text", "image", "audio"):
            for rows in (1, 10**3, 10**4, 10**9):
                assert proposed_start(verb, modality, rows)


def test_cleaning_says_what_it_did_in_numbers() -> None:
    train = [{"id": str(n), "text": text, "label": label} for n, (text, label) in enumerate([("a  b", "x"), ("a  b", "y"), ("<b></b>", "x"), ("c", "x")])]  # fmt: skip
    splits = Splits({"train": dataset_of(train), "test": dataset_of([{"id": "9", "text": "c", "label": "x"}])}, {})
    settings = CleanSettings(clean=("html", "whitespace"), redact=True, deduplicate=True, drop_leaks=True)
    assert clean(splits, settings).facts["cleaning"]["notes"] == [
        "--clean html: 1 row of train was changed, 1 row of them to nothing.",
        "--clean whitespace: 2 rows of train were changed.",
        "--redact: there was nothing to do.",
        "--deduplicate: 1 row of train was dropped, a copy of an earlier one, 1 row of them with another label than the one that was kept.",
        "--drop-leaks: 1 row of train that also stands in validation or test was dropped.",
    ]
    assert "cleaning" not in clean(splits, CleanSettings()).facts


def test_counts_agree() -> None:
    given = (0, 1, 2, 1.0, 0.5, 1234567, None)
    assert [counted(count) for count in given] == [
        "0 rows", "1 row", "2 rows", "1 row", "0.5 rows", "1,234,567 rows", "– rows",
    ]  # fmt: skip
    assert counted(2, "entry", "entries") == "2 entries"
    assert [agree(count, "hold", "holds") for count in (0, 1, 2)] == ["hold", "holds", "hold"]
