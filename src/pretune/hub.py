"""The hub: asked only for a name that is meant for it, once, for a few seconds, and quietly; what was downloaded before serves
without a network.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

__all__ = ["PREFIX", "Answer", "ask", "quiet_hub", "taken_for_a_path"]

PREFIX = "hub:"
"""Before a name: it is the hub's, whatever it looks like."""

_SECONDS = 5.0
_NEAR = 0.75
_MOST_NAMES = 2000
_LOGGERS = ("huggingface_hub", "datasets", "httpx", "httpx2", "fsspec", "filelock", "urllib3")
_OF_FILES = {
    ".arrow", ".bin", ".csv", ".gz", ".json", ".jsonl", ".onnx", ".parquet", ".pdf", ".pt", ".pth", ".safetensors", ".tar", ".tsv", ".txt",
    ".xlsx", ".yaml", ".zip",
}  # fmt: skip


class Answer(Enum):
    """What the hub said of a name: it is ``THERE``, it is ``ABSENT`` (or not for everybody), or nothing, being ``UNREACHABLE``."""

    THERE = "there"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"


def ask(name: str, kind: str) -> tuple[Answer, str]:
    """Whether the hub has the ``model`` or ``dataset`` of this name, and why not; one request of a few seconds."""
    import huggingface_hub
    from huggingface_hub import errors

    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false"):
        return Answer.UNREACHABLE, "HF_HUB_OFFLINE is set"
    with quiet_hub():
        try:
            huggingface_hub.HfApi().repo_info(name, repo_type=kind, timeout=_SECONDS)
        except errors.GatedRepoError:
            return Answer.THERE, "it is given on request only"
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            return Answer.ABSENT, "it has none of this name, or only for others"
        except errors.OfflineModeIsEnabled:
            return Answer.UNREACHABLE, "it is switched off"
        except Exception as error:  # network: the library's own kinds have no common base
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return Answer.UNREACHABLE, f"{type(error).__name__}: {said[:100]}"
    return Answer.THERE, ""


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence what the hub's libraries log; what went wrong is raised."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def taken_for_a_path(name: str, known: Iterable[str] = ()) -> str:
    """What else a name that is no file here was probably meant to be, as a question; nothing where it may well be the hub's.

    ``known`` are other words that could have been meant.
    """
    first, _, rest = name.partition("/")
    folder = Path(first)
    if rest and folder.is_dir():
        near = difflib.get_close_matches(rest, _names_in(folder), n=1)
        return f"did you mean {first}/{near[0]}?" if near else f"{first} is a folder here, and holds no {rest}"
    if Path(name).suffix.lower() in _OF_FILES:
        return "that is the name of a file, and it is not here"
    near = difflib.get_close_matches(
        first, {*known, *_names_in(Path())} if not rest else _names_in(Path()), n=1, cutoff=_NEAR
    )
    if near and near[0] != first:
        return f"did you mean {near[0]}{f'/{rest}' if rest else ''}?"
    return ""


def _names_in(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry, _ in zip(os.scandir(folder), range(_MOST_NAMES), strict=False)]
    return []
