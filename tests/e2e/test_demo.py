"""The demo as a person runs it, on less text and for less time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import pretune
from pretune.data import docstrings


@pytest.mark.slow
def test_the_demo_tells_whether_pre_training_was_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = docstrings.write_docstring_corpus

    def less(out: Path, *, seed: int) -> dict[str, Any]:
        return whole(out, max_rows_per_label=150, min_rows_per_label=100, seed=seed)

    monkeypatch.setattr(docstrings, "write_docstring_corpus", less)
    done = pretune.demo(out=tmp_path / "demo", minutes=0.05, labels=60)
    assert done.exit_code == 0
    assert set(done.facts["scores"]) == {"from scratch", "pre-trained"}
    assert re.search(r"points of accuracy \[.*\], n = \d+", done.facts["verdict"])
    for name in ("base", "from-scratch", "pre-trained"):
        assert (tmp_path / "demo" / name / "report.html").stat().st_size > 10_000
    tuned = json.loads((tmp_path / "demo" / "pre-trained" / "run.json").read_text(encoding="utf-8"))
    assert tuned["parents"] == [str(tmp_path / "demo" / "base")]
