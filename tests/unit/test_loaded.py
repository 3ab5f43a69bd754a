"""A run in a program's hands: rows of any form in, records or a frame out, in their order; and the process as it was."""

from __future__ import annotations

import logging
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch
from datasets import Audio, Dataset, DatasetDict, Image
from PIL import Image as Pictures

import pretune
from pretune.data.cells.given import place_of, table_of
from pretune.errors import DataError, UsageError
from pretune.interface.outcome import Outcome
from pretune.interface.shown_html import Passport
from pretune.verbs.loaded import LoadedRun

TEXTS = {"money": "the bank raised its rate", "sport": "the team won its match"}
QUICK: dict[str, Any] = {"threads": 1, "precision": "fp32"}


def frame(rows: int = 60) -> pandas.DataFrame:
    names = sorted(TEXTS)
    return pandas.DataFrame(
        {
            "headline": [f"{TEXTS[names[at % 2]]} ({at})" for at in range(rows)],
            "topic": [names[at % 2] for at in range(rows)],
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    out = tmp_path_factory.mktemp("loaded") / "<i>news"
    pretune.finetune("linear:tfidf", data=frame(), column=("text=headline", "label=topic"), out=out, **QUICK)
    found = pretune.load(out)
    found.evaluate(resamples=100, threads=1)
    return found


ASKED = ["a bank and its rate", "a team and its match", "the match was won"]
EXPECTED = ["money", "sport", "sport"]


@pytest.mark.parametrize(
    "given",
    [
        ASKED,
        tuple(ASKED),
        pandas.Series(ASKED),
        pandas.DataFrame({"headline": ASKED}),
        pandas.DataFrame({"headline": ASKED, "id": ["z", "z", "z"]}),
        Dataset.from_dict({"headline": ASKED}),
        pa.table({"headline": ASKED}),
        np.array(ASKED),
        [{"headline": text} for text in ASKED],
        {"headline": ASKED},
    ],
    ids=lambda given: type(given).__name__,
)
def test_rows_of_any_form(run: LoadedRun, given: Any) -> None:
    found = run.predict(given, threads=1)
    assert [record["label"] for record in found] == EXPECTED
    assert [record["id"] for record in found] == ["0", "1", "2"]
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1.0)


def test_one_text_and_files(run: LoadedRun, tmp_path: Path) -> None:
    assert [record["label"] for record in run.predict(ASKED[0], threads=1)] == ["money"]
    frame().head(4).to_csv(tmp_path / "new.csv", index=False)
    for place in (tmp_path / "new.csv", str(tmp_path / "new.csv"), [tmp_path / "new.csv"]):
        assert [record["label"] for record in run.predict(place, threads=1)] == list(frame().topic[:4])


def test_a_frame_has_the_index_it_was_asked_with(run: LoadedRun) -> None:
    asked = pandas.DataFrame({"headline": ASKED}, index=["x", "y", "z"])
    found = run.predict(asked, as_frame=True, threads=1)
    assert list(found.index) == ["x", "y", "z"]
    assert list(found.columns) == ["label", "probability of money", "probability of sport"]
    assert run.predict(ASKED, as_frame=True, threads=1).columns[0] == "id"


def test_a_row_without_an_answer_stays_in_its_place_and_is_warned_of(run: LoadedRun) -> None:
    with pytest.warns(pretune.PretuneWarning, match="not answered") as heard:
        found = run.predict([ASKED[0], "", None, ASKED[1]], threads=1)
    assert [record["label"] for record in found] == ["money", None, None, "sport"]
    assert Path(heard[0].filename).name == Path(__file__).name


def test_the_model_is_loaded_once(run: LoadedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.predict(ASKED, threads=1)
    monkeypatch.setattr("pretune.runs.proven.load_proven", lambda *_: pytest.fail("loaded again"))
    assert len(run.predict(ASKED, threads=1)) == 3


def test_a_call_leaves_the_process_as_it_was(run: LoadedRun, tmp_path: Path) -> None:
    before_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    pretune.finetune(
        "linear:tfidf", data=frame(), column=("text=headline", "label=topic"), out=tmp_path / "run", **QUICK
    )
    run.predict(ASKED, threads=1)
    run.evaluate(resamples=100, threads=1)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before_threads)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]


def test_notes_go_to_the_log_and_warnings_are_pythons_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = pandas.concat([frame(), frame().head(5)])
    with caplog.at_level(logging.INFO, "pretune"), pytest.warns(pretune.PretuneWarning):
        pretune.finetune("linear:tfidf", data=rows.assign(headline=rows.headline.where(rows.index != 3)), column=("text=headline", "label=topic"), out=tmp_path / "run", **QUICK)  # fmt: skip
    assert caplog.messages
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", pretune.PretuneWarning)
        pretune.load(tmp_path / "run").evaluate(resamples=100, threads=1)


def test_what_a_run_knows_of_itself(run: LoadedRun) -> None:
    assert (run.task, run.labels) == ("text-classification", ("money", "sport"))
    assert run.scores["test"]["accuracy"]["value"] == 1.0
    assert run.record["status"] == "finished"
    assert run.passport["splits"]["train"]["rows"] > 0
    assert isinstance(run.history, list)
    assert run.model.task.name == run.task
    assert "test: accuracy" in repr(run)


def test_what_a_notebook_shows_is_escaped(run: LoadedRun) -> None:
    assert "&lt;i&gt;news" in run._repr_html_()
    assert "<i>" not in run._repr_html_()
    page = run.report()
    assert page.path.exists()
    assert "srcdoc" in page._repr_html_()
    assert "<html" not in page._repr_html_()
    assert Outcome(text="<b>\n&")._repr_html_().startswith("<div><strong>&lt;b&gt;</strong>")
    passport = Passport({"splits": {}, "findings": [{"severity": "warning", "message": "<script>", "fix": ""}]})
    assert "&lt;script&gt;" in passport._repr_html_()
    assert "finding" in run.passport._repr_html_() or "complain" in run.passport._repr_html_()


def test_verbs_take_rows_and_read_the_same_rows_from_the_same_file(run: LoadedRun) -> None:
    assert place_of(frame()) == place_of(frame())
    assert place_of(frame()) != place_of(frame(58))
    rows = frame(30).replace("its", "their", regex=True)
    assert run.evaluate(rows, resamples=100, threads=1).facts["n"] > 0
    assert pretune.inspect(frame(), column=("text=headline", "label=topic")).facts["rows"] == 60
    splits = {"train": frame(40), "validation": frame(60).tail(20), "test": frame(80).tail(20)}
    for given in (splits, DatasetDict({name: Dataset.from_pandas(rows) for name, rows in splits.items()})):
        found = pretune.inspect(given, column=("text=headline", "label=topic")).facts
        assert {name: split["rows"] for name, split in found["splits"].items()} == {
            "train": 40,
            "validation": 20,
            "test": 20,
        }


def test_pictures_and_sounds_in_memory() -> None:
    pixels = np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(4, 6, 5, 3)
    for given in (pixels, list(pixels), [Pictures.fromarray(one) for one in pixels], {"image": list(pixels)}, Dataset.from_dict({"image": list(pixels)}).cast_column("image", Image())):  # fmt: skip
        table = table_of(given)
        assert table.num_rows == 4
        assert table["image"][2].as_py()["bytes"][:4] == b"\x89PNG"
    assert table_of(pixels[0]).num_rows == table_of(Pictures.fromarray(pixels[0])).num_rows == 1
    sound = {"array": np.sin(np.arange(800) / 9), "sampling_rate": 8_000}
    for given in (sound, [sound], pandas.DataFrame({"audio": [sound]})):
        assert table_of(given)["audio"][0].as_py()["bytes"][:4] == b"RIFF"
    assert Audio is not None


@pytest.mark.parametrize("given", [[], 3.5, object(), [object()], pandas.DataFrame({"text": ["a", 3, ["b"]]}), pandas.DataFrame([[1, 2]], columns=["a", "a"])])  # fmt: skip
def test_what_is_no_data_is_refused(run: LoadedRun, given: Any) -> None:
    with pytest.raises(DataError):
        run.predict(given)


def test_what_was_never_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pretune.PretuneError, match="run"):
        pretune.load(tmp_path)
    with pytest.raises(UsageError, match="other"):
        pretune.inspect({"other": frame()})
