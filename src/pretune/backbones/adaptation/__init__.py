"""What of a model learns, when, and at what cost of memory."""
