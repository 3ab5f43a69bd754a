"""What private training guarantees, and what an audit found, in sentences: one place for terminal, page and card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.words import number_text, score_text
from pretune.wording import counted

__all__ = [
    "AUDIT_FILE",
    "audit_lines",
    "audit_verdict",
    "bound_text",
    "epsilon_text",
    "guarantee_lines",
    "guarantee_sentence",
    "how_lines",
]


AUDIT_FILE = "audit.json"
"""What the last audit of a run found, in its folder."""


def epsilon_text(facts: Mapping[str, Any]) -> str:
    """``epsilon = 7.99 at delta = 1.4e-05``."""
    return f"epsilon = {facts['epsilon']:.3g} at delta = {facts['delta']:.2g}"


def guarantee_sentence(facts: Mapping[str, Any]) -> str:
    """The guarantee of ``privacy`` in run.json, and what it is made of."""
    return (
        f"Private training: {epsilon_text(facts)} for each {facts['unit']} of {number_text(facts['units'])}; {counted(facts['steps'], 'update')}, "
        f"each drawing a {facts['unit']} with probability {facts['sampling_rate']:.3g}, gradients cut down to a norm of {facts['clip']:g} a {facts['unit']}, "
        f"noise of {facts['noise_multiplier']:.3g} times that."
    )


def guarantee_lines(facts: Mapping[str, Any]) -> list[str]:
    """The guarantee, what it covers, what it takes for granted and what it leaves out, a sentence each."""
    return [
        guarantee_sentence(facts),
        f"It covers {facts['covers']}.",
        f"It takes for granted {facts['assumes']}.",
        f"It does not cover {facts['leaves_out']}.",
        f"Epsilon is counted by {facts['accountant']}; a second accountant, by Fourier transform, gives {facts['epsilon_by_fourier']:.4g}. "
        "Noise and the choice of rows come from the system's entropy: the same command gives other weights. A run that was interrupted went on "
        "with new noise; an update that was made again counts once, as what it was before was neither kept nor used.",
    ]


def bound_text(bound: Mapping[str, Any]) -> str:
    """A lower bound of epsilon: ``0.42``; where guesses show nothing ``0``."""
    return f"{bound['low']:.2f}" if bound["low"] else "0"


def audit_verdict(facts: Mapping[str, Any]) -> str:
    """What an audit found, in one or two sentences."""
    found, auc, guarantee = facts["found"], facts["auc"], facts.get("guarantee")
    figures = (
        f"AUC {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]; {score_text('share', found)} of the training rows are found "
        "where 1 in 100 others is taken for one"
    )
    if not facts["told_apart"]:
        said = f"It could not be told which rows were learned from: {figures}."
    elif auc["high"] < 0.5:
        said = (
            f"The model answers the rows that it learned from worse than others, so that they can be told by that: {figures}. "
            "Such rows are of another kind or harder: the split was not drawn at random."
        )
    else:
        said = f"Who has the model and a row can tell better than by guessing whether it was learned from: {figures}."
    if guarantee is None:
        return said
    if not guarantee["holds"]:
        return f"{said} That is more than the guarantee allows ({epsilon_text(guarantee)}): it does not hold for this model."
    return f"{said} The guarantee ({epsilon_text(guarantee)}) agrees with that."


def audit_lines(facts: Mapping[str, Any]) -> list[str]:
    """An audit in a screenful."""
    lines = [
        f"{counted(facts['members'], 'training row')} against {counted(facts['others'])} of {facts['split']} of {facts['run']}",
        audit_verdict(facts),
        f"  epsilon is at least {bound_text(facts['epsilon'])} (95 % confidence, delta {facts['epsilon']['delta']:.2g}, {counted(facts['epsilon']['n'])})",
    ]
    if canaries := facts.get("canaries"):
        bits, found = canaries["exposure"], canaries["found"]
        lines.append(
            f"  canaries: exposure {bits['value']:.2f} bits [{bits['low']:.2f}, {bits['high']:.2f}], {bits['none']:.2f} where nothing is learned by heart "
            f"and {bits['most']:.1f} at most (n = {bits['n']}); {score_text('share', found)} found at 1 %; epsilon is at least {bound_text(canaries['epsilon'])}"
        )
    return [*lines, *(f"  {note}" for note in facts["notes"])]


def how_lines(facts: Mapping[str, Any]) -> list[str]:
    """How an audit was made, and what it does not say."""
    lines = [
        "A row's score is the log likelihood that the model gives its right answer (Yeom et al. 2018). Attacks that train models of their own find more: this is a lower bound.",
        "The interval of the AUC is DeLong's; that of the share found draws both kinds of rows again.",
        "The lower bound of epsilon is that of Steinke, Nasr & Jagielski (2023) for guesses about as many rows of either kind. It holds where a coin decided which rows "
        "were learned from, as for canaries; of training and held-out rows it says something where the split was drawn at random. Where these come from "
        "other sources or times, they can be told apart without any model.",
    ]
    if "canaries" in facts:
        lines.append(
            "Canaries are made-up rows with labels drawn at random; as many others were never shown. Exposure is the logarithm of how far ahead of them a planted one ranks (Carlini et al. 2019)."
        )
    return [*lines, *facts["notes"]]
