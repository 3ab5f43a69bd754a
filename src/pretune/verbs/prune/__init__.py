"""``pretune prune``."""
