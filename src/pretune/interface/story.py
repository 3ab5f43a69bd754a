"""The verbs in the order of their story, each with the one line that ``pretune --help`` shows."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["VERBS", "VerbEntry"]


class VerbEntry(NamedTuple):
    """``chapter`` groups the verbs of the help page; ``room`` is where the verb stands, which may be a package of its own."""

    name: str
    chapter: str
    summary: str
    room: str = "verbs"

    @property
    def module(self) -> str:
        """The module that holds the function of the verb's name: a file of its room, or the ``story`` of its own package."""
        return f"pretune.{self.room}.{'story' if self.room.endswith(f'.{self.name}') else self.name}"


VERBS: tuple[VerbEntry, ...] = (
    VerbEntry(
        "inspect",
        "look at the data",
        "read the data and write its passport: columns, balance, duplicates, leaks",
        room="verbs.inspect",
    ),
    VerbEntry("review", "look at the data", "rank the labels that look wrong, for a person to set right"),
    VerbEntry(
        "ask",
        "look at the data",
        "say which rows to label next, and whether asking beats drawing them",
        room="verbs.ask",
    ),
    VerbEntry(
        "pretrain",
        "learn",
        "learn from unlabelled texts, pictures or clips, from scratch or on from a model",
        room="verbs.pretrain",
    ),
    VerbEntry("finetune", "learn", "learn a task from labelled rows", room="verbs.finetune"),
    VerbEntry(
        "multitask", "learn", "learn several tasks at once on one trunk, and say whether it is worth it", room="study"
    ),
    VerbEntry("selftrain", "learn", "learn on from rows without labels, where that can be shown to help"),
    VerbEntry(
        "probe", "prove", "say in seconds what a model's features know before anything learns", room="verbs.probe"
    ),
    VerbEntry("evaluate", "prove", "score a run on a split, with intervals and baselines", room="verbs.evaluate"),
    VerbEntry("predict", "prove", "rows in, labels and probabilities out, as JSON lines", room="verbs.predict"),
    VerbEntry("compare", "prove", "say whether one run is better than another, on the same rows"),
    VerbEntry(
        "drift",
        "prove",
        "say whether new rows are like those a run was held against, and what accuracy to expect",
        room="verbs.drift",
    ),
    VerbEntry("audit", "prove", "say whether it can be told which rows a run learned from"),
    VerbEntry(
        "benchmark",
        "prove",
        "measure runs side by side: accuracy, latency, throughput, size, memory",
        room="verbs.benchmark",
    ),
    VerbEntry(
        "study", "prove", "ways to learn against each other, with few and many labels: what is worth it", room="study"
    ),
    VerbEntry(
        "distill",
        "shrink",
        "teach a small model what a large one knows, with and without labels; compare",
        room="verbs.distill",
    ),
    VerbEntry(
        "prune",
        "shrink",
        "take out what matters least: heads, neurons, channels, tokens; recover; compare",
        room="verbs.prune",
    ),
    VerbEntry(
        "quantize",
        "shrink",
        "round weights and arithmetic to 8 bits, where it keeps the score; compare",
        room="verbs.quantize",
    ),
    VerbEntry("export", "show", "write a run as a folder that answers without pretune, and prove that it does"),
    VerbEntry("report", "show", "write one page about a run that opens without a network"),
    VerbEntry(
        "explain",
        "show",
        "what an answer hangs on, and where attention goes, as a page and a figure",
        room="verbs.explain",
    ),
    VerbEntry("serve", "show", "answer programs and people over HTTP, with a page to try the model on"),
    VerbEntry("push", "show", "send a run's model to the Hugging Face hub, with a card that says what it is"),
    VerbEntry("run", "show", "run a recipe: a file of steps, each done once", room="study"),
    VerbEntry("list", "show", "show the runs in a folder"),
    VerbEntry("verify", "show", "say whether every file of a run or model is what was written"),
    VerbEntry("cache", "show", "what is kept between runs to save work: how much, how old; remove what is not needed"),
    VerbEntry("completion", "show", "a script by which bash, zsh or fish completes verbs, options and values"),
    VerbEntry("demo", "show", "the whole story on real text, with no network, in minutes"),
)
