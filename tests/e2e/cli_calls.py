"""The command line, called in this process for speed; and the flags that make a run small."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

from pretune.cli import main

QUICK = ("--threads", "1", "--precision", "fp32")
TINY = ("scratch:bert-tiny", "--vocab-size", "300", *QUICK)


@dataclass(frozen=True)
class CliResult:
    """What a command did: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object of ``--json``."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """JSON lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


def call(*words: object, stdin: bytes | str = b"") -> CliResult:
    """``pretune WORDS`` with ``stdin`` as standard input."""
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    finally:
        sys.stdin = before
    return CliResult(code, out.getvalue(), err.getvalue())


def done(*words: object, stdin: bytes | str = b"") -> CliResult:
    """:func:`call`, and it must have gone well."""
    said = call(*words, stdin=stdin)
    assert said.code == 0, f"{said.out}{said.err}"
    return said


def refused(said: CliResult, names: str, *, codes: tuple[int, ...] = (2,)) -> None:
    """An error line that names the thing, a fix under it, the right exit code, and no traceback."""
    assert said.code in codes, f"{said.code}\n{said.out}{said.err}"
    assert "Traceback" not in said.out + said.err
    assert "defect in pretune" not in said.err, said.err
    lines = said.err.splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith("error: ")), None)
    assert at is not None, said.err
    told = "\n".join(lines[at:])
    assert re.search(names, told), told
    assert len(lines) > at + 1, f"nothing says what to do: {told}"


def refuses(names: str, *words: object, stdin: bytes | str = b"", codes: tuple[int, ...] = (2,)) -> None:
    """The command, and how it must be refused."""
    refused(call(*words, stdin=stdin), names, codes=codes)
