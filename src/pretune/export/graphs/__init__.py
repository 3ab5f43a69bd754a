"""Graphs of models that write or speak, and what graphs may ask for."""
