"""``pretune benchmark``."""
