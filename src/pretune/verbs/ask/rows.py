"""The rows that ``pretune ask`` chooses from, what a model makes of them, and the list that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.config import AnsweringSettings
from pretune.errors import DataError
from pretune.evaluation.asking import RANDOM, Pool, chosen
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, is_run
from pretune.verbs.probe.setup import ProbedModel, set_up
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.verbs.ask.story import AskSettings

__all__ = ["Frame", "asked", "features_of", "probabilities"]


def asked(settings: AskSettings, data: Splits, say: Say) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is told, and the rows to ask about: chosen and drawn in turns, so that both arms are there however far a person comes.

    Raises :class:`DataError` where no row is without a label.
    """
    import numpy as np

    data, notes = _with_pool(settings, data)
    made = set_up(settings, data, ("unlabelled",), say, takes_linear=True)
    frame = features_of(settings, made, data, "train", say)
    pool = features_of(settings, made, data, "unlabelled", say)
    probabilities_NC, how = _run_says(settings, data, made.head.task.labels, say) or (
        probabilities(frame, pool.features, len(made.head.task.labels)), "classes as logistic regression on its features tells them",
    )  # fmt: skip
    rng = np.random.default_rng(settings.seed)
    seen = Pool(pool.features, frame.features, probabilities_NC)
    strategies = [name for name in settings.by if name != RANDOM] or [RANDOM]
    picks = chosen(seen, settings.by, settings.rows, rng)
    drawn = chosen(seen, (RANDOM,), settings.rows, rng) if strategies != [RANDOM] else []
    arms: dict[int, list[str]] = {}
    for pair in zip(picks, drawn or picks, strict=True):
        for place, name in dict.fromkeys(pair):
            arms.setdefault(place, []).append(name)
    rows = data["unlabelled"]
    listed = [
        _line(rows, made.head.task.labels, probabilities_NC, place, "+".join(dict.fromkeys(names)))
        for place, names in arms.items()
    ]
    counts = {name: sum(name in names for names in arms.values()) for name in (*dict.fromkeys(settings.by), RANDOM)}
    return {
        "backbone": settings.backbone, "data": settings.place, "n": len(listed), "pool": len(rows), "labelled": len(frame.labels),
        "arms": counts, "how": how, "seed": settings.seed, "notes": notes,
    }, listed  # fmt: skip


def _with_pool(settings: AskSettings, data: Splits) -> tuple[Splits, list[str]]:
    """The data, its rows without labels those worth asking about: one of each content, and none that is labelled already."""
    import numpy as np

    from pretune.data.split import content_keys

    if not len(data.get("unlabelled", ())):
        raise DataError(
            f"every row of {settings.place} has a label: there is none to ask about",
            "give rows without: --unlabelled DATA; --simulate measures on the labels that are there",
        )
    keys_N = content_keys(data["unlabelled"])
    known = np.concatenate([content_keys(rows) for name, rows in data.items() if name != "unlabelled" and len(rows)])
    is_first_N = np.zeros(len(keys_N), dtype=bool)
    is_first_N[np.unique(keys_N, return_index=True)[1]] = True
    is_known_N = np.isin(keys_N, known)
    notes = []
    for count, words in ((int(is_known_N.sum()), "in labelled rows too"), (int((~is_known_N & ~is_first_N).sum()), "twice")):  # fmt: skip
        if count:
            notes.append(f"{counted(count, 'row')} without labels {agree(count, 'stand', 'stands')} {words} and {agree(count, 'are', 'is')} not asked about")  # fmt: skip
    kept_N = is_first_N & ~is_known_N
    if not kept_N.any():
        raise DataError(f"all rows without labels stand in labelled rows of {settings.place} too", "give others: --unlabelled DATA")  # fmt: skip
    return data.replace({**data, "unlabelled": data["unlabelled"].select(np.flatnonzero(kept_N))}), notes


class Frame(NamedTuple):
    """The rows of a split as numbers: ``features`` (N, F) of those that are kept, ``labels`` (N,) class numbers (-1: none), and their
    ``places`` in the split.
    """

    features: Any
    labels: np.ndarray
    places: np.ndarray


def features_of(settings: AskSettings, made: ProbedModel, data: Splits, split: str, say: Say) -> Frame:
    """The features of a split, the mean over the windows of a long row; of labelled splits those rows that have a label."""
    import numpy as np

    from pretune.tasks.linear.head import read
    from pretune.tasks.probes import by_row

    bar = say.progress(len(made.rows[split]), f"reading {split} with {settings.backbone}")
    features = by_row(read(made.head, made.rows[split], made.device, bar.update), made.rows[split])
    bar.close()
    rows, class_of = data[split], {name: number for number, name in enumerate(made.head.task.labels)}
    if split == "unlabelled":
        return Frame(features, np.full(len(rows), -1), np.arange(len(rows)))
    labels_N = np.array([class_of.get(label, -1) for label in rows["label"]])
    places = np.flatnonzero(labels_N >= 0)
    return Frame(features[places], labels_N[places], places)


def probabilities(known: Frame, features: Any, num_classes: int) -> np.ndarray:
    """(N, C): logistic regression on labelled rows, asked about others."""
    import numpy as np

    from pretune.tasks.linear.fit import fit_rows

    logits_NC = fit_rows(known.features, known.labels, num_classes).logits(features)
    return np.exp(logits_NC - np.logaddexp.reduce(logits_NC, axis=1, keepdims=True))


def _run_says(settings: AskSettings, data: Splits, labels: Sequence[str], say: Say) -> tuple[np.ndarray, str] | None:
    """The probabilities of a run that was fine-tuned on these classes; None for another model."""
    import numpy as np

    from pretune.runs.proven import load_proven
    from pretune.runs.rows import data_fingerprint
    from pretune.tasks.classes.classification import Classification
    from pretune.tasks.predicting import predict_rows
    from pretune.training.labelled import cached_under

    run = RunFolder(Path(settings.backbone)) if is_run(settings.backbone) else None
    if run is None or not (run.model_dir / "pretune.json").exists():
        return None
    proven = load_proven(run, AnsweringSettings(precision=settings.precision, threads=settings.threads))
    if not isinstance(proven.task, Classification) or {*proven.task.labels} != {*labels}:
        say.note(f"{settings.backbone} was fine-tuned on other classes: only its features are taken")
        return None
    rows = proven.task.encode_rows(data["unlabelled"], fingerprint=cached_under(data_fingerprint(data), data, "unlabelled"))  # fmt: skip
    bar = say.progress(len(rows), f"asking {settings.backbone}")
    answers = predict_rows(proven.task, proven.model, rows, proven.device, on_batch=bar.update)
    bar.close()
    own = {name: number for number, name in enumerate(proven.task.labels)}
    order = [own[name] for name in labels]
    return np.array([one.outputs_C for one in answers])[:, order], "classes as the run tells them"


def _line(rows: Dataset, labels: Sequence[str], probabilities_NC: np.ndarray, place: int, arm: str) -> dict[str, Any]:
    """A row of the table, with what the page shows of it."""
    from pretune.evaluation.drift.plain import shown

    cells: Any = rows[place]
    best = int(probabilities_NC[place].argmax())
    text = " / ".join(cells[name] for name in ("text", "text_pair") if cells.get(name))
    media = next((cells[name] for name in ("image", "audio") if cells.get(name)), None)
    return {
        "id": cells["id"], "label": "", "new_label": "", "suggested": labels[best], "chosen_by": arm,
        "probability_of_suggested": round(float(probabilities_NC[place, best]), 4),
        "row": text if media is None else str(media.get("path") or ""), "shown": shown(cells),
    }  # fmt: skip
