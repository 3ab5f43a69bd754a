"""Texts that are written, from two files to a student: each verb on a few rows of two made-up languages."""

from __future__ import annotations

import json
import random

import pytest

import pretune
from pretune.errors import PretuneError

READ = [
    "the",
    "a",
    "bank",
    "match",
    "team",
    "market",
    "science",
    "money",
    "won",
    "lost",
    "by",
    "last",
    "minute",
    "cell",
    "plan",
    "goal",
]
WRITTEN = [
    "der",
    "die",
    "bank",
    "spiel",
    "mannschaft",
    "markt",
    "wissenschaft",
    "geld",
    "gewann",
    "verlor",
    "von",
    "letzte",
    "minute",
    "zelle",
    "plan",
    "tor",
]

pytestmark = pytest.mark.slow


def _files(folder):
    rng = random.Random(0)
    folder.mkdir()
    for name, count in (("train", 120), ("val", 12), ("test", 20)):
        picks = [[rng.randrange(len(READ)) for _ in range(rng.randrange(2, 6))] for _ in range(count)]
        for code, words in (("en", READ), ("de", WRITTEN)):
            lines = [" ".join(words[place] for place in pick) + "." for pick in picks]
            (folder / f"{name}.{code}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_chain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _files(tmp_path / "pairs")
    columns = ("text=en", "target=de")
    pretune.finetune(
        "scratch:t5-tiny", data="pairs", column=columns, task="translation", max_steps=6, batch_size=32, vocab_size=320, eval_every="3",
        out="runs/mt",
    )  # fmt: skip
    record = json.loads((tmp_path / "runs/mt/run.json").read_text())
    assert record["result"]["metric"] == "token_loss"
    pretune.evaluate("runs/mt", beam_size=2, resamples=100)
    found = json.loads((tmp_path / "runs/mt/metrics.json").read_text())["test"]
    assert found["primary"] == "bleu"
    assert "tok:13a" in found["signature"]
    assert found["answering"]["beam_size"] == 2
    assert {"copy", "nearest"} <= set(found["baselines"])
    (tmp_path / "new.en").write_text("the bank won.\n", encoding="utf-8")
    pretune.predict("runs/mt", data=("new.en",), out="new.csv")
    assert (tmp_path / "new.csv").read_text().splitlines()[0] == "id,target,cut_off"
    pretune.distill("runs/mt", student="scratch:t5-tiny", max_steps=3, batch_size=32, out="runs/student")
    pretune.evaluate("runs/student", resamples=100)
    pretune.compare("runs/mt", "runs/student")
    pretune.report("runs/mt")
    page = (tmp_path / "runs/mt/report.html").read_text()
    assert "Answers that are wrong in themselves" in page
    assert "BLEU" in page
    with pytest.raises(PretuneError, match="may still be written"):
        pretune.prune("runs/mt", vocabulary="data", out="runs/prune")
