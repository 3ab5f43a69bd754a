"""Is asking worth it? Measured on labels that are there (``--simulate``), and on a table that a person filled in (``--filled``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError
from pretune.evaluation.asking import RANDOM, STRATEGIES, Pool, area_weights, areas_of, chosen
from pretune.interface.outcome import Say
from pretune.verbs.ask.rows import Frame, features_of, probabilities
from pretune.verbs.probe.setup import held_rows, set_up
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from pretune.data.splits import Splits
    from pretune.verbs.ask.story import AskSettings
    from pretune.verbs.probe.setup import ProbedModel

__all__ = ["gained", "simulated"]

_ROUNDS = 8
_MOST_HIDDEN = 10_000


def simulated(settings: AskSettings, data: Splits, say: Say) -> dict[str, Any]:
    """The area under accuracy by labels of each strategy (and of the mix, where several are asked for) against rows drawn.

    The first ``rows`` labels are drawn, the same for all strategies of a seed; then each asks for as many again up to eight times,
    and for no more than half of the rows. Validation rows score; test rows are not touched.
    """
    import numpy as np

    from pretune.runs.rows import fewer_rows, row_groups

    held_N = held_rows(data, "validation", say)
    if len(data["train"]) > _MOST_HIDDEN:
        data = data.replace({**data, "train": fewer_rows(data["train"], _MOST_HIDDEN, seed=settings.seed)})
        say.note(f"{_MOST_HIDDEN:,} rows of train, drawn, stand for all")
    made = set_up(settings, data, ("validation",), say, takes_linear=True)
    train, held = (features_of(settings, made, data, name, say) for name in ("train", "validation"))
    held = _some(held, np.flatnonzero(held_N[held.places]))
    rounds = min(_ROUNDS, len(train.labels) // (2 * settings.rows) - 1)
    if rounds < 1:
        raise DataError(
            f"{counted(len(train.labels), 'labelled row')} are too few to ask for {settings.rows} at a time",
            f"give --rows {max(1, len(train.labels) // 8)}, or more rows",
        )
    labels = [settings.rows * (1 + number) for number in range(rounds + 1)]
    arms = {name: (name,) for name in STRATEGIES} | ({"+".join(settings.by): settings.by} if len(settings.by) > 1 else {})  # fmt: skip
    bar = say.progress(settings.seeds * len(arms) * len(labels), "asking for labels that are hidden")
    right = {name: np.zeros((settings.seeds, len(labels), len(held.labels))) for name in arms}
    for seed in range(settings.seeds):
        for name, strategies in arms.items():
            told = _Told(train, made.head.task.labels, np.random.default_rng([settings.seed, seed]), settings.rows)
            for place in range(len(labels)):
                if place:
                    told.ask(strategies, settings.rows)
                right[name][seed, place] = told.right(held)
                bar.update(1)
    bar.close()
    groups_N = row_groups(data["validation"])
    areas = areas_of(right, area_weights(labels), None if groups_N is None else groups_N[held.places])
    shown = {
        name: {
            "value": area.value,
            **({} if name == RANDOM else {
                "difference": {"value": area.gain, "low": area.difference.low, "high": area.difference.high},
                "better": (name if area.gain > 0 else RANDOM) if area.is_shown else None,
            }),
        }
        for name, area in areas.items()
    }  # fmt: skip
    better = [name for name, area in shown.items() if area.get("better") == name and name in STRATEGIES]
    return {
        "backbone": settings.backbone, "data": settings.place, "pool": len(train.labels), "n": len(held.labels), "rows": settings.rows,
        "labels": labels, "seeds": settings.seeds, "seed": settings.seed, "areas": shown,
        "points": {name: right_SBM.mean(axis=(0, 2)).tolist() for name, right_SBM in right.items()},
        "best": max(better, key=lambda name: shown[name]["value"], default=RANDOM),
    }  # fmt: skip


def _some(frame: Frame, places: np.ndarray) -> Frame:
    return Frame(frame.features[places], frame.labels[places], frame.places[places])


class _Told:
    """Which labels were told so far; the first ones are drawn, with two classes among them."""

    def __init__(self, frame: Frame, labels: Sequence[str], rng: np.random.Generator, first: int) -> None:
        import numpy as np

        self._frame, self._classes, self._rng = frame, len(labels), rng
        self._known = rng.permutation(len(frame.labels))[:first]
        while len(np.unique(frame.labels[self._known])) < 2:
            self._known = rng.permutation(len(frame.labels))[: max(2, first)]

    def ask(self, strategies: Sequence[str], rows: int) -> None:
        import numpy as np

        rest = np.setdiff1d(np.arange(len(self._frame.labels)), self._known)
        known, others = _some(self._frame, self._known), self._frame.features[rest]
        needs = "margin" in strategies
        shares_NC = probabilities(known, others, self._classes) if needs else np.empty((len(rest), 0))
        picks = chosen(Pool(others, known.features, shares_NC), strategies, rows, self._rng)
        self._known = np.concatenate([self._known, rest[[place for place, _ in picks]]])

    def right(self, held: Frame) -> np.ndarray:
        known = _some(self._frame, self._known)
        return probabilities(known, held.features, self._classes).argmax(axis=1) == held.labels


def gained(settings: AskSettings, data: Splits, say: Say) -> dict[str, Any]:
    """Logistic regression with the rows chosen that were filled in, against as many drawn ones, paired on validation rows."""
    import numpy as np

    from pretune.data.changes.relabel import relabelled

    arms = _answered_arms(settings)
    before = len(data["train"])
    rows, facts = relabelled(data, str(settings.filled))
    data = data.replace(rows)
    held_N = held_rows(data, "validation", say)
    made = set_up(settings, data, ("validation",), say, takes_linear=True)
    train, held = (features_of(settings, made, data, name, say) for name in ("train", "validation"))
    held = _some(held, np.flatnonzero(held_N[held.places]))
    old = np.flatnonzero(train.places < before)
    added = [(at, arms[row]) for at, row in enumerate(data["train"].select(train.places)["id"]) if at >= len(old)]
    sides = {
        "chosen": [at for at, by in added if by - {RANDOM}],
        "drawn": [at for at, by in added if RANDOM in by],
    }
    each = min(map(len, sides.values()))
    if not each:
        raise DataError(
            f"--filled {settings.filled} has answers to rows of one arm alone",
            "answer rows chosen and rows drawn (column chosen_by)",
        )
    spare = {name: len(places) - each for name, places in sides.items()}
    return {
        "backbone": settings.backbone, "data": settings.place, "filled": settings.filled, "labels": len(old), "each": each, "relabel": facts,
        "notes": [f"{counted(count, 'row')} more {agree(count, 'were', 'was')} {name}, and left out here: both sides have as many" for name, count in spare.items() if count],
        "comparison": _compared(
            settings, made, data, held,
            {name: _some(train, np.concatenate([old, np.array(places[:each], dtype=np.int64)])) for name, places in sides.items()},
        ),
    }  # fmt: skip


def _answered_arms(settings: AskSettings) -> dict[str, set[str]]:
    """By id of the rows that a person gave a label how each was chosen. Raises :class:`DataError` where none was."""
    from pretune.data.changes.relabel import DROP, table_lines

    lines = [line for line in table_lines(Path(str(settings.filled))) if line["new_label"] not in ("", DROP)]
    arms = {line["id"]: {*line.get("chosen_by", "").split("+")} - {""} for line in lines}
    if not any(arms.values()):
        raise DataError(
            f"--filled {settings.filled} has no answered row that pretune ask chose",
            "fill in new_label in the table that pretune ask wrote",
        )
    return arms


def _compared(
    settings: AskSettings, made: ProbedModel, data: Splits, held: Frame, sides: Mapping[str, Frame]
) -> dict[str, Any]:
    from pretune.evaluation.compare import compare
    from pretune.runs.rows import row_groups

    task, scored = made.head.task, data["validation"].select(held.places)
    known = task.known_answers(data["train"].select(sides["drawn"].places), scored)
    drawn, chosen_too = (
        known.measured(probabilities(sides[name], held.features, len(task.labels))) for name in ("drawn", "chosen")
    )
    return compare(
        drawn, chosen_too, task.metric,
        names=("rows drawn", "rows chosen"), resamples=settings.resamples, groups_N=row_groups(scored),
    )  # fmt: skip
