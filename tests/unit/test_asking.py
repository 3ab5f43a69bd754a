"""Which rows to label next: chosen as the method says, written for a person, read back and counted, and measured without wishful thinking."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import pretune
from conftest import make_rows, write_csv
from media_files import clip
from pretune.errors import DataError, UsageError
from pretune.evaluation.asking import Pool, area_weights, areas_of, chosen

FEATURES = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [0.0, 5.0], [9.0, 0.5]])
PROBABILITIES = np.array([[0.9, 0.1], [0.55, 0.45], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
POOL = Pool(FEATURES, np.array([[0.0, 0.0]]), PROBABILITIES)


@pytest.mark.parametrize(
    "pool", [POOL, POOL._replace(features=csr_matrix(FEATURES), labelled=csr_matrix(POOL.labelled))]
)
def test_margin_takes_what_is_undecided_and_coreset_what_is_far_from_all_known(pool: Pool) -> None:
    """By hand: after (9, 0.5) the nearest of (9, 0) is half away, and (0, 5) comes next."""
    rng = np.random.default_rng(0)
    assert chosen(pool, ("margin",), 3, rng) == [(4, "margin"), (1, "margin"), (2, "margin")]
    assert chosen(pool, ("coreset",), 4, rng) == [(4, "coreset"), (3, "coreset"), (1, "coreset"), (2, "coreset")]
    assert chosen(pool, ("margin", "coreset"), 3, rng) == [(4, "margin"), (3, "coreset"), (1, "margin")]
    drawn = [place for place, _ in chosen(pool, ("random",), 9, rng)]
    assert sorted(drawn) == [0, 1, 2, 3, 4]


def test_a_gain_is_told_where_there_is_one_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    weights_B = area_weights([20, 40, 80])
    assert weights_B.tolist() == pytest.approx([10 / 60, 30 / 60, 20 / 60])
    told = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        easy_M = rng.random(400)
        right = {name: (rng.random((5, 3, 400)) < easy_M).astype(float) for name in ("random", "margin")}
        told += areas_of(right, weights_B)["margin"].is_shown
    assert told <= 5
    right["margin"] = (rng.random((5, 3, 400)) < easy_M + 0.2).astype(float)
    area = areas_of(right, weights_B)["margin"]
    assert area.is_shown
    assert area.difference.low < area.gain < area.difference.high
    groups_M = np.repeat(np.arange(40), 10)
    wide = areas_of({name: np.repeat(one[..., ::10], 10, axis=-1) for name, one in right.items()}, weights_B, groups_M)["margin"]  # fmt: skip
    assert wide.difference.high - wide.difference.low > area.difference.high - area.difference.low


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask")
    (folder / "data").mkdir()
    rows = make_rows(240)
    write_csv(folder / "data" / "train.csv", rows[:24])
    others = [{**row, "id": f"v{row['id']}"} for row in make_rows(360, seed=9)]
    write_csv(folder / "data" / "validation.csv", others[:120])
    write_csv(folder / "data" / "test.csv", others[120:180])
    pool = [*rows[24:200], {**rows[0], "id": "known"}, {**rows[30], "id": "again"}]
    write_csv(folder / "pool.csv", [{"id": row["id"], "title": row["text"]} for row in pool])
    return folder


def table_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def asked(place: Path) -> dict[str, Any]:
    found = pretune.ask(
        "linear:tfidf", data=str(place / "data"), unlabelled=(str(place / "pool.csv"),), rows=20,
        by=("margin", "coreset"), out=str(place / "ask.csv"), threads=1,
    )  # fmt: skip
    return found.to_dict()


def test_chosen_and_drawn_rows_stand_in_turns_with_nothing_asked_twice(asked: dict[str, Any], place: Path) -> None:
    rows = table_of(place / "ask.csv")
    arms = [row["chosen_by"] for row in rows]
    assert asked["arms"] == {"margin": 10, "coreset": 10, "random": 20}
    assert sum("random" in arm for arm in arms[:10]) >= 4
    assert len({row["id"] for row in rows}) == len(rows) == asked["n"]
    assert not any(row["label"] or row["new_label"] for row in rows)
    known = {row["text"] for row in table_of(place / "data" / "train.csv")}
    assert not known & {row["row"] for row in rows}
    assert [("labelled rows" in note, "twice" in note) for note in asked["notes"]] == [(True, False), (False, True)]
    assert asked["pool"] == 178 - sum(int(note.split()[0]) for note in asked["notes"])
    page = (place / "ask.html").read_text(encoding="utf-8")
    assert rows[0]["row"][:30] in page


def test_answers_are_learned_from_counted_and_judged(asked: dict[str, Any], place: Path) -> None:
    truth = {row["text"]: row["label"] for row in make_rows(240)}
    rows = table_of(place / "ask.csv")
    for row in rows:
        row["new_label"] = truth[row["row"]]
    rows[3]["new_label"], rows[4]["new_label"] = "-", ""
    filled = place / "filled.jsonl"
    filled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    told = {"data": str(place / "data"), "unlabelled": (str(place / "pool.csv"),), "threads": 1}
    passport = pretune.inspect(
        told["data"], unlabelled=told["unlabelled"], relabel=str(filled), out=str(place / "p.html")
    )  # pyright: ignore[reportArgumentType]
    splits = passport.to_dict()["splits"]
    assert splits["train"]["rows"] == 24 + len(rows) - 2
    assert splits["unlabelled"]["rows"] == 178 - len(rows) + 1
    run = pretune.finetune("linear:tfidf", relabel=str(filled), out=str(place / "run"), **told)  # pyright: ignore[reportArgumentType]
    assert json.loads((place / "run" / "run.json").read_text())["linear_model"]["rows"] == splits["train"]["rows"]
    pretune.evaluate(run.to_dict()["run"], baselines=False, resamples=100, threads=1)
    found = pretune.ask("linear:tfidf", filled=str(filled), **told).to_dict()  # pyright: ignore[reportArgumentType]
    assert found["labels"] == 24
    assert 18 <= found["each"] <= 20
    assert found["comparison"]["names"] == ["rows drawn", "rows chosen"]
    assert found["comparison"]["n"] == 120
    of_run = pretune.ask(str(place / "run"), rows=5, out=str(place / "own.csv"), **told).to_dict()  # pyright: ignore[reportArgumentType]
    assert of_run["how"] == "classes as the run tells them"


def test_the_method_is_measured_on_labels_that_are_there(place: Path, tmp_path: Path) -> None:
    more = write_csv(tmp_path / "more.csv", make_rows(300))
    found = pretune.ask("linear:tfidf", data=str(more), simulate=True, rows=10, seeds=2, test_fraction=0.0, threads=1)
    facts = found.to_dict()
    assert facts["labels"] == [10 * number for number in range(1, 10)]
    assert set(facts["areas"]) == {"margin", "coreset", "random"}
    assert facts["points"]["margin"][0] == facts["points"]["random"][0] == facts["points"]["coreset"][0]
    for name in ("margin", "coreset"):
        apart = facts["areas"][name]["difference"]
        assert apart["low"] <= apart["value"] <= apart["high"]
        assert (facts["areas"][name]["better"] is None) == (apart["low"] <= 0 <= apart["high"])


def test_clips_can_be_heard_on_the_page(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "clips" / ("low", "high")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.wav").write_bytes(clip(number + 100 * (number % 2)))
    (tmp_path / "more").mkdir()
    for number in range(6):
        (tmp_path / "more" / f"m{number}.wav").write_bytes(clip(500 + number))
    found = pretune.ask(
        "linear:log-mel", data=str(tmp_path / "clips"), unlabelled=(str(tmp_path / "more"),), rows=2, by=("coreset",),
        test_fraction=0.0, out=str(tmp_path / "ask.csv"), threads=1,
    )  # fmt: skip
    assert found.to_dict()["pool"] == 6
    assert "data:audio/wav" in (tmp_path / "ask.html").read_text(encoding="utf-8")
    assert table_of(tmp_path / "ask.csv")[0]["row"].endswith(".wav")


def test_what_cannot_be_asked_is_refused(place: Path, tmp_path: Path) -> None:
    data = str(place / "data")
    with pytest.raises(DataError, match="there is none to ask about"):
        pretune.ask("linear:tfidf", data=data, out=str(tmp_path / "x.csv"), threads=1)
    with pytest.raises(UsageError, match=r"\.csv or \.jsonl"):
        pretune.ask("linear:tfidf", data=data, out=str(tmp_path / "x.html"), threads=1)
    with pytest.raises(DataError, match="too few to ask for 100"):
        pretune.ask("linear:tfidf", data=data, simulate=True, threads=1)
    with pytest.raises(UsageError, match="give one of them"):
        pretune.ask("linear:tfidf", data=data, simulate=True, filled="x.csv", threads=1)
    (tmp_path / "empty.csv").write_text("id,label,new_label,chosen_by\nrow-1,,,margin\n", encoding="utf-8")
    with pytest.raises(DataError, match="no answered row"):
        pretune.ask("linear:tfidf", data=data, filled=str(tmp_path / "empty.csv"), threads=1)
