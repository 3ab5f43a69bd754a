"""``pretune explain``."""
