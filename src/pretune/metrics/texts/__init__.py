"""Scores of written texts, spans, tags and vectors."""
