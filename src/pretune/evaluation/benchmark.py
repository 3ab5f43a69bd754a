"""What a benchmark says of several models: summaries of times, the Pareto front, and the figures in words.

A variant is one run as it was measured: ``{"name", "score", "bytes", "latency": {"1": {"all": {...}}}, ...}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.evaluation.evaluate import chosen_by
from pretune.evaluation.latency import crowded
from pretune.wording import counted

__all__ = ["BATCHES", "pareto_front", "sound_a_second", "standing_of", "summary", "table_rows", "told"]

BATCHES = (1, 32)
_SLACK = (0.0, 0.05, 0.01)

Variant = Mapping[str, Any]


def summary(milliseconds: Sequence[float], *, rows: int, rounds: int) -> dict[str, float | int]:
    """Times of single calls on ``rows`` rows each: median, 95th percentile, the middle half (``low_ms`` to ``high_ms``), rows
    a second by the median; over ``n`` calls in ``rounds`` rounds."""
    low, middle, high, late = np.percentile(np.asarray(milliseconds), [25, 50, 75, 95]).tolist()
    return {
        "n": len(milliseconds),
        "rounds": rounds,
        "p50_ms": round(middle, 4),
        "p95_ms": round(late, 4),
        "low_ms": round(low, 4),
        "high_ms": round(high, 4),
        "rows_per_second": round(1000 * rows / middle, 2),
    }


def standing_of(variant: Variant, *, rising: bool) -> tuple[float, float, float]:
    """Score, latency and bytes so that less is better: what the front is about. Latency is of one row with all threads."""
    score = variant["score"]["value"]
    return (-score if rising else score, variant["latency"]["1"]["all"]["p50_ms"], float(variant["bytes"]))


def pareto_front(standings: Mapping[str, tuple[float, float, float]]) -> list[str]:
    """The names that no other beats: none is clearly better in something and not clearly worse in anything. Less is better.

    Latencies within 5 % and sizes within 1 % count as equal: noise puts nobody on the front, and nobody off it.
    """

    def is_less(one: tuple[float, ...], other: tuple[float, ...]) -> list[bool]:
        return [a < b - slack * abs(b) for a, b, slack in zip(one, other, _SLACK, strict=True)]

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return any(is_less(one, other)) and not any(is_less(other, one))

    return [name for name, own in standings.items() if not any(beats(other, own) for other in standings.values())]


def table_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The small table of the terminal, its head first: one line a variant."""
    metric = found["metric"]
    share = found.get("unit", "share") in ("share", "rate")
    head = [
        "run", "engine", f"{metric} %" if share else metric, "1 row p50/p95 ms", "1 thread ms", "32 rows/s", "MB", "peak memory MB", "",
    ]  # fmt: skip
    return [head, *(_line(one, found["front"], 100 if share else 1) for one in found["variants"])]


def _line(one: Variant, front: Sequence[str], scale: int) -> list[str]:
    score, first = one["score"], one["latency"]["1"]["all"]
    return [
        one["name"],
        one["engine"],
        f"{scale * score['value']:.2f} [{scale * score['low']:.2f}, {scale * score['high']:.2f}]",
        f"{first['p50_ms']:.2f} / {first['p95_ms']:.2f}",
        f"{one['latency']['1']['one']['p50_ms']:.2f}",
        f"{one['latency']['32']['all']['rows_per_second']:,.0f}",
        f"{one['bytes'] / 1e6:.1f}",
        f"{one['peak_memory_bytes'] / 1e6:.0f}",
        "on the front" if one["name"] in front else "",
    ]


def told(found: Mapping[str, Any]) -> list[str]:
    """The benchmark in sentences: who is on the front, what the others lose to, each against the first, what was unusable."""
    variants = found["variants"]
    said = [_front_sentence(found)]
    said += [_against_first(found, one) for one in variants[1:]]
    said += [_sound_sentence(one) for one in variants if "sound_a_second" in one]
    said += [_encoding_sentence(one) for one in variants if _encoding_share(one) > 0.2]
    said += [f"{one['name']} is unusable: {one['reason']}" for one in found["unusable"]]
    held = max(one["held_bytes"] for one in variants) / 1e6
    others_busy = found["measured"].get("others_busy", 0.0)
    return [
        *said,
        _rows_sentence(found),
        *chosen_by(found["split"]),
        *crowded(others_busy, found["machine"]["cores"]),
        f"Memory is the most that a process held; {held:.0f} MB of it are Python and the libraries, torch among them.",
    ]


def sound_a_second(records: Sequence[Mapping[str, Any]], one_row_ms: float) -> dict[str, float]:
    """How many seconds of sound are made in one (the inverse of the real-time factor), by records of clips."""
    lasts = [float(record["seconds"]) for record in records]
    return {"sound_a_second": round(1000 * sum(lasts) / len(lasts) / one_row_ms, 2)} if lasts else {}


def _sound_sentence(one: Variant) -> str:
    return f"{one['name']} makes {one['sound_a_second']:.1f} seconds of sound a second, one row after another."


def _rows_sentence(found: Mapping[str, Any]) -> str:
    """Which rows the scores are of, and which the times."""
    rows = counted(found["n"], f"{found['split']} row")
    if found.get("answered_by") != "evaluate":
        more = "" if found["split"] == "test" else "; evaluate all runs, and their test rows are compared"
        return f"Scores are of {rows}, answered here{more}."
    timed = found["timed_rows"]
    return f"Scores are of the {rows} that evaluate answered; times are of {'all' if timed == found['n'] else timed} of them."


def _front_sentence(found: Mapping[str, Any]) -> str:
    front, variants = found["front"], found["variants"]
    what = f"{found['metric']}, latency of one row and size"
    if len(variants) == 1:
        return f"Only {variants[0]['name']} was measured: there is nothing to compare it with."
    if len(front) == len(variants):
        return f"All are on the Pareto front of {what}: none is better than another in one of them without being worse in another."
    beaten = [one["name"] for one in variants if one["name"] not in front]
    return f"On the Pareto front of {what}: {', '.join(front)}. Beaten: {', '.join(beaten)}."


def _against_first(found: Mapping[str, Any], one: Variant) -> str:
    first = found["variants"][0]
    fast = _ratio(first, one, "1"), _ratio(first, one, "32")
    smaller = first["bytes"] / max(1, one["bytes"])
    return (
        f"{one['name']} against {first['name']}: {fast[0]:.2f} times as fast for one row, {fast[1]:.2f} for 32, "
        f"{smaller:.2f} times smaller; {one['against_first']['verdict']}"
    )


def _ratio(first: Variant, one: Variant, batch: str) -> float:
    return first["latency"][batch]["all"]["p50_ms"] / one["latency"][batch]["all"]["p50_ms"]


def _encoding_share(one: Variant) -> float:
    whole, model = (one[key]["1"]["all"]["p50_ms"] for key in ("latency_with_encoding", "latency"))
    return 1 - model / whole


def _encoding_sentence(one: Variant) -> str:
    whole, model = (one[key]["1"]["all"]["p50_ms"] for key in ("latency_with_encoding", "latency"))
    return f"{one['name']}: with encoding one row takes {whole:.2f} ms, the model alone {model:.2f}."
