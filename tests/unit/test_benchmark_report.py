"""The pages of a benchmark and of a run that was made smaller: every figure is there, every string is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_samples import HOSTILE, Tree, score

from pretune.evaluation.benchmark import pareto_front, standing_of, summary, told
from pretune.files import write_json
from pretune.report.drawing.scatter import Point, pareto_picture
from pretune.report.page import write_report
from pretune.report.words import percent_tick
from pretune.runfolder import RunFolder


def variant(name: str, value: float, ms: float, size: float) -> dict[str, Any]:
    both = {key: summary([ms] * 20, rows=1, rounds=10) for key in ("all", "one")}
    return {
        "name": name, "run": f"runs/{name}", "engine": "torch", "score": score(value), "bytes": size, "threads": 2,
        "latency": {"1": both, "32": both}, "latency_with_encoding": {"1": both, "32": both},
        "peak_memory_bytes": 9e8, "held_bytes": 7e8, "against_first": {"verdict": f"no difference was shown: {name}"},
    }  # fmt: skip


def benchmark_run(folder: Path, word: str = "small") -> RunFolder:
    variants = [variant("large", 0.91, 12.0, 9e7), variant(word, 0.905, 3.0, 2.2e7), variant("slow", 0.8, 15.0, 9.5e7)]
    found: dict[str, Any] = {
        "format": 1, "split": "validation", "n": 200, "metric": "accuracy", "higher_is_better": True,
        "variants": variants, "front": pareto_front({v["name"]: standing_of(v, rising=True) for v in variants}),
        "unusable": [{"name": f"broken {word}", "run": word, "reason": f"its file is damaged: {word}"}],
        "measured": {"rounds": 10, "seconds": 2.0, "warmup_calls": 5},
        "machine": {"cores": 2, "processor": {"name": word, "kind": "x86_64", "int8": ["amx_int8"]}},
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_json(folder / "benchmark.json", {**found, "text": told(found)})
    write_json(
        folder / "run.json",
        {"verb": "benchmark", "status": "finished", "settings": {}, "parents": [], "command": "pretune benchmark a b"},
    )
    return RunFolder(folder)


def made_smaller(folder: Path, word: str = "news") -> RunFolder:
    sides = {
        "before": {"engine": "torch", "bytes": 90_000_000, "parameters": 22_000_000, "score": score(0.82)},
        "after": {"engine": word, "bytes": 23_000_000, "parameters": None, "score": score(0.81)},
    }
    for side, ms in zip(sides.values(), (8.0, 2.0), strict=True):
        side |= {
            "latency_1": {"n": 9, "p50_ms": ms, "p95_ms": ms},
            "latency_32": {"n": 9, "p50_ms": 9 * ms, "p95_ms": ms},
        }
    trial = {
        "title": word,
        "keep_float": [word],
        "score": 0.81,
        "lost_points": 0.23,
        "latency_1_ms": 2.0,
        "bytes": 23e6,
    }
    latency = dict.fromkeys(("int8", "onnx-fp32", "torch-fp32"), sides["after"])
    record = {
        "verb": "quantize", "status": "finished", "settings": {}, "parents": [], "command": "pretune quantize a",
        "compression": {
            **sides, "metric": "accuracy", "n": 872, "parent": f"runs/{word}", "faster": 4.0, "faster_32": 4.0,
            "smaller": 3.913, "text": f"accuracy fell {word}\n4.00 times as fast",
        },
        "quantization": {"trials": [trial], "latency": latency, "keep_float": [word], "text": f"int8: {word}\nint8 is slower here"},
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", record)
    return RunFolder(folder)


def page_of(run: RunFolder) -> Tree:
    return Tree(write_report(run).read_text(encoding="utf-8"))


def test_a_benchmark_says_who_is_beaten_and_shows_every_figure(tmp_path: Path) -> None:
    page = page_of(benchmark_run(tmp_path / "bench"))
    assert "On the Pareto front of accuracy, latency of one row and size: large, small. Beaten: slow." in page.text
    assert "small against large: 4.00 times as fast for one row" in page.text
    assert "broken small" in page.text
    assert "its file is damaged" in page.text
    assert "amx_int8" in page.text
    assert "Not evaluated yet" not in page.text
    pictures = page.all("svg")
    assert sum("against latency" in str(one["aria-label"]) for one in pictures) == 2, "for desk and phone"
    rings = [one for one in page.all("circle") if "dot" in str(one["class"])]
    assert sum("s0" in str(one["class"]) for one in rings) == 2 * 2
    assert sum("other" in str(one["class"]) for one in rings) == 2 * 1


def test_a_smaller_run_says_what_it_is_worth(tmp_path: Path) -> None:
    page = page_of(made_smaller(tmp_path / "int8"))
    for words in (
        "Accuracy fell news",
        "4.00",
        "90.0 MB",
        "23.0 MB",
        "int8 is slower here",
        "8 bits, ONNX Runtime",
        "+0.23",
    ):
        assert words in page.text, words
    assert page.text.count("Accuracy fell news") == 1


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    for run in (benchmark_run(tmp_path / "bench", HOSTILE), made_smaller(tmp_path / "int8", HOSTILE)):
        page = page_of(run)
        assert "<script>alert(1)</script>" in page.text
        assert not page.all("script")
        assert not page.all("img")


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    run = benchmark_run(tmp_path / "bench")
    assert write_report(run).read_bytes() == write_report(run, tmp_path / "again.html").read_bytes()


def test_a_record_without_all_figures_is_still_a_page(tmp_path: Path) -> None:
    run = made_smaller(tmp_path / "int8")
    record = {key: value for key, value in run.record.items() if key != "quantization"}
    write_json(run.path / "run.json", {**record, "compression": {"text": "only words"}})
    assert "only words" in page_of(run).text.lower()


@pytest.mark.parametrize("width", [896, 340])
def test_names_stand_beside_their_dots_and_not_on_each_other(width: int) -> None:
    points = [
        Point(f"run-{k}", ms, 0.9 - 0.01 * k, 0.88 - 0.01 * k, 0.92 - 0.01 * k, 1e7 * (6 - k), k < 3)
        for k, ms in enumerate((9.0, 4.0, 1.0, 1.1))
    ]
    drawn = Tree(
        str(pareto_picture(points, title="t", x_title="ms", y_title="accuracy", width=width, y_text=percent_tick))
    )
    names = [
        (float(str(a["x"])), float(str(a["y"])))
        for a, word in zip(drawn.all("text"), drawn.all("text"), strict=True)
        if "strong" in str(word.get("class"))
    ]
    assert len(names) == 3
    for place, (x, y) in enumerate(names):
        assert 0 <= x <= width
        assert all(abs(x - a) > 30 or abs(y - b) >= 14 for a, b in names[:place])
    assert len(drawn.all("path")) == 1, "a line joins the front"


def test_one_point_and_no_point() -> None:
    how: dict[str, Any] = {"title": "t", "x_title": "ms", "y_title": "accuracy", "y_text": percent_tick}
    assert pareto_picture([], **how) == ""
    assert "circle" in pareto_picture([Point("a", 1.0, 0.5, 0.5, 0.5, 0.0, True)], **how)
    assert pareto_picture([Point("a", float("nan"), 0.5, 0.5, 0.5, 1.0, True)], **how) == ""


def a_recipe(folder: Path, word: str) -> RunFolder:
    folder.mkdir(exist_ok=True)
    made_smaller(folder / "int8", word)
    benchmark_run(folder / "table", word)
    steps = {
        name: {
            "verb": verb,
            "run": name,
            "status": "finished",
            "seconds": 61.0,
            "command": f"pretune {verb} {word}",
            "text": word,
        }
        for name, verb in (("int8", "quantize"), ("table", "benchmark"))
    }
    steps[word] = {"verb": "evaluate", "status": "running", "command": "pretune evaluate"}
    write_json(folder / "recipe.json", {"format": 1, "steps": steps})
    record = {"verb": "run", "status": "finished", "settings": {}, "parents": [], "command": "pretune run a.yaml"}
    write_json(folder / "run.json", record)
    return RunFolder(folder)


def test_the_page_of_a_recipe_has_its_steps_and_what_was_measured_of_them(tmp_path: Path):
    page = write_report(a_recipe(tmp_path / "films", "small")).read_text()
    text = Tree(page).text
    assert all(one in text for one in ("The steps", "81.0", "3.91 × smaller", "4.00 × as fast"))
    assert "pretune quantize small" in page
    columns = [cell for cell in ("step", "what", "accuracy", "split", "weights") if f">{cell}</th>" in page]
    assert columns == ["step", "what", "accuracy", "split", "weights"], "the one score of all steps names its column"
    assert page.index('id="steps"') < page.index('id="benchmark"') < page.index('id="done"')


def test_hostile_names_of_steps_are_text(tmp_path: Path):
    page = write_report(a_recipe(tmp_path / "films", HOSTILE)).read_text()
    assert HOSTILE not in page
    assert "<script" not in page
