"""Models that answer with places: decoders on the maps of a trunk."""
