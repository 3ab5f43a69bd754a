"""Texts to batches of tokens."""
