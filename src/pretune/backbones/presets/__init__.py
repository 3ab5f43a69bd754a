"""Named sizes of models that start from fresh weights."""
