"""From a place (file, folder, archive, hub id) to examples: read, split, check, clean."""
