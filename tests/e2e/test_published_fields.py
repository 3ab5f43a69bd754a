"""Every field that a published figure is read from is one that the verb prints: an answer renamed would be found after hours."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.chapters import Chapter, Claim, read_chapter, read_contents
from acceptance.lookup import NotThere, look_up
from cli_calls import QUICK, TINY, done

from conftest import make_rows
from pretune.objectives.listing import PRETRAININGS
from pretune.tasks import TASKS
from pretune.tasks.speech import text_to_speech
from tiny import spoken_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

FEW = ("--max-steps", "2", *QUICK)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each verb prints of one small set of texts, and ``benchmark of a voice``: it alone tells how much sound is made a second."""
    folder = tmp_path_factory.mktemp("fields")
    data = folder / "news.csv"
    with data.open("w", newline="") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows({"text": row["text"], "label": row["label"]} for row in make_rows(150))
    at = {name: folder / name for name in ("base", "news", "small", "slim", "int8", "onnx", "table", "private")}
    story = {
        "inspect": (data, "--measure-leak-checks", "3"),
        "pretrain": (*TINY, "--data", data, "--max-steps", "2", "--out", at["base"]),
        "probe": (at["base"], "--data", data),
        "finetune": (at["base"], "--data", data, *FEW, "--out", at["news"]),
        "evaluate": (at["news"],),
        "distill": (at["news"], "--student", "layers:1", *FEW, "--out", at["small"]),
        "prune": (at["news"], "--ratio", "0.5", *FEW, "--out", at["slim"]),
        "quantize": (at["news"], "--out", at["int8"]),
        "export": (at["news"], "--out", at["onnx"]),
        "benchmark": (at["news"], at["slim"], "--rows", "8", "--seconds", "0.01", "--out", at["table"]),
    }
    found = {verb: done(verb, *words, "--json").facts for verb, words in story.items()}
    done("evaluate", at["slim"])
    private = done("finetune", at["base"], "--data", data, "--adapt", "head", "--dp-epsilon", "8", *FEW, "--out", at["private"], "--json")  # fmt: skip
    found["finetune"] = {**found["finetune"], "privacy": private.facts["privacy"]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text_to_speech, "LIMIT", (6.0, 0.5))
        spoken = done("benchmark", a_voice(folder), "--rows", "2", "--seconds", "0.01", "--json")
    found["benchmark of a voice"] = spoken.facts
    return {**found, "compare": done("compare", at["news"], at["slim"], "--json").facts}


def a_voice(folder: Path) -> Path:
    """A voice that learned for two steps."""
    lines = []
    for row in spoken_rows(40):
        (folder / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
        lines.append(json.dumps({"audio": row["audio"]["path"], "text": row["text"], "speaker": row["speaker"]}))
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    clips = ("--data", folder / "clips.jsonl", "--task", "text-to-speech")
    done("finetune", "scratch:tacotron-tiny", *clips, *FEW, "--out", folder / "voice")
    return folder / "voice"


def sources(claim: Claim) -> Iterator[tuple[str, str]]:
    """Steps and paths."""
    for source in (claim.value, claim.over, claim.minus, claim.low, claim.high, claim.n, claim.p):
        if source and "@" not in source:
            step, _, path = source.partition(" ")
            yield step, path


def as_printed(path: str, facts: dict[str, Any]) -> str:
    """The path in what the small set gives: its first score, variant and kind of copy stand for others' of the same form."""
    first = next(iter(facts.get("scores", {})), "")
    scores = "|".join(
        {score for task in TASKS for score in task.metric_type.specs}
        | {score for objective in PRETRAININGS.values() for score in getattr(objective, "specs", ())}
    )
    path = re.sub(rf"^scores\.({scores})\b", f"scores.{first}", path)
    path = re.sub(rf"^baselines\.[\w-]+\.({scores})\b", "baselines.majority.accuracy", path)
    path = re.sub(r"^against\.[\w-]+\.", "against.majority.", path)
    return re.sub(r"(variants|kinds)\[[^\]]+\]", r"\1.0", path)


def unprinted(chapter: Chapter, printed: dict[str, Any]) -> Iterator[str]:
    for claim in chapter.claims:
        for name, path in sources(claim):
            program, verb, *_ = chapter.step(name).words
            verb += " of a voice" * ("sound_a_second" in path)
            if program == "pretune" and verb in printed:
                try:
                    look_up(printed[verb], as_printed(path, printed[verb]))
                except NotThere as problem:
                    yield f"{chapter.name}, {claim.name}: {problem}"


def test_every_field_of_a_claim_is_printed(printed: dict[str, Any]) -> None:
    chapters = [read_chapter(name) for part in read_contents() for name in part.chapters]
    assert [problem for chapter in chapters for problem in unprinted(chapter, printed)] == []


def test_a_field_that_nobody_prints_is_found(printed: dict[str, Any], tmp_path: Path) -> None:
    text = "title: X\nabout: x\nminutes: 1\nsteps: {test: pretune evaluate runs/x}\nclaims: [{name: a, value: test scores.luck}]"
    (tmp_path / "x.yaml").write_text(text)
    [problem] = unprinted(read_chapter("x", tmp_path), printed)
    assert "no 'luck'" in problem
