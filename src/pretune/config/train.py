"""How long and how fast to learn, and where the result goes."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.options import Settings, option

__all__ = [
    "LabelledTrainSettings",
    "OutSettings",
    "RunSettings",
    "ShardSettings",
    "TrainSettings",
]


@dataclass(frozen=True, kw_only=True)
class OutSettings(Settings):
    """Where the result goes."""

    out: str | None = option(None, "run folder to write; default: runs/<verb>-<data or run>-<number>", metavar="FOLDER")
    overwrite: bool = option(False, "delete what the run folder holds and start again", not_in_identity=True)


@dataclass(frozen=True, kw_only=True)
class RunSettings(OutSettings):
    """Where the result goes, or what it would take."""

    dry_run: bool = option(False, "run a few steps, forecast time and memory, write nothing", not_in_identity=True)
    report_to: tuple[str, ...] = option(
        (),
        "write what log.jsonl gets to a tracker too, by its own library and settings (pip install it)",
        choices=("tensorboard", "mlflow", "wandb", "trackio"),
        metavar="TRACKER",
        not_in_identity=True,
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """How long, how fast and how exactly to learn."""

    epochs: float | None = option(
        None,
        "passes over the training rows; default to fine-tune: 3, and up to 50 where rows are few; of sound as many as make about 8,000 updates, until 8 hours are heard",
        low=0.001,
        high=100_000,
    )
    max_steps: int | None = option(None, "optimizer updates at most", low=1)
    minutes: float | None = option(None, "wall-clock minutes at most; the schedule is bent to end there", low=0.01)
    batch_size: int = option(32, "rows per optimizer update, over all processes", low=1, high=1_000_000)
    micro_batch_size: int | None = option(
        None, "rows per forward pass at most; the update stays the same (gradient accumulation)", low=1
    )
    max_tokens: int = option(16_384, "padded tokens per forward pass at most; the update stays the same", low=64)
    learning_rate: float | None = option(
        None, "peak learning rate; default: by the size of the model and how much of it learns", low=0.0, high=10.0
    )
    find_learning_rate: bool = option(
        False,
        "find the peak learning rate by a range test on the training rows: 100 updates at growing rates, then undone",
    )
    weight_decay: float = option(0.01, "AdamW weight decay on matrices", low=0.0, high=10.0)
    schedule: str = option(
        "linear",
        "shape of the learning rate after the warm-up; plateau: lowered where evaluations get no better, and the end where that no longer helps, so that --epochs is the most (default then: 4 times as many)",
        choices=("linear", "cosine", "constant", "plateau"),
    )
    plateau_patience: int = option(
        2, "with --schedule plateau: lower the rate after this many evaluations without a better result", low=1
    )
    plateau_factor: float = option(
        0.3, "with --schedule plateau: lower it to this share, down to a hundredth of the peak", low=0.01, high=0.99
    )
    warmup: str = option("6%", "length of the warm-up: 500 (steps), 0.5epoch or 6%", metavar="DURATION")
    clip: float = option(1.0, "largest gradient norm", low=1e-6)
    ema: float = option(
        0.0,
        "decay of a moving average of the weights, such as 0.999, which is evaluated and kept in place of the last ones; 0: none",
        low=0.0,
        high=0.999999,
    )
    eval_every: str = option(
        "1epoch", "how often to evaluate and save: 500 (steps), 0.5epoch or 10%", metavar="DURATION"
    )
    save_every: str | None = option(
        None,
        "how often to save between evaluations: 500 (steps), 0.5epoch or 10%; default: every 5 minutes",
        metavar="DURATION",
        not_in_identity=True,
    )
    early_stopping_patience: int | None = option(
        None, "stop after this many evaluations without a better result; the best model is kept either way", low=1
    )
    precision: str = option(
        "auto",
        "number format of matrix products; auto measures bf16 against fp32 here and takes the faster",
        choices=("auto", "fp32", "bf16"),
    )
    activation_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, about a fifth slower"
    )
    group_by_length: bool = option(True, "put rows of like length in one batch (less padding); batches stay shuffled")
    seed: int = option(0, "seed of every draw (initialisation, order, masks, dropout)", low=0, high=2**32 - 1)
    device: str = option(
        "auto",
        "where to compute: auto takes a GPU of CUDA where there is one",
        choices=("auto", "cpu", "cuda", "mps"),
        not_in_identity=True,
    )
    threads: int | None = option(None, "processor threads; default: all", low=1, not_in_identity=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.find_learning_rate:
            self.refuse_given(("learning_rate",), "is what --find-learning-rate looks for")

    @property
    def is_shared(self) -> bool:
        """See :class:`~pretune.options.Settings`."""
        return True


@dataclass(frozen=True, kw_only=True)
class ShardSettings(Settings):
    """How several processes hold a model."""

    shard: bool = option(
        False,
        "several processes (torchrun) share the weights of the layers, their gradients and moments (FSDP2), for models whose states do not fit one of them; any number of processes goes on from a checkpoint",
    )


@dataclass(frozen=True, kw_only=True)
class LabelledTrainSettings(TrainSettings):
    """The same where right answers are learned: how many rows make an update is the task's to say."""

    batch_size: int | None = option(  # pyright: ignore[reportIncompatibleVariableOverride]
        None,
        "rows per optimizer update, over all processes; default: 32, 64 for texts that are written, 8 for sound",
        low=1,
        high=1_000_000,
    )
