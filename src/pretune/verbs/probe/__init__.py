"""``pretune probe``."""
