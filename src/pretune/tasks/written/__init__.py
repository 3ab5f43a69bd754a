"""Rows that are answered by a text that is written token by token."""
