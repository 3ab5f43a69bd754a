"""Tokenizers that are trained on a person's own texts."""
