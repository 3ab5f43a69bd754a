"""Labels as people write them: words, lists, names beside the data."""
