"""What is said of a run beside the one it was made from."""

from __future__ import annotations

import pytest

from pretune.training.derived import compression_text


def found(faster: float, faster_32: float, smaller: float, *, worse: bool = False) -> dict[str, object]:
    score = {"value": 0.8, "low": 0.7, "high": 0.9}
    side = {"score": score, "latency_1": {"p50_ms": 2.0}, "bytes": 2_000_000}
    return {
        "before": side, "after": {**side, "score": {**score, "value": 0.75}}, "metric": "accuracy", "n": 100,
        "faster": faster, "faster_32": faster_32, "smaller": smaller,
        "comparison": {"verdict": "as told", "better": "a" if worse else None},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ((2.0, 2.0, 2.0), []),
        ((1.0, 1.0, 1.0), ["Not worth it"]),
        ((0.5, 0.5, 0.5), ["Not worth it"]),
        ((0.5, 0.5, 2.0), ["slower for one row on this machine: only the smaller file speaks for it."]),
        ((0.5, 2.0, 0.5), ["slower for one row on this machine: only 32 rows at a time speak for it."]),
        ((0.5, 2.0, 2.0), ["slower for one row on this machine: only 32 rows at a time and the smaller file speak for it."]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("worse", [False, True])
def test_gains_and_losses_are_told_as_they_are(
    ratios: tuple[float, float, float], said: list[str], worse: bool
) -> None:
    lines = compression_text(found(*ratios, worse=worse), rising=True).splitlines()[2:]
    paid = ["It paid for that: accuracy fell by 5.00 points."] if worse and said != ["Not worth it"] else []
    assert len(lines) == len(said) + len(paid)
    assert all(one in line for one, line in zip([*said, *paid], lines, strict=True))
