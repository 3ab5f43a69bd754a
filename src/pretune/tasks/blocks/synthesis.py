"""What a report shows of spoken texts: the clips to be heard beside the true ones, their spectra, and how attention went through the letters.

Shapes: S decoder steps, L letters, N rows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.answers import Wave
from pretune.tasks.shown.audio import shown_clip

__all__ = ["HOW_TO_READ", "attention_picture", "bad_clips", "clip_warnings", "synthesis_blocks"]

HOW_TO_READ = "In a spectrum time runs to the right and pitch upwards; dark is loud."
_SHOWN, _WORST = 8, 8
_SCALE, _LEAST_PIXELS = 12, 160
_MORE_SHARE, _MORE_LETTERS = 0.15, 2
"""How many more of its letters than the clips' median a clip passes over that is likely wrong: of short words some letters never get attention
of their own, and are said all the same."""


def bad_clips(records: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Places of records whose clips are likely wrong, by what is wrong with them."""
    found = {
        "did not stop": [place for place, one in enumerate(records) if one.get("stopped") is False],
        "letters were passed over": _passing_over(records),
        "attention went back": [place for place, one in enumerate(records) if one.get("repeated", 0) > 0],
    }
    return {what: places for what, places in found.items() if places}


def _passing_over(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of clips whose attention passes over far more letters than is usual among them."""
    told = {place: one for place, one in enumerate(records) if one.get("letters")}
    if not told:
        return []
    usual = float(np.median([one["skipped"] / one["letters"] for one in told.values()]))
    return [
        place
        for place, one in told.items()
        if one["skipped"] > usual * one["letters"] + max(_MORE_LETTERS, _MORE_SHARE * one["letters"])
    ]


def clip_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which clips are likely wrong, and which texts were not wholly read."""
    told = {
        "did not stop": "were cut off at the most frames that such texts get",
        "letters were passed over": "have far more letters than others that attention passed over",
        "attention went back": "have attention that goes back: something may be said twice",
    }
    found = [
        f"{len(places)} of {len(records)} clips {told[what]} (the first is {records[places[0]]['id']})"
        for what, places in bad_clips(records).items()
    ]
    if unread := sum(bool(record.get("unread")) for record in records):
        found.append(
            f"{unread} of {len(records)} texts have characters that the model never learned: they are passed over"
        )
    return found


def synthesis_blocks(
    records: Sequence[Mapping[str, Any]], shown: Callable[[int], dict[str, Any]], rate: int
) -> list[dict[str, Any]]:
    """A table of what went wrong, clips to hear beside true ones (``shown(i)``: what the page shows of true clip i), the worst ones."""
    rows = [[what, len(places), ", ".join(str(records[place]["id"]) for place in places[:5])] for what, places in bad_clips(records).items()]  # fmt: skip
    columns = [
        {"name": "what", "kind": "text"},
        {"name": "clips", "kind": "number"},
        {"name": "such as", "kind": "text"},
    ]
    note = f"Of {len(records)} clips, by their attention and their ends; a clip may stand in several lines."
    table = {"type": "table", "title": "Clips that are likely wrong", "note": note, "columns": columns, "rows": rows}
    spread = np.unique(np.linspace(0, len(records) - 1, min(_SHOWN, len(records))).astype(int)).tolist()
    worst = sorted(range(len(records)), key=lambda place: -float(records[place].get("mel_distance", 0.0)))[:_WORST]
    blocks: list[dict[str, Any]] = [table] if rows else []
    for title, places in (
        ("Clips to hear, the model's and the true ones", spread),
        ("Clips farthest from the true ones", worst),
    ):
        pairs = [pair for place in places for pair in _pair(records[place], shown(place), rate)]
        blocks.append({"type": "examples", "title": title, "note": HOW_TO_READ, "rows": pairs})
    return blocks


def _pair(record: Mapping[str, Any], true: dict[str, Any], rate: int) -> list[dict[str, Any]]:
    """The clip that was made and the true one, one behind the other."""
    figures = [f"{record['seconds']:.2f} s"] if "seconds" in record else []
    figures += [f"{record['mel_distance']:.1f} dB from the true clip"] if "mel_distance" in record else []
    figures += ["did not stop"] if record.get("stopped") is False else []
    figures += [f"heard as “{record['heard']}”"] if "heard" in record else []
    said = {"id": record["id"], "text": str(record.get("text", "")), "said": "made: " + ", ".join(figures)}
    made = Wave(record["audio"]).cell()
    return [
        {**said, **(shown_clip(made, rate) if made["bytes"] is not None else {})},
        {
            **true,
            "text": "",
            "said": "the true clip" + (f", heard as “{record['heard_true']}”" if "heard_true" in record else ""),
        },
    ]


def attention_picture(attention_SL: np.ndarray, caption: str) -> dict[str, Any]:
    """Steps to the right, letters upwards, darker is more attention: a way of speech is a rising line."""
    from PIL import Image

    picture = Image.fromarray((255 * (1 - attention_SL.T[::-1])).astype(np.uint8))
    scale = max(_SCALE, _LEAST_PIXELS // max(1, picture.width))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    return {"image": "data:image/png;base64," + base64.b64encode(held.getvalue()).decode(), "caption": caption}
