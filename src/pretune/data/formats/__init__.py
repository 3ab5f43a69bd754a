"""One reader a format: the rows of a file in chunks."""
