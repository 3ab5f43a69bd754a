"""Backbones: a name to a model and its tokenizer; texts to batches; which weights learn how fast."""
