"""``pretune inspect``."""
