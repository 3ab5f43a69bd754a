"""From what a person gave to the files that will be read."""
