"""Rows of one group stay together in the split, and intervals are drawn by groups, in every verb that scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, done

from conftest import make_rows, write_csv
from pretune.files import read_json_lines
from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]


def test_scores_comparisons_and_what_is_made_smaller_draw_groups(tmp_path: Path) -> None:
    rows = [{**row, "patient": f"p{number // 6}"} for number, row in enumerate(make_rows(240))]
    data = write_csv(tmp_path / "notes.csv", rows)
    runs = [tmp_path / "one", tmp_path / "two"]
    for steps, run in zip(("30", "2"), runs, strict=True):
        learn = ("--data", data, "--group", "patient", "--max-steps", steps, "--learning-rate", "0.001")
        done("finetune", *TINY, *learn, "--out", run)
        facts = done("evaluate", run, "--json").facts
        written = list(read_json_lines(run / "predictions" / "test.jsonl"))
        groups = {record["group"] for record in written}
        assert 1 < len(groups) < len(written) == facts["n"]
        assert f"Intervals come from drawing {len(groups)} groups, as rows of one group are alike." in facts["notes"]
    found = done("compare", *runs, "--json").facts
    assert found["num_groups"] == len(groups)
    assert "groups, which the interval is drawn by" in found["verdict"]
    small = tmp_path / "small"
    done("distill", runs[0], "--student", "layers:1", "--max-steps", "3", *QUICK, "--out", small)
    compression = RunFolder(small).record["compression"]
    assert 1 < compression["comparison"]["num_groups"] < compression["n"]
