"""What training means: one file a paradigm. Those that need no labels are listed in :data:`PRETRAININGS`."""

from pretune.objectives.listing import PRETRAININGS, check_settings, find_pretraining

__all__ = ["PRETRAININGS", "check_settings", "find_pretraining"]
