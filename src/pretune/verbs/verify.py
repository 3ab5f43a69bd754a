"""``pretune verify``: are the files of a run or model what was written?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.errors import UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import RunFolder, is_run
from pretune.sums import SUMS_FILE, Sums

__all__ = ["VerifySettings", "verify"]


@dataclass(frozen=True, kw_only=True)
class VerifySettings(Settings):
    """Settings of ``pretune verify``."""

    verb: ClassVar[str] = "verify"

    folder: str = option(help="run folder, or the folder of a model", positional=True, metavar="RUN")
    accept: bool = option(
        False, "take the files as they are for what was written: you changed them on purpose, or they have no sums yet"
    )


@dataclass(frozen=True)
class _Checked:
    """A folder with sums: of so many files, and what is wrong with some of them."""

    place: Path
    files: int
    problems: Sequence[str]


@verb(VerifySettings)
def verify(settings: VerifySettings, *, say: Say) -> Outcome:
    """Say whether every file of a run or model that is read again is what was written: weights, tokenizer, records, predictions.

    The same is checked, file by file, whenever one is read: a damaged one is refused and named. --accept takes the files as
    they are; which of them were changed is remembered, and told whenever they are read.

    Examples::

        pretune verify runs/news
        pretune verify runs/news/model --accept
        pretune verify runs/news --json
    """
    place = Path(settings.folder)
    if not place.is_dir():
        raise UsageError(f"{place} is no folder", "name a run, or the folder of a model: pretune list shows the runs")
    if settings.accept:
        return _accepted(place)
    checked = [_Checked(sums.folder, len(_listed(sums)), sums.problems()) for sums in _sums_in(place) if sums.exist()]
    problems = [problem for one in checked for problem in one.problems]
    facts: dict[str, Any] = {
        "folder": str(place),
        "files": sum(one.files for one in checked),
        "problems": problems,
        "folders": {str(one.place): one.files for one in checked},
    }
    if not checked:
        text = (
            f"{place} has no sums: an older pretune or another program wrote it, and there is nothing to compare with.\n"
            f"To write down what is there now: pretune verify {place} --accept"
        )
        return Outcome(text=text, facts=facts, exit_code=1)
    if problems:
        text = "\n".join(
            [
                *problems,
                "Bring these files back from a copy, or make them again; "
                f"if they were changed on purpose: pretune verify {place} --accept",
            ]
        )
        return Outcome(text=text, facts=facts, exit_code=1)
    told = ", ".join(f"{one.files} in {one.place}" for one in checked)
    return Outcome(text=f"all {facts['files']} files are what was written: {told}", facts=facts)


def _accepted(place: Path) -> Outcome:
    changed = []
    for sums in _sums_in(place):
        names = RunFolder(sums.folder).record_files() if is_run(sums.folder) else None
        changed += [str(sums.folder / name) for name in sums.accept(names)]
    if not changed:
        text = f"{place}: the files are written down as they are; none of them was known to be otherwise"
    else:
        text = f"taken as they are: {', '.join(changed)}. That is told whenever they are read"
    return Outcome(text=text, facts={"folder": str(place), "accepted": changed})


def _sums_in(place: Path) -> Iterator[Sums]:
    """Of the folder, of a run's model, and of all that lies deeper and has sums (the runs of several seeds, of a recipe)."""
    found = {path.parent for path in place.rglob(SUMS_FILE)} | {place}
    found |= {run / "model" for run in found if is_run(run) and (run / "model").is_dir()}
    yield from map(Sums, sorted(found))


def _listed(sums: Sums) -> Sequence[str]:
    try:
        return list(sums.listed() or ())
    except ValueError:  # they are damaged themselves, which is one of the problems
        return ()
