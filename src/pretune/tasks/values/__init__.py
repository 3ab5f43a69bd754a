"""Rows that get a number."""
