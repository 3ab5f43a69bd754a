"""How drift is told in sentences: one place for terminal and page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.wording import counted

__all__ = ["auc_text", "p_text", "verdict_sentence", "view_sentence"]


def p_text(p: float) -> str:
    """``p = 0.02``; the least that reshuffling can give is a bound."""
    return f"p = {p:.2g}"


def auc_text(auc: Mapping[str, Any]) -> str:
    """``0.576 [0.533, 0.614]``."""
    return f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"


def verdict_sentence(facts: Mapping[str, Any]) -> str:
    """Was drift found, and what says so."""
    tests = sorted(facts["tests"], key=lambda test: test["adjusted_p"])
    speaking = [test for test in tests if test["adjusted_p"] <= facts["alpha"]]
    held = f"p adjusted for {counted(len(tests), 'test')}"
    if speaking:
        said = ", ".join(f"{test['name']} ({p_text(test['adjusted_p'])})" for test in speaking)
        return f"drift was found: {said}; {held}."
    least = f"; the smallest is that of {tests[0]['name']}, {p_text(tests[0]['adjusted_p'])}" if tests else ""
    return f"no drift was found: no {held} is below {facts['alpha']:g}{least}."


def view_sentence(name: str, view: Mapping[str, Any]) -> str:
    """What one kind of features says."""
    return (
        f"{name}: told apart with AUC {auc_text(view['auc'])}, where 0.5 is not at all ({p_text(view['auc_p'])}); "
        f"MMD {view['mmd']:.2g} ({p_text(view['mmd_p'])})"
    )
