"""What a person or program says and is told: options to flags and calls, outcomes to lines and JSON, the table of the verbs."""

from pretune.interface.declare import VerbFunction, load_verb, verb
from pretune.interface.outcome import Outcome, Progress, Say, Silent
from pretune.interface.story import VERBS, VerbEntry

__all__ = ["VERBS", "Outcome", "Progress", "Say", "Silent", "VerbEntry", "VerbFunction", "load_verb", "verb"]
