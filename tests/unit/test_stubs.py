"""What type checkers know of ``import pretune`` is what the settings classes say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pretune
from conftest import ROOT
from pretune.stubs import STUB, stub

CALLS = """
import pandas
import pretune
from pathlib import Path
pretune.finetune("x", data=pandas.DataFrame(), epochs=3, column="text=a", clean=["html"], out=Path("x"), listeners=[print])
pretune.finetune("x", dataa=3)
pretune.finetune("x", data="d", epochs="many")
pretune.finetune("x", data="d", schedule="round")
pretune.finetune(data="d")
pretune.inspect("d", strict=True)
pretune.predict("runs/news", "a.csv", "b.csv", out="c.csv").facts["rows"]
pretune.benchmark("a", Path("b"), resamples=3)
pretune.TextClassifier("x", epochs=3).fit(["a"], [1]).predict_proba(["a"])
pretune.TextClassifier(epoch=3)
pretune.load("runs/news").predict(["a"], as_frame=True)
"""
MISTAKES = {6: "dataa", 7: "epochs", 8: "schedule", 9: "backbone", 14: "epoch"}


def test_the_stub_is_what_the_settings_say() -> None:
    assert STUB.read_text(encoding="utf-8") == stub(), "write it anew: python -m pretune.stubs"


def test_the_stub_names_all_that_the_package_has() -> None:
    told = STUB.read_text(encoding="utf-8")
    for name in {*pretune.__all__, "list"}:
        assert any(
            f"{form}{name}{end}" in told for form, end in (("def ", "("), ("class ", "("), ("as ", "\n"), ("", ": str"))
        ), name


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_a_wrong_argument_is_a_type_error(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    config = {"extraPaths": [str(ROOT / "src")], "include": ["calls.py"], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}
    assert errors.keys() == MISTAKES.keys(), errors
    assert [word for line, word in MISTAKES.items() if word not in errors[line]] == []
