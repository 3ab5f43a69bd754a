"""Why a model answers as it does: attention weights, attributions, and how far to believe them."""
