"""Learning from texts without labels."""
