"""Archives read in place, as streams."""
