"""``pretune report``: one page about a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import open_run

__all__ = ["ReportSettings", "report"]


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Settings of ``pretune report``."""

    verb: ClassVar[str] = "report"

    run: str = option(help="run folder", positional=True, metavar="RUN")
    out: str | None = option(None, "page to write; default: RUN/report.html", metavar="FILE")


@verb(ReportSettings)
def report(settings: ReportSettings, *, say: Say) -> Outcome:
    """Write one self-contained page about a run: what was done, on which data, how well, and how to repeat it.

    Examples::

        pretune report runs/news
        pretune report runs/news --out news.html
    """
    from pretune.report.page import write_report

    path = write_report(open_run(settings.run), None if settings.out is None else Path(settings.out))
    return Outcome(text=f"the report is {path}", facts={"report": str(path)})
