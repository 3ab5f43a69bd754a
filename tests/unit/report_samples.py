"""Run folders, passports and evaluations for the tests of the report, and a strict reader of its pages."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pretune.files import write_json
from pretune.report.page import write_report
from pretune.runfolder import RunFolder

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'&amp;"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Tree(HTMLParser):
    """Tags in order, all text, and a check that every element is closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def score(value: float, half: float = 0.01, n: int = 200) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def blocks(word: str) -> list[dict[str, Any]]:
    bins = [{"low": 0.8, "high": 0.9, "confidence": 0.85, "accuracy": 0.8, "n": 20}]
    return [
        {
            "type": "table",
            "title": f"Table {word}",
            "note": word,
            "columns": [
                {"name": word, "kind": "text"},
                {"name": "F1", "kind": "score"},
                {"name": "share", "kind": "percent"},
                {"name": "rows", "kind": "number"},
            ],
            "rows": [[word, score(0.5), 0.25, 1234]],
        },
        {
            "type": "matrix",
            "title": f"Matrix {word}",
            "row_title": "truth",
            "column_title": "predicted",
            "labels": [word, "b"],
            "values": [[9, 1], [2, 8]],
        },
        {"type": "reliability", "title": "Calibration", "series": [{"name": word, "bins": bins}]},
        {
            "type": "examples",
            "title": "Mistakes",
            "rows": [
                {"id": word, "text": word, "text_pair": word, "truth": word, "predicted": "b", "probability": 0.97}
            ],
        },
        {
            "type": "curve",
            "title": "Curve",
            "x_title": word,
            "y_title": "y",
            "series": [{"name": word, "x": [1, 2], "y": [0.5, 0.6]}],
        },
        {
            "type": "points",
            "title": "Points",
            "note": word,
            "x_title": word,
            "y_title": "answer",
            "x": [1, 2],
            "y": [0.5, 2.5],
            "diagonal": True,
        },
        {
            "type": "tagged",
            "title": "Tags",
            "note": word,
            "rows": [{"id": word, "text": f"{word} {word}", "truth": [[0, len(word), word]], "answer": []}],
        },
        {
            "type": "pictures",
            "title": "Where it looks",
            "rows": [
                {"image": "data:image/jpeg;base64,AAAA", "caption": word},
                {"image": "https://elsewhere.example/spy.png", "caption": "a picture from elsewhere"},
            ],
        },
    ]


def evaluation(word: str = "b") -> dict[str, Any]:
    return {
        "split": "test",
        "n": 200,
        "seeds": [0],
        "primary": "accuracy",
        "higher_is_better": True,
        "looks": 3,
        "task": "text-classification",
        "scores": {"accuracy": score(0.912), "log_loss": score(0.31), "pseudo_perplexity": score(24.0)},
        "against": {
            name: {"better": "model", "n": 196, "difference": gap, "low": gap - 0.01, "high": gap + 0.01}
            for name, gap in (("majority", 0.812), ("tfidf-logistic", 0.072))
        },
        "baselines": {"majority": {"accuracy": score(0.1)}, "tfidf-logistic": {"accuracy": score(0.84)}},
        "leaks": {"n": 4, "without": {"accuracy": score(0.91)}},
        "blocks": blocks(word),
        "notes": [f"A note on {word}."],
    }


def passport(word: str = "b") -> dict[str, Any]:
    lengths = {
        "unit": "characters",
        "characters": {"min": 1, "median": 20.0, "max": 40, "histogram": {"edges": [1, 20, 41], "counts": [30, 10]}},
        "words": None,
    }
    split = {
        "rows": 40,
        "columns": ["id", "text"],
        "labels": {"classes": 2, "counts": {word: 30, "财经": 10}},
        "empty": {"count": 2, "rows": [word]},
        "length": lengths,
        "scripts": {"Han": 0.9, "Latin": 0.1},
        "personal_data": {"email": {"count": 3, "rows": []}},
    }
    overlap = {
        "rows_of": "train",
        "also_in": "test",
        "exact": 4,
        "content": {"count": 5, "rows": []},
        "near": None,
        "share": 0.125,
    }
    return {
        "splits": {"train": split, "test": {"rows": 10, "labels": None}},
        "across": [overlap, {**overlap, "rows_of": "test", "exact": 0, "content": {"count": 0}}],
        "conflicting_labels": {
            "texts": 1,
            "rows": 2,
            "examples": [{"text": word, "rows": [{"id": "a:1", "label": word}, {"id": "a:2", "label": "财经"}]}],
        },
        "findings": [
            {"severity": "note", "code": "html", "message": "HTML was left in", "count": 7, "rows": [], "fix": ""},
            {
                "severity": "error",
                "code": "leak",
                "message": f"5 rows {word}",
                "count": 5,
                "rows": [word],
                "fix": f"--drop-leaks {word}",
            },
        ],
        "tokens": {"train": {"rows": 40, "tokens": 1234, "truncated_rows": 1, "worst": [[word, 9]]}},
        "facts": {"read": {"format": "csv", "path": word, "notes": [f"Read as {word}."]}},
    }


def record(word: str = "b", **changes: Any) -> dict[str, Any]:
    settings = {
        "backbone": f"base {word}",
        "data": word,
        "epochs": 3.0,
        "batch_size": 32,
        "drop_leaks": True,
        "seed": 0,
        "out": f"runs/{word}",
    }
    return {
        "verb": "finetune",
        "command": f"pretune finetune base --data '{word}' --epochs 3.0 --drop-leaks",
        "settings": settings,
        "parents": [],
        "status": "finished",
        "started": "2025-11-20T09:00:00Z",
        "finished": "2025-11-20T09:21:40Z",
        "seconds": 1300.0,
        "machine": {"system": word, "python": "3.11.9", "torch": "2.15.0", "cores": 2},
        "model": {
            "parameters": 5_302_282,
            "task": "text-classification",
            "labels": [word, "财经"],
            "initialised": [f"classifier.{word}"],
            "pooling": {"modes": ["mean"], "why": f"as {word} says"},
            "pooled": {"modes": ["mean"], "plain": True},
        },
        "linear_model": {"strength": 0.1, "rows": 320, "rows_tried": 320, "losses": [[0.1, 0.5]]},
        "choosing": {"rows": 196, "also_in_train": 4},
        "training": {"steps": 2109, "epochs": 3.0, "precision": "bf16", "threads": 2, "peak_memory_bytes": 2**30},
        **changes,
    }


def make_run(path: Path, word: str = "b", **changes: Any) -> RunFolder:
    """A run folder with every file a report reads, ``word`` in every place a string can come from data."""
    path.mkdir(parents=True)
    run = RunFolder(path)
    write_json(path / "run.json", record(word, **changes))
    run.write_passport(passport(word))
    run.write_metrics("test", evaluation(word))
    for step in range(1, 100, 10):
        run.log({"kind": "step", "step": step, "loss": 2 / step, "learning_rate": 1e-4, "tokens_per_second": 1000})
    run.log({"kind": "eval", "step": 50, "split": word, "scores": {"accuracy": 0.9}, "best": True})
    verdict = f"{word} is better: +5.5 points of accuracy [1.0, 10.0]"
    sides = {"difference": 0.05, "low": 0.01, "high": 0.1, "a": score(0.82), "b": score(0.87)}
    write_json(
        path / "comparisons.json",
        [
            {
                "names": ["scratch", word],
                "n": 200,
                "primary": {"name": "accuracy", **sides},
                "mcnemar": {"both_right": 150, "only_a": 6, "only_b": 17, "both_wrong": 27, "p": 0.03},
                "verdict": verdict,
            }
        ],
    )
    return run


def page_of(run: RunFolder) -> str:
    return write_report(run).read_text(encoding="utf-8")


def assert_self_contained(html: str) -> None:
    tree = Tree(html)
    names = {tag for tag, _ in tree.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "a:href"}
    for tag, attrs in tree.tags:
        assert not [
            name for name in attrs if name.startswith("on") or name in ("srcset", "style", "action", "xlink:href")
        ]
        if "src" in attrs:
            assert (attrs["src"] or "").startswith({"img": "data:image/", "audio": "data:audio/"}[tag])
        assert (attrs.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|https?://", re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL))
    (policy,) = [attrs["content"] for attrs in tree.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    (css,) = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}'" in policy
