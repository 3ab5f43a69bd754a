"""The chapters of a run's page, each a function from the folder's files to a section (or nothing)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.options import flag_of
from pretune.report.drawing.charts import Series, line_chart
from pretune.report.drawing.grids import Node, lineage
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.lineage import backbone_of
from pretune.report.passport.findings import findings_sentence, streamed_sentence
from pretune.report.passport.parts import passport_parts
from pretune.report.story import caveats, ordered_splits
from pretune.report.words import (
    bytes_text,
    duration_text,
    heading_of,
    is_percent,
    number_text,
    percent_text,
    percent_tick,
    plain,
    tick_text,
    title_of,
)
from pretune.runfolder import data_of
from pretune.wording import counted

__all__ = [
    "changed_settings",
    "curves_section",
    "data_section",
    "done_section",
    "limits_section",
    "lineage_section",
    "repeat_section",
]

Record = Mapping[str, Any]


def changed_settings(record: Record) -> dict[str, Any]:
    """The settings that differ from their defaults: those the command (which leaves defaults out) names."""
    try:
        words = set(shlex.split(str(record.get("command", ""))))
    except ValueError:
        words = set()
    settings = record.get("settings") or {}
    return {key: value for key, value in settings.items() if words & {flag_of(key), flag_of(f"no-{key}")}}


def done_section(record: Record) -> Section:
    """What was done, from what, on what and for how long."""
    settings, model, training = (record.get(key) or {} for key in ("settings", "model", "training"))
    embeddings, machine = (record.get("backbone") or {}).get("counted", ""), record.get("machine") or {}
    rows = [
        ("What", heading_of(str(record.get("verb", "")))),
        ("Began from", backbone_of(record)),
        ("Data", plain(", ".join(data_of(record)))),
        ("Task", title_of(str(model["task"])) if model.get("task") else ""),
        ("Labels", _some([plain(label) for label in model.get("labels") or []])),
        ("Parameters", number_text(model["parameters"]) if model.get("parameters") else ""),
        ("Counted in the rows", plain(embeddings)),
        (
            "Newly initialised",
            "all other weights" if embeddings else _parts([plain(name) for name in model.get("initialised") or []]),
        ),
        ("Weights that learned", _learned_weights(training)),
        ("Exported as", _exported(record.get("export"))),
        ("Learnt for", _learnt(training)),
        ("Seed", _seeds(settings)),
        ("Time", _times(record)),
        ("Foretold by --dry-run", _foretold(record.get("forecast") or {})),
        ("Machine", _machine(machine, training)),
    ]
    parts = [part("facts", rows=[(name, value) for name, value in rows if value and value != "–"])]
    parts.append(_settings(settings, changed_settings(record)))
    return Section("done", "What was done", tuple(piece for piece in parts if piece))


def _exported(told: Any) -> str:
    """The form of an export, and how far its answers are from the model's that it was made of."""
    if not isinstance(told, Mapping):
        return ""
    graph, program = told["parity"]["graph"], told["parity"]["program"]
    return (
        f"{plain(told['format'])}, for {plain(told['engine'])}. Beside the model it was made of: "
        f"{graph['same']} of {graph['rows']} validation rows have the same answer, outputs differ by {graph['largest']:.1e} at most; "
        + (
            f"predict.py gives {program['same']} of {program['rows']} the same"
            if program["rows"]
            else "predict.py is not proven"
        )
    )


def _seeds(settings: Record) -> str:
    first, count = settings.get("seed"), settings.get("seeds")
    if isinstance(count, int) and count > 1:
        return f"{count} seeds, the first is {plain(first)}"
    return plain(first if count in (None, 1) else count)


def _times(record: Record) -> str:
    """How long it took, from when to when; to the second (``2026-11-22T09:00:00``, 19 characters), whatever is kept."""
    took = [duration_text(record["seconds"])] if record.get("seconds") is not None else []
    for word, key in (("from", "started"), ("to", "finished")):
        if record.get(key):
            took.append(f"{word} {plain(record[key])[:19].replace('T', ' ')} UTC")
    return " ".join(took)


def _foretold(told: Record) -> str:
    """What a dry run said, and by how much it missed."""
    if not told:
        return ""
    parts = [
        (duration_text(told["seconds"]), "time", told["took_seconds"] / max(told["seconds"], 0.1)),
        (bytes_text(told["memory_bytes"]), "memory", told["took_memory_bytes"] / max(told["memory_bytes"], 1)),
        (bytes_text(told["disk_bytes"]), "disk", told["took_disk_bytes"] / max(told["disk_bytes"], 1)),
    ]
    return "; ".join(f"{what} {value}, it took {100 * ratio:.0f} % of that" for value, what, ratio in parts)


def _some(names: Sequence[str], most: int = 20) -> str:
    return "".join(names) if len(names) < 2 else f"{number_text(len(names))}: {_listed(names, most)}"


def _listed(names: Sequence[str], most: int = 20) -> str:
    return f"{', '.join(names[:most])}{' …' if len(names) > most else ''}"


def _parts(names: Sequence[str], most: int = 6) -> str:
    """Weights by name; many by the parts of the model that they are in."""
    if len(names) <= most:
        return _some(names)
    modules = dict.fromkeys(".".join(name.split(".")[:-1][:2]) or name for name in names)
    return f"{number_text(len(names))} in {_listed(list(modules))}"


def _learnt(training: Record) -> str:
    found = []
    if training.get("steps") is not None:
        found.append(counted(training["steps"], "step"))
    if training.get("epochs") is not None:
        found.append(counted(training["epochs"], "epoch"))
    if training.get("precision"):
        found.append(f"in {plain(training['precision'])}")
    return ", ".join(found)


def _learned_weights(training: Record) -> str:
    """What share of the weights learned, where not all did; and that what was added to them was merged."""
    share, merged = training.get("learning_share"), training.get("merged")
    if not isinstance(share, float) or share >= 1.0:
        return ""
    said = f"{number_text(training['learning_at_end'])}, {percent_text(share)} of all"
    if not merged:
        return said
    return (
        f"{said}; changes of low rank to {counted(merged['matrices'], 'matrix', 'matrices')} were merged into the weights: read again, the folder's outputs "
        f"differ by {merged['largest_difference']:.1e} at most on {counted(merged['rows'], 'row')}"
    )


def _machine(machine: Record, training: Record) -> str:
    found = [plain(machine[key]) for key in ("accelerator", "processor", "system") if machine.get(key)]
    if machine.get("cores"):
        found.append(counted(machine["cores"], "core"))
    if training.get("threads"):
        found.append(f"{counted(training['threads'], 'thread')} used")
    if training.get("peak_memory_bytes"):
        found.append(f"{bytes_text(training['peak_memory_bytes'])} memory at most")
    return ", ".join(found)


def _settings(settings: Record, changed: Record) -> Markup:
    rows = [[Cell(flag_of(key)), Cell(plain(value))] for key, value in changed.items()]
    shown = data_table("Settings that differ from their defaults", ["setting", "value"], rows)
    if not settings:
        return shown
    shown = shown or part("paragraph", text="Every setting has its default.")
    every = data_table(
        "Every setting",
        ["setting", "value"],
        [[Cell(flag_of(key)), Cell(plain(value))] for key, value in settings.items()],
    )
    return shown + part("details", summary=f"All {len(settings)} settings", body=every)


def data_section(passport: Record, record: Record) -> Section | None:
    """The data passport and the token ledger."""
    parts = passport_parts(passport)
    if not parts:
        return None
    sentences = (streamed_sentence(record), findings_sentence(passport), _rewritten(passport))
    head = [part("paragraph", text=one) for one in sentences if one]
    return Section("data", "Data", (*head, *parts))


def _rewritten(passport: Record) -> str:
    """How many training rows are versions of others, by the model of ``--rewrite``."""
    facts = passport.get("facts")
    told = facts.get("rewritten") if isinstance(facts, dict) else None
    if not isinstance(told, dict):
        return ""
    return (
        f"{number_text(told['kept'])} training rows are versions of others in which {plain(told['model'])} chose some words (--rewrite). Of {number_text(told['made'])} that were made "
        f"{number_text(told['unchanged'])} were no new text, {number_text(told['held_out'])} stand in other splits, and to {number_text(told['changed_mind'])} a classifier that had not seen the row answers otherwise."
    )


def curves_section(log: Sequence[Record], metrics: Record, record: Record) -> Section | None:
    """Loss, learning rate and evaluation scores over the steps, one line a seed; the range test, where there was one."""
    steps = [line for line in log if line.get("kind") == "step"]
    evals = [line for line in log if line.get("kind") == "eval"]
    name = _logged_score(evals, metrics)
    best = {id(line) for line in evals if line.get("best")}
    drawn = (
        _curve("Loss in training", "loss per item", _by_seed(steps, lambda line: line.get("loss"), set())),
        _curve(
            f"{heading_of(name)} on {_eval_split(evals)}",
            title_of(name),
            _by_seed(evals, lambda line: (line.get("scores") or {}).get(name), best),
            note="A ring marks the best step, whose model was kept.",
            name=name,
        ),
        _curve("Learning rate", "learning rate", _by_seed(steps, lambda line: line.get("learning_rate"), set())),
        _range_test((record.get("training") or {}).get("range_test")),
    )
    parts = [piece for piece in drawn if piece]
    speed = _middle(steps, "examples_per_second"), _middle(steps, "tokens_per_second")
    said = [
        f"{number_text(round(value))} {word}" for value, word in zip(speed, ("rows", "units"), strict=True) if value
    ]
    if said:
        note = f"Speed: {' and '.join(said)} a second (medians of the logged steps). A unit is a token of a text, 16 x 16 pixels of a picture, 20 ms of a sound."
        parts.append(part("paragraph", text=note, kind="note"))
    return Section("curves", "Learning curves", tuple(parts)) if parts else None


def _middle(steps: Sequence[Record], name: str) -> float | None:
    found = sorted(line[name] for line in steps if isinstance(line.get(name), (int, float)))
    return found[len(found) // 2] if found else None


def _logged_score(evals: Sequence[Record], metrics: Record) -> str:
    logged = [name for line in evals for name in line.get("scores") or {}]
    wanted = [metrics[split].get("primary") for split in ordered_splits(metrics)]
    return next((str(name) for name in [*wanted, *logged] if name in logged), "")


def _eval_split(evals: Sequence[Record]) -> str:
    return plain(evals[-1].get("split", "validation")) if evals else ""


def _by_seed(lines: Sequence[Record], value: Any, best: set[int]) -> list[Series]:
    seeds = sorted({str(line.get("seed", "")) for line in lines})
    found = []
    for seed in seeds:
        own = [line for line in lines if str(line.get("seed", "")) == seed and value(line) is not None]
        marked = [index for index, line in enumerate(own) if id(line) in best]
        found.append(
            Series(
                f"seed {seed}" if seed else "",
                [line.get("step", 0) for line in own],
                [value(line) for line in own],
                tuple(marked[-1:]),
            )
        )
    return found


def _curve(title: str, y_title: str, series: Sequence[Series], *, note: str = "", name: str = "") -> Markup:
    points = [y for one in series for _, y in one.points()]
    if not points:
        return Markup("")
    share = bool(name) and is_percent(name, {"value": max(points), "low": min(points)})
    y_text = percent_tick if share else tick_text
    marked = any(one.marked for one in series)
    chart = responsive(
        lambda width: line_chart(series, title=title, x_title="step", y_title=y_title, width=width, y_text=y_text)
    )
    return part("figure", drawing=chart, caption=title, note=note if marked else "")


def _range_test(found: Record | None) -> Markup:
    """The loss of the range test over its rates; the ring is where it was least."""
    if not found or not found.get("losses"):
        return Markup("")
    rates, losses = found["rates"], found["losses"]
    least = min(range(len(losses)), key=losses.__getitem__)
    title = "Range test: the loss at growing learning rates"
    chart = responsive(
        lambda width: line_chart(
            [Series("", rates, losses, (least,))], title=title, x_title="learning rate", y_title="smoothed loss", width=width, log_x=True
        )
    )  # fmt: skip
    advice = found.get("advice")
    note = (
        "The ring marks the least; a tenth of its rate was taken."
        if advice
        else "The loss never fell: nothing was taken from it."
    )
    return part("figure", drawing=chart, caption=title, note=note)


def lineage_section(nodes: Sequence[Node]) -> Section | None:
    """The chain of runs, where there is more than one."""
    if len(nodes) < 2:
        return None
    title = "Where this run comes from"
    chart = responsive(lambda width: lineage(nodes, title=title, width=width))
    return Section("lineage", "Lineage", (part("figure", drawing=chart, caption=title),))


def repeat_section(record: Record, passport: Record, *, cut: bool = False) -> Section:
    """The exact command, and what must be equal for equal results. ``cut``: its places are shown by their last part."""
    settings, machine = record.get("settings") or {}, record.get("machine") or {}
    versions = [
        f"{name} {plain(machine[name])}"
        for name in ("pretune", "python", "torch", "transformers", "datasets", "tokenizers", "numpy", "sklearn")
        if machine.get(name)
    ]
    fingerprint = record.get("data_fingerprint") or passport.get("fingerprint")
    rows = [
        ("Versions", ", ".join(versions)),
        ("Seed", _seeds(settings)),
        ("Data fingerprint", plain(fingerprint) if fingerprint else ""),
    ]
    parts = (
        [part("code", text=_one_flag_a_line(str(record["command"])), name="The command to repeat this run")]
        if record.get("command")
        else []
    )
    rows += [("Places", "by their last part; run.json in the run's folder has them whole")] if cut else []
    parts.append(part("facts", rows=[(name, value) for name, value in rows if value and value != "–"]))
    return Section("repeat", "How to repeat", tuple(parts))


def _one_flag_a_line(command: str) -> str:
    """The same command, for reading and for pasting: each flag on a line of its own."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    lines: list[list[str]] = [[]]
    for word in words:
        full = lines[-1][0].startswith("--") and len(lines[-1]) == 2 if lines[-1] else False
        if full or (word.startswith("--") and lines[-1]):
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines)


def limits_section(record: Record, metrics: Record, passport: Record) -> Section | None:
    """What the figures do not say."""
    said = caveats(record, metrics, passport)
    return Section("limits", "Limits", (part("sentences", rows=said),)) if said else None
