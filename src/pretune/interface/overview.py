"""The page of ``pretune --help``: the verbs by chapter of their story."""

from __future__ import annotations

from pretune.interface.language import Translate, english
from pretune.interface.pages import width
from pretune.interface.story import VERBS
from pretune.interface.wrapping import wrapped

__all__ = ["overview"]

_EXAMPLE = """\
  pretune inspect news.csv
  pretune pretrain scratch:bert-mini --data news.csv --out runs/base
  pretune finetune runs/base --data news.csv --out runs/news
  pretune evaluate runs/news
  pretune report runs/news"""
_MORE = (
    "pretune VERB -h shows the options of a verb that most people give, pretune VERB --help all of them. "
    "Each verb is a Python function too: pretune.finetune(...)"
)


def overview(translate: Translate = english) -> str:
    """The whole page."""
    lines = [translate("pretune: from raw data to a small, proven model"), ""]
    lines.append(f"{translate('usage')}: pretune VERB ... [--json] [--quiet]")
    chapter = ""
    for entry in VERBS:
        if entry.chapter != chapter:
            chapter = entry.chapter
            lines += ["", f"{translate(chapter)}:"]
        lines += wrapped(translate(entry.summary), width(), first=f"  {entry.name:<10} ", then=" " * 13)
    lines += ["", f"{translate('example')}:", _EXAMPLE, "", *wrapped(translate(_MORE), width())]
    return "\n".join([*lines, translate("Help in Chinese (中文): PRETUNE_LANGUAGE=zh")])
