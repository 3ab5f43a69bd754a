"""The passport of data as a page."""
