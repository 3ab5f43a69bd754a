"""What a study found, in sentences that follow from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.report.words import is_percent, number_text, score_line, title_of
from pretune.wording import counted

__all__ = ["sentences"]


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The verdict on each arm against the first, the labels it saves, and what more labels would bring."""
    first = found["arms"][0]["name"]
    told = [_setting(found)]
    for arm in (one["name"] for one in found["arms"][1:]):
        told.append(_against(found, arm, first))
        told += _saved(found, arm, first)
    return [*told, *_more(found), *_simple(found)]


def _setting(found: Mapping[str, Any]) -> str:
    seeds = counted(found["seeds"], "seed")
    alone = "" if found["seeds"] > 1 else ": another draw of labels may say otherwise"
    title = title_of(found["metric"])
    return f"{title[:1].upper()}{title[1:]} on {counted(found['n'])} of {found['split']} that no run learned from; {seeds}{alone}."


def _against(found: Mapping[str, Any], arm: str, first: str) -> str:
    """Where which is better: each number of labels by its own 95 % interval."""
    mine = [one for one in found["differences"] if one["arm"] == arm]
    better, worse = ([one for one in mine if one["better"] == who] for who in (arm, first))
    if not better and not worse:
        widest = max(mine, key=lambda one: abs(one["value"]))
        return f"No difference between {arm} and {first} was shown at any number of labels; the largest is {_difference(found, widest)}."
    parts = []
    for who, other, where in ((arm, first, better), (first, arm, worse)):
        if where:
            most = max(where, key=lambda one: abs(one["value"]))
            parts.append(
                f"{who} is better than {other} with {_labels(where)} labels, most with {_difference(found, most)}"
            )
    rest = [one for one in mine if one["better"] is None]
    shown = f"; with {_labels(rest)} no difference was shown" if rest else ""
    area = next(one for one in found["areas"] if one["arm"] == arm)
    whole = _amount(found, {"value": area["difference"], **area["difference_interval"]})
    return f"{'; '.join(parts)}{shown}. Over the whole curve: {whole}."


def _labels(where: Sequence[Mapping[str, Any]]) -> str:
    numbers = [number_text(one["labels"]) for one in where]
    return numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def _difference(found: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    return f"{number_text(one['labels'])}: {_amount(found, one)}"


def _amount(found: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """A difference with its interval: of shares in points."""
    if not is_percent(found["metric"], found["points"][0]):
        return score_line(found["metric"], one)
    interval = f" [{100 * one['low']:.1f}, {100 * one['high']:.1f}]" if "low" in one else ""
    return f"{100 * one['value']:.1f} points{interval}"


def _saved(found: Mapping[str, Any], arm: str, first: str) -> list[str]:
    """Where it helps: how many labels the first arm would need to do as well, at the number that saves most."""
    better = {one["labels"] for one in found["differences"] if one["arm"] == arm and one["better"] == arm}
    mine = [one for one in found["labels_saved"] if one["arm"] == arm and one["labels"] in better]
    known = [one for one in mine if one["saved"] is not None and one["saved"] > 0]
    if known:
        most = max(known, key=lambda one: one["saved"] / one["labels"])
        high = "more than were tried" if most["needed_high"] is None else number_text(round(most["needed_high"]))
        return [
            f"With {number_text(most['labels'])} labels {arm} does as well as {first} with {number_text(round(most['needed']))} "
            f"[{number_text(round(most['needed_low'] or 0))}, {high}]: {number_text(round(most['saved']))} labels saved."
        ]
    if mine:
        one = mine[0]
        return [f"With {number_text(one['labels'])} labels {arm} does better than {first} with all that were tried."]
    return []


def _more(found: Mapping[str, Any]) -> list[str]:
    """What the fitted laws say of more labels, and how well they foretold what was seen."""
    told = []
    for law in found["laws"]:
        arm, last, half = law["arm"], law["last"], law["of_half"]
        parts = [f"{_amount(found, {'value': law['step']})} more {_would_take(law, 'more', 'more labels')}"]
        if (target := law.get("target")) is not None:
            wanted = score_line(found["metric"], {"value": target})
            parts.append(f"{wanted} {_would_take(law, 'target', 'labels in all')}")
        right = sum(one["inside"] for one in half)
        reached = score_line(found["metric"], {"value": last["reached"]})
        told.append(
            f"{arm}: {'; '.join(parts)}. (Laws of the smaller half of the numbers foretold {right} of {counted(len(half), 'larger one')} within their interval; "
            f"those of all but the largest foretold {score_line(found['metric'], last)} there, and {reached} was reached.)"
        )
    return told


def _would_take(law: Mapping[str, Any], key: str, what: str) -> str:
    if (value := law.get(f"{key}_labels")) is None:
        return "cannot be told from here: the curve is nearly flat, or would need a hundred times as many labels"
    least, high = number_text(round(law[f"{key}_low"])), law[f"{key}_high"]
    ends = f"(at least {least})" if high is None else f"[{least}, {number_text(round(high))}]"
    return f"would take about {number_text(round(value))} {what} {ends}"


def _simple(found: Mapping[str, Any]) -> list[str]:
    """Where a simple method does better than every arm."""
    sign = 1 if found["rising"] else -1
    lost: dict[str, list[str]] = {}
    for one in found["simple"]:
        best = max(sign * point["value"] for point in found["points"] if point["labels"] == one["labels"])
        if sign * one["value"] > best:
            value = score_line(found["metric"], {"value": one["value"]})
            lost.setdefault(title_of(one["method"]), []).append(f"{value} with {number_text(one['labels'])} labels")
    return [f"{method} does better than every arm: {', '.join(where)}." for method, where in lost.items()]
