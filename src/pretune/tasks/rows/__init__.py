"""Rows kept as a task reads them."""
