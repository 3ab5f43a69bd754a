"""Models that write: token by token, in batches, with graphs too."""
