"""Pictures to batches of pixels."""
