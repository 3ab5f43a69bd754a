"""Texts that are answered by stretches of themselves."""
