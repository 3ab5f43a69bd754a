"""The parts of a model: which there are, which may go, which are kept."""
