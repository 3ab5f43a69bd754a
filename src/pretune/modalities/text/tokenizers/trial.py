"""``python -m pretune.modalities.text.tokenizers.trial SECONDS MEGABYTES tokenizer.json``: does it take texts in a moment, and make no more
of them than they are? For :mod:`pretune.trial`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretune.trial import limit_this_process, refuse

__all__ = ["main"]

_LETTERS = 4000
_SLOWEST_SECONDS = 1.5
_MOST_TOKENS_A_LETTER = 40
_PLAIN = "The quick brown fox, 42 times: naïve café №7 — 敏捷的棕色狐狸 быстрая лиса ثعلب 🦊\n\t"


def main() -> int:
    """Refuses with 1 and a sentence on standard output; texts that a tokenizer cannot read are not its concern."""
    limit_this_process(float(sys.argv[1]), float(sys.argv[2]))
    from tokenizers import Tokenizer

    path = Path(sys.argv[3])
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # who loads it will say what is wrong
        return 0
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for text in _texts(json.loads(path.read_text(encoding="utf-8"))):
        began = time.process_time()
        count = len(tokenizer.encode(text).ids)
        if time.process_time() - began > _SLOWEST_SECONDS:
            return refuse(f"it takes {time.process_time() - began:.1f} seconds for a text of {len(text)} letters")
        if count > _MOST_TOKENS_A_LETTER * len(text):
            return refuse(f"it makes {count} tokens of a text of {len(text)} letters")
    return 0


def _texts(told: Any) -> Iterator[str]:
    """A plain text, and long runs of each kind of letter, and of those that the patterns name, with something else at the end."""
    yield _PLAIN * (_LETTERS // len(_PLAIN))
    named = {letter for pattern in _patterns(told) for letter in pattern if letter.isalnum() or letter in " _-.,'"}
    for letter in [*"aA1 \n-.中é", *sorted(named - set("aA1 -."))][:60]:
        yield letter * _LETTERS + "!"
        yield f"{letter} " * (_LETTERS // 2) + "!"


def _patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("Regex"), str):
            yield node["Regex"]
        for key, item in node.items():
            if key != "model":
                yield from _patterns(item)
    elif isinstance(node, list):
        for item in node:
            yield from _patterns(item)


if __name__ == "__main__":
    sys.exit(main())
