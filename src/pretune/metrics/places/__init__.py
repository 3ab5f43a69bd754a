"""Scores of boxes, masks and points."""
