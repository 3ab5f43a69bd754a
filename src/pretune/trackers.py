"""``--report-to``: listeners that write what ``log.jsonl`` gets to TensorBoard, MLflow, Weights & Biases or Trackio.

Each is the tracker's own library, which is no dependency of pretune, with its own settings (``MLFLOW_TRACKING_URI``, ``WANDB_MODE``, ...).
Places of this machine are not sent, nor is a tracker that fails a reason to stop learning: it is warned of, and left alone from then on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pretune import notices
from pretune.errors import UsageError
from pretune.forwarded import places_in

__all__ = ["TRACKERS", "Tracker", "figures_of", "trackers_of"]

_PROJECT = "pretune"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}  # fmt: skip
"""What these libraries would tell their makers, or the terminal, unless told otherwise."""


def trackers_of(names: Iterable[str]) -> list[Tracker]:
    """A tracker for each name. Raises :class:`UsageError` with the command that installs what is missing."""
    names = list(dict.fromkeys(names))
    for name in names:
        if sys.modules.get(name, name) is None or importlib.util.find_spec(name) is None:
            raise UsageError(
                f"--report-to {name} needs the package {name}, which is not installed", f"pip install {name}"
            )
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    return [TRACKERS[name](name) for name in names]


def figures_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of ``log.jsonl`` by the names they are shown under: ``train/loss``, ``validation/accuracy``."""
    if "scores" in line:
        return {f"{line['split']}/{name}": float(value) for name, value in line["scores"].items()}
    told = {**line, **line.get("parts", {})}
    left_out = ("kind", "seed", "step", "parts")
    numbers = {name: value for name, value in told.items() if name not in left_out and isinstance(value, (int, float))}
    return {f"train/{name.replace(' ', '_')}": float(value) for name, value in numbers.items()}


def _settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for the run, without places of this machine."""
    shown = places_in(record).shown(record.get("settings") or {})
    return {"verb": record.get("verb"), **{key: value for key, value in shown.items() if value not in (None, [])}}


class Tracker(ABC):
    """One tracker, which has a run of its own for each run that begins.

    ``begin`` opens one and returns it; ``log`` writes figures of a step; ``end`` closes it.
    """

    def __init__(self, name: str) -> None:
        self.name, self.opened = name, dict[Path, Any]()
        self._has_failed = False

    @abstractmethod
    def begin(self, run: Path, settings: Mapping[str, Any]) -> Any:
        """Open a run of the tracker called as the folder."""

    @abstractmethod
    def log(self, opened: Any, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of a step."""

    @abstractmethod
    def end(self, opened: Any, *, is_whole: bool) -> None:
        """Close it; ``is_whole``: the run was finished."""

    def on_begin(self, run: Path, record: Mapping[str, Any]) -> None:
        """Open the tracker's run."""

        def begin() -> None:
            self.opened[run] = self.begin(run, _settings_of(record))

        self._try(begin)

    def on_step(self, run: Path, line: Mapping[str, Any]) -> None:
        """Write the figures of a line."""
        if run in self.opened:
            self._try(lambda: self.log(self.opened[run], figures_of(line), int(line["step"])))

    on_evaluation = on_step

    def on_end(self, run: Path, record: Mapping[str, Any]) -> None:
        """Close the tracker's run."""
        if run in self.opened:
            self._try(lambda: self.end(self.opened.pop(run), is_whole=record.get("status") == "finished"))

    def _try(self, work: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is the result's alone
                work()
        except Exception as error:  # whatever a tracker raises, what was learned is worth more
            self._has_failed = True
            what = str(error).strip().splitlines() or [""]
            notices.warn(
                f"--report-to {self.name} does not work any more ({type(error).__name__}: {what[0]}); learning goes on, log.jsonl has all"
            )


class TensorBoard(Tracker):
    """Event files in ``RUN/tensorboard``: ``tensorboard --logdir runs``."""

    def begin(self, run: Path, settings: Mapping[str, Any]) -> Any:
        """A writer; settings as a text."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(run / "tensorboard"))
        writer.add_text("settings", "\n".join(f"- {key}: {value}" for key, value in settings.items()))
        return writer

    def log(self, opened: Any, figures: Mapping[str, float], step: int) -> None:
        """A scalar each."""
        for name, value in figures.items():
            opened.add_scalar(name, value, step)

    def end(self, opened: Any, *, is_whole: bool) -> None:
        """Write what is left."""
        opened.close()


class MLflow(Tracker):
    """A run of the experiment ``MLFLOW_EXPERIMENT_NAME`` (pretune) at ``MLFLOW_TRACKING_URI``."""

    def begin(self, run: Path, settings: Mapping[str, Any]) -> Any:
        """The client and the id of a run; no active run of the program's is touched."""
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        found = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if found is None else found.experiment_id
        made = client.create_run(experiment, run_name=run.name).info.run_id
        for key, value in settings.items():
            client.log_param(made, key, str(value)[:500])
        return client, made

    def log(self, opened: Any, figures: Mapping[str, float], step: int) -> None:
        """A metric each."""
        client, made = opened
        for name, value in figures.items():
            client.log_metric(made, name, value, step=step)

    def end(self, opened: Any, *, is_whole: bool) -> None:
        """The status."""
        client, made = opened
        client.set_terminated(made, "FINISHED" if is_whole else "FAILED")


class WeightsAndBiases(Tracker):
    """A run of the project ``WANDB_PROJECT`` (pretune); ``WANDB_MODE=offline`` keeps it here."""

    def begin(self, run: Path, settings: Mapping[str, Any]) -> Any:
        """A run, beside others that the program may have."""
        import wandb  # pyright: ignore[reportMissingImports]

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT), name=run.name, config=dict(settings), reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_meta=True, x_disable_stats=True),
        )  # fmt: skip

    def log(self, opened: Any, figures: Mapping[str, float], step: int) -> None:
        """All figures of the step."""
        opened.log(dict(figures), step=step)

    def end(self, opened: Any, *, is_whole: bool) -> None:
        """Send what is left."""
        opened.finish(exit_code=0 if is_whole else 1)


class Trackio(Tracker):
    """A run of the project ``TRACKIO_PROJECT`` (pretune), on this machine unless Trackio is told another."""

    def begin(self, run: Path, settings: Mapping[str, Any]) -> Any:
        """A run."""
        import trackio  # pyright: ignore[reportMissingImports]

        return trackio.init(project=os.environ.get("TRACKIO_PROJECT", _PROJECT), name=run.name, config=dict(settings))

    def log(self, opened: Any, figures: Mapping[str, float], step: int) -> None:
        """All figures of the step."""
        opened.log(dict(figures), step=step)

    def end(self, opened: Any, *, is_whole: bool) -> None:
        """Write what is left."""
        opened.finish()


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases, "trackio": Trackio,
}  # fmt: skip
