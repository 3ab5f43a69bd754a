"""pretune: from raw data to a small, proven model."""

__version__ = "0.1.0"
