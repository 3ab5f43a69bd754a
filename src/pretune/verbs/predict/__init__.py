"""``pretune predict``."""
