"""Rows that get one or several of a set of labels."""
