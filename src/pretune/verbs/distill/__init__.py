"""``pretune distill``."""
