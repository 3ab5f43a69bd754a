"""What a trained model may give away of single rows, and rows planted to measure it."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.errors import UsageError
from pretune.options import Settings, option

__all__ = ["PrivacySettings"]


@dataclass(frozen=True, kw_only=True)
class PrivacySettings(Settings):
    """Private training, and its audit."""

    dp_epsilon: float | None = option(
        None,
        "private training (DP-SGD): the weights are (epsilon, delta)-differentially private for each training row, or each group with --group; 8 loses little, 1 is strong",
        low=0.01,
        high=1000.0,
    )
    dp_delta: float | None = option(
        None, "with --dp-epsilon: the delta; default: 1/(10 n) of n training rows or groups", low=1e-12, high=0.1
    )
    dp_clip: float = option(
        1.0, "with --dp-epsilon: norm that the gradient of a row or group is cut down to", low=1e-6, high=1e6
    )
    canaries: int = option(
        0,
        "plant so many made-up rows (texts, pictures or clips) among the training rows: pretune audit then says how well they were learned by heart",
        low=0,
        high=100_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dp_epsilon is None:
            self.refuse_given(("dp_delta", "dp_clip"), "does nothing without --dp-epsilon")
        if self.dp_delta is not None and self.dp_epsilon is not None and self.dp_delta >= self.dp_epsilon:
            raise UsageError(
                f"--dp-delta is {self.dp_delta:g}", "give a probability far below one in the number of rows"
            )
