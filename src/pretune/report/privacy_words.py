"""What private training guarantees, and what an audit found, in sentences: one place for terminal, page and card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.words import number_text
from pretune.wording import counted

__all__ = ["epsilon_text", "guarantee_lines", "guarantee_sentence"]


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
