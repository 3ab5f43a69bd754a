"""Which column means what."""
