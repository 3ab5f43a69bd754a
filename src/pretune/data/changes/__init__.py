"""Rows that are changed, left out or set apart before they are learned from."""
