"""Experiments with folders: a bit flipped in anything that is read again, and models that ask for absurd things."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disks import _flip
from lab import Ended, Lab, expect
from trials import Plan, Report, repeat

from absurd import CASES, Case
from unsealed import unsealed

__all__ = ["absurd_folders", "damage_at_rest"]

MOST_SECONDS, MOST_BYTES = 10.0, 10**9


def absurd_folders(lab: Lab, plan: Plan) -> Report:
    """Each model that asks for absurd things is refused, named, in 10 seconds of the processor and 1 GB of memory."""
    run, exported = _finished(lab), _exported(lab)

    def trial(_rng: random.Random, folder: Path) -> dict[str, Any]:
        case = CASES[int(folder.name)]
        place = folder / "model"
        shutil.copytree({"model": lab.model, "run": run, "graph": exported}[case.of], place)
        unsealed(place)
        _apart(case.change, place)
        ended = lab.fork([_words(lab, case, place, folder)], folder / "said").wait()
        expect(ended.code in (1, 2), f"{case.name}: exit code {ended.code}: {ended.text[-500:]}")
        for word in ("Traceback", "defect", "escaped"):
            expect(word not in ended.text, f"{case.name}: {word!r} in {ended.text[-800:]}")
        expect(case.named in ended.text, f"{case.name}: {case.named} is not named: {ended.text[-500:]}")
        took, held = ended.processor_seconds, ended.peak_bytes
        if plan.full:  # the short form runs beside other tests, where a second is no measure
            expect(took <= MOST_SECONDS, f"{case.name}: {took:.1f} s of the processor: {ended.text[-300:]}")
        expect(held <= MOST_BYTES, f"{case.name}: {held / 1e6:.0f} MB: {ended.text[-300:]}")
        return {"of": f"of a {case.of}", "seconds": ended.seconds, "seconds of the processor": took, "MB": held / 1e6}

    numbers = plan.numbers(full=len(CASES), short=0)
    if not plan.full and plan.only_trial is None:
        numbers = random.Random(plan.seed).sample(range(len(CASES)), 3)
    promise = "a model that asks for absurd things is refused and named within 10 s and 1 GB"
    return repeat(lab, plan, "absurd-folders", promise, numbers, trial)


def _apart(change: Callable[[Path], None], place: Path) -> None:
    """In a process of its own, as a process that is forked begins with the memory of the one that forks it."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            change(place)
            code = 0
        finally:
            os._exit(code)
    expect(os.waitpid(pid, 0)[1] == 0, f"{place} could not be changed")


def _words(lab: Lab, case: Case, place: Path, folder: Path) -> list[str]:
    if case.of == "model":
        return [
            "finetune",
            str(place),
            "--data",
            str(lab.rows),
            "--out",
            str(folder / "out"),
            "--max-steps",
            "1",
            "--threads",
            "1",
        ]
    return ["predict", str(place), str(lab.rows), "--threads", "1"]


READERS = {
    "model/model.safetensors": "predict", "model/config.json": "predict", "model/pretune.json": "predict", "model/sums.json": "predict",
    "model/tokenizer.json": "predict", "model/tokenizer_config.json": "predict", "run.json": "predict", "sums.json": "predict",
    "data.json": "report", "metrics.json": "report", "log.jsonl": "report", "comparisons.json": "report",
    "predictions/validation.jsonl": "compare", "looks.jsonl": "evaluate", "train_keys.npy": "evaluate",
}  # fmt: skip
"""Every file of a run that is read again, and a command that reads it."""

EXPORTED = (
    "model.onnx", "pretune.json", "tokenizer.json", "sums.json", "config.json", "tokenizer_config.json", "predict.py", "texts.py",
)  # fmt: skip
BY_ITSELF = ("model.onnx", "pretune.json", "tokenizer.json", "sums.json")
"""Of an exported folder: what its own program finds damaged too (of itself it can know nothing)."""

PARTS = ("model", "model", "records", "records", "cache", "export")


def damage_at_rest(lab: Lab, plan: Plan) -> Report:
    """One bit flipped in a file of a finished run, of its export or of the cache: found and named, or healed."""
    run, exported, cached = _finished(lab), _exported(lab), _cached(lab)
    trials = {"model": _damaged_run, "records": _damaged_run, "cache": _damaged_cache, "export": _damaged_export}

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        part = PARTS[int(folder.name) % len(PARTS)]
        source = {"cache": cached, "export": exported}.get(part, run)
        return trials[part](lab, rng, folder, source, part)

    numbers = plan.numbers(full=204, short=12)
    promise = "a flipped bit of a model, tokenizer, record, export or cache entry is found and named, or healed"
    return repeat(lab, plan, "damage-at-rest", promise, numbers, trial)


def _damaged_run(lab: Lab, rng: random.Random, folder: Path, source: Path, part: str) -> dict[str, Any]:
    place = shutil.copytree(source, folder / "run")
    name = rng.choice([name for name in READERS if name.startswith("model/") == (part == "model")])
    bit = _flip(rng, place / name)
    more = {
        "predict": [str(lab.rows), "--threads", "1"], "compare": [str(_other(lab)), "--split", "validation"], "report": [],
        "evaluate": ["--split", "validation", "--no-baselines", "--threads", "1"],
    }  # fmt: skip
    ended = lab.fork([[READERS[name], str(place), *more[READERS[name]]]], folder / "said").wait()
    _expect_named(ended, place / name, f"bit {bit} of {name}")
    return {"part": f"in {name}"}


def _damaged_export(lab: Lab, rng: random.Random, folder: Path, source: Path, _part: str) -> dict[str, Any]:
    place = shutil.copytree(source, folder / "run")
    name = rng.choice(EXPORTED)
    bit = _flip(rng, place / "model" / name)
    if name in BY_ITSELF:
        words = [sys.executable, str(place / "model" / "predict.py"), "a text", "--threads", "1"]
        alone = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        expect(
            alone.returncode == 2,
            f"predict.py ended with {alone.returncode} for bit {bit} of {name}: {alone.stderr[-300:]}",
        )
        expect(name in alone.stderr and "Traceback" not in alone.stderr, f"bit {bit} of {name}: {alone.stderr[-300:]}")
    ended = lab.fork([["predict", str(place), str(lab.rows), "--threads", "1"]], folder / "said").wait()
    _expect_named(ended, place / "model" / name, f"bit {bit} of the exported {name}")
    return {"part": f"in the exported {name}"}


def _expect_named(ended: Ended, path: Path, what: str) -> None:
    expect(ended.code == 2, f"{what}: exit code {ended.code}: {ended.text[-500:]}")
    expect(str(path) in ended.text, f"{what}: {path} is not named: {ended.text[-500:]}")
    for word in ("Traceback", "defect", "escaped"):
        expect(word not in ended.text, f"{what}: {word!r} in {ended.text[-800:]}")


def _damaged_cache(lab: Lab, rng: random.Random, folder: Path, source: Path, _part: str) -> dict[str, Any]:
    """The run that filled the cache is made again on its damaged copy, and comes to the same model."""
    cache = shutil.copytree(source / "cache", folder / "cache")
    victim = rng.choice(sorted(path for kind in _KINDS for path in (cache / kind).rglob("*") if path.is_file()))
    bit = _flip(rng, victim)
    what = f"bit {bit} of {victim.relative_to(cache)}"
    ended = lab.fork([_on_trunk(lab, folder / "run")], folder / "said", before=lambda _mark: _use_cache(cache)).wait()
    expect(ended.code == 0, f"{what}: exit code {ended.code}: {ended.text[-500:]}")
    for name in ("model.safetensors", "pretune.json"):
        mine, straight = (place / "model" / name for place in (folder / "run", source / "run"))
        expect(mine.read_bytes() == straight.read_bytes(), f"{what}: another {name} came of it")
    healed = "was damaged and is made again" in ended.text
    expect(healed, f"{what}: nobody was told: {ended.text[-500:]}")
    return {"part": f"in the cache's {victim.parent.parent.name}", "how": "healed"}


_KINDS = ("tables", "tokens", "trunks")


def _use_cache(folder: Path) -> None:
    os.environ["PRETUNE_CACHE"] = str(folder)


def _on_trunk(lab: Lab, out: Path) -> list[str]:
    return [
        "finetune", str(lab.calm_model), "--data", str(lab.rows), "--out", str(out), "--adapt", "head", "--max-steps", "4",
        "--precision", "fp32", "--threads", "1",
    ]  # fmt: skip


def _cached(lab: Lab) -> Path:
    """A cache that one run filled, and the run."""
    place = lab.folder / "cached"
    if not place.exists():
        place.mkdir()
        ended = lab.fork(
            [_on_trunk(lab, place / "run")], place / "said", before=lambda _mark: _use_cache(place / "cache")
        ).wait()
        expect(ended.code == 0, f"the cache was not filled: {ended.text[-500:]}")
    return place


def _other(lab: Lab) -> Path:
    """A second evaluated run, to be compared with."""
    place = lab.folder / "other"
    if not place.exists():
        shutil.copytree(_finished(lab), place)
    return place


def _finished(lab: Lab) -> Path:
    """A run that was finished and evaluated."""
    place = lab.folder / "evaluated"
    if not place.exists():
        shutil.copytree(lab.reference, place)
        twin = shutil.copytree(lab.reference, lab.folder / "twin")
        words = ["--split", "validation", "--no-baselines", "--threads", "1"]
        calls = [
            *(["evaluate", str(one), *words] for one in (place, twin)),
            ["compare", str(place), str(twin), "--split", "validation"],
        ]
        ended = lab.fork(calls, lab.folder / "evaluate").wait()
        expect(ended.code == 0, f"it was not evaluated: {ended.text[-500:]}")
    return place


def _exported(lab: Lab) -> Path:
    """The same run as a graph."""
    place = lab.folder / "exported"
    if not place.exists():
        words = ["export", str(_finished(lab)), "--out", str(place), "--threads", "1"]
        ended = lab.fork([words], lab.folder / "export").wait()
        expect(ended.code == 0, f"it was not exported: {ended.text[-500:]}")
    return place
