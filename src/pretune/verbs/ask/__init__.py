"""``pretune ask``."""
