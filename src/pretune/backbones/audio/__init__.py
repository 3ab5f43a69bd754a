"""Clips to batches of samples or features."""
