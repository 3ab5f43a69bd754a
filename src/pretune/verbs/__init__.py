"""The functions a person calls, one file a verb.

This file names the verbs and imports none of them: a verb is loaded when it is asked for. (Its globals stay few on
purpose: loading ``verbs/list.py`` binds ``list`` here.)
"""

from pretune.verbs.declare import VerbFunction, load_verb, verb
from pretune.verbs.outcome import Outcome, Progress, Say, Silent
from pretune.verbs.story import VERBS, VerbEntry

__all__ = ["VERBS", "Outcome", "Progress", "Say", "Silent", "VerbEntry", "VerbFunction", "load_verb", "verb"]
