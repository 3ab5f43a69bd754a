"""What training means: one file a paradigm. Those that need no labels are listed in :data:`PRETRAININGS`."""

from pretune.objectives.listing import PRETRAININGS, find_pretraining

__all__ = ["PRETRAININGS", "find_pretraining"]
