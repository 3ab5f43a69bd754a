"""Names that no pattern finds: taken out by a tagger, alike in training and in every verb that answers with the run."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import pretune
from conftest import write_csv
from pretune.config import CleanSettings
from pretune.data.changes.redact import Redactor
from pretune.errors import ModelError, UsageError
from pretune.runfolder import open_run
from pretune.runs.reading import learned_by, own_data
from pretune.runs.tagger import open_tagger

PEOPLE, PLACES = ("Ann Lee", "Bob", "Carla Diaz Mora", "Dan"), ("Oslo", "New York", "Rio de Janeiro", "Paris")


def tagged_lines(count: int) -> str:
    """Rows of CoNLL: people who go to places."""
    draw, rows = random.Random(0), []
    for number in range(count):
        who, where = draw.choice(PEOPLE).split(), draw.choice(PLACES).split()
        words = [*((word, f"{'I' if at else 'B'}-PER") for at, word in enumerate(who)), ("went", "O"), ("to", "O")]
        words += [(word, f"{'I' if at else 'B'}-LOC") for at, word in enumerate(where)]
        rows.append([*words, *((word, "O") for word in f"with {number} friends .".split())])
    return "\n\n".join("\n".join(map(" ".join, row)) for row in rows) + "\n"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    (folder / "names.conll").write_text(tagged_lines(120), encoding="utf-8")
    pretune.finetune(
        "scratch:bert-tiny", data=str(folder / "names.conll"), out=str(folder / "run"), max_steps=60, learning_rate=3e-3,
        vocab_size=200, threads=1, test_fraction=0,
    )  # fmt: skip
    assert open_run(folder / "run").record["result"]["value"] == 1.0
    return folder / "run"


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    draw = random.Random(1)
    rows = [
        {"text": f"{draw.choice(PEOPLE)} went to {draw.choice(PLACES)} with {n} friends, {word}.", "label": word}
        for n, word in enumerate(["glad", "sad"] * 30)
    ]
    return write_csv(tmp_path / "letters.csv", rows)


def test_names_are_taken_out_beside_what_patterns_find(tagger: Path) -> None:
    text = "Ann Lee went to New York with 3 friends (ann@lee.org)."
    find = open_tagger(str(tagger))
    assert find.facts["types"] == ["LOC", "PER"]
    assert find([text, "", " \n"])[1:] == [[], []]
    assert [(kind, text[start:end]) for kind, start, end in find([text])[0]][:2] == [
        ("person", "Ann Lee"), ("place", "New York"),
    ]  # fmt: skip
    redact = Redactor(names=find)
    assert redact(text).startswith("[PERSON] went to [PLACE] with 3 friends ")
    assert "[EMAIL]" in redact(text)
    assert Redactor(names=open_tagger(str(tagger), ["LOC"]))(text).startswith("Ann Lee went to [PLACE] with")
    named = Redactor(b"k" * 32, find).texts(
        ["Ann Lee went to Oslo with 1 friends.", "Ann Lee went to Paris with 1 friends."]
    )
    assert named[0].split()[0] == named[1].split()[0] != "[PERSON]", "one person, one pseudonym"
    assert named[0].split()[3] != named[1].split()[3]


def test_where_a_pattern_and_a_name_meet_the_pattern_stands() -> None:
    class Overlapping:
        facts: ClassVar[dict[str, Any]] = {}

        def __call__(self, texts: Any) -> Any:
            return [[("person", 0, 3), ("person", 5, 12), ("place", 18, 22)] for _ in texts]

    assert Redactor(names=Overlapping())("Ann, ann@lee.org, Oslo") == "[PERSON], [EMAIL], [PLACE]"


def test_a_run_is_answered_with_as_its_texts_were_read(tagger: Path, letters: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretune.finetune(
        "linear:tfidf",
        data=str(letters),
        out=str(out),
        redact=True,
        redact_names=str(tagger),
        threads=1,
        test_fraction=0,
    )
    run = open_run(out)
    told = run.passport["facts"]["clean"]["redact"]["train"]
    assert told["values"] == {"person": told["changed"], "place": told["changed"]}
    assert run.passport["facts"]["tagger"] == open_tagger(str(tagger)).facts
    assert str(tagger) not in json.dumps(run.passport) + (run.model_dir / "pretune.json").read_text()
    assert all(text.startswith("[PERSON] went to [PLACE] with") for text in own_data(run)["train"]["text"][:])
    read = learned_by(run).cleaned({"id": "1", "text": "Bob went to Oslo with 2 friends."})["text"]
    assert read == "[PERSON] went to [PLACE] with 2 friends."
    with pytest.raises(UsageError, match="a tagger took out"):
        pretune.export(str(out), out=str(tmp_path / "exported"), threads=1)
    moved = tmp_path / "moved"
    shutil.copytree(tagger, moved)
    asked: Any = SimpleNamespace(clean=None, redact=None, redact_names=str(moved))
    assert learned_by(run, asked).cleaned({"text": "Bob went to Oslo with 2 friends."})["text"] == read
    run.update_record(settings={**run.record["settings"], "redact_names": str(tmp_path / "gone")})
    for call in (
        lambda: pretune.predict(str(out), prompt="Bob went", out=str(tmp_path / "a.jsonl"), threads=1),
        lambda: pretune.evaluate(str(out), split="validation", threads=1),
    ):
        with pytest.raises(UsageError, match=r"the tagger that finds them is not there: .*gone"):
            call()
    (moved / "model" / "added.txt").write_text("another tagger")
    with pytest.raises(UsageError, match="holds the tagger"):
        _ = learned_by(run, asked).cleaner


def test_a_folder_of_transformers_is_a_tagger_too(tagger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(tagger / "model", folder)
    texts = ["Dan went to Rio de Janeiro with 4 friends."]
    of_model_folder = open_tagger(str(folder))(texts)
    for name in ("pretune.json", "sums.json"):
        (folder / name).unlink()
    assert open_tagger(str(folder))(texts) == of_model_folder == open_tagger(str(tagger))(texts)
    assert of_model_folder == [[("person", 0, 3), ("place", 12, 26)]]


def test_what_finds_no_names_is_refused_in_words(tagger: Path, letters: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run and no model folder"):
        open_tagger(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match=r"ORG is no type that .* finds\n.*LOC, PER"):
        open_tagger(str(tagger), ["ORG"])
    pretune.finetune("linear:tfidf", data=str(letters), out=str(tmp_path / "labels"), threads=1, test_fraction=0)
    with pytest.raises(UsageError, match="is of text-classification, which finds no names"):
        open_tagger(str(tmp_path / "labels"))
    folder = tmp_path / "renamed"
    shutil.copytree(tagger / "model", folder)
    (folder / "pretune.json").unlink()
    (folder / "sums.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {
        number: tag.replace("PER", "X").replace("LOC", "Y") for number, tag in config["id2label"].items()
    }
    config["label2id"] = {tag: int(number) for number, tag in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"it finds X, Y\n.*--redact-types X,Y"):
        open_tagger(str(folder))
    assert open_tagger(str(folder), ["X"]).kinds == {"X": "X"}
    encoder = tmp_path / "encoder"
    pretune.open_model(tagger).model.base_model.save_pretrained(encoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tagger / "model" / name, encoder)
    with pytest.raises(ModelError, match="is no tagger: it lacks the weights"):
        open_tagger(str(encoder))


def test_options_that_say_nothing_alone_are_refused() -> None:
    with pytest.raises(UsageError, match="--redact-names does nothing without --redact"):
        CleanSettings(redact_names="runs/names")
    with pytest.raises(UsageError, match="--redact-types does nothing without --redact-names"):
        CleanSettings(redact=True, redact_types=("PER",))
    assert CleanSettings(redact=True, redact_names="r", redact_types=("PER, LOC",)).redact_types == ("PER", "LOC")
