"""``pretune pretrain``."""
