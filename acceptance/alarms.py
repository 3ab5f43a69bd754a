"""``python -m acceptance.alarms RUN WHAT``: how often ``pretune drift`` alarms where nothing has moved, and how much of what is planted it finds.

The run's held-out rows are read and answered once; each draw takes a reference and new rows out of them and tests these as the verb does.
``WHAT`` is planted among the new rows: ``nothing``; ``rows`` of another source; ``brighter`` or ``noisier`` pictures or ``noisier-clips``, all of them; ``rate``,
some clips at twice the rate; ``shares``, other shares of the first class. Amounts rise until one is found often enough.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from scipy.stats import binomtest

from acceptance.planted import CHANGES, Places, new_rows, planted_rows
from pretune.evaluation.drift.answers import expected_accuracy
from pretune.evaluation.drift.find import Drift
from pretune.evaluation.drift.plain import PlainLook, look_at
from pretune.interface.outcome import Silent
from pretune.runfolder import RunFolder, open_run
from pretune.runs.proven import load_proven
from pretune.runs.reading import learned_by, own_data, read_like
from pretune.tasks.classes.classification import Classification
from pretune.verbs.drift.rows import Answered, answered, compared, held_out, inputs_of, sureness_of
from pretune.verbs.drift.story import DriftSettings

OFTEN = 0.8
"""The share of draws in which an amount has to be found."""
_FEW_RESAMPLES = 100
"""Of the interval of an AUC, which no verdict reads."""


@dataclass(frozen=True)
class Pool:
    """Rows that were read and answered once, the run's own ``held`` ones first, and their true classes."""

    settings: DriftSettings
    rows: Dataset
    held: int
    answers: Answered
    learned: Dataset
    columns: tuple[str, ...]
    truths: Sequence[str]
    sure_N: np.ndarray
    right_N: np.ndarray

    @classmethod
    def of(
        cls, run: RunFolder, others: Callable[[Dataset], Sequence[Dataset]], most: int, settings: DriftSettings
    ) -> Pool:
        """Held-out rows of a run, at most so many, and those that are planted among them."""
        proven, data, say = load_proven(run, settings), own_data(run), Silent()
        held = concatenate_datasets([data[name] for name in ("validation", "test") if len(data.get(name, ()))])
        held = held_out(run, held, "rows", [])
        held = held.select(np.sort(np.random.default_rng(settings.seed).permutation(len(held))[:most]))
        sets = [held, *others(held)]
        common = [name for name in held.column_names if all(name in rows.column_names for rows in sets)]
        sets = [rows.select_columns(common) for rows in sets]
        answers = answered(proven, sets, say)
        truths = proven.task.truths(held)
        own = [record[proven.task.answer] for record in answers.records]
        right_N = np.array([answer == truth for answer, truth in zip(own, truths, strict=False)])
        assert isinstance(proven.task, Classification)
        sure_N = sureness_of(proven.task.matrix(answers.records))
        return cls(settings, concatenate_datasets(sets), len(held), answers, data["train"], inputs_of(proven), truths, sure_N, right_N)  # fmt: skip

    def drift(self, reference: Places, new: Places) -> Drift:
        """What ``pretune drift`` says of some of the rows."""
        places = np.concatenate([reference, new])
        looks = self._looks(reference, new) if "text" in self.columns else [_of(look, places) for look in self.each]
        is_new_N = np.repeat([False, True], [len(reference), len(new)])
        return compared(looks, self.answers.of(places), is_new_N, self.settings)

    def _looks(self, reference: Places, new: Places) -> list[PlainLook]:
        return look_at(self.rows.select(reference), self.rows.select(new), self.learned, self.columns)

    @cached_property
    def each(self) -> list[PlainLook]:
        """The look at all rows, where that at one does not depend on the others."""
        return self._looks(np.arange(len(self.rows)), np.arange(0))

    def expected_holds(self, reference: Places, new: Places) -> bool:
        """Does the interval of the expected accuracy hold that of all held-out rows?"""
        found = expected_accuracy(self.sure_N[reference], self.right_N[reference], self.sure_N[new])
        return found.interval.low <= self.right_N.mean() <= found.interval.high


def _of(look: PlainLook, places: Places) -> PlainLook:
    return PlainLook(
        look.title, {name: values_N[places] for name, values_N in look.numbers.items()}, look.features[places]
    )


def main() -> None:
    """Print the share of draws with drift, for each amount that was tried."""
    asked = _arguments()
    torch.set_num_threads(1)
    settings = DriftSettings(run=str(asked.run), data=asked.data or str(asked.run), resamples=_FEW_RESAMPLES, threads=1)
    run = open_run(str(asked.run))
    with tempfile.TemporaryDirectory() as folder:
        plant = partial(
            planted_rows, asked.what, amounts=asked.at, data=asked.data, folder=Path(folder), read=partial(_read, run, settings)
        )  # fmt: skip
        pool = Pool.of(run, plant, asked.pool, settings)
        draws = [np.random.default_rng(seed) for seed in range(asked.draws)]
        told = _false_alarms(pool, draws, asked.rows) if asked.what == "nothing" else _planted(pool, draws, asked)
    sys.stdout.write(json.dumps({"what": asked.what, "rows": asked.rows, "held": pool.held, "columns": list(pool.columns), **told}) + "\n")  # fmt: skip


def _read(run: RunFolder, settings: DriftSettings, place: str) -> Dataset:
    """The rows of another place, as the verb reads them."""
    return concatenate_datasets([*read_like(run, place, settings, learned_by(run, settings), Silent()).values()])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acceptance.alarms", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a classifier")
    parser.add_argument("what", choices=("nothing", "rows", "shares", *CHANGES))
    parser.add_argument("--data", help="rows: where they come from")
    parser.add_argument("--at", type=lambda text: [float(one) / 100 for one in text.split(",")], default=[], help="rising amounts in percent, of the rows or of what is changed")  # fmt: skip
    parser.add_argument("--draws", type=int, default=25)
    parser.add_argument("--rows", type=int, default=400, help="rows of the reference, and as many new ones")
    parser.add_argument("--pool", type=int, default=20_000, help="held-out rows that are drawn from, at most")
    return parser.parse_args()


def _false_alarms(pool: Pool, draws: Sequence[np.random.Generator], rows: int) -> dict[str, Any]:
    found: list[Drift] = []
    holds: list[bool] = []
    for rng in draws:
        order = rng.permutation(pool.held)
        reference, new = order[:rows], order[rows : 2 * rows]
        found.append(pool.drift(reference, new))
        holds.append(pool.expected_holds(reference, new))
    by_test = {test.name: share_of([one.tests[place].p <= 0.05 for one in found]) for place, test in enumerate(found[0].tests)}  # fmt: skip
    return {"found": share_of([one.is_found for one in found]), "by_test": by_test, "expected_holds": share_of(holds), "accuracy": float(pool.right_N.mean())}  # fmt: skip


def _planted(pool: Pool, draws: Sequence[np.random.Generator], asked: argparse.Namespace) -> dict[str, Any]:
    tried: dict[str, Any] = {}
    is_first_N = np.array(pool.truths) == sorted({*pool.truths})[0]
    for number, amount in enumerate(asked.at):
        found: list[bool] = []
        for rng in draws:
            reference, rest = np.split(rng.permutation(pool.held), [asked.rows])
            new = new_rows(asked.what, rest, asked.rows, pool.held, is_first_N, amount, number, rng)
            found.append(pool.drift(reference, new).is_found)
        share = tried[f"{100 * amount:g} %"] = share_of(found)
        if share["value"] >= OFTEN:
            return {"smallest": {"value": amount, "n": len(draws)}, "found": share, "tried": tried}
    return {"smallest": None, "tried": tried}


def share_of(found: Sequence[bool]) -> dict[str, float | int]:
    """How many of the draws, with the exact 95 % interval."""
    ends = binomtest(int(np.sum(found)), len(found)).proportion_ci(0.95, method="exact")
    return {"value": float(np.mean(found)), "low": ends.low, "high": ends.high, "n": len(found)}


if __name__ == "__main__":
    main()
