"""Names of other tools stand for options that there are, and hide none of ours."""

from __future__ import annotations

import dataclasses

from pretune.interface import VERBS, load_verb, synonyms
from pretune.options import flag_of


def test_every_synonym_of_an_option_is_of_one_that_a_verb_has() -> None:
    names = {flag_of(spec.name) for entry in VERBS for spec in dataclasses.fields(load_verb(entry.name).settings_class)}
    assert {f"--{ours}" for ours in synonyms._FLAGS.values()} <= names
    assert not {f"--{theirs}" for theirs in synonyms._FLAGS} & names
