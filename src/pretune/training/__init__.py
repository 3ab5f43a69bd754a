"""Rows, a model and settings to a run that learns: set up, watched, saved, recorded."""
