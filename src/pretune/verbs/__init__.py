"""The functions a person calls: a file for a small verb, a package with its ``story`` for a large one. Nothing is imported here: a verb is
loaded when it is asked for (:func:`pretune.interface.load_verb`)."""
