"""What the files of a run folder hold, as far as anything that reads them relies on it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pretune.answers import ANSWERS
from pretune.schema import Check, anything, flag, listed, mapped, maybe, number, record, text, whole

__all__ = ["check_of", "line_check_of"]

_OBJECT = mapped(anything)


def _some(**fields: Check) -> Check:
    """An object in which every field may be absent."""
    return record({f"{name}?": check for name, check in fields.items()})


_STRETCH = record({"text": text(), "start": whole(-1), "end?": whole(-1)})


def _answer(value: Any) -> None:
    """A label, text or number, the labels or tags of a row, its boxes, points, stretches of its passage or a vector, or an object (a mask)."""
    if isinstance(value, dict):
        _OBJECT(value)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and "box" in value[0]:
        listed(_OBJECT)(value)
    elif isinstance(value, list) and value and isinstance(value[0], list):
        listed(listed(number(), least=3))(value)
    elif isinstance(value, list):
        is_vector = bool(value) and all(isinstance(one, int | float) for one in value)
        listed(number() if is_vector else _STRETCH if any(isinstance(one, dict) for one in value) else text())(value)
    elif not isinstance(value, str):
        number()(value)


_FIGURE = maybe(number())
"""None for what is not defined (a share of no rows)."""
_SCORE = record({"value": _FIGURE, "low": _FIGURE, "high": _FIGURE, "n?": whole(0)})
_ROWS = {"table": listed(listed(anything)), "examples": listed(_OBJECT), "pictures": listed(_OBJECT)}


def _block(value: Any) -> None:
    """A block of the report (``report/blocks.py``)."""
    record({"type": text(), "columns?": listed(_OBJECT), "labels?": listed(anything), "series?": listed(_OBJECT)})(
        value
    )
    record({"rows?": _ROWS.get(value["type"], anything), "values?": listed(listed(whole(0)))})(value)


_DIFFERENCE = record(
    {
        "better": maybe(text("model", "baseline")),
        "difference": _FIGURE,
        "low": _FIGURE,
        "high": _FIGURE,
        "verdict?": text(),
    }
)
_EVALUATION = record(
    {
        "scores": mapped(_SCORE),
        "primary?": text(),
        "n?": whole(0),
        "split?": text(),
        "blocks?": listed(_block),
        "against?": mapped(_DIFFERENCE),
        "baselines?": mapped(mapped(_SCORE)),
        "notes?": listed(text()),
        "looks?": whole(0),
        "seeds?": listed(whole()),
        "seed_scores?": maybe(mapped(record({"values": listed(_FIGURE), "mean": _FIGURE, "sd": _FIGURE}))),
        "higher_is_better?": flag,
        "leaks?": maybe(_some(without=mapped(_SCORE))),
        "device?": maybe(_OBJECT),
        "data?": record({"place": text(), "key": text()}),
    }
)
_POOLING = record({"modes": listed(text())})
_POOLED = record({"modes": listed(text(), least=1), "plain": flag})
_PRIVACY = _some(
    epsilon=number(0), delta=number(0, 1), asked_epsilon=number(above=0), unit=text(), units=whole(1), noise_multiplier=number(above=0),
    clip=number(above=0), sampling_rate=number(0, 1), expected_batch=whole(1), steps=whole(0), planned_steps=whole(0), accountant=text(),
    epsilon_by_fourier=number(0), covers=text(), assumes=text(), leaves_out=text(),
)  # fmt: skip
_RUN = _some(
    verb=text(), command=text(), status=text(), settings=_OBJECT, parents=listed(text()), started=text(), finished=text(),
    stopped=text(), problem=maybe(text()), seconds=number(0), machine=_OBJECT, backbone=_OBJECT, training=_OBJECT, device=_OBJECT,
    reading=maybe(_OBJECT), data_fingerprint=text(), data_copied=listed(_OBJECT), seed_runs=listed(text()), compression=_OBJECT, distillation=_OBJECT,
    pruning=_OBJECT, selftraining=_OBJECT, streamed=_some(files=whole(1), files_learned=whole(0), rows_learned=whole(0), first=text()), quantization=_OBJECT, export=_OBJECT, joint=_OBJECT,
    tasks=mapped(_some(data_fingerprint=text(), labels=listed(text()), pooling=maybe(_POOLING), batch_size=whole(1), task=text(), rows=whole(0))),
    model=_some(task=text(), labels=listed(text()), initialised=listed(text()), unexpected=listed(text()), parameters=whole(0), pooling=maybe(_POOLING), pooled=_POOLED),
    tuning=_some(tuned=listed(text()), best=whole(0), passes=number(0), trials=listed(_some(run=text(), values=_OBJECT, share=number(0, 1), value=maybe(number()), problem=text()))),
    linear_model=record({"strength": number(above=0)}), choosing=_some(rows=whole(0), also_in_train=whole(0)), privacy=_PRIVACY,
    forecast=record(dict.fromkeys(("seconds", "took_seconds", "memory_bytes", "took_memory_bytes", "disk_bytes", "took_disk_bytes"), number(0))),
    result=_some(metric=text(), value=number(), epoch=maybe(number(0)), step=whole(0), values=listed(number()), mean=number(), sd=number(), lost=record({"step": whole(0), "value": number()})),
)  # fmt: skip
_PASSPORT = _some(
    splits=mapped(_some(rows=whole(0), columns=listed(text()))),
    findings=listed(record({"severity": text(), "message": text()})),
    conflicting_labels=maybe(_some(examples=listed(_OBJECT))),
    facts=_some(
        rewritten=record(
            {**dict.fromkeys(("made", "unchanged", "held_out", "changed_mind", "kept"), whole(0)), "model": text()}
        )
    ),
)
_COMPARISON = _some(a=text(), b=text(), split=text(), verdict=text(), n=whole(0))
_BENCHMARK = record(
    {"variants": listed(record({"name": text(), "run": text()})), "front": listed(text()), "metric": text(), "text": listed(text())}
)  # fmt: skip
_RECIPE = record(
    {"steps": mapped(_some(verb=text(), command=text(), status=text(), run=text(), facts=_OBJECT, text=text()))}
)
_STUDY = _some(
    metric=text(), split=text(), rising=flag, n=whole(0), seeds=whole(1), labels=whole(1), text=listed(text()),
    arms=listed(_some(name=text(), backbone=text())), simple=listed(record({"labels": whole(), "method": text(), "value": number()})),
    points=listed(_some(arm=text(), labels=whole(1), value=_FIGURE, low=_FIGURE, high=_FIGURE)),
    differences=listed(_some(arm=text(), labels=whole(1), value=_FIGURE, low=_FIGURE, high=_FIGURE, better=maybe(text()))),
    labels_saved=listed(_some(arm=text(), labels=whole(1), needed=maybe(number()), needed_low=maybe(number()), needed_high=maybe(number()))),
)  # fmt: skip
_COMPARED = _some(better=maybe(text()), verdict=text(), n=whole(0), primary=_OBJECT, names=listed(text()))
_MULTITASK = _some(
    split=text(), text=listed(text()), weights=mapped(number(0)), asked=_OBJECT,
    tasks=listed(
        record({
            "name": text(), "metric": text(), "score": _SCORE, "task?": text(), "run?": text(), "rising?": flag, "result?": _OBJECT,
            "alone?": record({"score": _SCORE, "run?": text(), "result?": _OBJECT}), "comparison?": _COMPARED,
        })
    ),
    rows_right=maybe(record({"tasks": listed(text()), "score": _SCORE, "alone?": _SCORE, "comparison?": _COMPARED})),
)  # fmt: skip
_BOUNDED = {"value": number(0, 1), "low": number(0, 1), "high": number(0, 1)}
_AUDIT = _some(
    run=text(), split=text(), members=whole(1), others=whole(1), auc=_some(**_BOUNDED), found=_some(**_BOUNDED), told_apart=flag,
    epsilon=_some(low=number(0), delta=number(0, 1), n=whole(0)), canaries=_some(exposure=_OBJECT, found=_some(**_BOUNDED), epsilon=_OBJECT),
    guarantee=_PRIVACY, notes=listed(text()),
)  # fmt: skip
_OF_FILES: dict[str, Check] = {
    "run.json": _RUN,
    "data.json": _PASSPORT,
    "metrics.json": mapped(_EVALUATION),
    "comparisons.json": listed(_COMPARISON),
    "benchmark.json": _BENCHMARK,
    "recipe.json": _RECIPE,
    "study.json": _STUDY,
    "multitask.json": _MULTITASK,
    "audit.json": _AUDIT,
}
_OF_LINES: dict[str, Check] = {
    "log.jsonl": _some(kind=text(), step=whole(0), epoch=number(0), scores=mapped(number()), loss=number()),
    "looks.jsonl": record({"split": text()}),
}
_PREDICTION = record(
    {
        "id": text(),
        **{f"{kind}?": _answer for kind in ANSWERS},
        "probabilities?": mapped(number(0, 1)),
        "truth?": _answer,
        "group?": text(),
    }
)


def check_of(name: str) -> Check:
    """What a file of JSON has to hold, by its name in the run folder."""
    return _OF_FILES[name]


def line_check_of(name: str) -> Check:
    """What each line of a file of JSON lines has to hold, by its name in the run folder."""
    return _PREDICTION if PurePosixPath(name).parent.name == "predictions" else _OF_LINES[name]
