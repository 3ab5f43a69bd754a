"""The page of an explained example: what speaks for the answer, and where the attention of every layer and head goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pretune.explain.attention import Attention
from pretune.explain.attributions import Attribution
from pretune.explain.faithfulness import Faithfulness
from pretune.explain.packing import Packed, pack
from pretune.explain.written_saliency import WrittenSaliency
from pretune.modalities import Modality
from pretune.report.explained.attributions import answer_text, attribution_section
from pretune.report.explained.stills import Chosen, still_markup
from pretune.report.explained.written import saliency_section
from pretune.report.layout import Banner, Page, Section, part, write_page
from pretune.report.words import percent_text
from pretune.wording import counted

__all__ = ["Explained", "explained_page", "write_explained_page"]

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_VIEWS = {
    Modality.TEXT: (("lines", "Lines"), ("matrix", "Matrix"), ("heads", "All heads")),
    Modality.IMAGE: (("picture", "Picture"), ("matrix", "Matrix"), ("heads", "All heads")),
    Modality.AUDIO: (("picture", "Spectrum"), ("matrix", "Matrix"), ("heads", "All heads")),
}
_SAYS = (
    "Attention weights are how a head mixes its inputs: row by row, shares that sum to 1. They are the model's own numbers, not an estimate.",
    "They are not reasons. Quite different weights can give the same answer (Jain & Wallace 2019), and what a {part} carries in a deep layer is "
    "a mixture of all others already. A large weight shows where a head looked; it does not show that the answer hangs on it.",
    "They are not nothing either: heads do learn lawful patterns, and weights that are wholly free to differ are not those that training found "
    "(Wiegreffe & Pinter 2019). To learn what an answer hangs on, use the scores with their deletion test.",
    "Rollout follows the weights through the layers, with the residual path, to the inputs (Abnar & Zuidema 2020); it knows no class.",
    "Special tokens such as [SEP] often take most of the weight of a head that has nothing to do (Clark et al. 2019).",
)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One example, explained. ``run`` and ``task`` name the model; ``attribution`` is None for a model that gives no label,
    ``attention`` for one that has none; ``written`` is the text of one that writes, ``saliency`` what its tokens hang on. ``chosen`` is what the page shows first. ``facts`` are told at its end."""

    run: str
    task: str
    texts: tuple[str, ...] = ()
    clip: Mapping[str, Any] | None = None
    attribution: Attribution | None = None
    attention: Attention | None = None
    chosen: Chosen | None = None
    truth: str = ""
    notes: tuple[str, ...] = ()
    written: str | None = None
    saliency: WrittenSaliency | None = None
    facts: tuple[tuple[str, str], ...] = ()


def write_explained_page(found: Explained, out: Path) -> Path:
    """Write the page of ``found`` to the file ``out``, one text that opens without a network, and return where it is."""
    return write_page(explained_page(found), out)


def explained_page(found: Explained) -> Page:
    """What the page of an explained example shows."""
    sections = []
    if found.attribution is not None:
        sections.append(attribution_section(found.attribution, found.texts, found.clip))
    if found.saliency is not None:
        sections.append(saliency_section(found.saliency))
    facts = list(found.facts)
    if found.attention is not None:
        packed = pack(found.attention)
        sections.append(_attention_section(found, found.attention, packed))
        facts.append(("weights on this page", packed.sentence))
    sections.append(Section("facts", "How this was made", (part("facts", rows=facts),)))
    return Page(
        title=_title(found),
        over_title=f"pretune explain · {found.run}",
        lead=tuple(_lead(found)),
        sections=tuple(sections),
        banners=tuple(Banner("note", "Note.", note) for note in found.notes),
        closing="Made by pretune. This page is complete in itself: its script is inside, and it loads nothing.",
        interactive="attention",
    )


def _title(found: Explained) -> str:
    if found.saliency is not None:
        return "What a written text hangs on"
    return "Where attention goes" if found.attribution is None else f"Why {answer_text(found.attribution.answer)}?"


def _lead(found: Explained) -> list[str]:
    one = found.attribution
    if found.written is not None:
        truth = f" The row's own text is: {found.truth}" if found.truth else ""
        lines = [
            f"The model writes: {found.written}{truth}"
            if found.written
            else f"The model writes nothing but its end.{truth}"
        ]
        if any(name.startswith("→ ") for name in (found.attention.reading.tokens if found.attention else ())):
            lines.append(
                "Written tokens stand behind the source with an arrow before them. The row of a written token is the cross attention of the step that wrote it: where in the source it "
                "looked. Rows of source tokens are the encoder's own attention."
            )
        if found.saliency is not None and found.saliency.faithfulness is not None:
            lines.append(_belief(found.saliency.faithfulness))
        return lines
    if one is None:
        return [
            f"This is a run of {found.task}: it gives no label or transcript here that could be explained. Its attention can be looked at."
        ]
    truth = f" The row is labelled {found.truth}." if found.truth else ""
    said, share = f"The model says {answer_text(one.answer)}", percent_text(one.probability)
    if one.figure != "probability":
        sure = f"; its {one.figure} is {share}"
    else:
        sure = f", {'confidence' if one.answer == one.explained else one.explained} {share}"
    lines = [f"{said}{sure}.{truth}"]
    if one.faithfulness is not None:
        lines.append(_belief(one.faithfulness))
    return lines


def _belief(test: Faithfulness) -> str:
    if test.is_shown:
        return "The marks below are better than chance: the answer hangs on them."
    if test.is_better:
        return "The marks below are better than chance, but hardly anything hangs on them."
    return "The marks below are no better than chance: do not believe them."


def _attention_section(found: Explained, attention: Attention, packed: Packed) -> Section:
    reading = attention.reading
    chosen = found.chosen or _liveliest(attention)
    blobs = [(name, blob) for name in ("values", "largest", "columns") if (blob := getattr(packed, name))]
    data = Markup(_json(_data(attention, packed, chosen)))
    view = part(
        "attention", views=_VIEWS[reading.kind], from_label="Looking from" if reading.has_grid else "", data=data,
        blobs=[(name, Markup(blob)) for name, blob in blobs], still=still_markup(attention, chosen),
    )  # fmt: skip
    fewest, most = min(attention.heads), max(attention.heads)
    heads = counted(most, "head") if fewest == most else f"{fewest} to {most} heads"
    told = f"{counted(len(attention.layers), 'layer')} of {heads}, {counted(len(reading.tokens), 'position')}."
    if found.chosen is None:
        told += f" Shown first is the head with the heaviest links between {reading.kind.parts} that are no neighbours."
    said = [sentence.format(part=reading.kind.part) for sentence in _SAYS[: 4 if reading.has_grid else 5]]
    return Section(
        "attention",
        "Where attention goes",
        (
            part("paragraph", text=told, kind="note"),
            view,
            part("heading", text="What attention says, and what it does not"),
            part("sentences", rows=said),
        ),
    )


def _liveliest(attention: Attention) -> Chosen:
    """The head with the heaviest single weights between positions that are no neighbours, special tokens left out."""
    own_T = ~np.array(attention.reading.is_special)
    places_T = np.arange(len(own_T))
    is_far_TT = own_T[:, None] & own_T[None] & (np.abs(places_T[:, None] - places_T) > 1)
    sent = [[float((weights[is_far_TT] ** 2).sum()) for weights in layer] for layer in attention.layers]
    layer, head = max(
        ((i, j) for i, row in enumerate(sent) for j in range(len(row))), key=lambda at: sent[at[0]][at[1]]
    )
    return Chosen(layer, head)


def _data(attention: Attention, packed: Packed, chosen: Chosen) -> dict[str, Any]:
    """What the page's script draws."""
    reading = attention.reading
    height, width = reading.grid
    prefix = reading.prefix
    return {
        "kind": reading.kind, "tokens": list(reading.tokens), "special": [int(one) for one in reading.is_special],
        "heads": list(attention.heads), "how": packed.how, "kept": packed.kept, "prefix": prefix,
        "grid": [height, width], "aspect": height / width if width else 1, "picture": reading.picture, "seconds": reading.seconds,
        "every": f"all {reading.kind.parts} together (mean)",
        "query": 0 if prefix else -1,
        "start": {"layer": chosen.layer, "head": chosen.number(attention)},
    }  # fmt: skip


def _json(value: Any) -> str:
    """JSON that no token can end the script element with."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(_UNSAFE.get(sign, sign) for sign in text)
