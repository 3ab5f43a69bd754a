"""Points of pictures: how tables and files of poses are read."""
