"""The command line: words to settings, a verb's outcome to the terminal. The only file that prints.

Exit codes: 0 done, 1 a check failed (or a defect of pretune), 2 wrong use, 130 Ctrl-C, 141 the reader of our output left.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.errors import CheckFailed, DiskFull, PretuneError, UsageError, did_you_mean
from pretune.interface import VERBS, Outcome, Progress, load_verb
from pretune.interface.synonyms import VERB_WORDS

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["TerminalSay", "main"]

_ENVIRONMENT = {
    # Threads that spin while they wait take the core from a busy neighbour: a step was seen to take 37 times as long.
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PLAIN_SECONDS = 10.0


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code, and raises nothing but SystemExit of ``--help``."""
    words = list(sys.argv[1:] if words is None else words)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _guarded(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return 141


def _guarded(words: list[str]) -> int:
    """Dispatch, with every failure told in a line or three."""
    try:
        return _dispatch(words)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        error: PretuneError = CheckFailed("stopped by Ctrl-C")
        error.exit_code = 130
    except PretuneError as caught:
        error = caught
    except Exception as caught:
        error = _explain(caught)
    _tell_error(error, as_json="--json" in words)
    return error.exit_code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview_as_json() if "--json" in words else _overview())
        return 0 if words else UsageError.exit_code
    if words[0] in ("-V", "--version"):
        from pretune import __version__

        print(f"pretune {__version__}")
        return 0
    names = [entry.name for entry in VERBS]
    if words[0] not in names:
        what = "option" if words[0].startswith("-") else "verb"
        meant = VERB_WORDS.get(words[0].lower(), words[0])
        raise UsageError(f"there is no {what} {words[0]!r}", did_you_mean(meant, names))
    return _run(words[0], words[1:])


def _run(name: str, words: list[str]) -> int:
    from pretune.interface.flags import HelpAsked, parse_flags

    function = load_verb(name)
    try:
        settings, flags = parse_flags(function, words)
    except HelpAsked as asked:
        print(asked.page, end="")
        raise
    if not settings.is_shared:
        _refuse_several_processes(name)
    # Of several processes that torchrun started, the first speaks for all.
    is_first = os.environ.get("RANK", "0") == "0"
    outcome = function.run(
        settings, say=TerminalSay(quiet=flags.quiet or not is_first, as_json=flags.json and is_first)
    )
    return _print_outcome(outcome, as_json=flags.json) if is_first else outcome.exit_code


def _refuse_several_processes(name: str) -> None:
    """Raise :class:`UsageError` where ``torchrun`` started several: each would do all of it, into the same folder."""
    world = os.environ.get("WORLD_SIZE", "1")
    if world != "1":
        raise UsageError(
            f"this pretune {name} is work for one process, and {world} were started",
            "start it without torchrun; what they share is training: pretrain, finetune, distill, prune, quantize --method qat",
        )


def _overview() -> str:
    from pretune.interface.language import of_reader
    from pretune.interface.overview import overview

    return overview(of_reader())


def _overview_as_json() -> str:
    from pretune.interface.option_schema import verbs_schema

    return _json_line(verbs_schema())


def _print_outcome(outcome: Outcome, *, as_json: bool) -> int:
    """The result on standard output, and the exit code. Rows that were streamed have it for themselves; the rest then goes to
    standard error.
    """
    stream = sys.stdout
    if outcome.rows is not None:
        for row in outcome.rows:
            _print_row(row)
        sys.stdout.flush()
        stream, outcome = sys.stderr, outcome.at_end() if outcome.at_end is not None else outcome
    text = _json_line(outcome.to_dict()) if as_json else _clean(outcome.text)
    if text:
        print(text, file=stream)
    return outcome.exit_code


def _print_row(row: Mapping[str, Any]) -> None:
    """A row as a line of JSON; characters that the terminal cannot show are written as JSON's own escapes."""
    line = _json_line(row)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(row, allow_nan=False)
    print(line)


def _tell_error(error: PretuneError, *, as_json: bool) -> None:
    if as_json:
        print(_json_line(error.to_dict()))
        return
    word = "stopped" if error.exit_code > 128 else "error"
    print(f"{_coloured(f'{word}:', _RED)} {_clean(error.problem)}", file=sys.stderr)
    if error.fix:
        print(f"  {_clean(error.fix)}", file=sys.stderr)


def _explain(error: Exception) -> PretuneError:
    """An error of a library or of ours, as one meant for people; a defect leaves its traceback in a file."""
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    ):
        return CheckFailed(
            "there is not enough memory",
            "take smaller pieces: lower --max-tokens, --micro-batch-size or --max-length, or a smaller model",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left on the disk{_of_file(error)}", "free some space and run the same command again")
    if isinstance(error, PermissionError):
        return UsageError(
            f"no permission{_of_file(error)}", "choose a place that you may read, and write where a result goes"
        )
    if isinstance(error, FileNotFoundError) and error.filename:
        return CheckFailed(
            f"{error.filename} is gone: it was moved or deleted while pretune worked",
            "put it back, or run the command again",
        )
    return CheckFailed(
        f"this is a defect in pretune, not in what you did: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        _keep_traceback(error),
    )


def _of_file(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _keep_traceback(error: Exception) -> str:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="pretune-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{' '.join(sys.argv)}\n\n{text}")
    except OSError:
        return text
    return f"the traceback is in {file.name}: please report it with the command you gave"


def _drop_output() -> None:
    """The reader of our output left (``| head``): let the interpreter's last flush go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _json_line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _clean(text: str) -> str:
    """Data may hold terminal escapes; nobody's terminal shall obey them."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


_RED, _YELLOW = 31, 33


def _coloured(word: str, colour: int) -> str:
    """A word in a colour where standard error is a terminal; plain where NO_COLOR says so (no-color.org), or the terminal knows none."""
    has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{colour}m{word}\x1b[0m" if has_colours else word


class TerminalSay:
    """Notes, warnings and bars on standard error; a line each ten seconds where that is no terminal."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.is_terminal = sys.stderr.isatty()

    def note(self, text: str) -> None:
        """A line worth knowing."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """A line that must not be missed."""
        self._line(text, before=f"{_coloured('warning:', _YELLOW)} ")

    def event(self, text: str, facts: Mapping[str, Any]) -> None:
        """A line of JSON on standard output where that was asked for, else a line to read."""
        if self.as_json:
            print(_json_line(facts), flush=True)
        else:
            self._line(text)

    def progress(self, total: int | None, description: str) -> Progress:
        """A bar with the time left."""
        if self.quiet:
            return _PlainProgress(None, "", every_seconds=float("inf"))
        if not self.is_terminal:
            return _PlainProgress(total, description, every_seconds=_PLAIN_SECONDS)
        from tqdm import tqdm

        return _Bar(tqdm(total=total, desc=_clean(description), leave=False, dynamic_ncols=True, file=sys.stderr))

    def _line(self, text: str, before: str = "") -> None:
        if not self.is_terminal:
            print(before + _clean(text), file=sys.stderr, flush=True)
            return
        from tqdm import tqdm

        tqdm.write(before + _clean(text), file=sys.stderr)


class _Bar:
    """A moving bar of a terminal."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def update(self, n: int = 1, text: str = "") -> None:
        if text:
            self._bar.set_postfix_str(_clean(text), refresh=False)
        self._bar.update(n)

    def close(self) -> None:
        self._bar.close()


_FORECAST_FROM = 0.02
"""The share that is done before the time left is told: what comes first (loading, warming up) is not like the rest."""


class _PlainProgress:
    """A line now and then, for log files."""

    def __init__(self, total: int | None, description: str, *, every_seconds: float) -> None:
        self._total, self._description, self._every = total, description, every_seconds
        self._done, self._begun = 0, time.monotonic()
        self._told = self._begun

    def update(self, n: int = 1, text: str = "") -> None:
        self._done += n
        now = time.monotonic()
        if now - self._told < self._every:
            return
        self._told = now
        print(_clean(self._sentence(now - self._begun, text)), file=sys.stderr, flush=True)

    def _sentence(self, seconds: float, text: str) -> str:
        if not self._total:
            return f"{self._description}: {self._done:,} {text}".rstrip()
        done = self._done / self._total
        said = f"{self._description}: {self._done:,}/{self._total:,} ({done:.0%})"
        if done >= _FORECAST_FROM:
            said += f", {_duration(seconds * max(1 / done - 1, 0))} left"
        return f"{said} {text}".rstrip()

    def close(self) -> None:
        """Nothing to tidy."""


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
