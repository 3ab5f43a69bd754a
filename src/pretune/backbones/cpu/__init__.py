"""The same mathematics, arranged for a processor."""
