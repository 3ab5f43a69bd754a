"""Answers of the model in this folder, without the library that made it.

    python predict.py "a text"
    python predict.py picture.jpg another.png
    python predict.py clip.wav
    python predict.py rows.jsonl > answers.jsonl
    cat rows.csv | python predict.py -
    python predict.py --chat
    python predict.py "seven" --speaker theo --out said

It needs numpy and the engine that pretune.json names (onnxruntime, openvino or torch); for texts also tokenizers, for pictures
pillow, for clips of another rate than the model's soxr, for clips that are no WAV soundfile. A file of rows is CSV or TSV with a
row of names, JSON lines, an array of JSON, or .txt with a text or path on each line. Columns are found by the names that the model
learned from, else text (and text_pair), image or audio, and id; --column says otherwise. Texts are cleaned as they were when the
model learned. Texts that go on are drawn as pretune draws them: --sampling-seed and a prompt give the same text. What is said is written as WAV files into a folder, which
manifest.jsonl there tells of; what is there already stays. Answers are JSON lines. A row that cannot be answered is named, the others are answered, and the exit code is 1.

Shapes: T tokens of a text or samples of a clip, F frames, M mel bands, C classes, V characters; H, W the sides of a picture.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import itertools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

READERS = {
    "text": "texts", "image": "pictures", "audio": "clips", "terms": "terms", "pixels": "pixels", "mel_bands": "mel_bands",
    "tagged": "tagged", "boxed": "boxed", "mask": "masks", "questions": "questions", "keypoints": "points",
    "written": "written", "embedded": "embedded", "prompt": "prompts", "chat": "chats", "spoken": "voices",
}  # fmt: skip
SHOWN = 5
WRITING = {
    "temperature": (float, 0, "0 takes the likeliest token, more draws more freely"),
    "top_p": (float, 0.01, "draw among the likeliest tokens that have this probability together"),
    "top_k": (int, 1, "draw among so many of the likeliest tokens"),
    "max_new_tokens": (int, 1, "the most tokens of an answer"),
    "sampling_seed": (int, 0, "another number draws another text"),
}


SAYING = ("speaker", "take", "out")


class Model:
    """The model of a folder. ``answers`` gives one answer a row: label (or labels, with honest probabilities), number, text, mask, points, vector, clip."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        check_sums(folder)
        self.about: dict[str, Any] = json.loads((folder / "pretune.json").read_text(encoding="utf-8"))
        inputs = self.about["inputs"]
        reader = beside(READERS[inputs.get("reader", inputs["modality"])])
        self.reader = reader.Reader(folder, self.about, beside)
        # What writes token by token takes many steps to an answer, and opens its graphs itself.
        opens = getattr(self.reader, "opened", None)
        self.logits_of = opens(folder, threads, open_session) if opens else open_engine(folder, self.about, threads)
        self.cleaned = beside("rows").cleaner_of(self.about, beside)

    def ask(self, asked: dict[str, Any]) -> None:
        """Write or say as is asked. Raises :class:`ValueError` for what the model cannot be asked."""
        fitting = getattr(self.reader, "asks", ())
        odd = next((name for name in asked if name not in fitting), None)
        if odd is not None:
            lacks = "speak" if odd in SAYING else "go on from texts"
            raise ValueError(f"--{odd.replace('_', '-')} does not fit: the model does not {lacks}")
        if asked:
            self.reader.ask(asked)

    def answers(
        self,
        rows: Iterable[dict[str, Any]],
        batch_size: int = 32,
        on_unread: Callable[[dict[str, Any], ValueError], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """One answer a row, in their order. ``on_unread`` is told of a row that cannot be read; without it that is raised."""
        rows = iter(rows)
        while some := list(itertools.islice(rows, batch_size)):
            part, items = [], []
            for row in some:
                try:
                    items += [(len(part), item) for item in self.items(row)]
                except ValueError as error:
                    if on_unread is None:
                        raise
                    on_unread(row, error)
                else:
                    part.append(row)
            found: list[list[tuple[np.ndarray, Any]]] = [[] for _ in part]
            # Where activations are rounded by the range of a batch, a row must be a batch: its answer is its own then.
            size = 1 if self.about.get("rows_alone") else min(batch_size, self.reader.most_together)
            for start in range(0, len(items), size):
                together = items[start : start + size]
                logits = self.logits_of(self.reader.inputs([item for _, item in together]))
                for (number, item), one in zip(together, logits, strict=True):
                    found[number].append((self.reader.real(one, item), item))
            for row, outputs in zip(part, found, strict=True):
                yield {"id": row["id"], **self.answer(*map(list, zip(*outputs, strict=True)))}

    def items(self, row: dict[str, Any]) -> list[Any]:
        """What the reader makes of a row. Raises :class:`ValueError` naming it."""
        try:
            if "problem" in row:
                raise ValueError(row["problem"])
            return self.reader.items(self.cleaned(row))
        except ValueError as error:
            raise ValueError(f"row {row['id']}: {error}") from None

    def answer(self, outputs: list[np.ndarray], items: list[Any]) -> dict[str, Any]:
        """The answer of a row, of the logits of its items (several for a text cut into windows)."""
        if hasattr(self.reader, "answer"):
            return self.reader.answer(outputs, items)
        if "spelling" in self.about:
            return {"text": transcript(outputs[0], self.about["spelling"])}
        if "spread" in self.about:
            return {"value": self.about["mean"] + self.about["spread"] * float(np.mean([one[0] for one in outputs]))}
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


def beside(name: str) -> Any:
    """The file called so beside this one, as a module."""
    known = sys.modules.get(f"predict_{name}")
    if known is not None and known.__file__ == str(Path(__file__).with_name(f"{name}.py")):
        return known
    spec = importlib.util.spec_from_file_location(f"predict_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None, f"{name}.py is a Python file"
    assert spec.loader is not None, f"{name}.py is a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look for the module that they stand in
    spec.loader.exec_module(module)
    return module


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
        session = open_session(folder / "model.onnx", threads)
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


def open_session(path: Path, threads: int | None) -> Any:
    """A graph, for ONNX Runtime."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it reports its use unless it is told before its import
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def at_least(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    """What reads a number of the command line that is no less than ``least``."""

    def read(word: str) -> Any:
        number = kind(word)
        if not number >= least:
            raise argparse.ArgumentTypeError(f"{word} is less than {least}")
        return number

    return read


class Unanswered:
    """Rows that got no answer: the first are named, all are counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _row: dict[str, Any], error: ValueError) -> None:
        """Count a row, and say why it has no answer."""
        self.count += 1
        if self.count <= SHOWN:
            say(f"not answered: {error}")


def say(text: str) -> None:
    """A line for a person."""
    sys.stderr.write(f"predict.py: {text}\n")


def line_of(answer: dict[str, Any], encoding: str) -> str:
    """The answer as a line of JSON; characters that ``encoding`` lacks are written as JSON escapes."""
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(answer, allow_nan=False)
    return text + "\n"


def opened(folder: Path, threads: int | None) -> Model:
    """The model. Raises :class:`ValueError` for what lacks or is damaged, whatever a library raises."""
    try:
        return Model(folder, threads)
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install {error.name}") from None
    except ValueError:
        raise
    except Exception as error:  # engines and tokenizers raise their own kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"the model in {folder} cannot be opened, a file may be damaged: {lines[0][:300]}") from None


def conversation(model: Model) -> int:
    """Answer line by line. Raises :class:`ValueError` for a model of another task."""
    if model.about["inputs"].get("reader") != "chat":
        raise ValueError("--chat does not fit: the model answers each row by itself")
    for answer in beside("chats").held(model, sys.stdin, say):
        sys.stdout.write(line_of(answer, sys.stdout.encoding or "utf-8"))
        sys.stdout.flush()
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "rows", nargs="*", help="a text, picture or clip; a file of rows; a folder; - for standard input"
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="ROLE=NAME", help="name a column: text=title, id=key"
    )
    parser.add_argument("--delimiter", help="what separates columns")
    parser.add_argument("--encoding", help="encoding of files, where it is not UTF-8")
    parser.add_argument("--threads", type=int, default=None, help="processor threads (default: all)")
    parser.add_argument(
        "--chat",
        action="store_true",
        help="answer each line of standard input in the light of those before it; an empty one begins anew",
    )
    options = parser.add_argument_group("texts that go on")
    for name, (kind, least, told) in WRITING.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=at_least(kind, least), default=None, help=told)
    options.add_argument(
        "--stop", action="append", default=None, metavar="WORD", help="a word before which a text ends"
    )
    options = parser.add_argument_group("voices")
    options.add_argument("--speaker", default=None, help="whose voice says rows that name none")
    options.add_argument(
        "--take", type=at_least(int, 0), default=None, help="another number says a text in another way"
    )
    options.add_argument("--out", default=None, help="folder that clips are written into (default: said)")
    asked = parser.parse_args()
    if bool(asked.rows) == asked.chat:
        parser.error(
            "--chat reads standard input: give no rows beside it" if asked.chat else "give rows: a text, a file, -"
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    unanswered = Unanswered()
    try:
        model = opened(Path(__file__).resolve().parent, asked.threads)
        model.ask({name: value for name in (*WRITING, "stop", *SAYING) if (value := getattr(asked, name)) is not None})
        if asked.chat:
            return conversation(model)
        rows = beside("rows").rows_of(
            asked.rows, model.about, column=asked.column, delimiter=asked.delimiter, encoding=asked.encoding
        )
        answered, answers = 0, model.answers(rows, on_unread=unanswered)
        for answer in model.reader.in_files(answers) if hasattr(model.reader, "in_files") else answers:
            sys.stdout.write(line_of(answer, sys.stdout.encoding or "utf-8"))
            answered += 1
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has left
        return 141
    except (ValueError, OSError) as error:
        say(str(error))
        return 2
    if unanswered.count:
        say(f"{unanswered.count} of {unanswered.count + answered} rows were not answered")
    return 1 if unanswered.count else 0


if __name__ == "__main__":
    sys.exit(main())
