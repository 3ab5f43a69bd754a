"""``pretune drift``: has what a model reads moved away from what it learned?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings, AsCleanedSettings, AsReadSettings
from pretune.errors import UsageError
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runfolder import open_run
from pretune.runs.reading import refuse_missing_data
from pretune.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DriftSettings", "drift"]

_SHOWN_NUMBERS, _SHOWN_WORDS, _SHOWN_CLASSES = 6, 8, 12


@dataclass(frozen=True, kw_only=True)
class DriftSettings(AnsweringSettings, AsReadSettings, AsCleanedSettings):
    """Settings of ``pretune drift``."""

    verb: ClassVar[str] = "drift"

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    data: str = option(
        help="new rows, with or without answers, read and cleaned as the run's own", positional=True, metavar="NEW_DATA"
    )
    split: str = option(
        "auto",
        "the run's rows to hold the new ones against; auto: validation, else test, else train",
        choices=("auto", "validation", "test", "train"),
    )
    max_rows: int = option(2000, "rows of either set that are looked at, drawn at random", low=10, high=20_000)
    alpha: float = option(0.05, "how often drift may be found where there is none", low=0.0001, high=0.5)
    strict: bool = option(False, "exit with 1 where drift was found")
    permutations: int = option(499, "reshuffles of each permutation test", low=99, high=99_999)
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)
    seed: int = option(0, "seed of the rows drawn, of folds and reshuffles", low=0, high=2**32 - 1)
    out: str | None = option(None, "page to write; default: RUN/drift.html", metavar="FILE")


@verb(DriftSettings)
def drift(settings: DriftSettings, *, say: Say) -> Outcome:
    """Say whether new rows are like those a run was held against: tests of the inputs and the answers, and the accuracy to expect.

    A classifier tells new rows from held-out rows of the run, by plain features (words; pixels and colours; mel bands) and by what
    the model makes of them; the kernel two-sample test asks the same; single numbers are tested (length, scripts, brightness,
    loudness, ...), and the shares of the answers. One false alarm among all tests is as rare as --alpha says. Classes that became
    more frequent and the accuracy to expect are estimated without labels. The page (RUN/drift.html) shows the most typical new rows.

    Examples::

        pretune drift runs/news inbox.csv
        pretune drift runs/news inbox.csv --strict --json
        pretune drift runs/ants photos-of-may/ --max-rows 500 --out may.html
    """
    refuse_missing_data(settings.data)
    if settings.out is not None and Path(settings.out).is_dir():
        raise UsageError(f"--out {settings.out} is a folder", "give a file")
    from pretune.report.pages.drift import write_drift_page
    from pretune.verbs.drift.rows import looked_at

    run = open_run(settings.run)
    facts = looked_at(settings, run, say)
    out = Path(settings.out) if settings.out else run.path / "drift.html"
    write_drift_page(facts, out)
    told = {name: value for name, value in facts.items() if name != "typical_rows"}
    typical = [{"id": row["id"], "typical": row["typical"]} for row in facts["typical_rows"]]
    return Outcome(
        text=_text(facts, str(out)),
        facts={**told, "typical_rows": typical, "out": str(out)},
        exit_code=1 if settings.strict and facts["drift"] else 0,
    )


def _text(facts: Mapping[str, Any], out: str) -> str:
    """The result in a screenful."""
    from pretune.report.pages.drift_words import verdict_sentence, view_sentence
    from pretune.report.words import percent_text, score_text

    lines = [
        f"{facts['data']}: {counted(facts['new_rows'], 'new row')} against {counted(facts['reference_rows'])} of {facts['split']} of {facts['run']}",
        verdict_sentence(facts),
        *(f"  {view_sentence(name, view)}" for name, view in facts["features"].items()),
    ]
    for test in facts["numbers"][:_SHOWN_NUMBERS]:
        if test["adjusted_p"] <= facts["alpha"]:
            lines.append(
                f"  {test['name']}: median {test['reference']:.4g}, new {test['new']:.4g} (p = {test['adjusted_p']:.2g}, false discovery rate held)"
            )
    if answers := facts.get("answers"):
        shares = [
            f"{name} {percent_text(old)}, new {percent_text(answers['new'].get(name, 0.0))}"
            for name, old in [*answers["reference"].items()][:_SHOWN_CLASSES]
        ]
        lines.append(f"  answers: {'; '.join(shares)} (p = {answers['p']:.2g})")
    if shift := facts.get("label_shift"):
        told = [f"{name} {score_text('share', one)}" for name, one in [*shift["estimated"].items()][:_SHOWN_CLASSES]]
        lines.append(f"  classes of the new rows, if only their shares changed: {'; '.join(told)}")
    if expected := facts.get("expected_accuracy"):
        lines.append(
            f"  accuracy to expect: {score_text('accuracy', expected['new'])}, n = {expected['new']['n']}; on the reference {score_text('accuracy', expected['reference'])}"
        )
    for side, words in facts.get("typical_words", {}).items():
        if words:
            lines.append(f"  words typical of {side}: {', '.join(one['word'] for one in words[:_SHOWN_WORDS])}")
    lines += [f"  {note}" for note in facts["notes"]]
    return "\n".join([*lines, f"the page is {out}. {next_line('evaluate', run=facts['run'], data=facts['data'])}"])
