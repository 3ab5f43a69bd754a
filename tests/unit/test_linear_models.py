"""Linear models on simple features are runs like any other: evaluated, compared, exported, answered without pretune."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretune
from conftest import make_rows, write_csv
from pretune.backbones.load import load_backbone
from pretune.config import AnsweringSettings
from pretune.data.media.audio import decode_audio
from pretune.engine import devices
from pretune.errors import CorruptFile, ModelError, PretuneError, UsageError
from pretune.interface import Silent
from pretune.modalities.text.terms import Terms, count_terms
from pretune.runfolder import open_run
from pretune.runs.proven import load_proven
from pretune.tasks.baselines.audio import clip_numbers
from pretune.training.backbone import steady
from pretune.training.settings import FinetuneSettings
from pretune.verbs.finetune.story import finetune
from tiny import several_labels, tiny_clips, tiny_pictures
from unsealed import unsealed

KINDS = {"text": "linear:tfidf", "audio": "linear:log-mel", "image": "linear:pixels"}


def write_media(folder: Path, rows: list[dict[str, Any]], column: str, suffix: str) -> Path:
    """Class folders of files."""
    for number, row in enumerate(rows):
        place = folder / row["label"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03d}{suffix}").write_bytes(row[column]["bytes"])
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("linear")
    return {
        "text": str(write_csv(folder / "rows.csv", make_rows(120))),
        "audio": str(write_media(folder / "clips", tiny_clips(60), "audio", ".wav")),
        "image": str(write_media(folder / "photos", tiny_pictures(60), "image", ".png")),
        "runs": str(folder / "runs"),
    }


@pytest.fixture(scope="module")
def runs(places: dict[str, str]) -> dict[str, Path]:
    found = {}
    for kind, backbone in KINDS.items():
        found[kind] = Path(places["runs"]) / kind
        pretune.finetune(backbone, data=places[kind], out=str(found[kind]), threads=1)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_model_is_evaluated_and_exported_like_any_run(
    kind: str, places: dict[str, str], runs: dict[str, Path], tmp_path: Path
) -> None:
    run = open_run(runs[kind])
    record = run.record
    assert record["result"]["step"] == 0
    assert record["result"]["value"] > 0.5
    assert record["linear_model"]["losses"]
    assert record["backbone"]["kind"] == "linear"
    scored = pretune.evaluate(str(run.path), split="validation", threads=1).facts
    assert scored["scores"]["accuracy"]["value"] == pytest.approx(record["result"]["value"], abs=1e-9)
    out = tmp_path / "exported"
    pretune.export(str(run.path), out=str(out), threads=1)
    parity = open_run(out).record["export"]["parity"]
    for part in parity["graph"], parity["program"]:
        assert part["same"] == part["rows"] > 0
        assert part["largest"] < 1e-4
    assert parity["program"]["unread"] == 0
    again = pretune.evaluate(str(out), split="validation", threads=1).facts
    assert again["scores"]["accuracy"]["value"] == scored["scores"]["accuracy"]["value"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_answers_by_its_own_program(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "exported"
    pretune.export(str(runs[kind]), out=str(out), threads=1)
    if kind == "text":
        given = "the striker scored twice against the league champions"
    else:
        row = (tiny_clips if kind == "audio" else tiny_pictures)(3, seed=7)[0]
        path = tmp_path / ("clip.wav" if kind == "audio" else "photo.png")
        path.write_bytes(row[kind]["bytes"])
        given = str(path)
    program = out / "model" / "predict.py"
    said = subprocess.run([sys.executable, "-I", str(program), given], capture_output=True, text=True, check=True)
    answer = json.loads(said.stdout)
    assert answer["label"] in open_run(runs[kind]).record["model"]["labels"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_model_is_computed_in_fp32_where_the_machine_would_round(
    kind: str, runs: dict[str, Path], places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = devices.choose_device

    def of_bf16(*asked: str, precision: str = "auto", **told: Any) -> Any:
        return choose(*asked, precision="bf16" if precision == "auto" else precision, **told)

    monkeypatch.setattr(devices, "choose_device", of_bf16)
    assert load_proven(open_run(runs[kind]), AnsweringSettings()).device.precision == "fp32"
    assert load_proven(open_run(runs[kind]), AnsweringSettings(precision="bf16")).device.precision == "bf16"
    settings = FinetuneSettings(backbone=KINDS[kind], data=places[kind])
    assert steady(of_bf16(), load_backbone(str(runs[kind] / "model")), settings).precision == "fp32"


def test_terms_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [row["text"] for row in make_rows(50)]
    cut: dict[bool, Any] = {
        False: {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
        True: {"analyzer": "char", "ngram_range": (1, 3)},
    }
    for unspaced, units in cut.items():
        found, count = count_terms(texts, unspaced=unspaced)
        theirs = TfidfVectorizer(**units, sublinear_tf=True)
        wanted = theirs.fit_transform(texts).toarray()
        assert count == len(texts)
        assert set(found.names) == set(theirs.vocabulary_)
        numbers = found.numbers()
        for row, text in enumerate(texts[:10]):
            ids_T, values_T = found.encode(text, numbers)
            named = {found.names[number - 1]: value for number, value in zip(ids_T, values_T, strict=True)}
            theirs_named = {name: wanted[row, at] for name, at in theirs.vocabulary_.items() if wanted[row, at] > 0}
            assert named.keys() == theirs_named.keys()
            assert all(value == pytest.approx(theirs_named[name], abs=1e-6) for name, value in named.items())


def test_the_commonest_terms_are_kept_and_unknown_texts_have_none() -> None:
    texts = ["one two", "one three", "one two four"]
    found, _ = count_terms(texts, unspaced=False, most=2)
    assert found.names == ("one", "one two")
    assert [len(part) for part in found.encode("nine ten", found.numbers())] == [0, 0]
    with pytest.raises(ModelError, match="hold no word"):
        count_terms(["...", "!"], unspaced=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": "pixels"}, "features is 'pixels'"),
        ({"features": 7}, "features is 7"),
        ({"features": None}, "features"),
        ({"labels": "sports"}, "labels"),
    ],
)
def test_a_changed_word_of_the_folder_is_named(
    changes: dict[str, Any], says: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "run"
    shutil.copytree(runs["text"], place)
    unsealed(place)
    about = json.loads((place / "model" / "pretune.json").read_text())
    (place / "model" / "pretune.json").write_text(json.dumps({**about, "format": 1, **changes}))
    with pytest.raises(PretuneError) as caught:
        pretune.open_model(str(place))
    assert says in str(caught.value)


def test_files_of_two_kinds_of_model_are_not_mixed(runs: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "run"
    shutil.copytree(runs["text"], place)
    unsealed(place)
    about = json.loads((place / "model" / "pretune.json").read_text())
    del about["features"]
    about |= {"format": 1, "max_length": 16, "long_text": "truncate"}
    (place / "model" / "pretune.json").write_text(json.dumps(about))
    with pytest.raises(CorruptFile, match="another kind of model"):
        pretune.open_model(str(place))


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    found, _ = count_terms(["one two three"], unspaced=False)
    found.save_pretrained(tmp_path)
    assert Terms.read(tmp_path).identity() == found.identity()
    for text in (
        "{",
        "{}",
        '{"unit": "words", "names": ["a"], "rarity": []}',
        '{"unit": "x", "names": [], "rarity": []}',
    ):
        (tmp_path / "terms.json").write_text(text)
        with pytest.raises(ModelError, match=r"terms\.json cannot be read"):
            Terms.read(tmp_path)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
@pytest.mark.parametrize("seconds", [0.001, 0.4, 1.0])
def test_mel_bands_of_the_program_are_those_of_the_run(rate: int, seconds: float, tmp_path: Path) -> None:
    import soundfile

    from pretune.export.standalone import mel_bands

    samples_T = 0.1 * np.random.default_rng(0).standard_normal(max(1, int(rate * seconds)))
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples_T, rate, subtype="PCM_16")
    cell = {"path": str(path), "bytes": None}
    decibels_WM = mel_bands.log_mel(decode_audio(cell, rate), rate)
    parts = (decibels_WM.mean(axis=0), decibels_WM.std(axis=0), [np.log(len(decibels_WM))])
    np.testing.assert_allclose(np.concatenate(parts), clip_numbers(cell, rate), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backbone": "linear:tf-idf"}, 'did you mean "linear:tfidf"'),
        ({"adapt": "head"}, "is a linear model"),
        ({"epochs": 2.0}, "--epochs does nothing for a linear model"),
        ({"max_length": 16}, "--max-length does nothing for a linear model"),
        ({"tokenizer": "bpe"}, "--tokenizer does nothing for a linear model"),
        ({"pooling": "mean"}, "--pooling does nothing for a linear model"),
        ({"backbone": "linear:pixels"}, "reads pictures"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, Any], says: str, places: dict[str, str], tmp_path: Path
) -> None:
    told = {"backbone": "linear:tfidf", "data": places["text"], "out": str(tmp_path / "run"), **options}
    with pytest.raises(PretuneError) as caught:
        finetune.run(FinetuneSettings(**told), say=Silent())
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("verb", "options", "says"),
    [
        ("probe", {"backbone": "linear:tfidf"}, "train it at once"),
        ("pretrain", {"backbone": "linear:tfidf"}, "linear:tfidf"),
        ("explain", {"example": "a text"}, "its answer is a sum of its features"),
        ("prune", {}, "cannot be pruned"),
        ("distill", {"student": "scratch:bert-tiny", "tokenizer": "wordpiece"}, "has nothing to teach"),
    ],
)
def test_verbs_for_networks_say_why_not(
    verb: str, options: dict[str, Any], says: str, places: dict[str, str], runs: dict[str, Path], tmp_path: Path
) -> None:
    told = dict(options)
    if verb in ("probe", "pretrain"):
        told["data"] = places["text"]
    else:
        told["run"] = str(runs["text"])
    if verb not in ("probe", "explain"):
        told["out"] = str(tmp_path / "out")
    with pytest.raises(PretuneError) as caught:
        getattr(pretune, verb)(**told)
    assert says in str(caught.value)


@pytest.mark.slow
def test_int8_and_benchmark_take_a_linear_model(runs: dict[str, Path], tmp_path: Path, short_timings: None) -> None:
    pretune.quantize(str(runs["image"]), out=str(tmp_path / "int8"), threads=1)
    few = {"seconds": 0.02, "rows": 16, "resamples": 100}
    found = pretune.benchmark(str(runs["image"]), str(tmp_path / "int8"), threads=1, **few).facts
    assert [one["score"]["n"] > 0 for one in found["variants"]] == [True, True]


def test_a_model_without_anything_to_round_is_said_to_be_that(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        pretune.quantize(str(runs["text"]), out=str(tmp_path / "int8"), threads=1)
    assert "this model has nothing to round" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_several_labels_a_row(places: dict[str, str], tmp_path: Path) -> None:
    rows = [{**row, "labels": ";".join(row["labels"])} for row in several_labels(make_rows(120))]
    data = str(write_csv(tmp_path / "rows.csv", rows))
    facts = pretune.finetune(
        "linear:tfidf", data=data, column=("labels=labels", "text=text"), out=str(tmp_path / "run"), threads=1
    ).facts
    assert facts["result"]["value"] > 0.5


def test_a_run_is_a_backbone_and_keeps_its_vocabulary(
    places: dict[str, str], runs: dict[str, Path], tmp_path: Path
) -> None:
    other = str(write_csv(tmp_path / "other.csv", make_rows(60, seed=9)))
    pretune.finetune(str(runs["text"]), data=other, out=str(tmp_path / "run"), threads=1)
    before, after = (load_backbone(str(place / "model")) for place in (runs["text"], tmp_path / "run"))
    assert before.processor.identity() == after.processor.identity()
    with pytest.raises(UsageError):
        pretune.finetune(str(runs["text"]), data=places["image"], out=str(tmp_path / "wrong"), threads=1)


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_proposes_it_where_rows_with_classes_are_few(kind: str, places: dict[str, str]) -> None:
    assert f"Next: pretune finetune {KINDS[kind]} --data " in pretune.inspect(places[kind]).text
