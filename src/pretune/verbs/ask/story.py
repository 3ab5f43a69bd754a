"""``pretune ask``: which rows to label next."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.data.changes.relabel import COLUMNS
from pretune.errors import UsageError
from pretune.evaluation.asking import RANDOM, STRATEGIES
from pretune.files import write_text
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runs.reading import refuse_missing_data
from pretune.verbs.probe.setup import FrozenSettings, as_the_backbone_reads, data_with_classes
from pretune.wording import agree, counted

__all__ = ["AskSettings", "ask"]

_FIELDS = (*COLUMNS, "suggested", "probability_of_suggested", "chosen_by", "row")
_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class AskSettings(FrozenSettings):
    """Settings of ``pretune ask``."""

    verb: ClassVar[str] = "ask"

    unlabelled: tuple[str, ...] = option(
        (), "rows without labels to ask about, beside those of the data; may be given several times", metavar="DATA"
    )
    rows: int = option(100, "rows to ask about; as many drawn at random stand beside them", low=1, high=100_000)
    by: tuple[str, ...] = option(
        ("margin",),
        "margin: where two classes are about as likely; coreset: unlike all that is labelled; random; several with commas: in turns",
        choices=STRATEGIES,
        metavar="STRATEGIES",
    )
    filled: str | None = option(
        None,
        "a table that was filled in: tell on validation rows what its rows gained over those drawn",
        metavar="FILE",
    )
    simulate: bool = option(
        False, "measure the strategies themselves: hide labels of train, ask for them, and compare with rows drawn"
    )
    seeds: int = option(5, "with --simulate: draws of the first labels", low=2, high=100)
    resamples: int = option(2000, "bootstrap resamples of the intervals of --filled", low=100, high=100_000)
    out: str = option("ask.csv", "table to write (.csv, .jsonl); the page lies beside it", metavar="FILE")


@verb(AskSettings)
def ask(settings: AskSettings, *, say: Say) -> Outcome:
    """List the rows without labels whose labels would teach most, beside as many drawn at random.

    Rows come from the data where it has some without labels, and from --unlabelled. A fine-tuned run says itself how likely the classes are; of
    any other model it is logistic regression on its features, which do not learn. Fill in new_label in the table ("-" leaves a row
    out), and give it to the next verb with --relabel. Rows drawn stand beside those chosen, so that --filled can say later
    whether choosing was worth it; --simulate says it beforehand, on labels that are there.

    Examples::

        pretune ask runs/news --data news.csv --unlabelled inbox.csv
        pretune ask MODEL_DIR --data photos/ --by margin,coreset --rows 50 --out photos-ask.jsonl
        pretune ask MODEL_DIR --data news.csv --simulate --rows 20
        pretune ask MODEL_DIR --data news.csv --unlabelled inbox.csv --filled ask.csv
    """
    refuse_missing_data(*settings.every_place)
    out = Path(settings.out)
    if out.is_dir() or out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out {settings.out} is no name of a table", f"give a file that ends in {' or '.join(_SUFFIXES)}")  # fmt: skip
    if settings.simulate and settings.filled:
        raise UsageError("--simulate hides labels that are there, and --filled brings new ones", "give one of them")
    given = settings
    settings, reading = as_the_backbone_reads(settings, say)
    data = data_with_classes(settings, reading, "ask", say)
    if settings.simulate:
        from pretune.verbs.ask.simulated import simulated

        facts = simulated(settings, data, say)
        return Outcome(text=_simulated_text(given, facts), facts=facts)
    if settings.filled:
        from pretune.verbs.ask.simulated import gained

        facts = gained(settings, data, say)
        return Outcome(text=_gained_text(facts), facts=facts)
    from pretune.report.pages.ask import write_ask_page
    from pretune.verbs.ask.rows import asked

    facts, listed = asked(settings, data, say)
    _write_table(out, listed)
    page = write_ask_page({**facts, "rows": listed}, out.with_suffix(".html"))
    facts |= {"out": str(out), "page": str(page)}
    kept = [{name: row[name] for name in _FIELDS} for row in listed]
    return Outcome(text=_text(given, facts), facts={**facts, "rows": kept})


def _write_table(out: Path, listed: Sequence[Mapping[str, Any]]) -> None:
    lines = io.StringIO()
    if out.suffix.lower() == ".jsonl":
        for row in listed:
            lines.write(json.dumps({name: row[name] for name in _FIELDS}, ensure_ascii=False) + "\n")
    else:
        table: csv.DictWriter[str] = csv.DictWriter(lines, _FIELDS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(listed)
    write_text(out, lines.getvalue())


def _text(settings: AskSettings, facts: Mapping[str, Any]) -> str:
    arms = ", ".join(f"{count} by {name}" for name, count in facts["arms"].items())
    lines = [f"{counted(facts['n'])} of {facts['pool']:,} without labels: {arms}; {facts['how']}"]
    lines += facts["notes"]
    learner = "scratch:bert-mini" if settings.backbone.startswith("linear:") else settings.backbone
    lines.append(f"written: {facts['out']} and {facts['page']}. Fill in new_label (- leaves a row out), as many rows as you like from the top. {next_line('finetune', settings, backbone=learner, data=settings.data, relabel=facts['out'])}")  # fmt: skip
    later = dataclasses.replace(settings, filled=facts["out"], out="ask.csv")
    return "\n".join([*lines, f"What it gained over rows drawn: {later.command()}"])


def _simulated_text(settings: AskSettings, facts: Mapping[str, Any]) -> str:
    labels = facts["labels"]
    lines = [
        f"{counted(facts['pool'], 'label')} hidden, {labels[0]} drawn first, then {facts['rows']} more at a time to {labels[-1]}; {counted(facts['seeds'], 'seed')}; "
        f"accuracy on {counted(facts['n'])} of validation, the mean over numbers of labels:"
    ]
    for name, area in facts["areas"].items():
        if name == RANDOM:
            lines.append(f"  {name}: {area['value']:.1%}")
            continue
        low, high = (100 * area["difference"][end] for end in ("low", "high"))
        said = "better than drawing" if area["better"] == name else "worse than drawing" if area["better"] else "no gain over drawing was shown"  # fmt: skip
        lines.append(f"  {name}: {area['value']:.1%}; {100 * area['difference']['value']:+.1f} points [{low:+.1f}, {high:+.1f}]: {said}")  # fmt: skip
    following = dataclasses.replace(settings, simulate=False, by=(facts["best"],))
    return "\n".join([*lines, f"Next: {following.command()}"])


def _gained_text(facts: Mapping[str, Any]) -> str:
    each = facts["each"]
    began = f"{counted(facts['labels'], 'label')} there were; {counted(each, 'row')} chosen and as many drawn {agree(2 * each, 'were', 'was')} labelled since"
    return "\n".join([began, *facts["notes"], facts["comparison"]["verdict"]])
