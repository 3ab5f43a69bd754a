"""``pretune evaluate``."""
