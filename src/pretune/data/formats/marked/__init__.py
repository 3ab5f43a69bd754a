"""Formats of pictures with boxes and masks."""
