"""Batches to steps: the only training loop, and what it stands on. Knows no task, no objective, no modality."""
