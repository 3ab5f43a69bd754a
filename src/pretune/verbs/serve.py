"""``pretune serve``: a run or an export as a service over HTTP, with a page for people."""

from __future__ import annotations

import os
import secrets
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings, AsCleanedSettings
from pretune.errors import ModelError, PretuneError, UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.modalities import Modality
from pretune.options import option, refuse_unread
from pretune.runfolder import RunFolder, open_run
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.data.reading import Reading
    from pretune.runs.proven import Proven
    from pretune.serve.app import Served
    from pretune.serve.intake import Takes
    from pretune.serve.limits import Limits

__all__ = ["ServeSettings", "serve", "served_run"]

_TOKEN_LETTERS = 16
_SAMPLES = 6
_READ_BY_MODALITY: Mapping[str, tuple[str, ...]] = {
    Modality.TEXT: ("max_characters",),
    Modality.IMAGE: (),
    Modality.AUDIO: ("max_seconds",),
}


@dataclass(frozen=True, kw_only=True)
class ServeSettings(AnsweringSettings, AsCleanedSettings):
    """Settings of ``pretune serve``."""

    verb: ClassVar[str] = "serve"

    run: str = option(help="run folder of a fine-tuned, compressed or exported model", positional=True, metavar="RUN")
    host: str = option("127.0.0.1", "address to listen at; only this machine reaches the default", metavar="ADDRESS")
    port: int = option(8000, "port to listen at; 0 takes any that is free", low=0, high=65_535)
    auth_token: str | None = option(
        None, "what every request must bring (Authorization: Bearer TOKEN; browsers ask for a password); PRETUNE_AUTH_TOKEN in the "
        "environment says the same unseen. Needed with another --host; none: everybody may, said on purpose", metavar="TOKEN",
    )  # fmt: skip
    samples: int | None = option(
        None, "rows of the run's own test split to try on the page; default: 6, and none with another --host", low=0, high=50
    )  # fmt: skip
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

    Ctrl-C or SIGTERM stops it; requests that are in flight are answered first. With another --host everyone who reaches the
    machine could use the model, so --auth-token is asked for then; there is no encryption. Texts, pictures and clips are neither
    kept nor logged.

    Examples::

        pretune serve runs/news
        pretune serve runs/news-int8 --port 0 --json
        curl http://127.0.0.1:8000/predict -H 'Content-Type: application/json' -d '{"rows": [{"text": "a fine film"}]}'
        curl http://127.0.0.1:8000/predict -F file=@photo.jpg
        PRETUNE_AUTH_TOKEN=$(openssl rand -hex 16) pretune serve runs/news --host 0.0.0.0
    """
    from pretune.report.layout import house_style
    from pretune.runs.proven import load_proven, refuse_lacking
    from pretune.runs.reading import learned_by
    from pretune.serve.app import make_app
    from pretune.serve.guard import is_local
    from pretune.serve.server import address_of, listen, run_server

    run = open_run(settings.run)
    refuse_lacking(run, "serve")
    bound = listen(settings.host, settings.port)
    with bound:
        token = _token(settings)
        proven = load_proven(run, settings)
        reading = learned_by(run, settings)
        if reading.clean:
            say.note(f"texts are cleaned as the model learned: {', '.join(reading.clean)}")
        refuse_unread(settings, proven.task.modality, _READ_BY_MODALITY)
        limits = _limits(settings)
        app, service = make_app(
            served_run(run, proven, reading, limits, _samples(settings)),
            limits,
            style=house_style(),
            local_only=is_local(settings.host),
            token=token,
            on_defect=_told(say),
        )
        address = address_of(bound)
        _tell_who_may_ask(settings.host, token, say)

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
        text=f"stopped; {counted(count, 'request')}, {counted(answered)} answered",
        facts={"address": address, "run": str(run.path), "requests": count, "rows": answered},
    )


def _tell_who_may_ask(host: str, token: str | None, say: Say) -> None:
    """A warning where others than this machine reach the service."""
    from pretune.serve.guard import is_local

    if is_local(host):
        return
    who = "everyone who reaches" if token is None else "everyone who has the token and reaches"
    say.warn(
        f"{who} this machine at {host} can use the model; there is no encryption. Leave --host out to keep it to yourself"
    )


def _token(settings: ServeSettings) -> str | None:
    """What requests must bring. Raises :class:`UsageError` for none where other machines are let in, and for a weak one."""
    from pretune.serve.guard import is_local

    given = settings.auth_token or os.environ.get("PRETUNE_AUTH_TOKEN") or None
    fresh = secrets.token_hex(16)
    if given == "none":
        return None
    if given is None:
        if not is_local(settings.host):
            raise UsageError(
                f"with --host {settings.host} other machines reach the model, and nothing is asked of them",
                f"--auth-token {fresh} (or another of {_TOKEN_LETTERS} letters at least); --auth-token none where something else looks who comes in",
            )
        return None
    if len(given) < _TOKEN_LETTERS or not given.isascii() or not given.isprintable() or " " in given:
        raise UsageError(
            f"the token has to be {_TOKEN_LETTERS} letters or more, of ASCII and without spaces", f"such as {fresh}"
        )
    return given


def _limits(settings: ServeSettings) -> Limits:
    from pretune.serve.limits import Limits

    asked: dict[str, Any] = {"characters": settings.max_characters, "clip_seconds": settings.max_seconds}
    return Limits(
        body_bytes=round(settings.max_body_mb * 2**20), rows=settings.max_rows, seconds=settings.timeout,
        explain_seconds=settings.explain_seconds, waiting=settings.max_waiting,
        **{name: value for name, value in asked.items() if value is not None},
    )  # fmt: skip


def _samples(settings: ServeSettings) -> int:
    """How many rows of people's data the page shows."""
    from pretune.serve.guard import is_local

    return settings.samples if settings.samples is not None else _SAMPLES if is_local(settings.host) else 0


def served_run(run: RunFolder, proven: Proven, reading: Reading, limits: Limits, samples: int) -> Served:
    """What the service knows of a run: model, task, how rows are read, how good it was, rows to try, how it explains."""
    from pretune.engine.devices import inference
    from pretune.explain.aims import Explainable
    from pretune.explain.attributions import explain_example
    from pretune.explain.faithfulness import ORDERS
    from pretune.explain.patience import Patience
    from pretune.serve.app import Served
    from pretune.serve.intake import Takes
    from pretune.tasks.predicting import example_of
    from pretune.tasks.protocols import Streams

    task = proven.task

    def explain(
        row: Mapping[str, Any], label: str | None, tests: bool, is_wanted: Callable[[], bool]
    ) -> Mapping[str, Any]:
        example, orders = example_of(row, "0"), ORDERS if tests else 0
        patience = Patience(limits.explain_seconds, is_wanted)
        return explain_example(
            task, proven.model, example, proven.device, label=label, orders=orders, patience=patience
        ).to_dict()

    def stream(row: Mapping[str, Any], told: Callable[[str], bool]) -> Mapping[str, Any]:
        assert isinstance(task, Streams)
        (item,) = task.encode(example_of(row, "the row"))
        with inference(proven.device):
            written = task.written(proven.model, item, proven.device.device, told)
        return {**task.record(written), "id": row["id"]}

    explains = isinstance(task, Explainable) and not any(task.unexplained())
    pairs = False if task.modality.is_file else reading.pairs
    takes = Takes(
        task.modality,
        pairs,
        reading.clean,
        reading.cleaned,
        titles=task.titles,
        more=task.more_inputs,
        turns=task.holds_turns,
    )
    return Served(
        run.path.resolve().name, task, proven.model, proven.device, takes,
        standing=_standing(run, task.metric.primary),
        samples=(lambda: _own_rows(run, takes, samples)) if samples else None,
        explain=explain if explains else None,
        stream=stream if isinstance(task, Streams) else None,
        unexplained=task.unexplained() if explains or any(task.unexplained()) else (f"{task.name} cannot be explained", ""),
    )  # fmt: skip


def _own_rows(run: RunFolder, takes: Takes, count: int) -> list[dict[str, Any]]:
    """Rows that the run did not learn from; none where its data is gone."""
    from pretune.runs.reading import own_data
    from pretune.serve.samples import samples_of

    try:
        data = own_data(run)
    except PretuneError:
        return []
    split = next((name for name in ("test", "validation") if name in data), None)
    return [] if split is None else samples_of(data[split], takes, count)


def _standing(run: RunFolder, primary: str) -> str:
    """How good the model was when it was last evaluated, in a sentence; nothing where it never was."""
    from pretune.report.words import score_text, title_of

    for split in ("test", "validation"):
        score = run.metrics.get(split, {}).get("scores", {}).get(primary)
        if score is not None:
            n = f" on {counted(score['n'])}" if "n" in score else ""
            return f"When it was evaluated{n} of {split}: {title_of(primary)} {score_text(primary, score)}."
    return "Nobody has evaluated this model yet: how often it is right is not known."


def _told(say: Say) -> Callable[[Exception], None]:
    """On the terminal: what is wrong with the model; of a defect its kind and where it arose, not its message, which may hold what
    people sent.
    """

    def tell(error: Exception) -> None:
        if isinstance(error, ModelError):
            say.warn(f"a request was answered with 500: {error.problem}: {error.fix}")
            return
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" in {Path(place[0].filename).name} line {place[0].lineno}" if place else ""
        say.warn(f"a request was answered with 500: {type(error).__name__}{where}. Please report it")

    return tell
