"""``pretune serve``: a run or an export as a service over HTTP, with a page for people."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings
from pretune.options import option, refuse_unread
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.declare import verb
from pretune.verbs.outcome import Outcome, Say

if TYPE_CHECKING:
    from pretune.serve.app import Served
    from pretune.serve.limits import Limits
    from pretune.verbs.proven import Proven

__all__ = ["ServeSettings", "serve"]

_READ_BY_MODALITY = {"text": ("max_characters",), "image": (), "audio": ("max_seconds",)}


@dataclass(frozen=True, kw_only=True)
class ServeSettings(AnsweringSettings):
    """Settings of ``pretune serve``."""

    verb: ClassVar[str] = "serve"

    run: str = option(help="run folder of a fine-tuned, compressed or exported model", positional=True, metavar="RUN")
    host: str = option("127.0.0.1", "address to listen at; only this machine reaches the default", metavar="ADDRESS")
    port: int = option(8000, "port to listen at; 0 takes any that is free", low=0, high=65_535)
    max_body_mb: float = option(16.0, "largest request, in MiB", low=0.001, high=1024)
    max_rows: int = option(256, "rows in a request at most", low=1, high=100_000)
    max_characters: int | None = option(None, "longest text, in characters; default: 100,000", low=1, high=10_000_000)
    max_seconds: float | None = option(None, "longest clip, in seconds; default: 60", low=0.1, high=3600)
    max_waiting: int = option(
        128, "requests that are answered or wait at a time; more are told to come again", low=1, high=10_000
    )
    timeout: float = option(
        30.0, "seconds that a request may take to arrive, and again to be answered", low=0.1, high=3600
    )
    explain_seconds: float = option(
        10.0, "seconds that an explanation may keep the model busy, for which all others wait", low=0.1, high=3600
    )


@verb(ServeSettings)
def serve(settings: ServeSettings, *, say: Say) -> Outcome:
    """Serve a model to programs and people of this machine: POST /predict, and a page at the address it prints.

    Ctrl-C or SIGTERM stops it; requests that are in flight are answered first. There is no password: with another --host
    everyone who reaches the machine can use the model. Texts, pictures and clips are neither kept nor logged.

    Examples::

        pretune serve runs/news
        pretune serve runs/news-int8 --port 0 --json
        curl http://127.0.0.1:8000/predict -H 'Content-Type: application/json' -d '{"rows": [{"text": "a fine film"}]}'
        curl http://127.0.0.1:8000/predict -H 'Content-Type: image/jpeg' --data-binary @photo.jpg
    """
    from pretune.report.layout import house_style
    from pretune.serve.app import make_app
    from pretune.serve.guard import is_local
    from pretune.serve.server import address_of, listen, run_server
    from pretune.verbs.proven import load_proven

    run = open_run(settings.run)
    bound = listen(settings.host, settings.port)
    with bound:
        proven = load_proven(run, settings)
        refuse_unread(settings, proven.task.modality, _READ_BY_MODALITY)
        limits = _limits(settings)
        app, service = make_app(
            _served(run, proven, limits),
            limits,
            style=house_style(),
            local_only=is_local(settings.host),
            on_defect=_told(say),
        )
        address = address_of(bound)
        if not is_local(settings.host):
            say.warn(
                f"everyone who reaches this machine at {settings.host} can use the model: there is no password and no encryption. Leave --host out to keep it to yourself"
            )

        def ready() -> None:
            facts = {"address": address, "run": str(run.path), "task": proven.task.name, "ready": True}
            say.event(f"serving {run.path} at {address} (Ctrl-C stops it)", facts)

        finish = False
        try:
            count = run_server(app, bound, limits, on_ready=ready, on_trouble=say.warn)
            finish = True
        finally:  # a second Ctrl-C comes as KeyboardInterrupt, and waits for nothing but the present batch
            service.worker.close(finish=finish)
    answered = service.worker.answered
    return Outcome(
        text=f"stopped; {count} requests, {answered} rows answered",
        facts={"address": address, "run": str(run.path), "requests": count, "rows": answered},
    )


def _limits(settings: ServeSettings) -> Limits:
    from pretune.serve.limits import Limits

    asked: dict[str, Any] = {"characters": settings.max_characters, "clip_seconds": settings.max_seconds}
    return Limits(
        body_bytes=round(settings.max_body_mb * 2**20), rows=settings.max_rows, seconds=settings.timeout,
        explain_seconds=settings.explain_seconds, waiting=settings.max_waiting,
        **{name: value for name, value in asked.items() if value is not None},
    )  # fmt: skip


def _served(run: RunFolder, proven: Proven, limits: Limits) -> Served:
    from pretune.explain.aims import Explainable
    from pretune.explain.attributions import explain_example
    from pretune.explain.faithfulness import ORDERS
    from pretune.explain.patience import Patience
    from pretune.serve.app import Served
    from pretune.serve.intake import Takes
    from pretune.tasks.predicting import example_of

    task, columns = proven.task, run.passport.get("splits", {}).get("train", {}).get("columns", [])

    def explain(
        row: Mapping[str, Any], label: str | None, tests: bool, is_wanted: Callable[[], bool]
    ) -> Mapping[str, Any]:
        example, orders = example_of(row, "0"), ORDERS if tests else 0
        patience = Patience(limits.explain_seconds, is_wanted)
        return explain_example(
            task, proven.model, example, proven.device, label=label, orders=orders, patience=patience
        ).to_dict()

    explains = isinstance(task, Explainable)
    return Served(
        run.path.resolve().name, task, proven.model, proven.device,
        Takes(task.modality, ("text_pair" in columns) if columns or task.modality != "text" else None),
        standing=_standing(run, task.metric_type.primary),
        explain=explain if explains else None,
        unexplained=("", "") if explains else (f"{task.name} cannot be explained", ""),
    )  # fmt: skip


def _standing(run: RunFolder, primary: str) -> str:
    """How good the model was when it was last evaluated, in a sentence; nothing where it never was."""
    from pretune.report.words import number_text, score_text, title_of

    for split in ("test", "validation"):
        score = run.metrics.get(split, {}).get("scores", {}).get(primary)
        if score is not None:
            n = f" on {number_text(score['n'])} rows" if "n" in score else ""
            return f"When it was evaluated{n} of {split}: {title_of(primary)} {score_text(primary, score)}."
    return "Nobody has evaluated this model yet: how often it is right is not known."


def _told(say: Say) -> Callable[[Exception], None]:
    """A defect on the terminal: its kind and where it arose, not its message, which may hold what people sent."""

    def tell(error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" in {Path(place[0].filename).name} line {place[0].lineno}" if place else ""
        say.warn(f"a request was answered with 500: {type(error).__name__}{where}. Please report it")

    return tell
