"""``pretune quantize``."""
