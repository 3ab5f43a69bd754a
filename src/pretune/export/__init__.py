"""A trained model as a file that runs without the code that trained it, proven to give the same answers."""
