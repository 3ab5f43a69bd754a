"""``pretune explain``: what an answer hangs on, and where the attention of every layer and head goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AsCleanedSettings
from pretune.errors import PretuneError, UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.explain.attention import Attention
    from pretune.explain.attributions import Attribution
    from pretune.explain.written_saliency import WrittenSaliency
    from pretune.report.explained.stills import Chosen
    from pretune.verbs.explain.subject import Subject

__all__ = ["ExplainSettings", "explain"]

_NAMED = 5
_NAMED_WEIGHTS = 20


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(AsCleanedSettings):
    """Settings of ``pretune explain``."""

    verb: ClassVar[str] = "explain"

    run: str = option(help="run folder of a trained model", positional=True, metavar="RUN")
    example: str | None = option(
        None, "the text to explain, or a picture's or clip's file", positional=True, metavar="TEXT|FILE"
    )
    text_pair: str | None = option(None, "the second text, for a model of pairs", metavar="TEXT")
    row: str | None = option(None, "explain a row of the run's own data, by its id", metavar="ID")
    split: str = option("validation", "with --row: the split it stands in", choices=("validation", "test", "train"))
    label: str | None = option(
        None, "explain the probability of this label; default: the most probable one", metavar="NAME"
    )
    layer: int | None = option(
        None, "layer of the stills and of the page's first view, from 1; default: the last", low=1
    )
    head: int | None = option(
        None, "head of the stills and of the page's first view, from 1; default: the rollout up to the layer", low=1
    )
    view: str = option(
        "auto", "form of the stills; auto: a matrix, for pictures warmth over the picture",
        choices=("auto", "matrix", "lines", "picture"),
    )  # fmt: skip
    orders: int = option(20, "random orders of the deletion test; 0 leaves it out", low=0, high=10_000)
    out: str | None = option(None, "page to write; default: RUN/attention.html", metavar="FILE")
    png: str | None = option(None, "also write one layer and head, or the rollout, as a picture", metavar="FILE")
    svg: str | None = option(None, "the same as a drawing", metavar="FILE")
    device: str = option(
        "auto", "where to compute: auto takes a GPU of CUDA where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int | None = option(None, "processor threads; default: all", low=1)


@verb(ExplainSettings)
def explain(settings: ExplainSettings, *, say: Say) -> Outcome:
    """Show what an answer hangs on, with a test of whether that can be believed, and the true attention weights.

    The page (RUN/attention.html) is one file that opens without a network: the words, places or moments that speak for the
    answer; the deletion test, which takes them out; and the attention of every layer and head as lines, matrix, all heads at
    once, over a picture, and as rollout. Of a model that writes, each written token
    is shared among those that were read for it. A pre-trained run without labels shows its attention. A run of another engine (ONNX)
    is explained by the torch run that it was made from.

    Examples::

        pretune explain runs/sst2 "a fine film, sadly too long"
        pretune explain runs/sst2 --row 42 --split test --out why.html
        pretune explain runs/sst2 "a fine film" --svg head.svg --layer 3 --head 5
        pretune explain runs/ants photo.jpg --png rollout.png
    """
    from pretune.verbs.explain.subject import load_subject

    _check_files(settings)
    run = open_run(settings.run)
    _refuse_without_attention(settings, run)
    subject = load_subject(settings, run, say)
    attention = subject.attention()
    chosen = _chosen(settings, attention)  # what is asked of attention is refused before what takes long
    attribution, saliency = subject.attribution(settings), subject.saliency(settings)
    out = Path(settings.out) if settings.out else run.path / "attention.html"
    told = (
        *subject.notes,
        *(attention.reading.notes if attention else ()),
        *(attribution.notes if attribution else ()),
    )
    notes = list(dict.fromkeys(told))
    if attribution is None and attention is None:
        raise UsageError(
            f"{run.path} gives no label, and its model ({subject.architecture}) has no attention to show",
            "explain a fine-tuned run, or one of a transformer",
        )
    is_asked = settings.layer is not None or settings.head is not None
    _write_page(subject, attribution, saliency, attention, chosen if is_asked else None, notes, out)
    stills = _write_stills(settings, attention, chosen, say)
    return _outcome(subject, attribution, saliency, attention, notes, {"out": str(out), **stills})


def _check_files(settings: ExplainSettings) -> None:
    """Raise :class:`UsageError` for places that cannot be written, and forms that files cannot have, before anything is computed."""
    for flag, place in (("--out", settings.out), ("--png", settings.png), ("--svg", settings.svg)):
        if place is None:
            continue
        if Path(place).is_dir():
            raise UsageError(f"{flag} {place} is a folder", "give a file")
    if settings.png is None and settings.svg is None and settings.view != "auto":
        raise UsageError("--view is for stills", "add --png FILE or --svg FILE, or leave --view out")


def _refuse_without_attention(settings: ExplainSettings, run: RunFolder) -> None:
    """Raise :class:`UsageError` for what is asked of the attention of a model that has none, by its config alone: before any weights
    are loaded.
    """
    if not _asked_of_attention(settings):
        return
    from pretune.backbones.load import load_backbone
    from pretune.explain.attention import has_attention

    try:
        config = load_backbone(str(run.model_dir), weights=False).config
    except PretuneError:  # what is wrong with the folder is said when it is loaded
        return
    if not has_attention(config):
        _refuse(settings)


def _asked_of_attention(settings: ExplainSettings) -> list[str]:
    """The flags that were given and are about attention."""
    asked = {
        "--layer": settings.layer, "--head": settings.head, "--png": settings.png, "--svg": settings.svg,
    }  # fmt: skip
    return [flag for flag, value in asked.items() if value is not None]


def _refuse(settings: ExplainSettings) -> None:
    for flag in _asked_of_attention(settings):
        raise UsageError(f"{flag} is about attention, and this model has none to show", f"leave {flag} out")


def _chosen(settings: ExplainSettings, attention: Attention | None) -> Chosen | None:
    """The matrix that the stills show. Raises :class:`UsageError` for one that is not there."""
    from pretune.report.explained.stills import Chosen

    if attention is None:
        _refuse(settings)
        return None
    layers = len(attention.layers)
    layer = layers if settings.layer is None else settings.layer
    if layer > layers:
        raise UsageError(f"--layer is {layer}", f"this model has layers 1 to {layers}")
    if settings.head is not None and settings.head > attention.heads[layer - 1]:
        raise UsageError(f"--head is {settings.head}", f"layer {layer} has heads 1 to {attention.heads[layer - 1]}")
    if settings.view == "picture" and not attention.reading.has_grid:
        raise UsageError("--view picture does not fit a text", "choose matrix or lines")
    return Chosen(layer - 1, None if settings.head is None else settings.head - 1)


def _write_page(
    subject: Subject, attribution: Attribution | None, saliency: WrittenSaliency | None, attention: Attention | None,
    chosen: Chosen | None, notes: list[str], out: Path,
) -> None:  # fmt: skip
    from pretune.report.explained.page import Explained, write_explained_page
    from pretune.verbs.explain.subject import writing

    page = Explained(
        run=subject.run.path.name, task=subject.task_name, texts=subject.texts, clip=subject.clip,
        attribution=attribution, attention=attention, chosen=chosen, truth=subject.truth, notes=tuple(notes), written=subject.written.text if subject.written else None, saliency=saliency,
        facts=tuple(subject.facts(attribution, attention)),
    )  # fmt: skip
    with writing("--out", out):
        write_explained_page(page, out)


def _write_stills(
    settings: ExplainSettings, attention: Attention | None, chosen: Chosen | None, say: Say
) -> dict[str, str]:
    from pretune.files import write_bytes, write_text
    from pretune.report.explained.stills import still
    from pretune.verbs.explain.subject import writing

    if attention is None or chosen is None or (settings.png is None and settings.svg is None):
        return {}
    sheet, written = still(attention, chosen, settings.view), {}
    if settings.svg is not None:
        with writing("--svg", Path(settings.svg)):
            write_text(Path(settings.svg), f'<?xml version="1.0" encoding="UTF-8"?>\n{sheet.svg()}\n')
        written["svg"] = settings.svg
    if settings.png is not None:
        with writing("--png", Path(settings.png)):
            write_bytes(Path(settings.png), sheet.png())
        written["png"] = settings.png
        if lacking := sheet.unwritable():
            say.warn(f"no font here has the signs {lacking[:20]}: they are boxes in {settings.png}; the SVG has them")
    return written


def _outcome(
    subject: Subject, attribution: Attribution | None, saliency: WrittenSaliency | None, attention: Attention | None, notes: list[str],
    files: dict[str, str],
) -> Outcome:  # fmt: skip
    facts: dict[str, Any] = {"run": str(subject.run.path), "task": subject.task_name, "kind": subject.kind}
    lines = []
    if subject.written is not None:
        facts["written"] = subject.written.text
        lines.append(f"the model writes: {subject.written.text}")
    if saliency is not None:
        facts["saliency"] = saliency.to_dict()
        lines += [saliency.faithfulness.sentence] if saliency.faithfulness else []
    if attribution is not None:
        facts["attribution"] = {
            key: value for key, value in attribution.to_dict().items() if key not in ("picture", "overlay")
        }
        lines += _answer_lines(attribution)
    if attention is not None:
        facts["attention"] = _attention_facts(attention, subject.reads_first)
        lines.append(
            f"attention of {counted(len(attention.layers), 'layer')} and {counted(sum(attention.heads), 'head')} over {counted(len(attention.reading.tokens), 'position')}"
        )
    lines += notes
    lines.append(f"written: {', '.join(files.values())}")
    return Outcome(text="\n".join(lines), facts={**facts, "notes": notes, **files})


def _answer_lines(found: Attribution) -> list[str]:
    answer = found.answer if isinstance(found.answer, str) else ", ".join(found.answer) or "none of its labels"
    named = found.explained if found.figure == "probability" else found.figure
    confidence = f"{named} {100 * found.probability:.1f} %"
    lines = [f"{answer} ({confidence}), explained by {found.method}"]
    if found.pieces:
        best = sorted(zip(found.pieces, found.scores, strict=True), key=lambda one: -abs(one[1]))[:_NAMED]
        lines.append("largest scores: " + ", ".join(f"{piece} {score:+.3f}" for piece, score in best))
    return lines + ([found.faithfulness.sentence] if found.faithfulness else [])


def _attention_facts(attention: Attention, reads_first: bool) -> dict[str, Any]:
    """Tokens, the strongest pair of each head, and what is mixed in the end at the position that the answer is read from (the
    mean of all, where none is).
    """
    from pretune.explain.attention import strongest

    reading, rolled = attention.reading, attention.rolled[-1]
    has_class = (not reading.has_grid and reads_first) or reading.prefix > 0
    row = rolled[0] if has_class else rolled.mean(axis=0)
    order = sorted(range(len(row)), key=lambda place: -row[place])[:_NAMED_WEIGHTS]
    return {
        "layers": len(attention.layers), "heads": list(attention.heads), "tokens": list(reading.tokens),
        "difference": attention.difference, "strongest": strongest(attention),
        "rollout": {
            "from": reading.tokens[0] if has_class else "mean",
            "to": [{"position": place, "token": reading.tokens[place], "weight": round(float(row[place]), 6)} for place in order],
        },
    }  # fmt: skip
