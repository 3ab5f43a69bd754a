"""Answers of the model in this folder, without the library that made it.

    python predict.py "a text"
    python predict.py picture.jpg another.png
    python predict.py clip.wav
    python predict.py rows.jsonl > answers.jsonl
    cat rows.jsonl | python predict.py -

It needs numpy and the engine that pretune.json names (onnxruntime, openvino or torch); for texts also tokenizers, for pictures
pillow, for clips of another rate than the model's soxr. A row of a file is {"text": ...}, {"text": ..., "text_pair": ...}, {"image": path} or {"audio": path}, with an "id" if it
has one: JSON lines, CSV or TSV with such a header, or a .txt with a text or path on each line. Answers are JSON lines.

Shapes: T tokens of a text or samples of a clip, F frames, M mel bands, C classes, V characters; H, W the sides of a picture.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import itertools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

READERS = {"text": "texts", "image": "pictures", "audio": "clips"}
TABLES = {".csv": ",", ".tsv": "\t"}


class Model:
    """The model of a folder. ``answers`` gives one answer a row: label (or labels, or text) and honest probabilities."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        check_sums(folder)
        self.about: dict[str, Any] = json.loads((folder / "pretune.json").read_text(encoding="utf-8"))
        self.logits_of = open_engine(folder, self.about, threads)
        self.reader = reader_of(READERS[self.about["inputs"]["modality"]])(folder, self.about)

    def answers(self, rows: Iterable[dict[str, Any]], batch_size: int = 32) -> Iterator[dict[str, Any]]:
        """One answer a row, in their order."""
        rows = iter(rows)
        while part := list(itertools.islice(rows, batch_size)):
            items = [(number, item) for number, row in enumerate(part) for item in self.items(row)]
            found: list[list[np.ndarray]] = [[] for _ in part]
            # Where activations are rounded by the range of a batch, a row must be a batch: its answer is its own then.
            size = 1 if self.about.get("rows_alone") else min(batch_size, self.reader.most_together)
            for start in range(0, len(items), size):
                together = items[start : start + size]
                logits = self.logits_of(self.reader.inputs([item for _, item in together]))
                for (number, item), one in zip(together, logits, strict=True):
                    found[number].append(self.reader.real(one, item))
            for row, outputs in zip(part, found, strict=True):
                yield {"id": row["id"], **self.answer(outputs)}

    def items(self, row: dict[str, Any]) -> list[Any]:
        """What the reader makes of a row. Raises :class:`ValueError` naming it."""
        try:
            return self.reader.items(row)
        except ValueError as error:
            raise ValueError(f"row {row['id']}: {error}") from None

    def answer(self, outputs: list[np.ndarray]) -> dict[str, Any]:
        """The answer of a row, of the logits of its items (several for a text cut into windows)."""
        if "spelling" in self.about:
            return {"text": transcript(outputs[0], self.about["spelling"])}
        labels, several = self.about["labels"], "threshold" in self.about
        squash = sigmoid if several else softmax
        probabilities_C = np.mean([squash(logits_C.astype(np.float64)) for logits_C in outputs], axis=0)
        if several:
            kept = [label for label, p in zip(labels, probabilities_C, strict=True) if p >= self.about["threshold"]]
            return {"labels": kept, "probabilities": dict(zip(labels, probabilities_C.tolist(), strict=True))}
        label = labels[int(probabilities_C.argmax())]
        logs_C = np.log(np.maximum(probabilities_C, np.finfo(np.float64).tiny))
        honest_C = softmax(logs_C / float(self.about.get("temperature", 1.0)))
        return {"label": label, "probabilities": dict(zip(labels, honest_C.tolist(), strict=True))}


def check_sums(folder: Path) -> None:
    """Compare the folder's files with ``sums.json``. Raises :class:`ValueError` naming one that is not what was written."""
    path = folder / "sums.json"
    if not path.exists():
        return
    try:
        files, own = (json.loads(path.read_text(encoding="utf-8"))[key] for key in ("files", "sha256"))
        is_whole = own == hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    except (ValueError, KeyError, TypeError):
        is_whole, files = False, {}
    damaged = [name for name, told in files.items() if sum_of(folder / name) != told.get("sha256")]
    if damaged or not is_whole:
        name = "sums.json" if not is_whole else damaged[0]
        raise ValueError(f"{folder / name} is damaged or was changed: copy the folder again, or export it anew")


def sum_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits; nothing for one that is not there."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def reader_of(name: str) -> Any:
    """What makes inputs of rows: the class ``Reader`` of the file called so beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None, f"{name}.py is a Python file"
    assert spec.loader is not None, f"{name}.py is a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Reader


def softmax(logits_C: np.ndarray) -> np.ndarray:
    """Probabilities that add up to 1."""
    powers_C = np.exp(logits_C - logits_C.max())
    return powers_C / powers_C.sum()


def sigmoid(logits_C: np.ndarray) -> np.ndarray:
    """A probability for each class by itself."""
    return 1 / (1 + np.exp(-np.clip(logits_C, -700, 700)))


def transcript(logits_FV: np.ndarray, spelling: dict[str, Any]) -> str:
    """The most probable character of each frame; repeats, blanks and special tokens taken out (CTC, greedy)."""
    tokens, blank = spelling["tokens"], spelling["tokens"].index(spelling["blank"])
    best = [i for i, _ in itertools.groupby(logits_FV.argmax(axis=1).tolist()) if i != blank]
    written = (" " if tokens[i] == spelling["delimiter"] else tokens[i] for i in best if len(tokens[i]) == 1)
    return " ".join(unicodedata.normalize("NFC", "".join(written)).split())


def open_engine(
    folder: Path, about: dict[str, Any], threads: int | None
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A function from the model's inputs by name to its logits."""
    names = [one["name"] for one in about["graph"]["inputs"]]
    if about["engine"] == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it reports its use unless it is told before its import
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads or 0
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"])
        return lambda inputs: np.asarray(session.run(["logits"], {name: inputs[name] for name in names})[0])
    if about["engine"] == "openvino":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # openvino reports its use unless this is absent
        import openvino

        wanted = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        compiled = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", wanted)
        return lambda inputs: compiled({name: inputs[name] for name in names})["logits"]
    import torch

    if threads:
        torch.set_num_threads(threads)
    program = torch.export.load(folder / "model.pt2").module(check_guards=False)

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return program(**{name: torch.from_numpy(inputs[name]) for name in names}).numpy()

    return run


def rows_of(arguments: list[str], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that the arguments ask for: a file of rows, standard input, or each argument itself (each two for pairs)."""
    kind, pair = about["inputs"]["modality"], about["inputs"].get("reads_pairs", False)
    for number in itertools.count(1):
        if not arguments:
            return
        path = Path(arguments[0])
        if arguments[0] == "-":
            yield from rows_of_lines(sys.stdin, kind, pair, Path())
        elif path.suffix in (*TABLES, ".jsonl", ".txt") and os.path.isfile(path):  # noqa: PTH113 - False for any text
            with open(path, encoding="utf-8-sig", newline="") as file:
                yield from rows_of_lines(file, kind, pair, path.parent, TABLES.get(path.suffix))
        elif pair:
            if len(arguments) < 2:
                raise ValueError("the model reads pairs of texts: give two")
            yield {"id": str(number), "text": arguments[0], "text_pair": arguments[1]}
            arguments = arguments[1:]
        else:
            yield {"id": str(number), kind: arguments[0]}
        arguments = arguments[1:]


def rows_of_lines(
    lines: Iterable[str], kind: str, pair: bool, folder: Path, delimiter: str | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a table whose first line names its columns, or of lines: JSON objects, texts or paths."""
    found: Iterable[Any]
    if delimiter is not None:
        found = csv.DictReader(lines, delimiter=delimiter)
    else:
        found = (
            json.loads(line) if line.lstrip()[:1] == "{" else {kind: line.rstrip("\r\n")}
            for line in lines
            if line.strip()
        )
    for number, row in enumerate(found, start=1):
        lacking = [key for key in (kind, "text_pair")[: 1 + pair] if key not in row]
        if lacking:
            raise ValueError(f"row {number} has no {lacking[0]}, only {', '.join(map(str, row))}")
        if not pair and "text_pair" in row:
            raise ValueError(f"row {number} has a text_pair, but the model reads single texts")
        value = row[kind] if kind == "text" else str(folder / row[kind])
        second = {"text_pair": row["text_pair"]} if pair else {}
        yield {"id": row.get("id", str(number)), kind: value, **second}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", help="a text, picture or clip; a file of rows; - for standard input")
    parser.add_argument("--threads", type=int, default=None, help="processor threads (default: all)")
    asked = parser.parse_args()
    try:
        model = Model(Path(__file__).resolve().parent, asked.threads)
        for answer in model.answers(rows_of(asked.rows, model.about)):
            sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"predict.py: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
