"""Pseudonyms: the same value reads alike wherever a run is answered with, and the key is in nothing that a run wrote."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import pretune
from conftest import make_rows, write_csv
from pretune.config import CleanSettings, cleaning_settings, cleaning_steps
from pretune.data.changes.clean import clean, text_cleaner
from pretune.data.reading import Reading
from pretune.data.splits import Splits
from pretune.data.text import pii
from pretune.data.text.keys import key_at_hand
from pretune.data.text.pseudonyms import KEY_FILE, name_of_key, pseudonym
from pretune.errors import RunError, UsageError
from pretune.interface.flags import parse_flags
from pretune.runfolder import open_run
from pretune.runs.reading import learned_by
from pretune.study.recipe import as_declared
from pretune.training.settings import FinetuneSettings
from pretune.verbs.predict.story import PredictSettings, predict
from tiny import dataset_of

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "keys" / "mine.key"
    monkeypatch.setenv(KEY_FILE, str(place))
    return place


@pytest.mark.parametrize(
    ("kind", "spellings", "another"),
    [
        ("email", ["Ann.Lee@Example.org", "ann.lee@example.org"], "annlee@example.org"),
        ("phone", ["+49 30 1234 5678", "+49-30-12345678", "+49 (30) 1234.5678"], "+49 30 1234 5679"),
        ("card", ["4111 1111 1111 1111", "4111-1111-1111-1111"], "5500005555555559"),
        ("cn_id", ["11010519491231002X", "11010519491231002x"], "110105194912310021"),
    ],
)
def test_one_value_has_one_pseudonym_however_it_is_spelled(kind: str, spellings: list[str], another: str) -> None:
    found = {pseudonym(KEY, kind, spelling) for spelling in spellings}
    assert len(found) == 1
    assert pseudonym(KEY, kind, another) not in found
    assert pseudonym(OTHER, kind, spellings[0]) not in found
    assert pseudonym(KEY, "ip", spellings[0]) not in found, "a kind has its own"


def test_a_text_with_pseudonyms_holds_no_personal_data(key_file: Path) -> None:
    """Pseudonyms of digits alone must not be taken for numbers."""
    redact, draw = text_cleaner(["pseudonym"]), random.Random(0)
    for number in range(3_000):
        phone = f"1{draw.choice('3589')}{draw.randrange(10**9):09d}"
        text = f"phone {phone}, tel: {phone} or user{number}@example.org, 电话{phone}"
        named = redact(text)
        assert phone not in named
        assert pii.find(named) == [], named
        assert redact(named) == named


def test_the_key_is_made_once_for_its_owner_alone(key_file: Path) -> None:
    key = key_at_hand()
    assert len(key) == 32
    assert key_at_hand() == key == key_at_hand(name_of_key(key))
    assert [path.name for path in key_file.parent.iterdir()] == ["mine.key"]
    if os.name == "posix":
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert name_of_key(key) not in key.hex()


def test_a_key_that_is_not_right_is_refused_in_words(
    key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"the key 12345678 .* there is no such file"):
        key_at_hand("12345678")
    assert not key_file.exists(), "no key is made where another one is needed"
    key = key_at_hand()
    with pytest.raises(UsageError, match=f"made with the key 12345678, and .* holds the key {name_of_key(key)}"):
        key_at_hand("12345678")
    for text in ("", "ab", "no key", "é" * 64):
        key_file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="holds no key of pseudonyms"):
            key_at_hand()
    monkeypatch.setenv(KEY_FILE, str(tmp_path))
    with pytest.raises(UsageError, match="cannot be read"):
        key_at_hand()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "file" / "below.key"))
    with pytest.raises(UsageError, match="cannot be written"):
        key_at_hand()


def test_what_was_taken_out_is_counted_by_kind(key_file: Path) -> None:
    texts = ["a@b.org and A@B.org", "c@d.org from 203.0.113.77", "nothing"]
    rows = dataset_of([{"id": str(n), "text": text, "label": "x"} for n, text in enumerate(texts)])
    cleaned = clean(Splits({"train": rows}, {}), CleanSettings(redact="pseudonym"))
    first, second, third = cleaned["train"]["text"][:]
    name = pseudonym(key_at_hand(), "email", "a@b.org")
    assert first == f"[EMAIL-{name}] and [EMAIL-{name}]"
    assert pii.find(second) == []
    assert third == "nothing"
    assert cleaned.facts["clean"]["pseudonym"]["train"] == {
        "changed": 2, "emptied": 0, "rows": ["0", "1"], "values": {"email": 3, "ip": 1}, "different": {"email": 2, "ip": 1},
    }  # fmt: skip
    assert cleaned.facts["cleaning"]["notes"] == [
        "--redact pseudonym: 2 rows of train were changed (email 3, ip 1).",
    ]
    assert cleaned.facts["pseudonyms"] == {"key": name_of_key(key_at_hand())}


@pytest.mark.parametrize(
    ("words", "redact", "rest"),
    [
        (["--redact"], "mask", "new.csv"),
        (["--redact", "pseudonym"], "pseudonym", "new.csv"),
        (["--redact=pseudonym"], "pseudonym", "new.csv"),
        (["--redact", "no"], "no", "new.csv"),
        (["--no-redact"], "no", "new.csv"),
        ([], None, "new.csv"),
    ],
)
def test_the_old_spelling_of_the_flag_stays(words: list[str], redact: str | None, rest: str) -> None:
    settings, _ = parse_flags(predict, ["runs/x", *words, rest])
    assert isinstance(settings, PredictSettings)
    assert settings.redact == redact
    assert rest in settings.to_dict().values() or [rest] in settings.to_dict().values()


def test_true_and_false_are_words_of_the_switch() -> None:
    assert CleanSettings(redact=True).redact == "mask"
    assert CleanSettings.from_dict({"redact": False}).redact == "no"
    assert as_declared(FinetuneSettings, "redact", True) == "mask"
    assert as_declared(FinetuneSettings, "redact", False) == "no"
    with pytest.raises(UsageError, match=r"--redact is 'pseudonyms'.*\n.*pseudonym"):
        CleanSettings(redact="pseudonyms")
    with pytest.raises(UsageError, match="--redact is 'hide'"):
        parse_flags(predict, ["runs/x", "new.csv", "--redact=hide"])


@pytest.mark.parametrize("clean_steps", [(), ("html", "unicode")])
@pytest.mark.parametrize("redact", ["no", "mask", "pseudonym"])
def test_steps_and_settings_say_the_same(clean_steps: tuple[str, ...], redact: str) -> None:
    assert cleaning_settings(cleaning_steps(clean_steps, redact)) == {"clean": clean_steps, "redact": redact}


def with_addresses(path: Path) -> Path:
    """Rows whose class the address that stands in them gives away, and nothing else."""
    mail = {"sport": "ann@club.org", "money": "bo@bank.com", "science": "cy@lab.edu"}
    rows = [row | {"text": f"message {n} from {mail[row['label']]} today"} for n, row in enumerate(make_rows(90))]
    return write_csv(path, rows)


def test_a_run_answers_with_the_pseudonyms_that_it_learned(
    key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = with_addresses(tmp_path / "mail.csv"), tmp_path / "run"
    pretune.finetune("linear:tfidf", data=str(data), out=str(out), redact="pseudonym", threads=1)
    run = open_run(out)
    assert run.record["result"]["value"] == 1.0, "pseudonyms tell the classes apart"
    assert learned_by(run).key == name_of_key(key_at_hand())
    answers = tmp_path / "answers.jsonl"
    pretune.predict(str(out), prompt=("news from Ann@Club.org", "cy@lab.edu"), out=str(answers), threads=1)
    assert [json.loads(line)["label"] for line in answers.read_text().splitlines()] == ["sport", "science"]
    written = [path for path in out.rglob("*") if path.is_file()]
    assert written
    key = key_at_hand()
    assert not [path for path in written if key.hex().encode() in path.read_bytes() or key in path.read_bytes()]
    exported = tmp_path / "exported"
    pretune.export(str(out), out=str(exported), threads=1)
    program = open_run(exported).record["export"]["parity"]["program"]
    assert (program["unread"], program["same"]) == (0, program["rows"])
    assert not [path for path in exported.rglob("*") if path.is_file() and key.hex() in path.read_text("latin-1")]
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "another.key"))
    key_at_hand()
    for call in (
        lambda: pretune.predict(str(out), prompt="news from ann@club.org", out=str(answers), threads=1),
        lambda: pretune.evaluate(str(out), split="validation", threads=1),
        lambda: pretune.evaluate(str(out), data=str(data), split="validation", threads=1),
        lambda: pretune.prune(str(out), out=str(tmp_path / "pruned"), threads=1),
    ):
        with pytest.raises(UsageError, match="the pseudonyms were made with the key"):
            call()
    model = next(path.parent for path in exported.rglob("predict.py"))
    told = subprocess.run(
        [sys.executable, "predict.py", "mail to ann@club.org"], cwd=model, capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert f"let {KEY_FILE} name the file with the right key" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_older_run_with_a_switch_goes_on(tmp_path: Path) -> None:
    """Its record says true where it now says mask."""
    from pretune.newrun import create_run

    settings = FinetuneSettings(backbone="linear:tfidf", data="d.csv", redact=True, out=str(tmp_path / "run"))
    with create_run(settings, tmp_path / "run") as (run, _):
        saved = run.record["settings"]
        assert saved["redact"] == "mask"
        run.update_record(settings={**saved, "redact": True})
    with create_run(settings, tmp_path / "run") as (run, state):
        assert state == "resumed"
    with (
        pytest.raises(RunError, match="--redact was 'mask', is 'pseudonym'"),
        create_run(FinetuneSettings(**{**saved, "redact": "pseudonym"}), tmp_path / "run"),
    ):
        pass


def test_a_reading_keeps_the_name_of_the_key_alone(key_file: Path) -> None:
    reading = Reading(clean=("pseudonym",), key=name_of_key(key_at_hand()))
    kept = reading.to_dict()
    assert kept["key"] == name_of_key(key_at_hand())
    assert Reading.from_dict(kept) == reading
    assert key_at_hand().hex() not in json.dumps(kept)
