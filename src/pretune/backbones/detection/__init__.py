"""Boxes on the maps of a trunk: anchors, heads, and models made of both."""
