"""What speaks for an answer, as parts of a page: marked words, warm pictures, bars over time, and the test of all three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.explain.attributions import Attribution
from pretune.explain.faithfulness import Faithfulness
from pretune.report.drawing.charts import Series, line_chart
from pretune.report.drawing.svg import Scale, drawing, responsive, tag, text
from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.words import percent_text, percent_tick
from pretune.tasks.shown.audio import LONGEST_SECONDS

__all__ = ["answer_text", "attribution_section", "deletion_parts"]

SHADES = 5
MOST_ROWS = 15
BARS_HIGH = 110.0

_HOW = {
    "integrated gradients": (
        "Integrated gradients (Sundararajan et al. 2017) share the {measure} among the parts, along the straight way from an "
        "item whose parts are all {blank}."
    ),
    "Grad-CAM": (
        "Grad-CAM (Selvaraju et al. 2017): the last feature maps, weighted by how much each raises the log-odds of the answer; "
        "{cells} before they are drawn over the picture."
    ),
    "HiResCAM": (
        "HiResCAM (Draelos & Carin 2020), Grad-CAM place by place: the maps that the model reads, each place times how much it raises the "
        "{measure}; {cells} before they are drawn over the picture."
    ),
    "occlusion": (
        "Occlusion: by how much the answer's probability falls when a part alone is replaced by {blank}. This model gives no "
        "gradients, which would need fewer questions."
    ),
}


def attribution_section(found: Attribution, texts: Sequence[str], clip: Mapping[str, Any] | None) -> Section:
    """The chapter about one attribution. ``texts`` are those explained, ``clip`` a clip's ``image`` and ``audio`` addresses."""
    parts = [
        part("paragraph", text=_how(found), kind="note"),
        *_picture_of(found, texts, clip),
        *deletion_parts(found.faithfulness),
    ]
    title = f"What speaks for “{found.explained}”"
    return Section("attribution", title, tuple(piece for piece in parts if piece))


def answer_text(answer: str | tuple[str, ...]) -> str:
    """An answer in words."""
    return answer if isinstance(answer, str) else ", ".join(answer) or "none of its labels"


def _how(found: Attribution) -> str:
    blank = "something plain" if found.faithfulness is None else found.faithfulness.blank
    cells = f"{len(found.heat)} × {len(found.heat[0])} places" if found.heat else ""
    said = _HOW[found.method].format(blank=blank, cells=cells, measure=found.measure)
    if found.completeness is not None:
        one = found.completeness
        said += f" They should add up to {one.difference:.3f} and add up to {one.total:.3f}, an error of {percent_text(one.error)} after {one.steps} steps."
    return said


def _picture_of(found: Attribution, texts: Sequence[str], clip: Mapping[str, Any] | None) -> list[Markup]:
    if found.spans:
        return _words(found, texts)
    if found.times:
        return _stretches(found, clip or {})
    rows = [
        {"image": found.picture, "caption": "what the model sees"},
        {"image": found.overlay, "caption": f"warm where it speaks for {found.explained}"},
    ]
    return [part("beside", rows=rows)]


def _words(found: Attribution, texts: Sequence[str]) -> list[Markup]:
    most = max(map(abs, found.scores), default=0.0) or 1.0
    parts = []
    for side, whole in enumerate(texts):
        pieces: list[tuple[str, str, str]] = []
        reached = 0
        for (of, start, stop), score in zip(found.spans, found.scores, strict=True):
            if of != side:
                continue
            pieces.append((whole[reached:start], "", ""))
            pieces.append((whole[start:stop], _shade(score / most), f"{score:+.4f}"))
            reached = stop
        pieces.append((whole[reached:], "unseen" if found.notes else "", "the model does not see this"))
        parts.append(part("marked", pieces=[piece for piece in pieces if piece[0]]))
    key = f"Blue speaks for {found.explained}, orange against it; the deeper, the more."
    order = sorted(range(len(found.scores)), key=lambda i: -abs(found.scores[i]))
    rows = [[Cell(found.pieces[i]), Cell(f"{found.scores[i]:+.4f}", numeric=True)] for i in order[:MOST_ROWS]]
    table = data_table("Scores of the words, the largest first", ["word", "score"], rows)
    return [
        *parts,
        part("paragraph", text=key, kind="note"),
        part("details", summary="The scores as figures", body=table),
    ]


def _shade(share: float) -> str:
    """The class of a word's colour; none for a score too small to be seen."""
    depth = min(SHADES, round(abs(share) * SHADES))
    return "" if depth == 0 else f"{'p' if share > 0 else 'n'}{depth}"


def _stretches(found: Attribution, clip: Mapping[str, Any]) -> list[Markup]:
    chart = responsive(lambda width: _bars(found, width))
    image = clip.get("image", "") if found.seconds <= LONGEST_SECONDS else ""
    where = "Under the spectrum: bars" if image else "Bars"
    key = f"{where} upwards speak for {found.explained}, bars downwards against it, stretch by stretch."
    return [
        part("clip", image=image, audio=clip.get("audio", ""), drawing=chart),
        part("paragraph", text=key, kind="note"),
    ]


def _bars(found: Attribution, width: int) -> Markup:
    """Bars over time, as wide as the spectrum above them."""
    edges = (*found.times, found.seconds)
    across = Scale(0.0, found.seconds, 0.0, float(width))
    up = Scale.over(found.scores, BARS_HIGH, 6.0, zero=True)
    parts = []
    for start, stop, score in zip(edges, edges[1:], found.scores, strict=False):
        top, bottom = sorted((up(score), up(0.0)))
        box = {
            "x": across(start) + 0.5,
            "y": top,
            "width": max(0.5, across(stop) - across(start) - 1),
            "height": bottom - top,
        }
        hint = tag("title", {}, f"{start:.2f} to {stop:.2f} s: {score:+.4f}")
        parts.append(tag("rect", {**box, "class": "for" if score > 0 else "against"}, hint))
    parts.append(tag("line", {"x1": 0.0, "x2": float(width), "y1": up(0.0), "y2": up(0.0), "class": "axis"}))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(text(share * width, BARS_HIGH + 20, f"{share * found.seconds:.2f} s", "muted", anchor))
    best = max(range(len(found.scores)), key=lambda i: found.scores[i])
    story = f"most between {edges[best]:.2f} and {edges[best + 1]:.2f} seconds"
    return drawing(width, BARS_HIGH + 26, f"What speaks for {found.explained} over time", story, *parts)


def deletion_parts(found: Faithfulness | None) -> list[Markup]:
    """The deletion test: its sentence and its curves; nothing where there was none."""
    if found is None:
        return []
    series = [
        Series("highest scores gone first", found.shares, found.important),
        Series(f"others gone first (mean of {found.orders} random orders)", found.shares, found.random),
    ]
    chart = responsive(
        lambda width: line_chart(
            series, title="Deletion test", x_title="share of the parts taken out", y_title=f"{found.figure} of the answer",
            width=width, y_text=percent_tick,
        )
    )  # fmt: skip
    note = f"Parts are replaced by {found.blank}. Where the first line lies well below the second, the scores say what the answer hangs on (Samek et al. 2017; DeYoung et al. 2020)."
    heading = part("heading", text="Can this be believed?")
    return [
        heading,
        part("paragraph", text=found.sentence),
        part("figure", drawing=chart, caption="Deletion test", note=note),
    ]
