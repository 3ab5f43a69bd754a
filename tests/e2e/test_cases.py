"""Small inputs of other people that were read or answered wrongly, typed as they were then; what comes now is what is right.

They lie beside the project (``../shared/cases``): ``cases.jsonl`` has the commands, ``inputs`` what they are run on.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from typed import Shell, shell_in

PLACE = Path(__file__).parents[2] / ".." / "shared" / "cases"
TRAINED = "pretune finetune scratch:bert-tiny --out {out} --epochs 8 --learning-rate 1e-3 --threads 1 --quiet --data "
BEFORE = {
    "c04c": TRAINED.format(out="runs/c04") + "c04/train.csv --clean html",
    "c07b": TRAINED.format(out="runs/c07") + "c07/base.csv",
    "c17b": TRAINED.format(out="runs/c17").replace("--epochs 8", "--max-steps 1") + "c16/base.csv",
}
"""The runs that a case is about, where its own command does not make them."""
BEFORE["c33"] = BEFORE["c07b"]
BEFORE["c07c"] = (
    f"{BEFORE['c07b']}; rm -r models/c07; python check.py reverse_labels runs/c07 models/c07; rm -f models/c07/sums.json"
)
AFTER = {"c17c": "c17b", "c18b": "c18", "c25": "c24"}
"""Cases that go on where another ended."""
SPOKEN = "pretune finetune scratch:w2v-bert-tiny --data c02/list.csv --out runs/c21 --max-steps 1 --threads 1 --quiet"
RIGHT = r"rows 60 of 60, right 1\.000"
EXPECTED: dict[str, tuple[str, ...]] = {
    "c01b": (r"40 rows", r"4 labels: None 8, null 8", r"Read as classes: 'None' \(10 rows\), 'null' \(10 rows\)"),
    "c02": (r"48 rows", r"text = sentence, audio = path"),
    "c03": (r"accuracy 100\.00 %", RIGHT, r"reading new\.csv: column summary as text"),
    "c04b": (r"without tags 23\n",),
    "c04c": (RIGHT, r"predict\.py: 34 of 34 the same"),
    "c05": (r"killed\n", r"validation accuracy 1\.0000", r"accuracy 100\.00 %"),
    "c05b": (r"c05b is finished: validation accuracy 1\.0000", r"c05s is finished: validation accuracy 1\.0000"),
    "c07b": (r"the classifier tells neg, pos apart, and these rows aaa, zzz: a new classifier was made",),
    "c07c": (r"they were joined by name", r"test: accuracy 100\.00 %"),
    "c08b": (r"3 labels: _other_ 10, red 10, green 9",),
    "c09": (r"40 rows", r"blue 16, red 16"),
    "c09b": (r"20 of 30 pictures cannot be used", r"c09/nosuffix: 32 rows"),
    "c09c": (r"image = image, label = label", r"reads text, c09/listed/list\.csv holds pictures"),
    "c12": (r"40 rows", r"train: .* 2 labels"),
    "c12b": (r"40 rows", r"train: .* 2 labels"),
    "c16": (r"longest text of the saved tokenizer: 512\b",),
    "c17b": (r"long\.csv:2", r"long\.csv:3"),
    "c17c": (r"ROWS\.CSV:2", r"there is no file c17/nosuch\.csv", r"rc=2\n1\n"),
    "c18": (r"new\.csv:2.*\\u574f", r"validation \(24 rows\)"),
    "c18b": (r"new\.csv:2.*\\u574f",),
    "c20": (
        r"test: 20 rows; 2 labels: café 10, tea 10",
        r"differ in their Unicode form alone are one: café",
        r"list\.csv: 12 rows",
    ),
    "c20b": (r"30 labels were changed where nothing is seen", r"train: 46 rows; 2 labels: café 24"),
    "c24": (r"\n40\n",),
    "c25": (r"(?s)together: (\S+e-0[5-9]|0\.0e\+00)\n.*together: 0\.0e\+00\n",),
    "c27": (
        r"runs/c27a \[0\.[67]\S+, 0\.[67]\S+, 0\.[67]",
        r"runs/c27b \[0\.[67]\S+, 0\.[67]\S+, 0\.[67]",
        r"([0-9a-f]{16})\n\1\n",
    ),
    "c28": (r"11 rows",),
    "c28b": (r"--splits none",),
    "c28c": (r"120 rows", r"no file is called train, so test_drive_reviews\.csv is read like the others"),
    "c31": (r"label = label", r"runs/c31 is finished", r"\['\[NEG\]', '\[POS\]'\]"),
    "c33": (r"only answers are compared: teacher and student cut rows into other pieces",),
}
"""What the output of each must hold."""
NEVER = r"Traceback|defect in pretune|\bNaN\b|\bnan\b"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if not (PLACE / "cases.jsonl").is_file():
        pytest.skip("no folder of cases beside the project")
    folder = tmp_path_factory.mktemp("cases")
    inputs = Path(shutil.copytree(PLACE / "inputs", folder / "inputs"))
    check = inputs / "check.py"  # it calls a function by the name that its module had
    check.write_text(
        check.read_text(encoding="utf-8").replace("pretune.data.scrub", "pretune.data.text.scrub"), encoding="utf-8"
    )
    with shell_in(inputs, folder) as found:
        yield found


@pytest.mark.usefixtures("shell")
def test_every_case_has_its_expectation() -> None:
    assert sorted(commands()) == sorted(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_what_was_wrong_is_right_now(name: str, shell: Shell) -> None:
    said = typed(name, shell)
    for expected in EXPECTED[name]:
        assert re.search(expected, said), f"{expected}\n{said}"
    assert not re.search(NEVER, said), said


@cache
def commands() -> dict[str, str]:
    """The command of each case. What cuts its messages short stops the program itself (it has more to say today)."""
    lines = (PLACE / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    found = {case["id"]: case["command"].replace("2>&1 | head -2", "2>&1") for case in map(json.loads, lines)}
    found["c31"] += "; python check.py labels_of runs/c31"
    found["c05"] = found["c05"].replace("kill_after 5", "kill_after 2").replace("--epochs 12", "--epochs 5")
    return found


@cache
def typed(name: str, shell: Shell) -> str:
    """All that a case prints, typed after what it stands on."""
    if name in AFTER:
        typed(AFTER[name], shell)
    first = SPOKEN if name == "c25" else BEFORE.get(name)
    if first is not None:
        once(first, shell)
    return shell.type(commands()[name])


@cache
def once(line: str, shell: Shell) -> str:
    return shell.type(line)
