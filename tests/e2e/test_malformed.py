"""Wrong data, models and flags through the command line: told clearly, in time, and in the way of no later try."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, done, refuses
from told_story import Story, tell_once

from pretune.runfolder import is_run
from unsealed import unsealed

GOOD = "text,label\n" + "".join(f"the {n} words of a row,{'ab'[n % 2]}\n" for n in range(40))
Words = list[object]
Case = tuple[str, Callable[[Path], Path], Words, str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, news_rows: list[dict[str, str]]) -> Story:
    return tell_once(tmp_path_factory, news_rows)


def write(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def split_files(**files: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name, content in files.items():
            write(f"data/{name}.csv", content)(folder)
        return folder / "data"

    return make


def zipped(name: str, content: bytes, cut: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()[: -cut or None]


def labels(*words: str) -> str:
    return "text,label\n" + "".join(f"row {n} of some words,{word}\n" for n, word in enumerate(words))


DATA: list[Case] = [
    ("empty file", write("d.csv", ""), [], r"d\.csv is empty"),
    ("header alone", write("d.csv", "text,label\n"), [], r"d\.csv holds no rows"),
    ("one class", write("d.csv", labels(*"aaaaaaaa")), [], r"one label \(a\)"),
    ("a label only in test", split_files(train=GOOD, test=GOOD + "an odd one,z\n"), [], "test has labels that train does not have"),
    ("labels all missing", write("d.csv", labels(*["nan"] * 9)), ["--column", "label=label"], r"d\.csv is missing"),
    ("no labels at all", write("d.txt", "one line\nand two\nand three\n"), [], "no training rows|no labels"),
    ("binary junk", write("d.csv", bytes(range(256)) * 99), [], r"d\.csv"),
    ("wrong delimiter", write("d.csv", GOOD), ["--delimiter", ";"], r"d\.csv"),
    ("duplicate header", write("d.csv", "text,text,label\na b,c d,e\nf g,h i,j\n"), [], "'text' more than once"),
    ("missing column", write("d.csv", GOOD), ["--column", "label=lable"], 'did you mean "label"'),
    ("mixed types", write("d.jsonl", '{"text": "a b", "label": "x"}\n{"text": 7.5, "label": ["y"]}\n' * 9), [], "has a list as label"),
    ("ragged rows", write("d.csv", GOOD + "one,two,three\n"), [], r"d\.csv:42 has 3 columns"),
    ("open quote", write("d.csv", GOOD + '"never closed,b\n' + GOOD), [], "opens a quote"),
    ("zero-byte parquet", write("d.parquet", b""), [], r"d\.parquet is empty"),
    ("parquet in name only", write("d.parquet", GOOD), [], r"d\.parquet cannot be read"),
    ("truncated zip", write("d.zip", zipped("train.csv", GOOD.encode(), cut=30)), [], r"d\.zip is not a whole zip"),
    ("path traversal in a zip", write("d.zip", zipped("../evil.csv", GOOD.encode())), [], "leads out of the archive"),
    ("decompression bomb", write("d.txt.gz", gzip.compress(b"a" * (40 * 2**20))), [], "decompression bomb"),
    ("truncated gzip", write("d.csv.gz", gzip.compress(os.urandom(9000).hex().encode())[:-3000]), [], r"d\.csv\.gz ends"),
    ("pickle", write("d.pkl", pickle.dumps({"text": ["a"]})), [], "is a pickle"),
    ("JSON lines cut", write("d.jsonl", '{"text": "a b", "label": "x"}\n{"text": "c'), [], r"d\.jsonl:2 is not a JSON"),
    ("typo in the path", write("news.csv", GOOD), ["--data", "nwes.csv"], "nwes.csv does not exist"),
    ("a role that is none", write("d.csv", GOOD), ["--column", "txt=text"], 'did you mean "text"'),
    ("wrong encoding name", write("d.csv", GOOD), ["--encoding", "utf-9"], "--encoding|no text encoding"),
    ("no validation rows", write("d.csv", GOOD), ["--validation-fraction", "0"], "--validation-fraction"),
    ("group column missing", write("d.csv", GOOD), ["--group", "patient"], "no column 'patient'"),
    ("ten megabytes in a line, without label", write("d.csv", "text,label\n" + "word " * 2**21 + "\n"), [], r"d\.csv:2 has 1 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "flags", "names"), [case[1:] for case in DATA], ids=[case[0] for case in DATA])
def test_data(
    make: Callable[[Path], Path], flags: Words, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["--data", make(tmp_path)] if "--data" not in flags else []
    refuses(names, "finetune", *TINY, *place, *flags, "--out", "run", "--max-steps", "1")
    assert not is_run("run"), "the next try is free to use the folder"


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "locked"
    place.mkdir()

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    refuses("locked", "inspect", place)


@pytest.mark.slow
def test_ten_megabytes_in_a_line_are_learned_from(tmp_path: Path) -> None:
    long = "word " * 2**21
    place = write("d.csv", GOOD + f'"{long}",a\n')(tmp_path)
    said = done("finetune", *TINY, "--data", place, "--out", tmp_path / "run", "--max-steps", "1")
    assert "longer than the limit" in said.err


@pytest.fixture
def model(story: Story, tmp_path: Path) -> Path:
    """A whole model folder without sums, for a test to break."""
    return unsealed(shutil.copytree(story.base / "model", tmp_path / "model"))


def edit_json(name: str, **changes: object) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def cut(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_header(model: Path) -> None:
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(bytes(data))


def pickled(model: Path) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))


def only_bin(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def no_tokenizer(model: Path) -> None:
    for path in (*model.glob("tokenizer*"), *model.glob("vocab*"), *model.glob("special*")):
        path.unlink()


narrow = edit_json("config.json", hidden_size=64, num_attention_heads=2, intermediate_size=256)


def narrow_alone(model: Path) -> None:
    """No other file tells of the width."""
    (model / "1_Pooling" / "config.json").unlink()
    narrow(model)


MODELS: list[tuple[str, Callable[[Path], object], str]] = [
    ("weights cut short", cut, r"model\.safetensors .*damaged or cut short"),
    ("header flipped", flip_header, r"model\.safetensors .*damaged"),
    ("weights empty", lambda m: (m / "model.safetensors").write_bytes(b""), r"model\.safetensors"),
    ("weights huge header", lambda m: (m / "model.safetensors").write_bytes(b"\xff" * 64), r"model\.safetensors"),
    ("pickle called safetensors", pickled, "is a pickle with another name"),
    ("only a pickle", only_bin, r"pytorch_model\.bin, a pickle"),
    ("code asked for", edit_json("config.json", auto_map={"AutoModel": "evil.Model"}), "asks to run Python code"),
    ("config is no JSON", lambda m: (m / "config.json").write_text("{not json"), r"config\.json is not valid JSON"),
    ("config is a list", lambda m: (m / "config.json").write_text("[]"), r"config\.json holds a list"),
    ("no config", lambda m: (m / "config.json").unlink(), r"no config\.json"),
    ("other model type", edit_json("config.json", model_type="berd"), "berd"),
    ("wrong shapes", narrow_alone, "another shape"),
    ("files of two models", narrow, "mixes files of two models"),
    ("impossible shapes", edit_json("config.json", hidden_size=127), "model"),
    ("vocabulary too small", edit_json("config.json", vocab_size=100), "vocab_size 100"),
    ("no tokenizer", no_tokenizer, "holds no tokenizer"),
    ("tokenizer is no JSON", lambda m: (m / "tokenizer.json").write_text("]"), "tokenizer"),
    ("a tokenizer of code", edit_json("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}), "asks to run Python code"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "names"), [case[1:] for case in MODELS], ids=[case[0] for case in MODELS])
def test_models(spoil: Callable[[Path], object], names: str, model: Path, story: Story, tmp_path: Path) -> None:
    spoil(model)
    out = tmp_path / "run"
    refuses(names, "finetune", model, "--data", story.data, "--out", out, *QUICK, "--max-steps", "1")
    assert not is_run(out)
    done("finetune", story.base, "--data", story.data, "--out", out, *QUICK, "--max-steps", "1")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("scratch:bert-tny", 'did you mean "(scratch:)?bert-tiny"'),
        ("bert-tiny", "did you mean scratch:bert-tiny"),
        ("scratch:", "scratch:"),
        ("runs/none", "there is no folder runs/none"),
        ("google-bert/bert-base-uncased", "the hub did not give it: HF_HUB_OFFLINE is set"),
        ("no such model!", "there is no folder no such model!"),
        ("news.csv", "news.csv is a file"),
        ("", "backbone|BACKBONE|folder"),
    ],
)
def test_names_of_models(name: str, names: str, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(story.folder)
    refuses(names, "finetune", name, "--data", story.data, "--out", tmp_path / "run", *QUICK)
    assert not is_run(tmp_path / "run")


FLAGS: list[tuple[Words, str]] = [
    (["--epoch", "3"], 'did you mean "--epochs"'),
    (["--learnin_rate", "1"], 'did you mean "--learning-rate"'),
    (["--max-steps", "ten"], "--max-steps is 'ten'"),
    (["--max-steps", "0"], "--max-steps is 0"),
    (["--max-steps", "-3"], "--max-steps is -3"),
    (["--max-steps"], "--max-steps"),
    (["--epochs", "nan"], "--epochs is nan"),
    (["--epochs", "inf"], "--epochs is inf"),
    (["--learning-rate", "1e9"], "--learning-rate is"),
    (["--batch-size", "2.5"], "--batch-size is '2.5'"),
    (["--seed", "-1"], "--seed is -1"),
    (["--validation-fraction", "1.5"], "--validation-fraction is 1.5"),
    (["--validation-fraction", "0.6", "--test-fraction", "0.6"], "--validation-fraction|--test-fraction"),
    (["--max-length", "100000"], "--max-length is 100000, .* takes 512"),
    (["--max-length", "3"], "--max-length is 3"),
    (["--adapt", "foo"], "--adapt"),
    (["--adapt", "top:99"], "--adapt|top:99"),
    (["--adapt", "top:x"], "--adapt|top:x"),
    (["--metric", "acuracy"], 'did you mean "accuracy"'),
    (["--warmup", "banana"], "--warmup is 'banana'"),
    (["--warmup", "banana%"], "--warmup is 'banana%'"),
    (["--eval-every", "often"], "--eval-every is 'often'"),
    (["--schedule", "linaer"], 'did you mean "linear"'),
    (["--long-text", "window"], 'did you mean "windows"'),
    (["--tokenizer", "wordpeice"], 'did you mean "wordpiece"'),
    (["--vocab-size", "7"], "--vocab-size is 7"),
    (["--max-train-samples", "2"], "--max-train-samples is 2, and 3 rows are needed"),
    (["--seeds", "0"], "--seeds is 0"),
    (["--clean", "htlm"], 'did you mean "html"'),
    (["extra"], "extra"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "names"), FLAGS, ids=[" ".join(map(str, flags)) for flags, _ in FLAGS])
def test_flags(flags: Words, names: str, story: Story, tmp_path: Path) -> None:
    words = ["finetune", "scratch:bert-tiny", *QUICK, "--data", story.data, "--out", tmp_path / "run"]
    words += [] if "--vocab-size" in flags else ["--vocab-size", "300"]
    words += [] if "--max-steps" in flags or "--epochs" in flags else ["--max-steps", "1"]
    refuses(names, *words, *flags)
    assert not is_run(tmp_path / "run")
