"""``pretune drift``."""
