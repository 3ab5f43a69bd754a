"""Masks of pictures: which files they are, what their values are called, and what could not be used."""
